"""One regime, end to end: run, compare, draw."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

from diffsmooth import records
from diffsmooth.sim import charts
from diffsmooth.sim.atlas import Standing, load, standings
from diffsmooth.sim.cells import REFERENCE, Cell
from diffsmooth.sim.heuristics import HEURISTICS
from diffsmooth.sim.intervals import LEAST
from diffsmooth.sim.paths import Dynamics, closed_heuristics, linear_heuristics
from diffsmooth.sim.regimes import regime
from diffsmooth.sim.regimes.base import LINKS
from diffsmooth.sim.sweep import compute, path

#: At most this many remedies in one figure.
SHOWN = 8


def simulate(
    identity: str,
    names: tuple[str, ...],
    *,
    seeds: int,
    dynamics: Dynamics,
    out: Path,
    device: str | None = None,
) -> Path:
    """Run one regime, print the standings, write tables and ``frontier.png``; returns its path.

    Raises ValueError on an unknown regime or heuristic.
    """
    allowed = tuple(HEURISTICS) if dynamics == "sampled" else closed_heuristics()
    if device is not None:
        allowed = linear_heuristics()
    chosen = tuple(dict.fromkeys(names)) or allowed
    if REFERENCE not in chosen:
        chosen = (REFERENCE, *chosen)
    cell = Cell(identity, chosen, seeds, dynamics, device)
    compute(out, cell)
    place = regime(identity)
    table = standings(load(out, cell, "runs"), place.primary, "pass@1")
    show(cell, table, place.primary)
    picked = pick(table)
    file = out / f"{identity.replace('/', '-')}-{dynamics}.png"
    figure = charts.frontier(
        records.read_table(path(out, cell, "frontier")), picked, place.primary, identity, file
    )
    print(f"tables in {out / 'cells'}; figure {figure}")
    return figure


def pick(table: list[Standing]) -> dict[str, tuple[float, float]]:
    """The remedies to draw: the reference, then the best, at their tuned (strength, rate)."""
    order = sorted(table, key=lambda s: s.heuristic != REFERENCE)
    return {s.heuristic: (s.strength, s.rate) for s in order[:SHOWN]}


def show(cell: Cell, table: list[Standing], primary: str) -> None:
    """Print the standings."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, title=f"{cell.regime}: {primary} at matched pass@1")
    names = ("remedy", "strength", "rate", primary, REFERENCE, "difference, 95 %", "P(better)")
    for name in (*names, "reached"):
        grid.add_column(name, justify="left" if name == "remedy" else "right")
    for s in table:
        d = s.difference
        grid.add_row(
            s.heuristic,
            f"{s.strength:g}",
            f"x{s.rate:.3g}",
            f"{s.value:.3f}",
            f"{s.reference:.3f}",
            f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
            if isfinite(d.low)
            else f"{d.value:+.3f}",
            f"{s.improvement:.2f}",
            f"{round(s.reached * s.seeds)} of {s.seeds}" + ("" if s.keeps_up else ", lost"),
        )
    console = Console()
    place = regime(cell.regime)
    at = "" if place.survive is None else f", survive {place.survive:g}"
    console.print(f"test: {place.link}{at}: {LINKS[place.link]}", highlight=False)
    console.print(grid)
    if any(s.seeds < LEAST for s in table):
        console.print(f"no intervals: they need {LEAST} compared seeds, half of --seeds")
    if not all(s.keeps_up for s in table):
        console.print(
            "lost: reaches the matched pass@1 on too few seeds and ranks last; a seed without it "
            "counts less than GRPO"
        )
