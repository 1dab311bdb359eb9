"""``noisy``: a verifier with false positives and false negatives.

Fixed errors are the same at every look (a wrong answer that the verifier likes can be found and
kept); fresh ones are drawn anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from diffsmooth.sim.dynamics.models import Bool, Tabular
from diffsmooth.sim.environment import Environment
from diffsmooth.sim.regimes.base import Regime
from diffsmooth.sim.regimes.laws import logit, surviving, two_part_law


@dataclass(frozen=True)
class Noisy(Regime):
    """A bandit whose verifier accepts a wrong answer with chance ``false_positive`` and rejects a
    correct one with chance ``false_negative``; measures know the truth."""

    false_positive: float = 0.1
    false_negative: float = 0.1
    fixed: bool = True
    correctness: float = 0.2
    solutions: int = 8
    incorrect: int = 16
    skew: float = 1.0
    prompts: int = 8
    spread: float = 0.5
    survive: float = 0.5

    name: ClassVar[str] = "noisy"
    primary: ClassVar[str] = "test_pass@16"
    question: ClassVar[str] = "who trusts a bad verifier?"

    def __post_init__(self) -> None:
        for field in ("false_positive", "false_negative"):
            if not 0 <= getattr(self, field) < 1:
                raise ValueError(f"{field}: must lie in [0, 1), got {getattr(self, field)}")
        logit(self.correctness)

    @classmethod
    def sweep(cls) -> Sequence[Noisy]:
        grid = product((0.0, 0.05, 0.2), (0.0, 0.1, 0.4), (True, False), (0.05, 0.2, 0.5))
        return [cls(*cell) for cell in grid]

    @property
    def axes(self) -> tuple[str, str]:
        return ("false_positive", "false_negative")

    def draw(self, rng: np.random.Generator) -> Environment:
        size = self.solutions + self.incorrect
        shape = (self.prompts, size)
        correct = np.broadcast_to(np.arange(size) < self.solutions, shape).copy()
        weights = self.skew * rng.standard_normal(shape)
        odds = logit(self.correctness) + self.spread * rng.standard_normal(self.prompts)
        chance = np.where(correct, 1.0 - self.false_negative, self.false_positive)
        looked = self._looks(rng.random(shape), chance, correct)
        classes = np.broadcast_to(np.arange(size), shape).copy()
        everyone = np.ones(self.prompts, dtype=np.bool_)
        return Environment(
            model=Tabular(two_part_law(weights, correct, odds)[None]),
            correct=correct[None],
            test_correct=surviving(rng, correct, classes, self.survive)[None],
            verified=(looked.astype(np.float64) if self.fixed else chance)[None],
            classes=classes[None],
            lengths=np.ones(size, dtype=np.int64),
            train=everyone,
            test=everyone,
        )

    @staticmethod
    def _looks(uniforms: np.ndarray, chance: np.ndarray, correct: Bool) -> Bool:
        """Fixed verdicts, with at least one correct accepted and one incorrect rejected."""
        accepted = uniforms < chance
        rows = np.arange(len(accepted))
        accepted[rows, np.where(correct, uniforms, 2.0).argmin(axis=1)] = True
        accepted[rows, np.where(correct, -1.0, uniforms).argmax(axis=1)] = False
        return np.asarray(accepted)
