"""Overhead of the rule inside TRL when the engine supplies log-probs: goal under 1 % of a step.

    python benchmarks/trl_overhead.py [--steps 60] [--out out/benchmarks]

A Llama of 1 M parameters made here, 16 prompts x 16 answers, one thread; a hash of the text calls
half of the answers correct, so that the rule has work in every group.  Steps with and
without the rule alternate in one run.  Prints a table and writes ``trl_overhead.json``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
sys.path.insert(0, str(Path(__file__).parent))

from _steps import Hashed, measure, overhead


def run(rule_name: str, parameters: dict[str, Any], steps: int, folder: Path) -> dict[str, float]:
    """Overhead of one rule, as shares of a step."""
    import torch
    from datasets import Dataset
    from trl import GRPOTrainer

    from diffsmooth.llm import configuration, small, train
    from diffsmooth.llm.engines.trl import PROBLEM_COLUMN, VerifierReward, smoothed
    from diffsmooth.theory.rules import rule

    torch.set_num_threads(1)
    shape = small.SmallModel(hidden=160, layers=3, heads=4, intermediate=448)
    model, tok = small.build(shape)
    config = configuration.Training(
        name="overhead",
        model=configuration.Model(small=shape),
        data=configuration.Data(style="bare", problems=200),
        optimisation=configuration.Optimisation(steps=steps + 4),
        generation=configuration.Generation(engine="small", max_completion_length=16),
        hardware=configuration.Hardware(device="cpu", gradient_checkpointing=False),
    )
    task = Hashed(200, repeat=2)
    rows = [{"prompt": p.prompt, PROBLEM_COLUMN: p.id} for p in task.problems()]
    trainer = smoothed(GRPOTrainer)(
        model,
        reward_funcs=VerifierReward(task),
        args=train.grpo_config(config, folder),
        train_dataset=Dataset.from_list(rows),
        processing_class=tok,
        rollout_func=small.rollout,
        rule=rule(rule_name, **parameters),
    )
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    found = overhead(measure(trainer, steps, 4, lambda: None))
    return {"parameters": float(small.parameters(model)), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    options = parser.parse_args()
    from diffsmooth import records
    from diffsmooth.llm.train import quiet

    quiet()
    results = {}
    for name, parameters in (
        ("centred", {"g_correct": 0.3}),
        ("token", {"g_correct": 0.1, "g_incorrect": 0.1}),
        ("quotient", {"g_correct": 0.3}),
    ):
        found = results[name] = run(name, parameters, options.steps, options.out / "work")
        print(
            f"{name}: step {found['step_seconds']:.3f} s, {found['parameters']:,.0f} parameters; "
            f"rule {100 * found['direct']:.2f} % "
            f"[{100 * found['direct_low']:.2f}, {100 * found['direct_high']:.2f}], "
            f"rule and its logs {100 * found['rule_and_logs']:.2f} % "
            f"[{100 * found['rule_and_logs_low']:.2f}, {100 * found['rule_and_logs_high']:.2f}], "
            f"whole steps {100 * found['difference']:.2f} % "
            f"[{100 * found['difference_low']:.2f}, {100 * found['difference_high']:.2f}]"
        )
    path = records.write_json(options.out / "trl_overhead.json", results)
    print(f"results in {path}")


if __name__ == "__main__":
    main()
