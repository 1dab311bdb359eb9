"""A toy task, a toy model and slow transcriptions of the rules, for the TRL tests.

The transcriptions are loops over plain floats, written from the tables of formulae and not from
the package's code.
"""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from diffsmooth.llm import small
from diffsmooth.llm.tasks.base import Problem, Verdict

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

SHAPE = small.SmallModel(hidden=16, layers=1, heads=2, intermediate=24, positions=32, seed=3)


GOOD = tuple("01234+-*/(")


def is_correct(text: str) -> bool:
    return text[:1] in GOOD


class ToyTask:
    """An answer is correct if it begins with one of ``GOOD``; its class is its first character.

    All scores are exact in binary, so that float32 adds no error of its own.
    """

    name = "toy"

    def __init__(self, count: int = 12) -> None:
        self._problems = [Problem(str(i), f"{i},{i + 1}=", i, raw=True) for i in range(count)]

    def problems(self) -> Sequence[Problem[int]]:
        return self._problems

    def verify(self, problem: Problem[int], text: str) -> Verdict:
        correct = is_correct(text)
        return Verdict(1.0 if correct else 0.125 * bool(text), correct, text[:1] or None)

    def verify_many(self, pairs: Iterable[tuple[Problem[int], str]]) -> list[Verdict]:
        return [self.verify(p, t) for p, t in pairs]

    def multiplicity(self, problem: Problem[int]) -> int | None:
        return len(GOOD)


def settings(folder: Path, **changes: Any) -> Any:
    """A ``GRPOConfig`` for the CPU, small enough for a test."""
    from trl import GRPOConfig

    from diffsmooth.llm.train import checkpointing_name

    values: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 16,
        "num_generations": 8,
        "max_completion_length": 5,
        "learning_rate": 1e-2,
        "max_steps": 2,
        "lr_scheduler_type": "constant",
        "beta": 0.0,
        "use_cpu": True,
        "bf16": False,
        checkpointing_name(): False,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": 5,
    }
    return GRPOConfig(**{**values, **changes})


def dataset(task: ToyTask) -> Any:
    from datasets import Dataset

    return Dataset.from_list([{"prompt": p.prompt, "problem_id": p.id} for p in task.problems()])


def make(cls: Any, folder: Path, changes: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    """A trainer of class ``cls`` over the toy task; ``changes`` go to its configuration."""
    from diffsmooth.llm.engines.trl import VerifierReward

    model, tok = small.build(SHAPE)
    task = ToyTask()
    kwargs.setdefault("reward_funcs", VerifierReward(task))
    return cls(
        model,
        args=settings(folder, **(changes or {})),
        train_dataset=dataset(task),
        processing_class=tok,
        **kwargs,
    )


def token_logps(model: Any, output: dict[str, Any], temperature: float = 1.0) -> list[list[float]]:
    """Log-probs of every answer's tokens by one plain forward pass per answer, without padding."""
    import torch

    rows = []
    for i in range(len(output["completion_ids"])):
        prompt = output["prompt_ids"][i][output["prompt_mask"][i].bool()]
        answer = output["completion_ids"][i][output["completion_mask"][i].bool()]
        with torch.no_grad():
            logits = model(input_ids=torch.cat([prompt, answer])[None]).logits[0] / temperature
        law = torch.log_softmax(logits, dim=-1)
        rows.append([float(law[len(prompt) - 1 + t, a]) for t, a in enumerate(answer.tolist())])
    return rows


def blocks(n: int, size: int) -> list[range]:
    return [range(i, i + size) for i in range(0, n, size)]


def trl_grpo(reward: Sequence[float], size: int) -> list[float]:
    """TRL's own advantage: sample standard deviation, 1e-4 added."""
    out = []
    for rows in blocks(len(reward), size):
        r = [reward[i] for i in rows]
        m = sum(r) / len(r)
        s = math.sqrt(sum((x - m) ** 2 for x in r) / (len(r) - 1))
        out += [(x - m) / (s + 1e-4) for x in r]
    return out


def slow_term(
    correct: Sequence[bool],
    logps: Sequence[Sequence[float]],
    size: int,
    g_correct: float,
    *,
    g_incorrect: float = 0.0,
    reduction: str = "sum",
    centred: bool = False,
    classes: Sequence[Any] | None = None,
) -> list[Any]:
    """The smoothing term of every answer (a number, or one per token for "token")."""
    out: list[Any] = []
    for rows in blocks(len(correct), size):
        good = [i for i in rows if correct[i]]

        def weight(i: int, good: list[int] = good) -> float:
            if classes is not None:
                return math.log(sum(classes[j] == classes[i] for j in good) / len(good))
            total = sum(logps[i])
            if reduction == "sum":
                return total
            if reduction == "mean":
                return total / len(logps[i])
            return total / len(logps[i]) / len(logps[i])

        mean = sum(weight(i) for i in good) / len(good) if good and reduction != "token" else 0.0
        for i in rows:
            if reduction == "token":
                g = -g_correct if correct[i] else g_incorrect
                out.append([g * x for x in logps[i]])
            elif correct[i]:
                out.append(-g_correct * (weight(i) - (mean if centred else 0.0)))
            else:
                out.append(0.0 if classes is not None else g_incorrect * weight(i))
    return out


def run_two_ranks(module: str, out: Path, variables: dict[str, str] | None = None) -> None:
    """``python -m module out`` in two processes on the CPU that find each other (gloo)."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    workers = []
    for rank in range(2):
        env = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
            "TRL_EXPERIMENTAL_SILENCE": "1",
            **(variables or {}),
        }
        workers.append(
            subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", module, str(out)],
                cwd=Path(__file__).parents[2],
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = [w.communicate(timeout=300)[0] for w in workers]
    for worker, text in zip(workers, outputs, strict=True):
        assert worker.returncode == 0, text[-3000:]
