"""The atlas's findings as one Markdown page, every number read from its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from diffsmooth import records
from diffsmooth.sim.cells import REFERENCE
from diffsmooth.sim.heuristics import HEURISTICS

#: Figures of the map that stand on the page, with what they show.
FIGURES = {
    "winners-pass1": "Cells in which a remedy comes first, and is below GRPO, at matched pass@1",
    "winners-kl": "The same at matched KL",
    "theory": "Predicted boundaries (vertical) against measured ones (horizontal)",
    "simplex": "The law of three correct answers under exact flows",
}


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
    cells = len({r["cell"] for r in rows})
    parts = [
        "# Where each remedy helps: the atlas's findings",
        f"Written by `diffsmooth atlas --page` from the tables of {cells} cells. Strengths are "
        "tuned on the even seeds; differences are to GRPO, tuned alike, paired over the odd seeds "
        "where both reach the matched level. Intervals: 95 %. A cell counts as above or below "
        "where the whole interval is; with many cells, 1 in 40 falls on either side by chance.",
    ]
    for match in dict.fromkeys(r["match"] for r in rows):
        mine = [r for r in rows if r["match"] == match]
        parts += [f"## At matched {match}", _winners(mine), _counts(mine)]
    parts += ["## Does the theory name the winner?", _agreement(shares)]
    for name, caption in FIGURES.items():
        file = out / "figures" / f"{name}.png"
        if file.is_file():
            copy = page.parent / "figures" / f"atlas-{name}.png"
            records.write_bytes(copy, file.read_bytes())
            parts.append(f"![{caption}](figures/{copy.name})\n\n*{caption}.*")
    records.write_bytes(page, ("\n\n".join(parts) + "\n").encode())
    return page


def _winners(rows: Sequence[dict[str, Any]]) -> str:
    """By regime: who comes first most often, and in how many cells it leads for sure."""
    body = []
    for regime in dict.fromkeys(r["regime"] for r in rows):
        first = [r for r in rows if r["regime"] == regime and r["rank"] == 0]
        name, wins = Counter(r["heuristic"] for r in first).most_common(1)[0]
        best = [r for r in first if r["heuristic"] == name]
        seeds = [r["seeds"] for r in best]
        body.append(
            (
                regime,
                name,
                f"{wins} of {len(first)}",
                _signed(sum(r["difference"] for r in best) / wins),
                sum(r["better"] for r in best),
                sum(r["margin_low"] > 0 for r in best),
                f"{min(seeds)} to {max(seeds)}",
            )
        )
    head = ("regime", "first most often", "cells", "mean difference there", "surely above GRPO")
    return _table((*head, "surely ahead of the second", "seeds"), body)


def _counts(rows: Sequence[dict[str, Any]]) -> str:
    """By remedy: cells above GRPO, below it, undecided, and where it cannot be compared."""
    cells = len({r["cell"] for r in rows})
    body = []
    for name in HEURISTICS:
        mine = [r for r in rows if r["heuristic"] == name]
        if name == REFERENCE or not mine:
            continue
        above, below = sum(r["better"] for r in mine), sum(r["worse"] for r in mine)
        mean = sum(r["difference"] for r in mine) / len(mine)
        undecided, absent = len(mine) - above - below, cells - len(mine)
        body.append((name, mine[0]["part"], above, below, undecided, absent, _signed(mean)))
    body.sort(key=lambda row: (row[3] - row[2], row[0]))
    head = ("remedy", "part", "above", "below", "undecided", "level not reached")
    return _table((*head, "mean difference"), body)


def _agreement(shares: Sequence[dict[str, Any]]) -> str:
    body = [
        (
            r["question"],
            r["scope"],
            f"{r['agree']} of {r['asked']}",
            f"{r['share']:.0%}",
            f"{r['low']:.0%} to {r['high']:.0%}",
        )
        for r in shares
    ]
    return _table(("question", "regime", "agree", "share", "95 %"), body)


def _signed(x: float) -> str:
    return f"{x:+.3f}"


def _table(head: Sequence[str], body: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(str(c) for c in line) + " |" for line in lines)
