"""Does the theory name the winner?  Predictions made on base policies against what training did.

Four questions, each a share of cells with an interval:

B9  at the KL-regularised optimum, does a small entropy bonus or a penalty give more correctness?
    Predicted: the bonus iff h_S - h_F exceeds 1/beta (means over prompts).  Exact on both sides.
B9 training
    The same asked of training, where B9 claims nothing: at matched KL, bonus or penalty?
    1/beta is then what the run has bought in log-odds.
C5  does centred smoothing of strength g hold H(q) up over the first part of training?
    Predicted: iff g is at least the critical strength of the base policy.  Not asked where there
    is one solution: then there is nothing to hold.
C5 literal
    does literal smoothing (middle strength) hold H(q) up better than GRPO?
    Predicted: not where the bracket of C5 is not positive (asked where most prompts say one thing).
E3  which part wins at matched pass@1, across prompts or within?  Predicted: across where prompts
    have one solution, within (or both) where they have several.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsmooth.sim.atlas import load, standings
from diffsmooth.sim.cells import REFERENCE, REFERENCE_STRENGTH, Cell
from diffsmooth.sim.heuristics import HEURISTICS
from diffsmooth.sim.predictions import BETA
from diffsmooth.sim.regimes import regime
from diffsmooth.sim.statistics import wilson

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
        runs, theory = load(out, cell, "runs"), load(out, cell, "theory")
        for name, question in _QUESTIONS.items():
            for key, predicted, measured, answer in question(cell, runs, theory):
                rows.append(
                    {
                        "cell": cell.regime,
                        "regime": regime(cell.regime).name,
                        "question": name,
                        "at": key,
                        "predicted": predicted,
                        "measured": measured,
                        "agrees": bool(answer),
                    }
                )
    overall = []
    for scope in ("all", *dict.fromkeys(r["regime"] for r in rows)):
        for name in _QUESTIONS:
            agree = [
                r["agrees"] for r in rows if r["question"] == name and scope in ("all", r["regime"])
            ]
            if agree:
                share = wilson(sum(agree), len(agree))
                overall.append(
                    {
                        "scope": scope,
                        "question": name,
                        "agree": sum(agree),
                        "asked": len(agree),
                        "share": share.value,
                        "low": share.low,
                        "high": share.high,
                    }
                )
    return pa.Table.from_pylist(rows, schema=_schema()), pa.Table.from_pylist(overall)


def _rows(runs: dict[str, Any], name: str, strength: float) -> Any:
    return (runs["heuristic"] == name) & np.isclose(runs["strength"], strength)


Answer = tuple[str, float, float, bool]


def _optimum(cell: Cell, runs: dict[str, Any], theory: dict[str, Any]) -> list[Answer]:
    predicted = float(theory["surprisal_gap"].mean() - 1 / BETA)
    measured = float(theory["optimum_bonus"].mean())
    return [("", predicted, measured, (predicted > 0) == (measured > 0))]


def _entropy(cell: Cell, runs: dict[str, Any], theory: dict[str, Any]) -> list[Answer]:
    if not {"entropy-bonus", "entropy-penalty"} <= set(cell.heuristics):
        return []
    column = runs["at kl:pass@1"].astype(np.float64)
    bonus = column[_rows(runs, "entropy-bonus", ENTROPY_STRENGTH)]
    penalty = column[_rows(runs, "entropy-penalty", -ENTROPY_STRENGTH)]
    plain = column[_rows(runs, REFERENCE, REFERENCE_STRENGTH)]
    valid = ~(np.isnan(bonus) | np.isnan(penalty) | np.isnan(plain))
    if valid.sum() < 2:
        return []
    reached = float(np.clip(plain[valid].mean(), 1e-6, 1 - 1e-6))
    bought = np.log(reached / (1 - reached)) - theory["log_odds"].mean()
    predicted = float(theory["surprisal_gap"].mean() - bought)
    measured = float((bonus - penalty)[valid].mean())
    return [("", predicted, measured, (predicted > 0) == (measured > 0))]


def _centred(cell: Cell, runs: dict[str, Any], theory: dict[str, Any]) -> list[Answer]:
    if "centred" not in cell.heuristics or theory["solutions"].mean() < ONE_SOLUTION:
        return []
    critical = float(np.median(theory["critical"]))
    out = []
    for strength in HEURISTICS["centred"].strengths:
        change = float(runs["early:entropy"][_rows(runs, "centred", strength)].mean())
        predicted = float(np.log(strength / critical))
        out.append((f"g={strength}", predicted, change, (predicted >= 0) == (change >= 0)))
    return out


def _literal(cell: Cell, runs: dict[str, Any], theory: dict[str, Any]) -> list[Answer]:
    if "literal" not in cell.heuristics or theory["solutions"].mean() < ONE_SOLUTION:
        return []
    works = float(theory["literal_works"].mean())
    if 0.1 < works < 0.9:  # neither here nor there: the theory names no side
        return []
    strength = HEURISTICS["literal"].strengths[2]
    smoothed = runs["early:entropy"][_rows(runs, "literal", strength)].mean()
    plain = runs["early:entropy"][_rows(runs, REFERENCE, REFERENCE_STRENGTH)].mean()
    measured = float(smoothed - plain)
    return [("", works - 0.5, measured, (works > 0.5) == (measured > 0))]


def _part(cell: Cell, runs: dict[str, Any], theory: dict[str, Any]) -> list[Answer]:
    table = standings(runs, regime(cell.regime).primary, "pass@1")
    if not table:
        return []
    solutions = float(theory["solutions"].mean())
    across = HEURISTICS[table[0].heuristic].part == "across"
    predicted = solutions - ONE_SOLUTION
    return [(table[0].heuristic, predicted, -1.0 if across else 1.0, (predicted < 0) == across)]


_QUESTIONS = {
    "B9": _optimum,
    "B9 training": _entropy,
    "C5": _centred,
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
            ("agrees", pa.bool_()),
        ]
    )
