"""Does the theory name the winner?  Predictions made on base policies against what training did.

Every question has two answers; each gives a share of agreement, and beside it what that share is
worth: the share that always naming the commonest measured answer would reach (``commonest``), and
Cohen's kappa (1: perfect, 0: what chance alone gives to a guess with the same frequencies), with
jackknife intervals over cells.  Where all measured answers are one, or all predicted ones,
kappa is 0: the agreement says nothing.  It is undefined (NaN) where both are one and the same.

B9  at the KL-regularised optimum, does a small entropy bonus or a penalty give more correctness?
    Predicted: the bonus iff h_S - h_F exceeds 1/beta (means over prompts).  Exact on both sides: a
    check of the theorem on the atlas's policies, not of training.
B9 training
    The same asked of training, where B9 claims nothing: at matched KL, bonus or penalty?
    1/beta is then what the run has bought in log-odds.
C5  does centred smoothing of strength g hold H(q) up over the first part of training?
    Predicted: iff g is at least the strength at which the mean of dH(q)/dt over prompts and seeds
    vanishes at the base (groups of G).  Not asked where there is one solution: then there is
    nothing to hold.
C5 adaptive
    the same of a strength set as training goes, at multiples of g* below and above 1; the cap on
    the strength counts, so that a multiple above 1 may fall short.
C5 literal
    does literal smoothing (middle strength) hold H(q) up better than GRPO?
    Predicted: iff the mean over prompts of C times C5's bracket is positive.
E3  which part wins at matched pass@1, across prompts or within?  Predicted: across where prompts
    have one solution, within (or both) where they have several.

C5 speaks of the first instant of the exact flow; "the first part of training" is from the start to
the first checkpoint: a few sampled steps, at which the noise of groups also takes entropy away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsmooth.sim.atlas import load, standings
from diffsmooth.sim.cells import REFERENCE, REFERENCE_STRENGTH, Cell
from diffsmooth.sim.intervals import LEAST, Interval, clopper_pearson, jackknife, wilson
from diffsmooth.sim.policies import Float
from diffsmooth.sim.predictions import BETA, entropy_speeds
from diffsmooth.sim.regimes import regime
from diffsmooth.sim.remedies import REMEDIES, remedy_named

if TYPE_CHECKING:
    import pyarrow as pa

#: The strength (nats) at which bonus and penalty are compared.
ENTROPY_STRENGTH = 0.1
#: Cells with fewer effective solutions than this count as having one.
ONE_SOLUTION = 1.05


def agreement(cells: Sequence[Cell], out: Path) -> tuple[pa.Table, pa.Table]:
    """(per cell, overall): every prediction next to its measurement, and the shares that agree."""
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    for cell in cells:
        runs, theory = load(out, cell, "runs"), _theory(cell, out)
        for name, question in _QUESTIONS.items():
            for key, predicted, measured, said, found in question(cell, runs, theory):
                rows.append(
                    {
                        "cell": cell.regime,
                        "regime": regime(cell.regime).name,
                        "question": name,
                        "at": key,
                        "predicted": predicted,
                        "measured": measured,
                        "said": said,
                        "found": found,
                        "agrees": said == found,
                    }
                )
    overall = []
    for scope in ("all", *dict.fromkeys(r["regime"] for r in rows)):
        for name in _QUESTIONS:
            mine = [r for r in rows if r["question"] == name and scope in ("all", r["regime"])]
            if mine:
                overall.append({"scope": scope, "question": name, **_share(mine)})
    return pa.Table.from_pylist(rows, schema=_schema()), pa.Table.from_pylist(overall)


def _theory(cell: Cell, out: Path) -> dict[str, Any]:
    """The cell's table of predictions, and the speeds of H(q) at its base policies."""
    place = regime(cell.regime)
    speeds = entropy_speeds(place.environment(range(cell.seeds)), place.training.group_size)
    return {**load(out, cell, "theory"), "speeds": speeds}


