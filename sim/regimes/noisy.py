"""``noisy``: a verifier with false positives and false negatives.

Fixed errors are the same at every look (a wrong answer that the verifier likes can be found and
kept); fresh ones are drawn anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import ClassVar

import numpy as np

from diffsmooth.sim.environment import Environment
from diffsmooth.sim.policies import Bool
from diffsmooth.sim.regimes.bandit import Bandit
from diffsmooth.sim.regimes.base import Regime

#: The bandit's parameters in the order in which ``repr`` names them: streams are keyed by it.
_NAMED = ("correctness", "solutions", "incorrect", "skew", "prompts", "spread", "survive")


@dataclass(frozen=True, repr=False)
class Noisy(Regime):
    """A bandit whose verifier accepts a wrong answer with chance ``false_positive`` and rejects a
    correct one with chance ``false_negative``; measures know the truth."""

    false_positive: float = 0.1
    false_negative: float = 0.1
    fixed: bool = True
    bandit: Bandit = field(default_factory=Bandit)

    name: ClassVar[str] = "noisy"
    primary: ClassVar[str] = "test_pass@16"
    question: ClassVar[str] = "who trusts a bad verifier?"

    def __post_init__(self) -> None:
        for name in ("false_positive", "false_negative"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}: must lie in [0, 1), got {getattr(self, name)}")

    def __repr__(self) -> str:
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "bandit"}
        flat = own | {name: getattr(self.bandit, name) for name in _NAMED}
        return f"Noisy({', '.join(f'{name}={value!r}' for name, value in flat.items())})"

    @classmethod
    def sweep(cls) -> Sequence[Noisy]:
        grid = product((0.0, 0.05, 0.2), (0.0, 0.1, 0.4), (True, False), (0.05, 0.2, 0.5))
        return [cls(plus, minus, kind, Bandit(correctness=p)) for plus, minus, kind, p in grid]

    @property
    def survive(self) -> float:
        return self.bandit.survive

    def surviving(self, chance: float) -> Noisy:
        return replace(self, bandit=replace(self.bandit, survive=chance))

    @property
    def axes(self) -> tuple[str, str]:
        return ("false_positive", "false_negative")

    def draw(self, rng: np.random.Generator) -> Environment:
        base, correct = self.bandit.laws(rng)
        chance = np.where(correct, 1.0 - self.false_negative, self.false_positive)
        looked = self._looks(rng.random(correct.shape), chance, correct)
        verified = looked.astype(np.float64) if self.fixed else chance
        return self.bandit.problems(rng, base, correct, verified)

    @staticmethod
    def _looks(uniforms: np.ndarray, chance: np.ndarray, correct: Bool) -> Bool:
        """Fixed verdicts, with at least one correct accepted and one incorrect rejected."""
        accepted = uniforms < chance
        rows = np.arange(len(accepted))
        accepted[rows, np.where(correct, uniforms, 2.0).argmin(axis=1)] = True
        accepted[rows, np.where(correct, -1.0, uniforms).argmax(axis=1)] = False
        return np.asarray(accepted)
