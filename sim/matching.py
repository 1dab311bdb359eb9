"""Comparisons at equal pass@1 and at equal KL: where a path first reaches a level, interpolated;
and the area under a frontier, which needs no level."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diffsmooth.sim.paths import Paths
from diffsmooth.sim.policies import Float

#: The level is this share of the way that the reference goes.
SHARE = 0.8


def level(reference: Paths, strength: float, key: str) -> Float:
    """(S,) the level of ``key`` to match: SHARE of the reference's largest gain, seed by seed.

    Raises ValueError if the reference was not run at that strength.
    """
    path = reference.measures[key][:, reference.trial(strength)]
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


def frontier_area(correctness: Float, kept: Float, low: Float, high: Float) -> Float:
    """(L, S) mean height of the frontier over the correctness from ``low`` to ``high``.

    The frontier at c is the largest ``kept`` of the path's checkpoints with a correctness of at
    least c, and 0 where none has: a path that stays incorrect pays with what it did not reach.
    correctness, kept (T, L, S); low, high (S,), low < high (where not, the area is 0).
    """
    order = np.argsort(correctness, axis=0, kind="stable")
    x = np.clip(np.take_along_axis(correctness, order, 0), low, np.maximum(low, high))
    best = np.maximum.accumulate(np.take_along_axis(kept, order, 0)[::-1], axis=0)[::-1]
    start = np.broadcast_to(low, x[:1].shape)
    width = np.diff(np.concatenate([start, x]), axis=0)
    span = high - low
    area = (width * best).sum(axis=0)
    return np.asarray(np.divide(area, span, out=np.zeros_like(area), where=span > 0))
