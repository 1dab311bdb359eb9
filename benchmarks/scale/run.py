"""A full GRPO step at true scale, with and without the rule: time by phase, memory, overhead.

    python benchmarks/scale/run.py                      # on a machine with a CUDA GPU
    python benchmarks/scale/run.py --dry-run            # anywhere: the same code on shrunk shapes

The true architectures (Qwen2.5-1.5B, 3B, 7B) with random weights: time and memory do not depend on
what the weights are.  Random weights end no answer, so every answer has the full length: the most
expensive case.  The verifier calls about half of the answers correct, by a hash of their text, so
that the rule has work in every group.  Steps with and without the rule alternate in one run; the
overhead comes with its interval.  Writes ``scale.json`` and, with --table, README.md's table.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from _steps import Hashed, measure, overhead

MODELS = ("Qwen/Qwen2.5-1.5B", "Qwen/Qwen2.5-3B", "Qwen/Qwen2.5-7B")
GOAL = 0.005
README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def shape_of(name: str, shrink: bool) -> Any:
    """The true ``transformers`` configuration, or the same family with every dimension shrunk."""
    from diffsmooth.llm.engines._architectures import ARCHITECTURES, config_of

    shape = ARCHITECTURES[name]
    if shrink:
        shape = dataclasses.replace(
            shape, hidden=32, intermediate=64, layers=2, heads=4, kv_heads=2, head_dim=8,
            vocabulary=64, positions=256,
        )  # fmt: skip
    return config_of(shape)


def run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one model; returns a row of the table."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    from diffsmooth.llm import small
    from diffsmooth.llm.engines.trl import PROBLEM_COLUMN, VerifierReward, smoothed
    from diffsmooth.llm.train import checkpointing_name
    from diffsmooth.theory.rules import rule

    dry = options.dry_run
    device = "cpu" if dry else "cuda"
    torch.manual_seed(0)
    dtype = torch.float32 if dry else torch.bfloat16
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(shape_of(name, dry), dtype=dtype)
    tok = small.tokenizer()
    prompts, group, length = (2, 4, 8) if dry else (options.prompts, options.group, options.length)
    steps, warmup = (6, 2) if dry else (options.steps, 2)
    task = Hashed(64)
    rows = [{"prompt": p.prompt, PROBLEM_COLUMN: p.id} for p in task.problems()]
    micro = min(options.micro_batch, prompts * group)
    args = GRPOConfig(
        output_dir=str(options.out / "work"),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=prompts * group // micro,
        num_generations=group,
        max_completion_length=length,
        max_steps=steps + warmup,
        learning_rate=1e-6,
        beta=0.0,
        use_cpu=dry,
        bf16=False,  # the weights are bfloat16 already
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_vllm=options.engine != "transformers",
        **({"vllm_mode": "colocate"} if options.engine == "vllm" else {}),
        **{checkpointing_name(): not dry},
    )
    trainer = smoothed(GRPOTrainer)(
        model,
        reward_funcs=VerifierReward(task),
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=tok,
        rule=rule(options.rule),
    )
    trainer.remove_callback(PrinterCallback)

    def sync() -> None:
        if not dry:
            torch.cuda.synchronize()

    if not dry:
        torch.cuda.reset_peak_memory_stats()
    records = measure(trainer, steps, warmup, sync)
    found = overhead(records)
    mean = {
        phase: sum(r[phase] for r in records) / len(records)
        for phase in ("generation", "reward", "loss and gradient", "optimiser")
    }
    on = [r["rule_seconds"] for r in records if r["rule"]]
    tokens = prompts * group * length
    return {
        "model": name,
        "parameters": small.parameters(model),
        "shrunk": dry,
        "device": "CPU" if dry else torch.cuda.get_device_name(),
        "engine": options.engine,
        "answers": prompts * group,
        "answer_tokens": length,
        **{f"seconds: {k}": v for k, v in mean.items()},
        "seconds: rule and its logs": sum(on) / len(on),
        "tokens_per_second": tokens / found["step_seconds"],
        "peak_gib": 0.0 if dry else torch.cuda.max_memory_allocated() / 2**30,
        **found,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown; without any, 'not measured'."""
    head = (
        "| model | device | s a step | generation | loss | optimiser | rule and logs | tokens/s | "
        "peak GiB | overhead of the rule (95 %) |\n|---|---|---|---|---|---|---|---|---|---|\n"
    )
    measured = {r["model"]: r for r in rows if not r["shrunk"]}
    out = []
    for name in MODELS:
        r = measured.get(name)
        if r is None:
            out.append(f"| {name} |" + " not measured |" * 9)
            continue
        out.append(
            f"| {name} | {r['device']} | {r['step_seconds']:.2f} | "
            f"{r['seconds: generation']:.2f} | {r['seconds: loss and gradient']:.2f} | "
            f"{r['seconds: optimiser']:.2f} | "
            f"{r['seconds: rule and its logs']:.4f} | {r['tokens_per_second']:.0f} | "
            f"{r['peak_gib']:.1f} | {100 * r['direct']:.3f} % "
            f"[{100 * r['direct_low']:.3f}, {100 * r['direct_high']:.3f}] |"
        )
    return head + "\n".join(out) + "\n"


def write_readme(rows: Sequence[dict[str, Any]], path: Path = README) -> None:
    """Replace the table between the marks."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{table(rows)}{END}{after}", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rule", default="mean")
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="transformers")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--table", action="store_true", help="write the table into README.md")
    options = parser.parse_args(argv)
    import torch

    from diffsmooth import records
    from diffsmooth.llm.train import quiet

    if not options.dry_run and not torch.cuda.is_available():
        print("no CUDA device here; --dry-run runs the same code shrunk", file=sys.stderr)
        return 2
    quiet()
    rows = []
    for name in options.models:
        rows.append(run(name, options))
        r = rows[-1]
        print(
            f"{name}{' (shrunk)' if r['shrunk'] else ''}: {r['step_seconds']:.3f} s a step, "
            f"overhead {100 * r['direct']:.3f} % "
            f"[{100 * r['direct_low']:.3f}, {100 * r['direct_high']:.3f}] (goal < {100 * GOAL:g} %)"
        )
        # After every model: a machine that is taken away leaves what was measured.
        records.write_json(options.out / "scale.json", rows)
        if options.table:
            write_readme(rows)
    print(f"results in {options.out / 'scale.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
