"""Instances for the statements about optimal policies, and how far rounding can move them.

Exact instances take base policies b proportional to m^d with integers m: every tempering
b^(j/d) is then proportional to m^j, a rational law.  Floating-point instances are logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from diffsmooth.theory.statements._logs import Logs, log, normalised

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Array = npt.NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class RationalBase:
    """A base policy proportional to ``m^d``, m an integer of ``correct`` or ``incorrect``."""

    correct: tuple[int, ...]
    incorrect: tuple[int, ...]
    d: int

    def __str__(self) -> str:
        return f"b ∝ m^{self.d}, m = {self.correct} on S and {self.incorrect} on F"

    @property
    def mass(self) -> int:
        return sum(m**self.d for m in self.correct + self.incorrect)

    @property
    def p(self) -> Fraction:
        return Fraction(sum(m**self.d for m in self.correct), self.mass)

    def law(self) -> list[Fraction]:
        """The base policy b, first on S and then on F."""
        return normalised([m**self.d for m in self.correct + self.incorrect])

    def q(self, j: int) -> list[Fraction]:
        """The tempered law of the correct part, proportional to b_S^(j/d)."""
        return normalised([Fraction(m) ** j for m in self.correct])

    def f(self, j: int) -> list[Fraction]:
        """The tempered law of the incorrect part, proportional to b_F^(j/d)."""
        return normalised([Fraction(m) ** j for m in self.incorrect])

    def log_mass(self, part: Sequence[int], j: int) -> Logs:
        """log of the sum over ``part`` of b^(j/d), exactly."""
        weight = sum((Fraction(m) ** j for m in part), Fraction(0))
        return log(weight) - log(self.mass) * Fraction(j, self.d)

    def join(self, c: Fraction, q: Sequence[Fraction], f: Sequence[Fraction]) -> list[Fraction]:
        """The policy with correctness c, correct part q and incorrect part f."""
        return [c * x for x in q] + [(1 - c) * x for x in f]


def rational_bases(count: int, seed: int, largest: int = 5) -> Iterator[RationalBase]:
    """Small bases first, among them uniform parts and single trajectories (``largest`` a part)."""
    yield RationalBase((2, 1), (1, 1), 2)
    yield RationalBase((1, 1), (3, 1), 2)
    yield RationalBase((1,), (2, 1, 1), 3)
    rng = Random(seed)
    for _ in range(count - 3):
        parts = [tuple(rng.randint(1, 7) for _ in range(rng.randint(1, largest))) for _ in range(2)]
        yield RationalBase(parts[0], parts[1], rng.choice([2, 3]))


@dataclass(frozen=True)
class LogitBase:
    """A base policy as softmax of logits, first on S and then on F."""

    correct: tuple[float, ...]
    incorrect: tuple[float, ...]

    def __str__(self) -> str:
        def show(values: Sequence[float]) -> str:
            return "(" + ", ".join(f"{v:.4g}" for v in values) + ")"

        return f"logits {show(self.correct)} on S, {show(self.incorrect)} on F"

    @property
    def logits(self) -> Array:
        return np.array(self.correct + self.incorrect)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        return np.arange(len(self.correct) + len(self.incorrect)) < len(self.correct)

    @property
    def spread(self) -> float:
        """A bound on |log b|: the width of the logits plus log K."""
        logits = self.logits
        return float(np.ptp(logits) + np.log(len(logits)))

    def policy(self) -> Any:
        """The library's policy."""
        from diffsmooth.theory.policy import Policy

        return Policy.from_logits(self.logits, self.mask)


def logit_bases(
    largest: int = 6, width: float = 4.0, smallest: int = 1
) -> SearchStrategy[LogitBase]:
    """Base policies with ``smallest`` .. ``largest`` trajectories in each part."""
    from hypothesis import strategies as st

    part = st.lists(decimals(-width, width), min_size=smallest, max_size=largest).map(tuple)
    return st.builds(LogitBase, part, part)


def decimals(low: float, high: float) -> SearchStrategy[float]:
    """Numbers with three decimals in [low, high]: a counterexample can be read and typed in."""
    from hypothesis import strategies as st

    return st.integers(round(1000 * low), round(1000 * high)).map(lambda n: n / 1000)


def rounding(size: int, magnitude: float) -> float:
    """A bound on the rounding error of a log-mass, entropy or divergence of a table.

    A log-probability is a difference of numbers up to ``magnitude`` and a logsumexp over ``size``
    terms: its error is delta <= (2 magnitude + size + 8) eps (each exponential has relative error
    <= magnitude * eps, the sum adds size * eps, exp and log a few more).  An expectation of
    log-probabilities multiplies weights of relative error delta by terms up to ``magnitude`` and
    sums ``size`` of them: its error is <= (1 + magnitude) (delta + size eps) + delta.  Factor 4
    for the two or three such quantities that a check subtracts.
    """
    delta = (2 * magnitude + size + 8) * EPS
    return 4 * ((1 + magnitude) * (delta + size * EPS) + delta)


def log_sum(log_weights: Array) -> float:
    """log of a sum of weights given by their logs."""
    return float(np.logaddexp.reduce(log_weights))


def tempered(log_weights: Array, a: float) -> Array:
    """Log-law proportional to the a-th power of the weights."""
    powers = a * log_weights
    return np.asarray(powers - log_sum(powers))


def shannon(log_law: Array) -> float:
    """Entropy of a log-law with full support, in nats."""
    return float(-np.exp(log_law) @ log_law)


def relative(log_law: Array, log_base: Array) -> float:
    """Reverse KL divergence between two log-laws with full support."""
    return float(np.exp(log_law) @ (log_law - log_base))


def log_sigmoid(x: float) -> float:
    """log of 1/(1 + e^-x)."""
    return float(-np.logaddexp(0.0, -x))


def binary(logit_c: float, logit_p: float) -> float:
    """kl between the Bernoulli laws with these logits."""
    c = np.exp(log_sigmoid(logit_c))
    return float(
        c * (log_sigmoid(logit_c) - log_sigmoid(logit_p))
        + np.exp(log_sigmoid(-logit_c)) * (log_sigmoid(-logit_c) - log_sigmoid(-logit_p))
    )
