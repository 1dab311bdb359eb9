"""``bandit``: independent prompts, M correct and N incorrect answers each, skewed base policy.

At test time only some of the correct answers still pass, so that keeping several is worth
something; ``prompts = 1, survive = 1`` is the single bandit, where pass@k sees C only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from diffsmooth.sim.environment import Environment
from diffsmooth.sim.policies import Bool, Float, Tabular
from diffsmooth.sim.regimes.base import Regime
from diffsmooth.sim.regimes.laws import logit, surviving, two_part_law


@dataclass(frozen=True)
class Bandit(Regime):
    """M correct and N incorrect answers; base correctness p; log-weights skew * normal.

    spread
        Standard deviation over prompts of the base log-odds.
    survive
        Chance that a correct answer still passes at test time.
    """

    solutions: int = 8
    incorrect: int = 16
    skew: float = 1.0
    correctness: float = 0.2
    prompts: int = 8
    spread: float = 0.5
    survive: float = 0.5

    name: ClassVar[str] = "bandit"
    primary: ClassVar[str] = "test_pass@16"
    question: ClassVar[str] = "how do multiplicity, skew and base correctness decide?"

    def __post_init__(self) -> None:
        for field in ("solutions", "incorrect", "prompts"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field}: must be at least 1, got {getattr(self, field)}")
        logit(self.correctness)

    @classmethod
    def sweep(cls) -> Sequence[Bandit]:
        grid = product((2, 4, 8, 32), (4, 16, 48), (0.5, 1.5), (0.05, 0.2, 0.5))
        return [cls(m, n, skew, p) for m, n, skew, p in grid]

    @property
    def axes(self) -> tuple[str, str]:
        return ("solutions", "correctness")

    def draw(self, rng: np.random.Generator) -> Environment:
        base, correct = self.laws(rng)
        return self.problems(rng, base, correct, correct.astype(np.float64))

    def laws(self, rng: np.random.Generator) -> tuple[Float, Bool]:
        """(base log-probs, correct), each (P, K)."""
        size = self.solutions + self.incorrect
        shape = (self.prompts, size)
        correct = np.broadcast_to(np.arange(size) < self.solutions, shape).copy()
        weights = self.skew * rng.standard_normal(shape)
        odds = logit(self.correctness) + self.spread * rng.standard_normal(self.prompts)
        return two_part_law(weights, correct, odds), correct

    def problems(
        self, rng: np.random.Generator, base: Float, correct: Bool, verified: Float
    ) -> Environment:
        """The problem set on these laws, with a verifier's chances (P, K) to accept."""
        classes = np.broadcast_to(np.arange(base.shape[1]), base.shape).copy()
        everyone = np.ones(self.prompts, dtype=np.bool_)
        return Environment(
            model=Tabular(base[None]),
            correct=correct[None],
            test_correct=surviving(rng, correct, classes, self.survive)[None],
            verified=verified[None],
            classes=classes[None],
            lengths=np.ones(base.shape[1], dtype=np.int64),
            train=everyone,
            test=everyone,
        )
