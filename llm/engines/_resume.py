"""A resumed run sees the same data in the same order as one that was never killed.

TRL's sampler draws one permutation an epoch from a generator of its own, which no checkpoint
keeps: a run resumed in its second epoch would see the first epoch's order again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_STATE_FILE = "diffsmooth_state_{rank}.pt"


class ReplaySampler:
    """``sampler`` with its generator put where it was at the start of the current epoch.

    The order within an uninterrupted run is ``sampler``'s own, in every epoch.
    """

    def __init__(self, sampler: Any, epoch: Callable[[], int]) -> None:
        self.sampler, self._epoch = sampler, epoch
        self._start = sampler.generator.get_state().clone()

    @staticmethod
    def wrap(sampler: Any, epoch: Callable[[], int]) -> Any:
        """Wrap a shuffling sampler with a generator; any other is returned as it is."""
        if getattr(sampler, "generator", None) is None or not getattr(sampler, "shuffle", True):
            return sampler
        return ReplaySampler(sampler, epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        import torch

        generator = self.sampler.generator
        generator.set_state(self._start)
        for _ in range(self._epoch()):
            torch.randperm(self.sampler.num_samples, generator=generator)
        return iter(self.sampler)


class ResumableMixin:
    """Mixin over ``trl.GRPOTrainer``: a checkpoint holds all that the next step depends on.

    Beside the weights, optimiser and generators that upstream keeps: the place within a generation
    and its answers where they are used again, the metrics not yet logged, and ``_rule_state``.
    """

    # What the trainer behind the mixin has.
    args: Any
    state: Any
    accelerator: Any
    num_iterations: int
    _step: int
    _buffered_inputs: Any
    _metrics: Any

    def _rule_state(self) -> dict[str, float] | None:
        """What the rule remembers from step to step; ``None`` if nothing."""
        return None

    def _load_rule_state(self, state: dict[str, float]) -> None:
        """Take back what :meth:`_rule_state` gave."""

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        sampler = super()._get_train_sampler(*args, **kwargs)  # type: ignore[misc]
        return ReplaySampler.wrap(sampler, lambda: int(self.state.epoch or 0))

    def _save_rng_state(self, output_dir: str) -> None:
        """Write our file beside the generators'.

        Called before ``trainer_state.json``, whose presence therefore means a whole checkpoint.
        """
        import torch

        super()._save_rng_state(output_dir)  # type: ignore[misc]
        # Does the next step still use answers that were generated before?
        middle = self._step % (self.args.steps_per_generation * self.num_iterations)
        state = {
            "rule": self._rule_state(),
            "step": self._step,
            "buffered": self._buffered_inputs if middle else None,
            "metrics": {mode: dict(values) for mode, values in self._metrics.items()},
        }
        path = os.path.join(output_dir, _STATE_FILE.format(rank=self.args.process_index))
        torch.save(state, path + ".part")
        os.replace(path + ".part", path)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        import torch

        super()._load_rng_state(checkpoint)  # type: ignore[misc]
        path = os.path.join(checkpoint or "", _STATE_FILE.format(rank=self.args.process_index))
        if checkpoint is None or not os.path.isfile(path):
            return
        # Plain containers and tensors only: nothing in the file is executed.
        state = torch.load(path, weights_only=True, map_location=self.accelerator.device)
        self._step = state["step"]
        self._buffered_inputs = state["buffered"]
        for mode, values in state["metrics"].items():
            self._metrics[mode].update(values)
        if state["rule"] is not None:
            self._load_rule_state(state["rule"])


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest *whole* checkpoint in ``folder``; one killed while it was written is passed over.

    ``trainer_state.json`` is written last, so that a checkpoint in which it can be read is whole.
    """
    found: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        match = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if match and _whole(path):
            found.append((int(match[1]), path))
    return max(found)[1] if found else None


def _whole(path: Path) -> bool:
    try:
        state = json.loads((path / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(state, dict) and "global_step" in state
