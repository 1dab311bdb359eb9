"""A regime: a family of problems with an environment, a sweep of cells, and an analysis."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from diffsmooth.sim import randomness
from diffsmooth.sim.dynamics.models import Float
from diffsmooth.sim.environment import Environment


@dataclass(frozen=True)
class Training:
    """How a regime is trained: the same for every heuristic.

    steps; rate (learning rate); group_size G; epochs per group (PPO); checkpoints of the path,
    evenly spaced, the start included.
    """

    steps: int = 64
    rate: float = 0.5
    group_size: int = 8
    epochs: int = 2
    checkpoints: int = 17

    def __post_init__(self) -> None:
        for name in ("steps", "group_size", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, got {getattr(self, name)}")
        if self.checkpoints < 2 or self.steps % (self.checkpoints - 1):
            raise ValueError(
                f"checkpoints: must be at least 2 and divide the steps evenly; got "
                f"{self.checkpoints} for {self.steps} steps"
            )
        if not self.rate > 0:
            raise ValueError(f"rate: must be positive, got {self.rate}")


#: What the test is, by link: results of different links are never averaged.
LINKS = {
    "voided solutions": "the test prompts are the training prompts, and each solution stops "
    "passing at test with chance 1 - `survive`",
    "held-out prompts": "the test prompts are other prompts, which share strategies with those "
    "trained on",
    "same problems": "the test prompts are the training prompts, unchanged; each has one solution",
    "control": "`survive` = 1: no solution is voided, and the test asks what training rewarded (in "
    "`noisy` up to the verifier's errors)",
}


class Regime(ABC):
    """Problems of one kind; subclasses are frozen dataclasses of their parameters.

    name
        First part of the string id ``name/index``.
    primary
        The measure that says whether a remedy helped: what is compared at matched correctness.
    question
        What the regime is for, in one line.
    """

    name: ClassVar[str]
    primary: ClassVar[str]
    question: ClassVar[str]

    @classmethod
    @abstractmethod
    def sweep(cls) -> Sequence[Regime]:
        """The cells of the map, in the order of their ids."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Environment:
        """One problem set (S = 1)."""

    @property
    @abstractmethod
    def axes(self) -> tuple[str, str]:
        """Names of the two parameters that span the regime's phase diagram."""

    @property
    def training(self) -> Training:
        """How the cell is trained."""
        return Training()

    @property
    def survive(self) -> float | None:
        """Chance that a solution still passes at test time; None where none is voided."""
        return None

    @property
    def link(self) -> str:
        """How training and test are linked, in words: what the test is (see :data:`LINKS`)."""
        if self.survive is None:
            return "same problems"
        return "control" if self.survive == 1 else "voided solutions"

    def surviving(self, chance: float) -> Regime:
        """The same regime with another ``survive``.  Raises ValueError if it has none."""
        if self.survive is None:
            raise ValueError(f"{self.name}: has no survive; its test does not void solutions")
        me: Any = self
        changed: Regime = replace(me, survive=chance)
        return changed

    def environment(self, seeds: range) -> Environment:
        """The problem sets of the given seeds, stacked; a seed's problems depend on it alone."""
        return stack([self.draw(self.stream(s, randomness.ENVIRONMENT)) for s in seeds])

    def stream(self, seed: int, purpose: int) -> np.random.Generator:
        """The generator of one seed, keyed by the regime's parameters."""
        return randomness.stream(repr(self), seed, purpose)

    def uniforms(self, seeds: range, purpose: int, shape: tuple[int, ...]) -> Float:
        """(seeds, *shape) shared uniforms."""
        return randomness.uniforms(repr(self), seeds, purpose, shape)


def stack(draws: Sequence[Environment]) -> Environment:
    """Environments of one seed each, as one of many.  Raises ValueError if there is none."""
    if not draws:
        raise ValueError("seeds: at least one seed is needed")
    first = draws[0]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(d, name) for d in draws])

    return Environment(
        model=first.model.joined([d.model for d in draws]),
        correct=joined("correct"),
        test_correct=joined("test_correct"),
        verified=joined("verified"),
        classes=joined("classes"),
        lengths=first.lengths if first.lengths.ndim == 1 else joined("lengths"),
        train=first.train,
        test=first.test,
    )
