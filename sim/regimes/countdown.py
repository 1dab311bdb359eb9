"""``countdown``: real CountDown instances, all expressions enumerated, true multiplicities.

The base law is stated, not fitted: expressions are likelier the simpler they are, up to noise, and
the mass on correct ones is set.  Surface forms of one solution are one class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import ClassVar

import numpy as np

from diffsmooth.sim.environment import Environment
from diffsmooth.sim.policies import Bool, Float, Int, Tabular
from diffsmooth.sim.regimes.base import Regime
from diffsmooth.sim.regimes.expressions import expressions
from diffsmooth.sim.regimes.laws import logit, surviving, two_part_law

#: Log-weight of an operator and of a pair of parentheses under the base law.
OPERATOR_COST = {"+": 0.0, "-": 0.3, "*": 0.5, "/": 1.5}
PARENTHESES_COST = 0.7


@lru_cache(maxsize=4)
def _static(count: int) -> tuple[Float, Int, Int]:
    """(log-weight, class, length) of every expression over ``count`` numbers."""
    names = tuple(range(2, 2 + count))  # one-digit stand-ins: lengths count tokens
    keys: dict[int, int] = {}
    weights, classes, lengths = [], [], []
    for e in expressions(count):
        text = e.text(names)
        cost = sum(OPERATOR_COST[o] for o in e.operators())
        weights.append(-cost - PARENTHESES_COST * text.count("("))
        classes.append(keys.setdefault(e.key, len(keys)))
        lengths.append(len(text))
    return np.array(weights), np.array(classes), np.array(lengths)


def solved(numbers: tuple[int, ...], target: int) -> Bool:
    """(K,) which expressions reach the target exactly."""
    return np.array([e.value(numbers) == target for e in expressions(len(numbers))])


@lru_cache(maxsize=4096)
def _instances(numbers: tuple[int, ...], few: int, many: int) -> tuple[int, ...]:
    """Targets in 1..100 that ``numbers`` reach by between ``few`` and ``many`` solutions."""
    classes = _static(len(numbers))[1]
    ways: dict[int, set[int]] = {}
    for e, c in zip(expressions(len(numbers)), classes, strict=True):
        value = e.value(numbers)
        if value is not None and value.denominator == 1 and 1 <= value <= 100:
            ways.setdefault(int(value), set()).add(int(c))
    return tuple(sorted(t for t, found in ways.items() if few <= len(found) <= many))


@dataclass(frozen=True)
class CountDown(Regime):
    """Instances of ``numbers`` distinct numbers in 1..``highest`` with few or many solutions.

    few, many
        Bounds on the number of solutions (classes) of an instance.
    skew
        Standard deviation of the noise on the base law's log-weights.
    """

    few: int = 1
    many: int = 100
    correctness: float = 0.2
    skew: float = 1.0
    numbers: int = 3
    highest: int = 20
    prompts: int = 4
    spread: float = 0.5
    survive: float = 0.5

    name: ClassVar[str] = "countdown"
    primary: ClassVar[str] = "test_pass@16"
    question: ClassVar[str] = "what happens on a real verifiable task, enumerated?"

    def __post_init__(self) -> None:
        if not 1 <= self.few <= self.many:
            raise ValueError(f"few: must lie in [1, many], got {self.few}, {self.many}")
        if self.highest < self.numbers:
            raise ValueError(f"highest: must be at least numbers, got {self.highest}")
        logit(self.correctness)

    @classmethod
    def sweep(cls) -> Sequence[CountDown]:
        grid = product(((1, 1), (2, 3), (4, 100)), (0.05, 0.1, 0.2, 0.5), (0.5, 1.5))
        return [cls(*band, p, skew) for band, p, skew in grid]

    @property
    def axes(self) -> tuple[str, str]:
        return ("few", "correctness")

    def draw(self, rng: np.random.Generator) -> Environment:
        weight, kind, length = _static(self.numbers)
        shape = (self.prompts, len(weight))
        correct = np.stack([solved(*self._instance(rng)) for _ in range(self.prompts)])
        weights = weight + self.skew * rng.standard_normal(shape)
        odds = logit(self.correctness) + self.spread * rng.standard_normal(self.prompts)
        classes = np.broadcast_to(kind, shape).copy()
        everyone = np.ones(self.prompts, dtype=np.bool_)
        return Environment(
            model=Tabular(two_part_law(weights, correct, odds)[None]),
            correct=correct[None],
            test_correct=surviving(rng, correct, classes, self.survive)[None],
            verified=correct[None].astype(np.float64),
            classes=classes[None],
            lengths=length,
            train=everyone,
            test=everyone,
        )

    def _instance(self, rng: np.random.Generator) -> tuple[tuple[int, ...], int]:
        """Numbers and target, by rejection.  Raises RuntimeError if none is found."""
        for _ in range(10_000):
            drawn = rng.choice(np.arange(1, self.highest + 1), size=self.numbers, replace=False)
            numbers = tuple(sorted(int(n) for n in drawn))
            targets = _instances(numbers, self.few, self.many)
            if targets:
                return numbers, targets[int(rng.integers(len(targets)))]
        raise RuntimeError(
            f"no instance with {self.few} to {self.many} solutions among 10000 draws"
        )
