"""``maze``: one solution per prompt, where redistribution within a prompt cannot help.

What can be lost is whole prompts: the spread of C over prompts decides pass@k (theory.md D2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from diffsmooth.sim.environment import Environment
from diffsmooth.sim.policies import Tabular
from diffsmooth.sim.regimes.base import Regime
from diffsmooth.sim.regimes.laws import logit, two_part_law


@dataclass(frozen=True)
class Maze(Regime):
    """``paths`` wrong ways a maze; base log-odds normal over mazes with deviation ``spread``."""

    paths: int = 32
    correctness: float = 0.1
    spread: float = 1.5
    skew: float = 1.0
    prompts: int = 16

    name: ClassVar[str] = "maze"
    primary: ClassVar[str] = "test_pass@16"
    question: ClassVar[str] = "what helps where every problem has one solution?"

    def __post_init__(self) -> None:
        if self.paths < 1:
            raise ValueError(f"paths: must be at least 1, got {self.paths}")
        logit(self.correctness)

    @classmethod
    def sweep(cls) -> Sequence[Maze]:
        return [cls(*cell) for cell in product((8, 32, 96), (0.01, 0.05, 0.2), (0.5, 1.5, 3.0))]

    @property
    def axes(self) -> tuple[str, str]:
        return ("correctness", "spread")

    def draw(self, rng: np.random.Generator) -> Environment:
        size = 1 + self.paths
        shape = (self.prompts, size)
        correct = np.broadcast_to(np.arange(size) == 0, shape).copy()
        weights = self.skew * rng.standard_normal(shape)
        odds = logit(self.correctness) + self.spread * rng.standard_normal(self.prompts)
        everyone = np.ones(self.prompts, dtype=np.bool_)
        return Environment(
            model=Tabular(two_part_law(weights, correct, odds)[None]),
            correct=correct[None],
            test_correct=correct[None],
            verified=correct[None].astype(np.float64),
            classes=np.broadcast_to(np.arange(size), (1, *shape)).copy(),
            lengths=np.ones(size, dtype=np.int64),
            train=everyone,
            test=everyone,
        )
