"""The atlas's findings as one Markdown page, every number read from its tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffsmooth import records
from diffsmooth.sim.cells import REFERENCE
from diffsmooth.sim.charts import level, number
from diffsmooth.sim.heuristics import HEURISTICS
from diffsmooth.sim.statistics import paired_difference

#: Figures of the map that stand on the page, with what they show.
FIGURES = {
    "winners-pass1": "Every remedy over all cells, at matched pass@1: mean difference to GRPO "
    "(thick: 95 % interval over cells; thin: the middle 80 % of cells), cells in which it comes "
    "first, cells in which it is surely below or above GRPO",
    "winners-kl": "The same at matched KL",
    "theory": "Predictions on base policies (solid line: the theory's boundary) against what "
    "training did (dashed line: the measured one)",
    "phase-bandit": "Phase diagrams of the bandit: measured differences, with the boundaries that "
    "B9 and C5 predict (solid) and the measured ones (dashed)",
    "simplex": "The law of three correct answers under exact flows",
}
#: What the questions put to the theory ask, and what their numbers mean.
QUESTIONS = {
    "B9": "entropy bonus or penalty, at the KL-regularised optimum (no training; a derivative, "
    "asked of strength .02, means over prompts)",
    "B9 training": "entropy bonus or penalty, in training at matched KL (B9 claims nothing here)",
    "C5": "does centred smoothing of a strength hold H(q) up at first",
    "C5 adaptive": "does a multiple of the critical strength hold H(q) up at first",
    "C5 literal": "does literal smoothing slow the fall of H(q) at first",
    "E3": "which part wins, across prompts or within",
}
_WORTH = (
    "C5 speaks of the first instant of the exact flow; measured is the time to the first "
    "checkpoint of sampled training. *Commonest* is the share that always naming the commonest "
    "measured answer would reach; kappa (Cohen's) is the agreement beyond what chance gives: 0 is "
    "none, 1 is all, below 0 is worse than chance, and undefined where every answer on both sides "
    "is the same. A share at or below *commonest* with a kappa of 0 shows no skill. Intervals are "
    "over cells. C5 is a theorem about one softmax a prompt; shared strategies and trees are "
    "outside it, and in `noisy` it sees what the verifier accepts while H(q) is of truly correct "
    "answers. Literal smoothing: training goes over each group twice and clips; "
    "`tests/sim/test_adaptive.py` shows a cell where one epoch gives the theorem's sign and the "
    "clipped second turns it."
)


def write_findings(out: Path, page: Path) -> Path:
    """Write ``page`` from OUT's tables and copy its figures beside it (``figures/atlas-*.png``).

    Raises FileNotFoundError if the atlas in ``out`` was not finished.
    """
    tables = {n: out / f"{n}.parquet" for n in ("summary", "shares")}
    for file in tables.values():
        if not file.is_file():
            raise FileNotFoundError(f"{file}: run diffsmooth atlas --out {out.name} first")
    rows = records.read_table(tables["summary"]).to_pylist()
    shares = records.read_table(tables["shares"]).to_pylist()
    remedies = _remedies(out, {r["cell"] for r in rows})
    parts = ["# Where each remedy helps: the atlas's findings", _lead(rows, remedies)]
    for match in dict.fromkeys(r["match"] for r in rows):
        mine = [r for r in rows if r["match"] == match]
        parts += [f"## At matched {level(match)}", _summary(mine, remedies)]
        parts += ["### Who comes first", _winners(mine), "### Which part comes first", _parts(mine)]
        parts += ["### Every remedy against GRPO", markdown(*by_remedy(mine))]
        parts += ["### Where remedies are below GRPO", _below(mine)]
    parts += ["## Does the theory name the winner?", _WORTH, _agreement(shares)]
    for name, caption in FIGURES.items():
        file = out / "figures" / f"{name}.png"
        if file.is_file():
            copy = page.parent / "figures" / f"atlas-{name}.png"
            records.write_bytes(copy, file.read_bytes())
            parts.append(f"![{caption}](figures/{copy.name})\n\n*{caption}.*")
    records.write_bytes(page, ("\n\n".join(parts) + "\n").encode())
    return page


def _remedies(out: Path, cells: set[str]) -> list[str]:
    """What was run in these cells, compared or not, by the cells' sidecars."""
    found = set()
    for file in (out / "cells").glob("*.sidecar.json"):
        config = json.loads(file.read_text())["config"]
        if config["regime"] in cells:
            found.update(config["heuristics"])
    return [name for name in HEURISTICS if name in found]


