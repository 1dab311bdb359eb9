"""Which cells the map runs: subsets of a family's sweep that keep the range of every parameter.

A family's candidates are the cells of its sweep at every value of ``survive`` that it can take; a
design is chosen among them deterministically: first the two ends of every parameter at once, then
whatever keeps the values of all parameters, and their pairs, most evenly used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from itertools import combinations
from typing import Any

from diffsmooth.sim.regimes import REGIMES, SURVIVE, identities, regime

Point = tuple[Any, ...]


def parameters(place: Any) -> dict[str, Any]:
    """The parameters of a regime by name, those of a regime inside it too."""
    found: dict[str, Any] = {}
    for item in fields(place):
        value = getattr(place, item.name)
        found.update(parameters(value) if is_dataclass(value) else {item.name: value})
    return found


def balanced(points: Sequence[Point], count: int) -> list[int]:
    """Indices of ``count`` of the points, in order, that use every coordinate's values evenly.

    They hold the smallest and the largest value of every coordinate; where ``count`` points cannot,
    there are as many more as that takes.  All points where there are no more than ``count``.
    Raises ValueError on count < 1.
    """
    if count < 1:
        raise ValueError(f"count: must be at least 1, got {count}")
    if count >= len(points):
        return list(range(len(points)))
    levels = [sorted(set(column)) for column in zip(*points, strict=True)]
    placed = [tuple(lv.index(x) for lv, x in zip(levels, p, strict=True)) for p in points]
    used: Counter[tuple[int, int]] = Counter()
    pairs: Counter[tuple[int, int, int, int]] = Counter()
    chosen: list[int] = []

    def take(index: int) -> None:
        chosen.append(index)
        at = placed[index]
        used.update(enumerate(at))
        pairs.update((i, at[i], j, at[j]) for i, j in combinations(range(len(at)), 2))

    def cost(index: int) -> tuple[float, ...]:
        at = placed[index]
        lost = sum(
            used[i, x] == 0 and x in (0, len(levels[i]) - 1) for i, x in enumerate(at)
        )  # ends not yet there come first
        even = sum((2 * used[i, x] + 1) * len(levels[i]) for i, x in enumerate(at))
        pair = sum(2 * pairs[i, at[i], j, at[j]] + 1 for i, j in combinations(range(len(at)), 2))
        return (-lost, even, pair, index)

    ends = {(i, x) for i, lv in enumerate(levels) for x in (0, len(lv) - 1)}
    while len(chosen) < count or any(not used[end] for end in ends):
        take(min((i for i in range(len(points)) if i not in chosen), key=cost))
    return sorted(chosen)


def subset(names: Sequence[str], every: int) -> list[str]:
    """Of each family one cell in ``every``, at least two, so that the ends of its grid stay."""
    if every < 1:
        raise ValueError(f"every: must be at least 1, got {every}")
    out: list[str] = []
    for name in names:
        cells = identities((name,))
        count = max(2, -(-len(cells) // every))
        out += [cells[i] for i in balanced(_points(cells), count)]
    return out


def design(names: Sequence[str], cells: int) -> list[str]:
    """About ``cells`` cells, the same number of each family, over all values of ``survive``.

    Raises ValueError on less than two cells a family.
    """
    if cells < 2 * len(names):
        raise ValueError(
            f"cells: at least {2 * len(names)} (two a family keep the ends), got {cells}"
        )
    out: list[str] = []
    for place, name in enumerate(names):
        count = cells // len(names) + (place < cells % len(names))
        candidates = [
            identity if level is None else f"{identity}:survive={level:g}"
            for identity in identities((name,))
            for level in (SURVIVE if "survive" in parameters(REGIMES[name]()) else (None,))
        ]
        out += [candidates[i] for i in balanced(_points(candidates), count)]
    return out


def _points(cells: Sequence[str]) -> list[Point]:
    """The coordinates of the cells along the parameters that vary among them."""
    found = [parameters(regime(c)) for c in cells]
    varied = [k for k in found[0] if len({repr(f[k]) for f in found}) > 1]
    return [tuple(f[k] for k in varied) for f in found]
