"""``diffsmooth atlas``: where each remedy helps and where it fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Atlas:
    """Map remedies x regimes x strengths; resumes where it stopped.

    Ends with OUT/atlas.html, the tables it is drawn from, and the share of cells whose winner the
    theory names.
    """

    regimes: tuple[str, ...] = ()
    """Families of cells; all seven if none is given."""

    heuristics: tuple[str, ...] = ()
    """Remedies by name; all of them if none is given (grpo, the reference, is always run)."""

    seeds: int = 32
    """Independent problem sets a cell."""

    every: int = 1
    """Run every n-th cell of each family only."""

    quick: bool = False
    """A small map in a few minutes: every eleventh cell, 8 seeds."""

    jobs: int = 2
    """Worker processes."""

    engine: Literal["local", "ray"] = "local"
    """Worker processes here, or an existing Ray cluster (extra ray, address in RAY_ADDRESS)."""

    out: Path = Path("out/atlas")
    """Folder of the cells, tables and figures."""

    page: Path | None = None
    """Also write the findings as Markdown here (docs/atlas.md), figures beside it."""

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"--jobs: must be at least 1, got {self.jobs}")
        if self.every < 1:
            raise ValueError(f"--every: must be at least 1, got {self.every}")


def run(config: Atlas) -> int:
    """Run what is missing, then write tables, figures and the page; returns 0."""
    from diffsmooth.sim.report import make_atlas

    make_atlas(
        config.out,
        regimes=config.regimes,
        heuristics=config.heuristics,
        seeds=8 if config.quick else config.seeds,
        every=11 if config.quick else config.every,
        jobs=config.jobs,
        engine=config.engine,
    )
    if config.page is not None:
        from diffsmooth.sim.findings import write_findings

        print(f"findings in {write_findings(config.out, config.page)}")
    return 0