def _share(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The share of answers that agree, and what it is worth.

    counts (cells, 4): said and found, said only, found only, neither.  Answers of one cell are not
    independent, so that cells are the units of the intervals.
    """
    cells = list(dict.fromkeys(r["cell"] for r in rows))
    counts = np.zeros((len(cells), 4))
    for r in rows:
        counts[cells.index(r["cell"]), 2 * (not r["said"]) + (not r["found"])] += 1
    total, asked = counts.sum(0), len(rows)
    agree = int(total[0] + total[3])
    if asked == len(cells):
        share = wilson(agree, asked)
    else:
        share = _over_cells(counts, lambda c: (c[0] + c[3]) / c.sum(), 0.0)
        if np.isnan(share.low):  # too few cells for a spread between them
            share = replace(share, low=0.0, high=1.0)
        elif agree in (0, asked):  # no spread over cells: what that many cells can say
            share = clopper_pearson(len(cells) * (agree > 0), len(cells))
    chance = _over_cells(counts, lambda c: float(kappa(c)), -1.0)
    return {
        "agree": agree,
        "asked": asked,
        "cells": len(cells),
        "share": share.value,
        "low": share.low,
        "high": share.high,
        "commonest": float(max(total[0] + total[2], total[1] + total[3]) / asked),
        "kappa": chance.value,
        "kappa_low": chance.low,
        "kappa_high": chance.high,
    }


def kappa(counts: Float) -> Float:
    """Cohen's kappa (...,) of 2 x 2 counts (..., 4): both, said only, found only, neither.

    NaN where all answers on both sides are one and the same: chance alone agrees everywhere.
    """
    both, said_only, found_only, neither = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    asked = both + said_only + found_only + neither
    said, found = (both + said_only) / asked, (both + found_only) / asked
    # Of the products, not of 1 - chance: exactly 0 where both sides are constant and equal.
    spread = said * (1 - found) + found * (1 - said)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - (said_only + found_only) / asked / spread)


def _over_cells(counts: Float, statistic: Callable[[Float], float], least: float) -> Interval:
    """A statistic of the summed counts (cells, 4) with its jackknife interval over cells.

    Cut at ``least`` and 1, the ends of what it can be; without ends where it is undefined for all
    cells, or for all but one, and for less than three cells.
    """
    value = float(statistic(counts.sum(0)))
    unknown = Interval(value, float("nan"), float("nan"))
    if len(counts) < LEAST:
        return unknown
    ends = jackknife(lambda w: statistic(w[0] @ counts), (len(counts),))
    low, high = float(ends[1]), float(ends[2])
    if np.isnan(value + low + high):
        return unknown
    return Interval(value, max(low, least), min(high, 1.0))


def _rows(runs: dict[str, Any], name: str, strength: float) -> Any:
    return (runs["remedy"] == name) & np.isclose(runs["strength"], strength) & (runs["rate"] == 1)


#: (at, predicted, measured, the theory's answer, the measured answer)
Answer = tuple[str, float, float, bool, bool]


def _signs(key: str, predicted: float, measured: float) -> Iterator[Answer]:
    """The answer by signs; none where either side is exactly 0 and names nobody."""
    if predicted and measured:
        yield key, predicted, measured, predicted > 0, measured > 0


def _optimum(cell: Cell, runs: dict[str, Any], theory: dict[str, Any]) -> Iterator[Answer]:
    predicted = float(theory["surprisal_gap"].mean() - 1 / BETA)
    yield from _signs("", predicted, float(theory["optimum_bonus"].mean()))


def _entropy(cell: Cell, runs: dict[str, Any], theory: dict[str, Any]) -> Iterator[Answer]:
    if not {"entropy-bonus", "entropy-penalty"} <= set(cell.remedies):
        return
    column = runs["at kl:pass@1"].astype(np.float64)
    bonus = column[_rows(runs, "entropy-bonus", ENTROPY_STRENGTH)]
    penalty = column[_rows(runs, "entropy-penalty", -ENTROPY_STRENGTH)]
    plain = column[_rows(runs, REFERENCE, REFERENCE_STRENGTH)]
    valid = ~(np.isnan(bonus) | np.isnan(penalty) | np.isnan(plain))
    if valid.sum() < 2:
        return
    reached = float(np.clip(plain[valid].mean(), 1e-6, 1 - 1e-6))
    bought = np.log(reached / (1 - reached)) - theory["log_odds"].mean()
    predicted = float(theory["surprisal_gap"].mean() - bought)
    yield from _signs("", predicted, float((bonus - penalty)[valid].mean()))


def _early(runs: dict[str, Any], name: str, strength: float) -> float:
    """Mean change of H(q) over the first part of training."""
    return float(runs["early:entropy"][_rows(runs, name, strength)].astype(np.float64).mean())


def _centred(cell: Cell, runs: dict[str, Any], theory: dict[str, Any]) -> Iterator[Answer]:
    yield from _held("centred", "g", cell, runs, theory)


def _adaptive(cell: Cell, runs: dict[str, Any], theory: dict[str, Any]) -> Iterator[Answer]:
    yield from _held("adaptive", "multiple", cell, runs, theory)


def _held(
    name: str, parameter: str, cell: Cell, runs: dict[str, Any], theory: dict[str, Any]
) -> Iterator[Answer]:
    """Predicted: the log of what smoothing gives to H(q) over what GRPO takes."""
    if name not in cell.remedies or theory["solutions"].mean() < ONE_SOLUTION:
        return
    given, taken = theory["speeds"][name], -theory["speeds"][REFERENCE]
    if given <= 0 or taken <= 0:  # what is rewarded has one answer a prompt: nothing moves H(q)
        return
    for strength in REMEDIES[name].strengths:
        predicted = float(np.log(strength * given / taken))
        if abs(predicted) > 1e-9:  # at one time g*, uncapped, the theory stands on the boundary
            yield from _signs(f"{parameter}={strength}", predicted, _early(runs, name, strength))


def _literal(cell: Cell, runs: dict[str, Any], theory: dict[str, Any]) -> Iterator[Answer]:
    if "literal" not in cell.remedies or theory["solutions"].mean() < ONE_SOLUTION:
        return
    strength = REMEDIES["literal"].strengths[0]  # the smallest: C5 is about the first instant
    plain = _early(runs, REFERENCE, REFERENCE_STRENGTH)
    measured = _early(runs, "literal", strength) - plain
    yield from _signs("", strength * theory["speeds"]["literal"], measured)


def _part(cell: Cell, runs: dict[str, Any], theory: dict[str, Any]) -> Iterator[Answer]:
    table = standings(runs, regime(cell.regime).primary, "pass@1")
    if not table:
        return
    predicted = float(theory["solutions"].mean()) - ONE_SOLUTION
    across = remedy_named(table[0].remedy).part == "across"
    yield table[0].remedy, predicted, -1.0 if across else 1.0, predicted < 0, across


_QUESTIONS = {
    "B9": _optimum,
    "B9 training": _entropy,
    "C5": _centred,
    "C5 adaptive": _adaptive,
    "C5 literal": _literal,
    "E3": _part,
}


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            ("cell", pa.string()),
            ("regime", pa.string()),
            ("question", pa.string()),
            ("at", pa.string()),
            ("predicted", pa.float64()),
            ("measured", pa.float64()),
            ("said", pa.bool_()),
            ("found", pa.bool_()),
            ("agrees", pa.bool_()),
        ]
    )
