"""The map: for every cell who wins, by how much, and what the theory had said.

Strengths are tuned on the even seeds and compared on the odd ones, so that no remedy is judged on
the seeds that chose its strength.  Differences to the reference (GRPO, tuned alike) are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsmooth import records
from diffsmooth.sim.cells import REFERENCE, Cell
from diffsmooth.sim.heuristics import HEURISTICS
from diffsmooth.sim.regimes import regime
from diffsmooth.sim.statistics import (
    Interval,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
)
from diffsmooth.sim.sweep import path

if TYPE_CHECKING:
    import pyarrow as pa

#: Where remedies are compared, and by what: (column prefix, what is matched).
MATCHES = ("pass@1", "kl")
#: A strength counts if at least this share of the tuning seeds reaches the matched level.
REACH = 0.9


@dataclass(frozen=True)
class Standing:
    """One remedy in one cell at one match: its tuned strength and how it compares.

    value, iqm
        Mean and interquartile mean of the primary measure over the odd seeds.
    difference
        To the reference, paired, with a 95 % bootstrap interval.
    improvement
        Probability that a random seed of it beats one of the reference.
    """

    heuristic: str
    strength: float
    value: float
    iqm: float
    difference: Interval
    improvement: float


def standings(runs: Mapping[str, Any], primary: str, match: str) -> list[Standing]:
    """Remedies of a cell from best to worst at the match; those that never reach it are left out.

    ``runs`` are the columns of a cell's table.
    """
    column = runs[f"at {match}:{primary}"].astype(np.float64)
    chosen = {}
    for name in dict.fromkeys(runs["heuristic"]):
        found = _tuned(runs, column, name)
        if found is not None:
            chosen[name] = found
    if REFERENCE not in chosen:
        return []
    reference = chosen[REFERENCE][1]
    out = []
    for name, (strength, values) in chosen.items():
        both = ~np.isnan(values) & ~np.isnan(reference)
        if both.sum() < 2:
            continue
        mine, theirs = values[both], reference[both]
        out.append(
            Standing(
                name,
                strength,
                float(mine.mean()),
                interquartile_mean(mine),
                paired_difference(mine, theirs),
                probability_of_improvement(mine, theirs),
            )
        )
    return sorted(out, key=lambda s: (-s.value, s.heuristic))


def _tuned(runs: Mapping[str, Any], column: Any, name: str) -> tuple[float, Any] | None:
    """(strength, values on the odd seeds) of the strength that is best on the even seeds."""
    best: tuple[float, float] | None = None
    mine = runs["heuristic"] == name
    for strength in np.unique(runs["strength"][mine]):
        values = column[mine & (runs["strength"] == strength) & (runs["seed"] % 2 == 0)]
        reached = ~np.isnan(values)
        if reached.mean() >= REACH and (best is None or values[reached].mean() > best[0]):
            best = (float(values[reached].mean()), float(strength))
    if best is None:
        return None
    return best[1], column[mine & (runs["strength"] == best[1]) & (runs["seed"] % 2 == 1)]


def summary(cells: Sequence[Cell], out: Path) -> pa.Table:
    """One row per cell, match and remedy: ``out/summary.parquet`` is this table."""
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    for cell in cells:
        runs = load(out, cell, "runs")
        place = regime(cell.regime)
        for match in MATCHES:
            table = standings(runs, place.primary, match)
            for rank, s in enumerate(table):
                rows.append(
                    {
                        "cell": cell.regime,
                        "regime": place.name,
                        "match": match,
                        "rank": rank,
                        "heuristic": s.heuristic,
                        "part": HEURISTICS[s.heuristic].part,
                        "strength": s.strength,
                        "value": s.value,
                        "iqm": s.iqm,
                        "difference": s.difference.value,
                        "low": s.difference.low,
                        "high": s.difference.high,
                        "improvement": s.improvement,
                        "worse": s.difference.below,
                        "margin_over_next": s.value - table[rank + 1].value
                        if rank + 1 < len(table)
                        else float("nan"),
                    }
                )
    return pa.Table.from_pylist(rows)


def load(out: Path, cell: Cell, table: str) -> dict[str, Any]:
    """The columns of one table of a cell.  Raises FileNotFoundError if it was not run."""
    from diffsmooth.sim.figures import columns

    file = path(out, cell, table)
    if not records.done(file):
        raise FileNotFoundError(f"{file}: the cell {cell.regime} has not been run")
    return columns(records.read_table(file))