def _lead(rows: Sequence[dict[str, Any]], remedies: Sequence[str]) -> str:
    cells = {r["cell"] for r in rows}
    regimes = list(dict.fromkeys(r["regime"] for r in rows))
    return (
        f"Made by `diffsmooth atlas --page docs/atlas.md` from the tables of {len(cells)} cells in "
        f"{len(regimes)} regimes ({', '.join(regimes)}), {len(remedies)} remedies of five "
        "strengths each. Strengths are tuned on the even seeds; differences are to GRPO, tuned "
        "alike, in the regime's measure (pass@16 on test prompts), paired over the odd seeds (at "
        f"most {max(r['seeds'] for r in rows)} a cell) where both reach the matched level. "
        "Remedies without a strength, GRPO among them, are tuned by their learning rate, the "
        "others by their strength alone: one that does nothing can fall below a GRPO so tuned. "
        "Where tuning often chose the largest strength (last column of *every remedy*), more might "
        "be had beyond it, unless the rule ends there (`tau` of `ucpo`, the fraction of `kl-cov`). "
        "Intervals: 95 %, over seeds within a cell, over cells in a mean. A cell counts as surely "
        "above or below where the whole interval is; with many cells, 1 in 40 falls on either "
        "side by chance. Where answers have one token, `token`, `spread` and `mean` are `eq6`; "
        "`psr` is `vanilla`. Who comes first is read off the seeds that give its difference, which "
        "flatters it."
    )


def _summary(rows: Sequence[dict[str, Any]], remedies: Sequence[str]) -> str:
    """The two or three sentences that the tables below say at length."""
    _, body = by_remedy(rows)
    always = [row[0] for row in body if row[2] and not row[3]]
    worse = [row[0] for row in body if row[3] > row[2]]
    led = Counter(r["heuristic"] for r in rows if r["rank"] == 0)
    first = ", ".join(f"{name} in {count}" for name, count in led.most_common(3))
    cells = len({r["cell"] for r in rows})
    never = [name for name in remedies if name not in {r["heuristic"] for r in rows}]
    return (
        f"First most often, of {cells} cells: {first}. "
        f"Surely above GRPO somewhere and surely below it nowhere: {', '.join(always) or 'none'}. "
        f"Surely below GRPO in more cells than above: {', '.join(worse) or 'none'}. "
        f"Reaches the level too rarely in every cell: {', '.join(never) or 'none'}."
    )


def _winners(rows: Sequence[dict[str, Any]]) -> str:
    """By regime: who comes first most often, by how much, and in how many cells for sure."""
    body = []
    for regime in dict.fromkeys(r["regime"] for r in rows):
        first = [r for r in rows if r["regime"] == regime and r["rank"] == 0]
        name, wins = Counter(r["heuristic"] for r in first).most_common(1)[0]
        best = [r for r in first if r["heuristic"] == name]
        everywhere = [r for r in rows if r["regime"] == regime and r["heuristic"] == name]
        body.append(
            (
                regime,
                name,
                f"{wins} of {len(first)}",
                _mean([r["difference"] for r in best]),
                _mean([r["margin"] for r in best if np.isfinite(r["margin"])]),
                sum(r["margin_low"] > 0 for r in best),
                _mean([r["difference"] for r in everywhere]),
                f"{sum(r['better'] for r in everywhere)} / {sum(r['worse'] for r in everywhere)} "
                f"of {len(everywhere)}",
            )
        )
    head = (
        "regime",
        "first most often",
        "cells",
        "difference to GRPO there",
        "margin over the second there",
        "surely ahead of the second",
        "its difference in all cells",
        "surely above / below GRPO",
    )
    return markdown(head, body)


