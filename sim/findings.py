"""The atlas's findings as one Markdown page, every number read from its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffsmooth import records
from diffsmooth.sim.atlas import RATE
from diffsmooth.sim.cells import REFERENCE
from diffsmooth.sim.charts import level, number, winners_name
from diffsmooth.sim.intervals import LEAST, adjusted, mean_or_point, p_value
from diffsmooth.sim.regimes.base import LINKS
from diffsmooth.sim.remedies import REMEDIES, remedy_named
from diffsmooth.sim.remedies.base import LEARNING_RATE

#: Figures of the map that stand on the page beside the winners, with what they show.
FIGURES = {
    "theory": "Predictions on base policies (solid line: the theory's boundary) against what "
    "training did (dashed line: the measured one)",
    "phase-bandit": "Phase diagrams of the bandit: measured differences, with the boundaries that "
    "B9 and C5 predict (solid) and the measured ones (dashed)",
    "simplex": "The law of three correct answers under exact flows",
}
SURVIVES = (
    "Mean difference to GRPO at matched pass@1 by the chance that a correct solution still passes "
    "at test, the six remedies of largest mean below 1; bars: 95 % over cells. At 1 the test is "
    "what training rewarded, and nothing is to be won"
)
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
    remedies = list(dict.fromkeys(r["remedy"] for r in rows))
    parts = ["# Where each remedy helps: the atlas's findings", _first_lines(rows)]
    command = records.read_json(out / "atlas.json")["command"]
    parts += [_lead(rows, remedies, command)]
    for link in LINKS:
        there = [r for r in rows if r["link"] == link]
        if not there:
            continue
        cells = len({r["cell"] for r in there})
        parts += [f"## {link.capitalize()}: {LINKS[link]} ({cells} cells)"]
        if link == "control":
            parts.append(_control(there))
            continue
        for match in dict.fromkeys(r["match"] for r in there):
            mine = [r for r in there if r["match"] == match]
            parts += [f"### {link.capitalize()}, {level(match)}", _summary(mine)]
            parts += ["#### Who comes first", _winners(mine)]
            parts += ["#### Which part comes first", _parts(mine)]
            parts += ["#### Every remedy against GRPO", markdown(*by_remedy(mine))]
            parts += ["#### Where remedies are below GRPO", _below(mine)]
            if link == "voided solutions" and match == "pass@1":
                swept = [r for r in rows if np.isfinite(r["survive"]) and r["match"] == match]
                parts += ["#### By the chance that a solution still passes", _by_survive(swept)]
                parts += _picture(out, page, "survive.png", SURVIVES)
            caption = (
                f"{link.capitalize()}, {level(match)}: mean difference to GRPO (thick: 95 % "
                "interval over cells; thin: the middle 80 % of cells), cells in which a remedy "
                "comes first, cells in which it is surely below or above GRPO"
            )
            if match == "pass@1":  # the others are in the atlas's own page
                parts += _picture(out, page, winners_name(match, link), caption)
    parts += ["## Does the theory name the winner?", _WORTH, _agreement(shares)]
    for name, caption in FIGURES.items():
        if name.startswith("phase") and "--full" not in command:
            continue  # a diagram of few cells has more holes than boxes
        parts += _picture(out, page, f"{name}.png", caption)
    records.write_bytes(page, ("\n\n".join(parts) + "\n").encode())
    return page


def _picture(out: Path, page: Path, name: str, caption: str) -> list[str]:
    """The figure copied beside the page, as Markdown; nothing where it was not drawn."""
    file = out / "figures" / name
    if not file.is_file():
        return []
    copy = page.parent / "figures" / f"atlas-{name}"
    records.write_bytes(copy, file.read_bytes())
    return [f"![{caption}](figures/{copy.name})\n\n*{caption}.*"]


def _first_lines(rows: Sequence[dict[str, Any]]) -> str:
    """Plain sentences: what the test is, and what came out, with intervals and cells."""
    said = [
        "What the test is decides what a remedy can win, so results are given for each kind of "
        "test on its own:\n\n"
        + "\n".join(
            f"- **{link}** ({', '.join(_regimes(rows, link))}): {text}."
            for link, text in LINKS.items()
            if _regimes(rows, link)
        )
        + "\n\nWhat came out:\n"
    ]
    for link in LINKS:
        mine = [r for r in rows if r["link"] == link and r["match"] == "pass@1"]
        if not mine:
            continue
        if link == "control":
            said.append(_control(mine))
            continue
        cells = len({r["cell"] for r in mine})
        by_name = differences(mine)
        if not by_name:
            continue
        best = max(by_name, key=lambda name: float(np.mean(by_name[name])))
        its = [r for r in mine if r["remedy"] == best]
        up = sure_means(by_name)
        sure = f"{len(up)} of {len(by_name)} remedies gain surely on average"
        sure += f", {_list(up[:4])} first" if len(up) > 4 else f" ({_list(up)})" if up else ""
        said.append(
            f"With {link}, at matched pass@1, over {cells} cells: {sure}; the largest mean is "
            f"that of **{best}**, {_mean(by_name[best])} over GRPO in pass@16 at test, surely "
            f"above GRPO in {sum(r['better'] for r in its)} cells and surely below in "
            f"{sum(r['worse'] for r in its)}."
        )
    said.append(_of_one(rows, "centred"))
    return "\n- ".join(said)


def _regimes(rows: Sequence[dict[str, Any]], link: str) -> list[str]:
    return list(dict.fromkeys(r["regime"] for r in rows if r["link"] == link))


def differences(rows: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Remedy -> its difference to GRPO in every cell."""
    out: dict[str, list[float]] = {}
    for r in rows:
        if r["remedy"] != REFERENCE:
            out.setdefault(r["remedy"], []).append(r["difference"])
    return out


