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

    regimes: tuple[str, ...] | None = None
    """Families of cells; all seven if the option is left out."""

    remedies: tuple[str, ...] | None = None
    """Remedies by name; all if the option is left out (grpo, the reference, is always run)."""

    heuristics: tuple[str, ...] | None = None
    """The old word for --remedies."""

    seeds: int | None = None
    """Independent problem sets a cell; 32 if the option is left out."""

    cells: int | None = None
    """Cells of the map, the same number of each family, chosen to span every parameter and the
    values of ``survive``; 8 a family if the option is left out (over half an hour on two cores)."""

    full: bool = False
    """All 303 cells of the sweeps, at each family's own ``survive``, instead of ``--cells``."""

    every: int | None = None
    """One in so many of the 303 cells instead, each parameter's range kept (1: all)."""

    quick: bool = False
    """A small map in a few minutes: 2 cells a family, 8 seeds."""

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
        if self.every is not None and self.every < 1:
            raise ValueError(f"--every: must be at least 1, got {self.every}")
        if self.full + self.quick + (self.every is not None) + (self.cells is not None) > 1:
            raise ValueError("--full, --quick, --every, --cells: give one of them at most")
        if self.quick and self.seeds is not None:
            raise ValueError("--quick: has 8 seeds; give --cells and --seeds instead")
        if self.regimes == ():
            raise ValueError(
                "--regimes: at least one of bandit, multiplicity, strategies, tree, countdown, "
                "maze, noisy is needed; leave the option out for all"
            )


def run(config: Atlas) -> int:
    """Run what is missing, then write tables, figures and the page; returns 0."""
    from diffsmooth.cli.simulate import one_word
    from diffsmooth.sim.regimes import REGIMES
    from diffsmooth.sim.remedies import named
    from diffsmooth.sim.report import make_atlas

    regimes = config.regimes or tuple(REGIMES)
    make_atlas(
        config.out,
        regimes=regimes,
        remedies=named(one_word(config.remedies, config.heuristics)),
        seeds=8 if config.quick else 32 if config.seeds is None else config.seeds,
        every=1 if config.full else config.every,
        cells=2 * len(set(regimes)) if config.quick else config.cells,
        jobs=config.jobs,
        engine=config.engine,
    )
    if config.page is not None:
        from diffsmooth.sim.findings import write_findings

        print(f"findings in {write_findings(config.out, config.page)}")
    return 0