def _parts(rows: Sequence[dict[str, Any]]) -> str:
    """By regime: how many cells a remedy of each part wins, and the parts' mean differences."""
    parts = ("across", "within", "both")
    body = []
    for regime in dict.fromkeys(r["regime"] for r in rows):
        mine = [r for r in rows if r["regime"] == regime]
        first = Counter(
            "GRPO" if r["heuristic"] == REFERENCE else r["part"] for r in mine if r["rank"] == 0
        )
        means = [
            _mean([r["difference"] for r in mine if r["part"] == p and r["heuristic"] != REFERENCE])
            for p in parts
        ]
        body.append((regime, *(first[p] for p in (*parts, "GRPO")), *means))
    head = ("regime", *(f"first: {p}" for p in (*parts, "GRPO")), *(f"mean, {p}" for p in parts))
    return markdown(head, body)


def by_remedy(rows: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """(head, body): by remedy, cells above GRPO, below it, undecided, and not to be compared.

    Then the share of held-out seeds that reach the matched level, where compared, the median of
    the tuned strengths, and the cells in which the smallest or the largest that was tried won the
    tuning: there more might be had beyond the grid.
    """
    cells = len({r["cell"] for r in rows})
    body = []
    for name in HEURISTICS:
        mine = [r for r in rows if r["heuristic"] == name]
        if name == REFERENCE or not mine:
            continue
        above, below = sum(r["better"] for r in mine), sum(r["worse"] for r in mine)
        undecided, absent = len(mine) - above - below, cells - len(mine)
        reached = float(np.mean([r["reached"] for r in mine]))
        mean = _mean([r["difference"] for r in mine])
        strengths = np.array([r["strength"] for r in mine])
        tried = HEURISTICS[name].strengths
        ends = [int(np.isclose(strengths, end).sum()) for end in (min(tried), max(tried))]
        tuned = (f"{np.median(strengths):g}", f"{ends[0]} / {ends[1]}")
        counts = (above, below, undecided, absent)
        body.append((name, mine[0]["part"], *counts, mean, f"{reached:.0%}", *tuned))
    body.sort(key=lambda row: (row[3] - row[2], row[0]))
    head = ("remedy", "part", "above", "below", "undecided", "not compared", "mean difference")
    return (*head, "reached", "median strength", "tuned to smallest / largest"), body


def _below(rows: Sequence[dict[str, Any]]) -> str:
    """By regime: remedies surely below GRPO, with the number of cells; most cells first."""
    body = []
    for regime in dict.fromkeys(r["regime"] for r in rows):
        mine = [r for r in rows if r["regime"] == regime]
        worse = Counter(r["heuristic"] for r in mine if r["worse"])
        named = ", ".join(f"{name} {count}" for name, count in worse.most_common())
        body.append((f"{regime} ({len({r['cell'] for r in mine})} cells)", named or "none"))
    return markdown(("regime", "surely below GRPO, in so many cells"), body)


#: Head of the table of shares, here and on the atlas's page.
SHARES = ("question", "regime", "agree", "share", "95 %", "commonest", "kappa", "95 % of kappa")


def share_cells(r: dict[str, Any]) -> tuple[str, ...]:
    """One row of shares in words."""
    ends = (r["kappa_low"], r["kappa_high"])
    return (
        r["question"],
        r["scope"],
        f"{r['agree']} of {r['asked']}",
        f"{r['share']:.0%}",
        f"{r['low']:.0%} to {r['high']:.0%}",
        f"{r['commonest']:.0%}",
        number(r["kappa"]),
        " to ".join(map(number, ends)) if np.isfinite(ends).all() else "undefined",
    )


def _agreement(shares: Sequence[dict[str, Any]]) -> str:
    order = list(QUESTIONS)
    rows = sorted(shares, key=lambda r: order.index(r["question"]))
    legend = "\n".join(f"- **{name}**: {text}" for name, text in QUESTIONS.items())
    return legend + "\n\n" + markdown(SHARES, [share_cells(r) for r in rows])


def _mean(values: Sequence[float]) -> str:
    """Mean over cells with its interval."""
    if not values:
        return "none"
    x = np.array(values)
    if len(x) < 2:
        return f"{x[0]:+.3f}"
    mean = paired_difference(x, np.zeros_like(x))
    return f"{mean.value:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}]"


def markdown(head: Sequence[str], body: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(str(c) for c in line) + " |" for line in lines)