def sure_means(by_name: dict[str, list[float]]) -> list[str]:
    """Remedies whose mean over cells is surely above 0, the largest first.

    Cells are the units; corrected for the number of remedies (Benjamini and Hochberg, 5 %).
    """
    names = [n for n, values in by_name.items() if len(values) >= LEAST]
    p = adjusted([p_value(by_name[n]) for n in names])
    up = {n: float(np.mean(by_name[n])) for n, q in zip(names, p, strict=True) if q <= RATE}
    return [n for n in sorted(up, key=lambda n: -up[n]) if up[n] > 0]


def _of_one(rows: Sequence[dict[str, Any]], name: str) -> str:
    """One sentence on one remedy under every link."""
    said = []
    for link in LINKS:
        mine = [r for r in rows if r["link"] == link and r["match"] == "pass@1"]
        values = differences(mine).get(name)
        if values:
            where = "in the control" if link == "control" else f"with {link}"
            said.append(f"{_mean(values)} {where} ({len(values)} cells)")
    return f"By link, **{name}** has a mean difference to GRPO of {'; '.join(said)}."


def _per_cell(rows: Iterable[dict[str, Any]]) -> list[float]:
    """Means of the differences in each cell: cells are the units, remedies of one cell are not."""
    found: dict[str, list[float]] = {}
    for r in rows:
        found.setdefault(r["cell"], []).append(r["difference"])
    return [float(np.mean(values)) for values in found.values()]


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _control(rows: Sequence[dict[str, Any]]) -> str:
    """One sentence on the cells where nothing is voided."""
    mine = [r for r in rows if r["match"] == "pass@1" and r["remedy"] != REFERENCE]
    if not mine:
        return "In the control nothing was compared."
    up = [r for r in mine if r["keeps_up"]]
    sure = sum(r["better"] or r["worse"] for r in mine)
    largest = f"{max(abs(r['difference']) for r in up):.3f}" if up else "none"
    above = sum(r["better"] for r in mine)
    return (
        f"In the control (`survive` = 1, {len({r['cell'] for r in mine})} cells) no solution is "
        f"voided, and keeping several cannot pay: the mean difference of a remedy that reaches "
        f"the level is {_mean(_per_cell(up))}, the largest in one cell {largest}; of {len(mine)} "
        f"comparisons {above} are surely above GRPO and {sure - above} surely below "
        f"({len(mine) - len(up)} did not reach the level)."
    )


