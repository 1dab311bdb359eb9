"""``diffsmooth simulate REGIME``: one regime, all remedies, a table and a figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class Simulate:
    """Run one regime with several remedies and compare them.

    REGIME is a family (bandit, multiplicity, strategies, tree, countdown, maze, noisy) or one cell
    of its sweep, such as bandit/7.
    """

    regime: tyro.conf.Positional[str]
    """Regime or cell."""

    heuristics: tuple[str, ...] | None = None
    """Remedies by name; all of them if the option is left out."""

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
    from diffsmooth.sim.heuristics import named
    from diffsmooth.sim.simulate import simulate

    simulate(
        config.regime,
        named(config.heuristics),
        seeds=config.seeds,
        dynamics=config.dynamics,
        out=config.out,
        device=config.device,
    )
    return 0
