"""Every remedy with the same budget, on the small model: is any of them above GRPO's frontier?

    python benchmarks/small_study.py [--seeds 3] [--steps 300] [--processes 2] [--only ARM ...]

33 settings (11 remedies x 3) x seeds runs of ``diffsmooth train``'s own path, seed by seed; a run
that is done is not run again, so a killed study goes on where it was.  The table and the figure
are written after every whole seed.  ``llm/frontier.py`` says what is compared.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("out/small_study"))
    parser.add_argument("--only", nargs="+", help="arms, by name (GRPO's are always run)")
    options = parser.parse_args()

    from dataclasses import replace

    from diffsmooth.llm import frontier, study

    whole = frontier.frontier_study(options.steps)
    if options.only:
        wanted = [a for a in whole.arms if a.name in options.only or a.name.startswith("GRPO ")]
        unknown = sorted(set(options.only) - {a.name for a in whole.arms})
        if unknown:
            parser.error(
                f"no arm {unknown[0]!r}; there are: {', '.join(a.name for a in whole.arms)}"
            )
        whole = replace(whole, arms=tuple(wanted))
    start = time.perf_counter()

    def progress(what: str, done: int, of: int) -> None:
        print(f"{time.perf_counter() - start:7.0f} s  {done:3d} of {of}  {what}", flush=True)

    for count in range(1, options.seeds + 1):
        part = replace(whole, seeds=tuple(range(count)))
        study.run_study(part, options.out, options.processes, progress=progress)
        _, path = frontier.write(part, options.out)
        frontier.figure(part, options.out)
        frontier.figure(part, options.out, options.out / "frontier.png")
        print(f"{count} seeds: {path}", flush=True)
    print((options.out / "frontier.md").read_text())


if __name__ == "__main__":
    main()
