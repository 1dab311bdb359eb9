"""``diffsmooth demo``: a theorem, a collapse and a small language model, in one report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Demo:
    """See the phenomenon and the remedy: verified theorems, a simulated collapse, and a small
    language model that collapses under GRPO, with and without differential smoothing.

    Ends with OUT/report.html.  Parts that were finished before are not run again.
    """

    out: Path = Path("out")
    """Folder of the results and the report."""

    seeds: int = 3
    """Independent runs of the language model per method (at least 3 for a spread)."""

    jobs: int = 2
    """Worker processes."""

    def __post_init__(self) -> None:
        for name in ("seeds", "jobs"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}: must be at least 1, got {getattr(self, name)}")


def run(config: Demo) -> int:
    """Run the three parts and write the report; returns 0, or 1 if a theorem did not hold."""
    from diffsmooth.llm.demo import run_demo

    return run_demo(config.out, seeds=config.seeds, jobs=config.jobs)