def _by_survive(rows: Sequence[dict[str, Any]]) -> str:
    """Mean differences by the value of ``survive`` (1: the control), leading remedies first."""
    names = [row[0] for row in by_remedy(rows)[1]]
    levels = sorted({r["survive"] for r in rows})
    body = [
        (
            name,
            *(
                _mean([r["difference"] for r in rows if r["remedy"] == name and r["survive"] == x])
                for x in levels
            ),
        )
        for name in names
    ]
    cells = [len({r["cell"] for r in rows if r["survive"] == x}) for x in levels]
    head = [f"survive {x:g} ({n} cells)" for x, n in zip(levels, cells, strict=True)]
    return markdown(("remedy", *head), body)


def _lead(rows: Sequence[dict[str, Any]], remedies: Sequence[str], command: str) -> str:
    cells = {r["cell"] for r in rows}
    regimes = list(dict.fromkeys(r["regime"] for r in rows))
    return (
        f"Made by `{command} --page docs/atlas.md` from the tables of {len(cells)} cells in "
        f"{len(regimes)} regimes ({', '.join(regimes)}), {len(remedies)} remedies. Every remedy, "
        "GRPO among them, is tuned over fifteen trials on the even seeds: five strengths at "
        "half, one and two times the learning rate, or fifteen learning rates where a rule has no "
        f"strength; a rate other than the middle one won {_moved(rows):.0%} of the tunings. "
        "Differences are to GRPO in pass@16 on test prompts, paired over the odd seeds "
        f"({max(r['seeds'] for r in rows)} a cell). A seed on which a remedy does not reach the "
        "matched level is lost: there it counts with what it ended with, no more than GRPO has, "
        "times the share of the level that it ended at. A remedy that reaches the level on less "
        "than 90 % of the seeds is *lost* in that cell: it ranks last and is never surely above. "
        "At equal steps and by the area under the frontier (mean test measure over the "
        "correctness that GRPO gains) there is no level to reach. Intervals: Student's t, 95 %, "
        "over seeds within a cell, over cells in a mean "
        "(docs/intervals.md). A cell is surely above or below after Benjamini and Hochberg over "
        "all cells and remedies of one comparison: at most 5 % of them are expected to be false. "
        "Where answers have one token, `token`, `spread` and `mean` are `eq6`; `psr` is `vanilla`. "
        "Who comes first is read off the seeds that give its difference, which flatters it."
    )


def _moved(rows: Sequence[dict[str, Any]]) -> float:
    """Share of tuned remedies (pass@1, at a strength of their own) whose rate is not 1."""
    mine = [
        r
        for r in rows
        if r["match"] == "pass@1" and remedy_named(r["remedy"]).parameter != LEARNING_RATE
    ]
    return float(np.mean([r["rate"] != 1 for r in mine])) if mine else 0.0


def _summary(rows: Sequence[dict[str, Any]]) -> str:
    """The two or three sentences that the tables below say at length."""
    _, body = by_remedy(rows)
    always = [row[0] for row in body if row[2] and not row[3]]
    worse = [row[0] for row in body if row[3] > row[2]]
    led = Counter(r["remedy"] for r in rows if r["rank"] == 0)
    first = ", ".join(f"{name} in {count}" for name, count in led.most_common(3))
    cells = len({r["cell"] for r in rows})
    never = [row[0] for row in body if row[5] == cells]
    return (
        f"First most often, of {cells} cells: {first}. "
        f"Surely above GRPO somewhere and surely below it nowhere: {', '.join(always) or 'none'}. "
        f"Surely below GRPO in more cells than above: {', '.join(worse) or 'none'}. "
        f"Lost in every cell: {', '.join(never) or 'none'}."
    )


