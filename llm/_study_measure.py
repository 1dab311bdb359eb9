"""How a study measures a policy while it is trained: samples of held-out problems, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffsmooth.llm.configuration import Generation, Training


@dataclass(frozen=True)
class Measurement:
    """``samples`` answers to each of ``problems`` held-out problems, every ``every`` steps."""

    problems: int = 100
    samples: int = 64
    every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.problems, self.samples, self.every) < 1:
            raise ValueError("Measurement: problems, samples and every must be >= 1")


def watcher(training: Training, m: Measurement, rows: list[dict[str, Any]]) -> Any:
    """A trainer callback that measures the policy before the first step and every so many."""
    from transformers import TrainerCallback

    from diffsmooth.llm.tasks.countdown import CountDown

    data = training.data
    task = CountDown(
        data.generator.distinct("test", m.problems, m.seed), style=data.style, form=data.form
    )

    class _Watcher(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            self._measure(state.global_step, kw)

        def on_step_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            if state.global_step % m.every == 0 or state.global_step == state.max_steps:
                self._measure(state.global_step, kw)

        @staticmethod
        def _measure(step: int, kw: dict[str, Any]) -> None:
            counts = measure(
                kw["model"], kw["processing_class"], task, generation=training.generation,
                samples=m.samples, seed=(m.seed, training.seed, step),
            )  # fmt: skip
            rows.extend({"step": step, **row} for row in counts)

    return _Watcher()


def measure(
    model: Any, tok: Any, task: Any, *, generation: Generation, samples: int, seed: Sequence[int]
) -> list[dict[str, Any]]:
    """Sample every problem of ``task`` and count: one row a problem.

    ``correct`` of ``samples``, ``distinct`` classes among the correct ones (the task's canonical
    form), ``written`` distinct strings among them.  Uses a generator of its own: training does
    not notice.
    """
    import numpy as np
    import torch

    from diffsmooth.llm import small

    number = int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0] >> 1)
    problems = task.problems()
    drawn = small.sample(
        model,
        tok([p.prompt for p in problems])["input_ids"],
        max_new_tokens=generation.max_completion_length,
        eos=tok.eos_token_id,
        pad=tok.pad_token_id,
        temperature=generation.temperature,
        top_p=generation.top_p,
        generator=torch.Generator().manual_seed(number),
        repeat=samples,
    )
    texts = tok.batch_decode(drawn.ids, skip_special_tokens=True)
    pairs = [(p, texts[i * samples + j]) for i, p in enumerate(problems) for j in range(samples)]
    verdicts = task.verify_many(pairs)
    rows = []
    for i, problem in enumerate(problems):
        right = [j for j in range(i * samples, (i + 1) * samples) if verdicts[j].correct]
        rows.append(
            {
                "problem": problem.id,
                "samples": samples,
                "correct": len(right),
                "distinct": len({verdicts[j].canonical for j in right}),
                "written": len({texts[j] for j in right}),
            }
        )
    return rows
