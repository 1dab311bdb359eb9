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
from diffsmooth.sim.atlas import MATCHES, load, standings, summary
from diffsmooth.sim.cells import REFERENCE, Cell
from diffsmooth.sim.demo import LABELS
from diffsmooth.sim.design import design, subset
from diffsmooth.sim.figures import columns
from diffsmooth.sim.findings import (
    QUESTIONS,
    SHARES,
    SURVIVES,
    by_remedy,
    differences,
    share_cells,
)
from diffsmooth.sim.regimes import REGIMES, identities, regime
from diffsmooth.sim.regimes.base import LINKS
from diffsmooth.sim.remedies import REMEDIES
from diffsmooth.sim.simplex import run_simplex
from diffsmooth.sim.simulate import pick
from diffsmooth.sim.sweep import Engine, path, run_cells

#: The strength of centred smoothing whose effect on H(q) C5 is drawn over.
DRAWN = REMEDIES["centred"].strengths[2]


#: Cells of each family in the map unless told otherwise.
EACH = 8


def atlas_cells(
    regimes: tuple[str, ...],
    remedies: tuple[str, ...],
    seeds: int,
    every: int | None = None,
    cells: int | None = None,
) -> list[Cell]:
    """The cells of the map: a design of ``cells`` (8 a family), or one in ``every`` of the sweeps.

    Raises ValueError on unknown names, or where so few cells cannot span a family.
    """
    names = tuple(dict.fromkeys((REFERENCE, *(remedies or REMEDIES))))
    places = tuple(dict.fromkeys(regimes or REGIMES))
    for place in places:
        identities((place,))
    if every is None:
        chosen = design(places, EACH * len(places) if cells is None else cells)
    else:
        chosen = subset(places, every)
    return [Cell(identity, names, seeds) for identity in chosen]


