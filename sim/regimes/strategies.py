"""``strategies``: answers are strategies shared over prompts; train and test prompts differ.

A strategy works on some prompts and not on others.  Training moves one weight per strategy, so
that what is learnt on the train prompts is all there is on the test prompts: the link through which
diversity within a prompt reaches pass@k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from diffsmooth.sim.environment import Environment
from diffsmooth.sim.policies import Shared, log_softmax
from diffsmooth.sim.regimes.base import Regime, Training


@dataclass(frozen=True)
class Strategies(Regime):
    """D strategies; each works on a prompt with a chance of its own, ``density`` on average.

    concentration
        Of the Beta law of those chances: large means all strategies are equally good.
    shift
        0: the chances are the same at test; 1: they are drawn anew; between: a mixture.
    skew
        Standard deviation of the base policy's log-weights over strategies.
    """

    strategies: int = 12
    density: float = 0.25
    concentration: float = 4.0
    shift: float = 0.5
    skew: float = 1.0
    prompts: int = 12
    noise: float = 0.3

    name: ClassVar[str] = "strategies"
    primary: ClassVar[str] = "test_pass@16"
    question: ClassVar[str] = "does diversity on train prompts become pass@k on test prompts?"

    def __post_init__(self) -> None:
        if self.strategies < 2:
            raise ValueError(f"strategies: must be at least 2, got {self.strategies}")
        for field in ("density", "shift"):
            if not 0 <= getattr(self, field) <= 1:
                raise ValueError(f"{field}: must lie in [0, 1], got {getattr(self, field)}")

    @classmethod
    def sweep(cls) -> Sequence[Strategies]:
        grid = product((8, 16), (0.1, 0.25, 0.5), (4.0,), (0.0, 0.5, 1.0), (0.5, 1.5))
        return [cls(*cell) for cell in grid]

    @property
    def link(self) -> str:
        return "held-out prompts"

    @property
    def axes(self) -> tuple[str, str]:
        return ("density", "shift")

    @property
    def training(self) -> Training:
        # One weight per strategy gathers the gradients of all prompts.
        return Training(rate=2.0 / self.prompts)

    def draw(self, rng: np.random.Generator) -> Environment:
        d, p = self.strategies, self.prompts
        parameters = (self.density * self.concentration, (1 - self.density) * self.concentration)
        chance, fresh = rng.beta(*parameters, size=d), rng.beta(*parameters, size=d)
        later = np.where(rng.random(d) < self.shift, fresh, chance)
        works = rng.random((2 * p, d)) < np.concatenate(
            [np.tile(chance, (p, 1)), np.tile(later, (p, 1))]
        )
        # No prompt without a working or without a failing strategy.
        order = rng.random((2 * p, d))
        none, full = ~works.any(axis=1), works.all(axis=1)
        works[none, order[none].argmin(axis=1)] = True
        works[full, order[full].argmin(axis=1)] = False
        weights = self.skew * rng.standard_normal(d) + self.noise * rng.standard_normal((2 * p, d))
        feature = np.broadcast_to(np.arange(d), (1, 2 * p, d)).copy()
        train = np.arange(2 * p) < p
        return Environment(
            model=Shared(log_softmax(weights)[None], feature, d),
            correct=works[None],
            test_correct=works[None],
            verified=works[None].astype(np.float64),
            classes=feature,
            lengths=np.ones(d, dtype=np.int64),
            train=train,
            test=~train,
        )
