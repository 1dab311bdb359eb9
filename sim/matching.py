"""Comparisons at equal pass@1 and at equal KL: where a path first reaches a level, interpolated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diffsmooth.sim.dynamics.models import Float
from diffsmooth.sim.paths import Paths

#: The level is this share of the way that the reference goes.
SHARE = 0.8


def level(reference: Paths, strength: float, key: str) -> Float:
    """(S,) the level of ``key`` to match: SHARE of the reference's largest gain, seed by seed.

    Raises ValueError if the reference was not run at that strength.
    """
    if strength not in reference.strengths:
        raise ValueError(f"strength: {reference.heuristic} was not run at {strength}")
    path = reference.measures[key][:, reference.strengths.index(strength)]
    return np.asarray(path[0] + SHARE * (path.max(axis=0) - path[0]))


def crossing(path: Float, goal: Float) -> tuple[Float, Float]:
    """(index, fraction), each (L, S): the path first reaches the goal in the segment after
    ``index``, at that fraction of it; NaN fraction where it never does.

    path (T, L, S), goal (S,).
    """
    reached = path >= goal
    first = reached.argmax(axis=0)
    index = np.maximum(first - 1, 0)
    before = np.take_along_axis(path, index[None], 0)[0]
    after = np.take_along_axis(path, (index + 1)[None], 0)[0]
    rise = after - before
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(first == 0, 0.0, (goal - before) / rise)
    return index.astype(np.float64), np.where(reached.any(axis=0), part, np.nan)


def at_level(measures: Mapping[str, Float], key: str, goal: Float) -> dict[str, Float]:
    """Every measure (L, S), interpolated to where ``key`` first reaches the goal; NaN if never."""
    index, part = crossing(measures[key], goal)
    where = index.astype(np.int64)[None]
    out = {}
    for name, path in measures.items():
        before = np.take_along_axis(path, where, 0)[0]
        after = np.take_along_axis(path, where + 1, 0)[0]
        out[name] = before + part * (after - before)
    return out