def make_atlas(
    out: Path,
    *,
    regimes: tuple[str, ...] = (),
    remedies: tuple[str, ...] = (),
    seeds: int = 32,
    every: int | None = None,
    cells: int | None = None,
    jobs: int = 2,
    engine: Engine = "local",
) -> Path:
    """Run what is missing and write ``summary``, ``agreement`` and ``shares`` (Parquet), the
    figures and ``atlas.html``; returns the page."""
    from rich.console import Console
    from rich.progress import Progress

    command = _command(regimes, remedies, seeds, every, cells)
    chosen = atlas_cells(regimes, remedies, seeds, every, cells)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("cells", total=len(chosen))
        run_cells(
            chosen,
            out,
            jobs=jobs,
            engine=engine,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    table = summary(chosen, out)
    per_cell, shares = agreement(chosen, out)
    for name, value in (("summary", table), ("agreement", per_cell), ("shares", shares)):
        records.write_table(out / f"{name}.parquet", value)
    records.write_json(out / "atlas.json", {"command": command})
    result = _page(out, chosen, table, shares, command)
    for row in shares.to_pylist():
        if row["scope"] == "all":
            print(_share_line(row))
    print(f"{len(chosen)} cells; page {result}")
    return result


def _share_line(row: dict[str, Any]) -> str:
    ends = (row["kappa_low"], row["kappa_high"])
    interval = f", {ends[0]:.2f} to {ends[1]:.2f}" if np.isfinite(ends).all() else ""
    return (
        f"{row['question']}, {QUESTIONS[row['question']]}: the theory names the winner in "
        f"{row['agree']} of {row['asked']} ({row['share']:.0%}, 95 % {row['low']:.0%} to "
        f"{row['high']:.0%}); always naming the commonest answer: {row['commonest']:.0%}; "
        f"kappa {charts.number(row['kappa'])}{interval}"
    )


def _command(
    regimes: tuple[str, ...],
    remedies: tuple[str, ...],
    seeds: int,
    every: int | None,
    cells: int | None,
) -> str:
    """The command that makes the same page."""
    words = ["diffsmooth atlas"]
    if set(regimes) == set(REGIMES):
        regimes = ()
    for option, names in (("--regimes", regimes), ("--remedies", remedies)):
        words += [option, *names] if names else []
    words += [f"--seeds {seeds}"] if seeds != Cell.seeds else []
    if every is not None:
        words += ["--full" if every == 1 else f"--every {every}"]
    elif cells is not None:
        words += [f"--cells {cells}"]
    return " ".join(words)


def _page(
    out: Path, cells: Sequence[Cell], table: pa.Table, shares: pa.Table, command: str
) -> Path:
    figures = out / "figures"
    body = [
        page.paragraph(
            f"{len(cells)} cells, {len(cells[0].remedies)} remedies of fifteen trials each "
            f"(strength x learning rate), {cells[0].seeds} seeds a cell: tuned on the even seeds, "
            "compared on the odd ones. Differences are to GRPO, tuned alike, with Student's 95 % "
            "intervals over seeds; cells surely above or below are counted after Benjamini and "
            "Hochberg (5 %). What the test is differs by link: see each figure."
        ),
        page.command(command),
        page.heading("Who wins where"),
    ]
    for file, match, link in winners(figures, table):
        caption = (
            f"{link.capitalize()} ({LINKS[link]}), {charts.level(match)}: mean difference to GRPO "
            "in the regime's measure, cells in which a remedy comes first, cells in which it is "
            "surely below or above GRPO."
        )
        body.append(page.image(file, caption, caption))
    swept = [r for r in table.to_pylist() if np.isfinite(r["survive"]) and r["match"] == "pass@1"]
    names = _leading([r for r in swept if r["survive"] < 1])
    if names:
        drawn = charts.by_survive(swept, names, figures / "survive.png")
        body.append(page.image(drawn, SURVIVES, SURVIVES))
    body += [page.heading("Does the theory name the winner?")]
    body += [page.paragraph(_share_line(r)) for r in shares.to_pylist() if r["scope"] == "all"]
    rows = [share_cells(r) for r in shares.to_pylist() if r["scope"] != "all"]
    body.append(page.table(SHARES, rows))
    asked = records.read_table(out / "agreement.parquet")
    file = charts.boundaries(asked, shares, figures / "theory.png")
    caption = (
        "Predictions on base policies against training. Solid vertical line: the theory's "
        "boundary; dashed horizontal line: the measured one."
    )
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


def _leading(rows: Sequence[dict[str, Any]], count: int = 6) -> list[str]:
    """The remedies of largest mean difference."""
    found = {name: float(np.mean(values)) for name, values in differences(rows).items()}
    return sorted(found, key=lambda name: (-found[name], name))[:count]


def winners(figures: Path, table: pa.Table) -> list[tuple[Path, str, str]]:
    """A figure for every link and match: (file, match, link); links are never mixed."""
    rows = table.to_pylist()
    out = []
    for link in LINKS:
        for match in MATCHES:
            mine = [r for r in rows if r["link"] == link and r["match"] == match]
            if any(r["remedy"] != REFERENCE for r in mine):
                file = figures / charts.winners_name(match, link)
                charts.winners(pa.Table.from_pylist(mine), match, link, file)
                out.append((file, match, link))
    return out


def _regime(out: Path, figures: Path, name: str, cells: Sequence[Cell]) -> list[str]:
    body = [page.heading(name), page.paragraph(REGIMES[name].question.capitalize())]
    place = regime(cells[0].regime)
    trained = [c for c in cells if regime(c.regime).link != "control"]  # links are not mixed
    rows = phase_rows(out, trained)
    if rows:
        file = charts.phase(
            charts.columns_of(rows), place.axes, place.primary, name, figures / f"phase-{name}.png"
        )
        caption = (
            f"{name} ({regime(trained[0].regime).link}): each box is the mean over the cells that "
            "share its two parameters. The "
            f"middle panel is at centred smoothing of strength {DRAWN:g}."
        )
        body.append(page.image(file, caption, caption))
    middle = cells[len(cells) // 2]
    table = standings(load(out, middle, "runs"), place.primary, "pass@1")
    if table:
        file = figures / f"frontier-{name}.png"
        charts.frontier(
            records.read_table(path(out, middle, "frontier")),
            pick(table),
            place.primary,
            middle.regime,
            file,
        )
        body.append(page.image(file, f"frontier of {middle.regime}", repr(regime(middle.regime))))
    ranks = records.read_table(out / "summary.parquet").to_pylist()
    for link in LINKS:
        mine = [
            r for r in ranks if r["regime"] == name and r["match"] == "pass@1" and r["link"] == link
        ]
        if mine:
            head, lines = by_remedy(mine)
            caption = f"{name}, {link}, at matched pass@1: cells surely above and below GRPO"
            body.append(page.table(head, [tuple(map(str, line)) for line in lines], caption))
    return body


def phase_rows(out: Path, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """One row per cell for the phase diagram; NaN where a question was not asked."""
    agree = columns(records.read_table(out / "agreement.parquet"))
    ranks = columns(records.read_table(out / "summary.parquet"))
    rows = []
    for cell in cells:
        place = regime(cell.regime)
        x, y = (float(getattr(place, axis)) for axis in place.axes)

        def answer(question: str, at: str, cell: Cell = cell) -> tuple[float, float]:
            mine = (agree["cell"] == cell.regime) & (agree["question"] == question)
            mine &= agree["at"] == at
            if not mine.any():
                return float("nan"), float("nan")
            return float(agree["measured"][mine][0]), float(agree["predicted"][mine][0])

        bonus, bonus_predicted = answer("B9 training", "")
        held, held_predicted = answer("C5", f"g={DRAWN}")
        at = (ranks["cell"] == cell.regime) & (ranks["match"] == "pass@1")
        at &= ranks["remedy"] == "centred"
        rows.append(
            {
                "x": x,
                "y": y,
                "bonus": bonus,
                "bonus_predicted": bonus_predicted,
                "held": held,
                "held_predicted": held_predicted,
                "centred": float(ranks["difference"][at][0]) if at.any() else float("nan"),
                "below": bool(ranks["worse"][at].any()),
            }
        )
    return rows
