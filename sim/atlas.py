"""The map: for every cell who wins, by how much, and what the theory had said.

Strengths are tuned on the even seeds and compared on the odd ones, so that no remedy is judged on
the seeds that chose its strength.  Everything is asked of pairs: a remedy and the reference (GRPO,
tuned alike) on the odd seeds where both reach the matched level.  Remedies are ranked by that
difference; their values alone are means over different seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsmooth import records
from diffsmooth.sim.cells import REFERENCE, REFERENCE_STRENGTH, Cell
from diffsmooth.sim.dynamics.models import Bool, Float
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

    seeds, reached
        Odd seeds on which it and the reference both reach the level, and the share of all odd seeds
        on which it does.  Every number below is about the former.
    value, iqm, reference
        Mean and interquartile mean of the primary measure, and the reference's mean.
    difference
        ``value - reference``, paired, with a 95 % bootstrap interval.
    improvement
        Probability that a random seed of it beats one of the reference.
    margin
        Over the next remedy in rank, paired on the odd seeds where both reach the level; None for
        the last and where there are less than two.
    """

    heuristic: str
    strength: float
    seeds: int
    reached: float
    value: float
    iqm: float
    reference: float
    difference: Interval
    improvement: float
    margin: Interval | None = None


def standings(runs: Mapping[str, Any], primary: str, match: str) -> list[Standing]:
    """Remedies of a cell by their difference to the reference, the best first.

    Those that reach the matched level too rarely to be compared are left out.  ``runs`` are the
    columns of a cell's table.
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
                int(both.sum()),
                float((~np.isnan(values)).mean()),
                float(mine.mean()),
                interquartile_mean(mine),
                float(theirs.mean()),
                paired_difference(mine, theirs),
                probability_of_improvement(mine, theirs),
            )
        )
    ranked = sorted(out, key=lambda s: (-s.difference.value, s.heuristic))
    return [
        replace(s, margin=_margin(chosen[s.heuristic][1], chosen[after.heuristic][1]))
        for s, after in pairwise(ranked)
    ] + ranked[-1:]


def _margin(mine: Float, theirs: Float) -> Interval | None:
    both = ~np.isnan(mine) & ~np.isnan(theirs)
    return paired_difference(mine[both], theirs[both]) if both.sum() >= 2 else None


def _tuned(runs: Mapping[str, Any], column: Float, name: str) -> tuple[float, Float] | None:
    """(strength, values on the odd seeds) of the strength that is best on the even seeds.

    Best by the mean difference to the reference at its own learning rate, so that strengths which
    reach the level on different seeds can be told apart.
    """
    even, odd = runs["seed"] % 2 == 0, runs["seed"] % 2 == 1
    plain = column[_rows(runs, REFERENCE, REFERENCE_STRENGTH) & even]
    best: tuple[float, float] | None = None
    for strength in np.unique(runs["strength"][runs["heuristic"] == name]):
        gain = column[_rows(runs, name, strength) & even] - plain
        reached = ~np.isnan(gain)
        if reached.mean() >= REACH and (best is None or gain[reached].mean() > best[0]):
            best = (float(gain[reached].mean()), float(strength))
    if best is None:
        return None
    return best[1], column[_rows(runs, name, best[1]) & odd]


def _rows(runs: Mapping[str, Any], name: str, strength: float) -> Bool:
    return np.asarray((runs["heuristic"] == name) & (runs["strength"] == strength))


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
                        "seeds": s.seeds,
                        "reached": s.reached,
                        "value": s.value,
                        "iqm": s.iqm,
                        "reference": s.reference,
                        "difference": s.difference.value,
                        "low": s.difference.low,
                        "high": s.difference.high,
                        "improvement": s.improvement,
                        "worse": s.difference.below,
                        "better": s.difference.above,
                        "margin": s.margin.value if s.margin else float("nan"),
                        "margin_low": s.margin.low if s.margin else float("nan"),
                        "margin_high": s.margin.high if s.margin else float("nan"),
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
