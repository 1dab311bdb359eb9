"""The atlas, end to end: run the cells, tables, figures, one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from diffsmooth import records
from diffsmooth.records import page
from diffsmooth.sim import charts
from diffsmooth.sim.agreement import agreement
from diffsmooth.sim.atlas import load, standings, summary
from diffsmooth.sim.cells import REFERENCE, Cell
from diffsmooth.sim.demo import LABELS
from diffsmooth.sim.figures import columns
from diffsmooth.sim.heuristics import HEURISTICS
from diffsmooth.sim.regimes import REGIMES, identities, regime
from diffsmooth.sim.simplex import run_simplex
from diffsmooth.sim.simulate import pick
from diffsmooth.sim.sweep import Engine, path, run_cells

QUESTIONS = {
    "B9": "entropy bonus or penalty, at the KL-regularised optimum",
    "B9 training": "entropy bonus or penalty, in training at matched KL (B9 claims nothing here)",
    "C5": "does centred smoothing of a strength hold H(q) up",
    "C5 literal": "does literal smoothing slow the fall of H(q) (C5 speaks of the first instant, "
    "this is the first part of training)",
    "E3": "which part wins, across prompts or within",
}


def atlas_cells(
    regimes: tuple[str, ...], heuristics: tuple[str, ...], seeds: int, every: int
) -> list[Cell]:
    """The cells of the map.  Raises ValueError on unknown names."""
    names = tuple(dict.fromkeys((REFERENCE, *(heuristics or HEURISTICS))))
    chosen = [i for r in (regimes or tuple(REGIMES)) for i in identities((r,))[::every]]
    return [Cell(identity, names, seeds) for identity in chosen]


def make_atlas(
    out: Path,
    *,
    regimes: tuple[str, ...] = (),
    heuristics: tuple[str, ...] = (),
    seeds: int = 32,
    every: int = 1,
    jobs: int = 2,
    engine: Engine = "local",
) -> Path:
    """Run what is missing and write ``summary``, ``agreement`` and ``shares`` (Parquet), the
    figures and ``atlas.html``; returns the page."""
    from rich.console import Console
    from rich.progress import Progress

    cells = atlas_cells(regimes, heuristics, seeds, every)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("cells", total=len(cells))
        run_cells(
            cells,
            out,
            jobs=jobs,
            engine=engine,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    table = summary(cells, out)
    per_cell, shares = agreement(cells, out)
    for name, value in (("summary", table), ("agreement", per_cell), ("shares", shares)):
        records.write_table(out / f"{name}.parquet", value)
    result = _page(out, cells, table, shares)
    for row in shares.to_pylist():
        if row["scope"] == "all":
            print(_share_line(row))
    print(f"{len(cells)} cells; page {result}")
    return result


def _share_line(row: dict[str, Any]) -> str:
    return (
        f"{row['question']}, {QUESTIONS[row['question']]}: the theory names the winner in "
        f"{row['agree']} of {row['asked']} ({row['share']:.0%}, 95 % {row['low']:.0%} to "
        f"{row['high']:.0%})"
    )


def _page(out: Path, cells: Sequence[Cell], table: pa.Table, shares: pa.Table) -> Path:
    figures = out / "figures"
    body = [
        page.paragraph(
            f"{len(cells)} cells, {len(cells[0].heuristics)} remedies of five strengths each, "
            f"{cells[0].seeds} seeds a cell: strengths tuned on the even seeds, compared on the "
            "odd ones. Differences are to GRPO, tuned alike; intervals are paired bootstraps over "
            "seeds, 95 %."
        ),
        page.command("diffsmooth atlas --out " + out.name),
        page.heading("Who wins where"),
    ]
    for match in ("pass@1", "kl"):
        if any(m == match for m in table["match"].to_pylist()):
            file = charts.winners(table, match, figures / f"winners-{match.replace('@', '')}.png")
            caption = f"Cells in which a remedy is first, and below GRPO, at matched {match}."
            body.append(page.image(file, caption, caption))
    body += [page.heading("Does the theory name the winner?")]
    body += [page.paragraph(_share_line(r)) for r in shares.to_pylist() if r["scope"] == "all"]
    body.append(
        page.table(
            ("regime", "question", "agree", "share", "95 %"),
            [
                (
                    r["scope"],
                    r["question"],
                    f"{r['agree']} of {r['asked']}",
                    f"{r['share']:.0%}",
                    f"{r['low']:.0%} to {r['high']:.0%}",
                )
                for r in shares.to_pylist()
                if r["scope"] != "all"
            ],
        )
    )
    file = charts.boundaries(records.read_table(out / "agreement.parquet"), figures / "theory.png")
    caption = "Predictions on base policies (vertical line) against training (horizontal line)."
    body.append(page.image(file, caption, caption))
    drawn = charts.simplex(records.read_table(run_simplex(out)), LABELS, figures / "simplex.png")
    caption = (
        "The law of three correct answers under exact flows: start (open), end (filled), "
        "uniform law (cross)."
    )
    body += [page.heading("On the simplex"), page.image(drawn, caption, caption)]
    for name in dict.fromkeys(regime(c.regime).name for c in cells):
        body += _regime(out, figures, name, [c for c in cells if regime(c.regime).name == name])
    footer = "Every figure is drawn from the Parquet tables beside this page."
    records.write_bytes(
        out / "atlas.html", page.page("Where each remedy helps", body, footer).encode()
    )
    return out / "atlas.html"


def _regime(out: Path, figures: Path, name: str, cells: Sequence[Cell]) -> list[str]:
    body = [page.heading(name), page.paragraph(REGIMES[name].question)]
    rows = phase_rows(out, cells)
    names = regime(cells[0].regime).axes
    if rows:
        file = charts.phase(charts.columns_of(rows), names, name, figures / f"phase-{name}.png")
        caption = (
            f"{name}: measured differences over {names[0]} and {names[1]}, mean over the other "
            "parameters; the thick line is B9's predicted boundary."
        )
        body.append(page.image(file, caption, caption))
    middle = cells[len(cells) // 2]
    table = standings(load(out, middle, "runs"), regime(middle.regime).primary, "pass@1")
    if table:
        file = charts.frontier(
            records.read_table(path(out, middle, "frontier")),
            pick(table),
            regime(middle.regime).primary,
            middle.regime,
            figures / f"frontier-{name}.png",
        )
        body.append(page.image(file, f"frontier of {middle.regime}", repr(regime(middle.regime))))
    return body


def phase_rows(out: Path, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """One row per cell for the phase diagram."""
    agree = columns(records.read_table(out / "agreement.parquet"))
    ranks = columns(records.read_table(out / "summary.parquet"))
    rows = []
    for cell in cells:
        place = regime(cell.regime)
        b9 = (agree["cell"] == cell.regime) & (agree["question"] == "B9 training")
        at = (ranks["cell"] == cell.regime) & (ranks["match"] == "pass@1")
        centred = ranks["difference"][at & (ranks["heuristic"] == "centred")]
        if not b9.any() or not len(centred):
            continue
        x, y = (float(getattr(place, axis)) for axis in place.axes)
        rows.append(
            {
                "x": x,
                "y": y,
                "bonus": float(agree["measured"][b9][0]),
                "bonus_predicted": float(np.mean(agree["predicted"][b9])),
                "centred": float(centred[0]),
                "winner": str(ranks["heuristic"][at & (ranks["rank"] == 0)][0]),
            }
        )
    return rows
