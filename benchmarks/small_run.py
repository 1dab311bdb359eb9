"""Where the time of the small model's RL run goes: goal at most 90 s for 300 steps on one core.

    python benchmarks/small_run.py [--steps 300] [--out out/benchmarks]

The shipped configuration small/centred (0.1 M parameters, 16 prompts x 16 answers a step) through
``diffsmooth train``'s own trainer, one thread.  Steps with and without the rule alternate, which
changes the run but not its cost.  Writes ``small_run.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

from _steps import measure


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    options = parser.parse_args()
    import torch

    from diffsmooth import records
    from diffsmooth.cli.train import find
    from diffsmooth.llm import train
    from diffsmooth.llm.configuration import Checkpoints, load

    torch.set_num_threads(1)
    train.quiet()
    config = load(find("small/centred"))
    config = dataclasses.replace(
        config,
        output=str(options.out),
        checkpoints=Checkpoints(every=0),
        optimisation=dataclasses.replace(config.optimisation, steps=options.steps),
    )
    train.base_model(config)
    trainer = train.trainer(config, options.out / "work")
    start = time.perf_counter()
    cpu = time.process_time()
    rows = measure(trainer, options.steps, 0, lambda: None)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    phases = {
        "generation": sum(r["generation"] for r in rows),
        "checking": sum(r["reward"] for r in rows),
        "rule and its logs": sum(r["rule_seconds"] for r in rows),
        "loss and gradient": sum(r["loss and gradient"] for r in rows),
        "optimiser": sum(r["optimiser"] for r in rows),
    }
    phases["the trainer around them"] = wall - sum(phases.values())
    print(
        f"{options.steps} steps in {wall:.1f} s ({cpu:.1f} s of one core), "
        f"{1000 * wall / options.steps:.0f} ms a step"
    )
    for name, seconds in phases.items():
        print(f"  {name}: {seconds:.1f} s, {100 * seconds / wall:.1f} %")
    load = os.getloadavg()[0]
    result = {
        "steps": options.steps,
        "wall": wall,
        "cpu": cpu,
        "phases": phases,
        "load_average": load,
    }
    print(f"results in {records.write_json(options.out / 'small_run.json', result)}")


if __name__ == "__main__":
    main()
