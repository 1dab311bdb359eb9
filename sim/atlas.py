"""The map: for every cell who wins, by how much, and what the theory had said.

Every remedy is tuned over the same number of trials (strength x learning rate) on the even seeds
and compared on the odd ones, so that none is judged on the seeds that chose its trial.  Everything
is asked of pairs: a remedy and the reference (GRPO, tuned alike) on every odd seed.

A seed on which a remedy does not reach the matched level is a seed that it has lost: there it
counts with the value that it ended with, with no more than the reference has, times the share of
the level that it ended at; always less than the reference.  A remedy that
reaches the level on less than :data:`REACH` of the odd seeds ranks behind all that do, whatever its
values, and is never surely above.  Two comparisons need no level: at equal steps, and the area
under the frontier.
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
from diffsmooth.sim.intervals import LEAST, Interval, adjusted, mean_or_point, p_value
from diffsmooth.sim.policies import Bool, Float
from diffsmooth.sim.regimes import regime
from diffsmooth.sim.remedies import remedy_named
from diffsmooth.sim.statistics import interquartile_mean, probability_of_improvement
from diffsmooth.sim.sweep import path

if TYPE_CHECKING:
    import pyarrow as pa

#: Where remedies are compared, and by what: a table's column is ``at {match}:{measure}``.
MATCHES = ("pass@1", "kl", "steps", "frontier")
#: A remedy keeps up if it reaches the matched level on at least this share of the seeds.
REACH = 0.9
#: Share of false ones among the cells called surely above or below (Benjamini and Hochberg).
RATE = 0.05


@dataclass(frozen=True)
class Standing:
    """One remedy in one cell at one match: its tuned trial and how it compares.

    strength, rate
        The trial that won the tuning; ``rate`` is the factor on the learning rate.
    seeds, reached
        Number of odd seeds compared, and the share of them on which it reaches the level.
    value, iqm, reference
        Mean and interquartile mean of the primary measure, and the reference's mean.
    difference
        ``value - reference``, paired, with Student's 95 % interval.
    p
        Two-sided p of no difference; 1 for the reference, and where less than three seeds say
        nothing.
    improvement
        Probability that a random seed of it beats one of the reference.
    margin
        Over the next remedy in rank, paired; None for the last.
    margin_p
        Two-sided p of no margin; 1 for the last.
    """

    remedy: str
    strength: float
    seeds: int
    reached: float
    value: float
    iqm: float
    reference: float
    difference: Interval
    improvement: float
    margin: Interval | None = None
    rate: float = 1.0
    p: float = 1.0
    margin_p: float = 1.0

    @property
    def keeps_up(self) -> bool:
        """Does it reach the level often enough to win anything?"""
        return self.reached >= REACH


@dataclass(frozen=True)
class _Trial:
    """A tuned trial on the odd seeds: values (seeds,) with losses counted, and where it arrived."""

    strength: float
    rate: float
    values: Float
    arrived: Bool


def standings(runs: Mapping[str, Any], primary: str, match: str) -> list[Standing]:
    """Every remedy of a cell by its difference to the reference, the best first.

    Those that do not keep up with the matched level come last.  ``runs`` are the columns of a
    cell's table; where it does not say how a run ended (``final:{primary}``, ``final:{match}`` and
    ``at {match}:{match}``) a lost seed counts 0, the least that any measure can be.  Empty without
    the reference.
    """
    column = runs[f"at {match}:{primary}"].astype(np.float64)
    odd = runs["seed"] % 2 == 1
    plain = _rows(runs, REFERENCE, REFERENCE_STRENGTH)
    if np.isnan(column[plain]).all():
        return []
    losses = _Losses.of(runs, primary, match, plain)
    # The reference sets the level at its own rate; where another rate misses it, that stands in.
    own = np.where(np.isnan(column[plain]), losses.ended[plain], column[plain])
    tuned = _tuned(runs, column, losses, own, REFERENCE)
    base = np.where(tuned.arrived, tuned.values, own[runs["seed"][plain] % 2 == 1])
    chosen = {REFERENCE: replace(tuned, values=base, arrived=np.ones(len(base), dtype=np.bool_))}
    for name in dict.fromkeys(map(str, runs["remedy"])):
        if name != REFERENCE:
            found = _tuned(runs, column, losses, own, name)
            rows = _rows(runs, name, found.strength, found.rate) & odd
            values = np.where(found.arrived, found.values, losses.counted(rows, base))
            chosen[name] = replace(found, values=values)
    out = [
        Standing(
            name,
            trial.strength,
            len(base),
            float(trial.arrived.mean()),
            float(trial.values.mean()),
            interquartile_mean(trial.values),
            float(base.mean()),
            mean_or_point(trial.values - base),
            probability_of_improvement(trial.values, base),
            rate=trial.rate,
            p=1.0 if name == REFERENCE else _p(trial.values - base),
        )
        for name, trial in chosen.items()
    ]
    ranked = sorted(out, key=lambda s: (not s.keeps_up, -s.difference.value, s.remedy))
    out = []
    for s, after in pairwise(ranked):
        ahead = chosen[s.remedy].values - chosen[after.remedy].values
        out.append(replace(s, margin=mean_or_point(ahead), margin_p=_p(ahead)))
    return out + ranked[-1:]


def _p(difference: Float) -> float:
    """The p-value of no difference; 1 from too few seeds for one."""
    return p_value(difference) if len(difference) >= LEAST else 1.0


@dataclass(frozen=True)
class _Losses:
    """(rows,) each: what a run ended with, and the share of the level that it ended at."""

    ended: Float
    share: Float

    @classmethod
    def of(cls, runs: Mapping[str, Any], primary: str, match: str, plain: Bool) -> _Losses:
        """Read off the table; zeros where it does not say how a run ended."""
        names = (f"final:{primary}", f"final:{match}", f"at {match}:{match}")
        if not all(name in runs for name in names):
            nothing = np.zeros(len(plain))
            return cls(nothing, nothing)
        ended, level, goals = (np.asarray(runs[name], dtype=np.float64) for name in names)
        goal = dict(zip(runs["seed"][plain].tolist(), goals[plain], strict=True))
        asked = np.array([goal[seed] for seed in runs["seed"].tolist()])
        share = np.divide(level, asked, out=np.zeros_like(level), where=asked > 0)
        return cls(ended, np.clip(share, 0.0, 1.0))

    def counted(self, rows: Bool, reference: Float) -> Float:
        """What the lost seeds of ``rows`` count."""
        return np.asarray(np.minimum(self.ended[rows], reference) * self.share[rows])


def _tuned(
    runs: Mapping[str, Any], column: Float, losses: _Losses, plain: Float, name: str
) -> _Trial:
    """The trial that is best on the even seeds, and its values on the odd ones.

    Best by the mean difference to the reference at its own learning rate, lost seeds counted, of
    the trials that keep up there; if none does, of those that arrive most often.
    """
    mine = runs["remedy"] == name
    rates = runs["rate"] if "rate" in runs else np.ones(len(mine))
    best: tuple[tuple[float, float], _Trial] | None = None
    for strength, rate in dict.fromkeys(zip(runs["strength"][mine], rates[mine], strict=True)):
        rows = _rows(runs, name, strength, rate)
        value, even = column[rows], runs["seed"][rows] % 2 == 0
        arrived = ~np.isnan(value)
        counted = np.where(arrived, value, losses.counted(rows, plain))
        share = float(arrived[even].mean())
        score = (min(share, REACH), float((counted - plain)[even].mean()))
        if best is None or score > best[0]:
            trial = _Trial(float(strength), float(rate), counted[~even], arrived[~even])
            best = (score, trial)
    assert best is not None
    return best[1]


def _rows(runs: Mapping[str, Any], name: str, strength: float, rate: float = 1.0) -> Bool:
    rows = (runs["remedy"] == name) & (runs["strength"] == strength)
    return np.asarray(rows & (runs["rate"] == rate) if "rate" in runs else rows)


def summary(cells: Sequence[Cell], out: Path) -> pa.Table:
    """One row per cell, match and remedy: ``out/summary.parquet`` is this table.

    ``better`` and ``worse`` hold over the whole map: p-values of all cells and remedies at one
    match are corrected together for their number (``q``; rate :data:`RATE`).  So are those of the
    first over the second of every cell (``ahead``).
    """
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
                        "link": place.link,
                        "survive": float("nan") if place.survive is None else place.survive,
                        "match": match,
                        "rank": rank,
                        "remedy": s.remedy,
                        "part": remedy_named(s.remedy).part,
                        "strength": s.strength,
                        "rate": s.rate,
                        "seeds": s.seeds,
                        "reached": s.reached,
                        "value": s.value,
                        "iqm": s.iqm,
                        "reference": s.reference,
                        "difference": s.difference.value,
                        "low": s.difference.low,
                        "high": s.difference.high,
                        "improvement": s.improvement,
                        "keeps_up": s.keeps_up,
                        "p": s.p,
                        "margin": s.margin.value if s.margin else float("nan"),
                        "margin_low": s.margin.low if s.margin else float("nan"),
                        "margin_high": s.margin.high if s.margin else float("nan"),
                        "margin_p": s.margin_p,
                    }
                )
    for match in MATCHES:
        mine = [r for r in rows if r["match"] == match and r["remedy"] != REFERENCE]
        for row, q in zip(mine, adjusted([r["p"] for r in mine]), strict=True):
            row["q"] = float(q)
        first = [r for r in rows if r["match"] == match and r["rank"] == 0]
        for row, q in zip(first, adjusted([r["margin_p"] for r in first]), strict=True):
            row["ahead"] = bool(q <= RATE)
    for row in rows:
        row.setdefault("ahead", False)
        sure = row.setdefault("q", 1.0) <= RATE
        row["worse"] = sure and row["difference"] < 0
        row["better"] = sure and row["difference"] > 0 and row["keeps_up"]
    return pa.Table.from_pylist(rows)


def load(out: Path, cell: Cell, table: str) -> dict[str, Any]:
    """The columns of one table of a cell.  Raises FileNotFoundError if it was not run."""
    from diffsmooth.sim.figures import columns

    file = path(out, cell, table)
    if not records.done(file):
        raise FileNotFoundError(f"{file}: the cell {cell.regime} has not been run")
    return columns(records.read_table(file))
