"""Time a trainer's steps with and without a rule, interleaved, by phase."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from diffsmooth.sim.intervals import percentile

PHASES = ("generation", "reward", "rule", "loss and gradient", "optimiser")


def half(text: str) -> bool:
    """About half of all texts, always the same ones."""
    return hashlib.blake2b(text.encode(), digest_size=1).digest()[0] < 128


class Hashed:
    """A task whose correct answers are half of all texts; the class is the first character."""

    name = "hashed"

    def __init__(self, count: int, repeat: int = 8) -> None:
        from diffsmooth.llm.tasks.base import Problem

        self._problems = [Problem(str(i), f"{i:04d}=" * repeat, i, raw=True) for i in range(count)]

    def problems(self) -> Sequence[Any]:
        return self._problems

    def verify(self, problem: Any, text: str) -> Any:
        from diffsmooth.llm.tasks.base import Verdict

        right = half(text)
        return Verdict(float(right), right, text[:1] or None)

    def verify_many(self, pairs: Iterable[tuple[Any, str]]) -> list[Any]:
        return [self.verify(p, t) for p, t in pairs]

    def multiplicity(self, problem: Any) -> int | None:
        return None


class Clock:
    """Seconds of each phase, by step; ``sync`` waits for the device."""

    def __init__(self, sync: Callable[[], None]) -> None:
        self.sync = sync
        self.now: dict[str, float] = defaultdict(float)

    def wrap(self, owner: Any, name: str, phase: str) -> None:
        """Count the time of ``owner.name`` as ``phase``."""
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.sync()
            start = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.sync()
                self.now[phase] += time.perf_counter() - start

        setattr(owner, name, timed)

    def take(self) -> dict[str, float]:
        found, self.now = dict(self.now), defaultdict(float)
        return found


def measure(
    trainer: Any, steps: int, warmup: int, sync: Callable[[], None]
) -> list[dict[str, Any]]:
    """Train ``warmup + steps`` steps, the rule on in every other one; one record a step.

    Works through the trainer's own loop: the rule is switched, nothing else.
    """
    from transformers import TrainerCallback

    clock = Clock(sync)
    rule, whole = trainer._term, trainer._whole
    records: list[dict[str, Any]] = []
    clock.wrap(trainer, "_generate", "generation")
    clock.wrap(trainer, "_calculate_rewards", "reward")
    clock.wrap(trainer, "_apply_rule", "rule")
    clock.wrap(trainer, "compute_loss", "loss")
    clock.wrap(trainer, "training_step", "step without optimiser")
    start = 0.0

    class Switch(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            nonlocal start
            on = state.global_step % 2 == 0
            trainer._term, trainer._whole = (rule, whole) if on else (None, None)
            sync()
            clock.take()
            start = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            sync()
            total = time.perf_counter() - start
            spent = clock.take()
            if state.global_step <= warmup:
                return
            inside = spent["generation"] + spent["reward"] + spent["rule"]
            tokens = int(trainer.state.num_input_tokens_seen)
            records.append(
                {
                    "rule": state.global_step % 2 == 1,  # switched on before the count rose
                    "total": total,
                    "generation": spent["generation"],
                    "reward": spent["reward"],
                    "rule_seconds": spent["rule"],
                    "loss and gradient": spent["step without optimiser"] - inside,
                    "optimiser": total - spent["step without optimiser"],
                    "tokens": tokens,
                }
            )

    trainer.add_callback(Switch())
    trainer.train()
    return records


def overhead(records: list[dict[str, Any]], seed: int = 0) -> dict[str, float]:
    """Overhead of the rule as a share of a step without it, with 95 % intervals (bootstrap).

    ``direct``: time inside the rule's own code, with the rule on minus off (the logs stay on).
    ``difference``: whole steps, neighbours paired; unbiased, but with the noise of two steps.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    on = [r for r in records if r["rule"]]
    off = [r for r in records if not r["rule"]]
    n = min(len(on), len(off))
    step = float(np.median([r["total"] for r in off]))
    inside = np.asarray([r["rule_seconds"] for r in on[:n]])
    without = np.asarray([r["rule_seconds"] for r in off[:n]])
    pairs = np.asarray([a["total"] - b["total"] for a, b in zip(on[:n], off[:n], strict=True)])

    def interval(values: Any) -> tuple[float, float, float]:
        draws = np.median(values[rng.integers(0, n, (4000, n))], axis=1)
        low, high = percentile(draws, n)
        return tuple(float(x) / step for x in (np.median(values), low, high))  # type: ignore[return-value]

    names = ("", "_low", "_high")
    out = {"step_seconds": step, "pairs": float(n)}
    parts = {"direct": inside - without, "rule_and_logs": inside, "difference": pairs}
    for key, values in parts.items():
        out.update({key + name: x for name, x in zip(names, interval(values), strict=True)})
    return out