def _winners(rows: Sequence[dict[str, Any]]) -> str:
    """By regime: who comes first most often, by how much, and in how many cells for sure."""
    body = []
    for regime in dict.fromkeys(r["regime"] for r in rows):
        first = [r for r in rows if r["regime"] == regime and r["rank"] == 0]
        name, wins = Counter(r["remedy"] for r in first).most_common(1)[0]
        best = [r for r in first if r["remedy"] == name]
        everywhere = [r for r in rows if r["regime"] == regime and r["remedy"] == name]
        body.append(
            (
                regime,
                name,
                f"{wins} of {len(first)}",
                _mean([r["difference"] for r in best]),
                _mean([r["margin"] for r in best if np.isfinite(r["margin"])]),
                sum(r["ahead"] for r in best),
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
            "GRPO" if r["remedy"] == REFERENCE else r["part"] for r in mine if r["rank"] == 0
        )
        means = [
            _mean(_per_cell(r for r in mine if r["part"] == p and r["remedy"] != REFERENCE))
            for p in parts
        ]
        body.append((regime, *(first[p] for p in (*parts, "GRPO")), *means))
    head = ("regime", *(f"first: {p}" for p in (*parts, "GRPO")), *(f"mean, {p}" for p in parts))
    return markdown(head, body)


def by_remedy(rows: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """(head, body): by remedy, cells above GRPO, below it, undecided, and those it lost.

    The first three add up to all cells; a lost cell is one of them.  Then the mean difference, the
    share of held-out seeds that reach the matched level, the medians of the tuned strengths and
    rates, and the cells in which the smallest or the largest strength won the tuning: there more
    might be had beyond the grid.
    """
    body = []
    for name in REMEDIES:
        mine = [r for r in rows if r["remedy"] == name]
        if name == REFERENCE or not mine:
            continue
        above, below = sum(r["better"] for r in mine), sum(r["worse"] for r in mine)
        undecided, lost = len(mine) - above - below, sum(not r["keeps_up"] for r in mine)
        reached = float(np.mean([r["reached"] for r in mine]))
        mean = _mean([r["difference"] for r in mine])
        strengths = np.array([r["strength"] for r in mine])
        tried = remedy_named(name).strengths
        ends = [int(np.isclose(strengths, end).sum()) for end in (min(tried), max(tried))]
        rates = np.array([r["rate"] for r in mine])
        won = " / ".join(str(int(w.sum())) for w in (rates < 1, rates == 1, rates > 1))
        tuned = (f"{np.median(strengths):g}", f"{ends[0]} / {ends[1]}", won)
        counts = (above, below, undecided, lost)
        body.append((name, mine[0]["part"], *counts, mean, f"{reached:.0%}", *tuned))
    body.sort(key=lambda row: (row[3] - row[2], row[0]))
    head = ("remedy", "part", "above", "below", "undecided", "lost", "mean difference", "reached")
    tuned = ("median strength", "tuned to smallest / largest", "rate lower / 1 / higher")
    return (*head, *tuned), body


def _below(rows: Sequence[dict[str, Any]]) -> str:
    """By regime: remedies surely below GRPO, with the number of cells; most cells first."""
    body = []
    for regime in dict.fromkeys(r["regime"] for r in rows):
        mine = [r for r in rows if r["regime"] == regime]
        worse = Counter(r["remedy"] for r in mine if r["worse"])
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
    mean = mean_or_point(values)
    # Adding 0 turns a rounded -0 into 0.
    value, low, high = (round(x, 3) + 0.0 for x in (mean.value, mean.low, mean.high))
    return f"{value:+.3f}" if np.isnan(low) else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def markdown(head: Sequence[str], body: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(str(c) for c in line) + " |" for line in lines)
