"""A resumed run sees the same data in the same order as one that was never killed.

TRL's sampler draws one permutation an epoch from a generator of its own, which no checkpoint
keeps: a run resumed in its second epoch would see the first epoch's order again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


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


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest *whole* checkpoint in ``folder``; one that was killed while written is passed over.

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
