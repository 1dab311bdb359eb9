"""``multiplicity``: the number of solutions varies over prompts, and solutions have wordings.

Solutions are classes; each has one or several surface forms (theory.md C8).
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
from diffsmooth.sim.regimes.laws import logit, surviving, two_part_law


@dataclass(frozen=True)
class Multiplicity(Regime):
    """Prompts with 1 + geometric many solutions (mean ``solutions``, at most ``largest``).

    forms
        Mean number of surface forms of a solution, 1 + geometric; 1 gives one each.
    uneven
        If true, the first solution of every prompt has ``3 * forms`` forms, however likely it is.
    """

    solutions: float = 4.0
    forms: float = 1.0
    uneven: bool = False
    correctness: float = 0.2
    skew: float = 1.0
    incorrect: int = 16
    prompts: int = 8
    spread: float = 1.0
    survive: float = 0.5
    largest: int = 16

    name: ClassVar[str] = "multiplicity"
    primary: ClassVar[str] = "test_pass@16"
    question: ClassVar[str] = "who pays for solutions, and who for wordings?"

    def __post_init__(self) -> None:
        for field in ("solutions", "forms"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field}: a mean of at least 1, got {getattr(self, field)}")
        logit(self.correctness)

    @classmethod
    def sweep(cls) -> Sequence[Multiplicity]:
        wordings = ((1.0, False), (3.0, False), (2.0, True))
        grid = product((1.5, 4.0, 8.0), wordings, (0.05, 0.2, 0.5), (0.5, 1.5))
        return [cls(m, *wording, p, skew) for m, wording, p, skew in grid]

    @property
    def axes(self) -> tuple[str, str]:
        return ("solutions", "forms")

    def draw(self, rng: np.random.Generator) -> Environment:
        forms = [self._forms(rng) for _ in range(self.prompts)]
        # A size that does not depend on the draw, so that seeds stack.
        most = self.largest * self._most_forms()
        size = most + self.incorrect
        shape = (self.prompts, size)
        classes = np.zeros(shape, dtype=np.int64)
        correct = np.zeros(shape, dtype=np.bool_)
        weights = self.skew * rng.standard_normal(shape)
        per_class = self.skew * rng.standard_normal((self.prompts, self.largest))
        for prompt, counts in enumerate(forms):
            used = int(counts.sum())
            classes[prompt, :used] = np.repeat(np.arange(len(counts)), counts)
            correct[prompt, :used] = True
            # Wordings share the likelihood of their solution.
            weights[prompt, :used] += np.repeat(per_class[prompt, : len(counts)], counts)
            weights[prompt, used:most] = -np.inf
        classes[:, most:] = self.largest + np.arange(self.incorrect)
        odds = logit(self.correctness) + self.spread * rng.standard_normal(self.prompts)
        base = two_part_law(weights, correct, odds)
        everyone = np.ones(self.prompts, dtype=np.bool_)
        return Environment(
            model=Tabular(base[None]),
            correct=correct[None],
            test_correct=surviving(rng, correct, classes, self.survive)[None],
            verified=correct[None].astype(np.float64),
            classes=classes[None],
            lengths=np.ones(size, dtype=np.int64),
            train=everyone,
            test=everyone,
        )

    def _most_forms(self) -> int:
        return 1 if self.forms == 1 else int(np.ceil(3 * self.forms))

    def _forms(self, rng: np.random.Generator) -> np.ndarray:
        """Number of surface forms of each solution of one prompt."""
        many = min(self.largest, int(rng.geometric(1.0 / self.solutions)))
        counts = np.minimum(rng.geometric(1.0 / self.forms, size=many), self._most_forms())
        if self.uneven:
            counts[0] = self._most_forms()
        return counts
