"""``diffsmooth simulate REGIME``: one regime, all remedies, a table and a figure."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

if TYPE_CHECKING:
    from diffsmooth.sim.simulate import Simulation


@dataclass(frozen=True)
class Simulate:
    """Run one regime with several remedies and compare them.

    REGIME is a family (bandit, multiplicity, strategies, tree, countdown, maze, noisy) or one cell
    of its sweep, such as bandit/7; parameters follow a colon: bandit:solutions=4,survive=1.
    """

    regime: tyro.conf.Positional[str]
    """Regime or cell."""

    remedies: tuple[str, ...] | None = None
    """Remedies by name; all of them if the option is left out."""

    heuristics: tuple[str, ...] | None = None
    """The old word for --remedies."""

    seeds: int = 32
    """Independent problem sets; half tune the strengths, half compare."""

    dynamics: Literal["sampled", "exact", "flow", "natural", "response"] = "sampled"
    """Sampled groups, or exact expected updates (only for remedies with a closed form)."""

    device: str | None = None
    """Run exact dynamics in torch on this device (cpu, cuda)."""

    out: Path = Path("out/simulate")
    """Folder of the tables and the figure."""


def run(config: Simulate) -> int:
    """Run the cell, print who stands where, draw the figure; returns 0."""
    from diffsmooth.sim.remedies import named
    from diffsmooth.sim.simulate import simulate

    found = simulate(
        config.regime,
        named(one_word(config.remedies, config.heuristics)),
        seeds=config.seeds,
        dynamics=config.dynamics,
        out=config.out,
        device=config.device,
    )
    _show(found)
    stem = config.regime.replace("/", "-").replace(":", "-").replace(",", "-")
    figure = config.out / f"{stem}-{config.dynamics}.png"
    found.plot(figure)
    print(f"tables in {config.out / 'cells'}; figure {figure}")
    return 0


def one_word(
    remedies: tuple[str, ...] | None, heuristics: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """The names given to --remedies, or by its old name (said on the error stream).

    Raises ValueError if both are given.
    """
    if heuristics is None:
        return remedies
    if remedies is not None:
        raise ValueError("--heuristics: the old word for --remedies; give one of the two")
    print("--heuristics is now --remedies; the old word still works", file=sys.stderr)
    return heuristics


def _show(found: Simulation) -> None:
    from rich.console import Console
    from rich.table import Table

    from diffsmooth.sim.intervals import LEAST
    from diffsmooth.sim.regimes import regime
    from diffsmooth.sim.regimes.base import LINKS

    standings = found.standings()
    primary, reference = found.measure, "grpo"
    grid = Table(
        box=None, pad_edge=False, title=f"{found.cell.regime}: {primary} at matched pass@1"
    )
    names = ("remedy", "strength", "rate", primary, reference, "difference, 95 %", "P(better)")
    for name in (*names, "reached"):
        grid.add_column(name, justify="left" if name == "remedy" else "right")
    for s in standings:
        d = s.difference
        grid.add_row(
            s.remedy,
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
    place = regime(found.cell.regime)
    at = "" if place.survive is None else f", survive {place.survive:g}"
    console.print(f"test: {place.link}{at}: {LINKS[place.link]}", highlight=False)
    console.print(grid)
    if any(s.seeds < LEAST for s in standings):
        console.print(f"no intervals: they need {LEAST} compared seeds, half of --seeds")
    if not all(s.keeps_up for s in standings):
        console.print(
            "lost: reaches the matched pass@1 on too few seeds and ranks last; a seed without it "
            "counts less than GRPO"
        )
