"""Tempered laws, entropies and divergences of rational policies in Arb balls (rigorous)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

Ball = Any  # flint.arb; python-flint ships no types


def ball(x: Fraction | int | str) -> Ball:
    """An exact rational as a ball."""
    from flint import arb, fmpq

    x = Fraction(x)
    return arb(fmpq(x.numerator, x.denominator))


def balls(law: Sequence[Fraction | str]) -> list[Ball]:
    """A rational law as balls."""
    return [ball(x) for x in law]


def add(terms: Sequence[Ball]) -> Ball:
    """The sum of a non-empty sequence of balls."""
    first, *rest = terms
    for term in rest:
        first = first + term
    return first


def powers(law: Sequence[Ball], a: Ball) -> list[Ball]:
    """The weights b^a of a law with full support."""
    return [(a * x.log()).exp() for x in law]


def log_mass(law: Sequence[Ball], a: Ball) -> Ball:
    """log of the sum of b^a over a part."""
    return add(powers(law, a)).log()


def tempered(law: Sequence[Ball], a: Ball) -> list[Ball]:
    """The law proportional to b^a."""
    weights = powers(law, a)
    mass = add(weights)
    return [w / mass for w in weights]


def conditional(part: Sequence[Ball]) -> list[Ball]:
    """A part of a policy, normalised."""
    mass = add(part)
    return [x / mass for x in part]


def entropy(law: Sequence[Ball]) -> Ball:
    """Shannon entropy in nats."""
    return -add([x * x.log() for x in law])


def divergence(law: Sequence[Ball], base: Sequence[Ball]) -> Ball:
    """Reverse KL divergence of ``law`` from ``base``."""
    return add([x * (x / y).log() for x, y in zip(law, base, strict=True)])


def binary_divergence(c: Ball, p: Ball) -> Ball:
    """kl(c || p) between Bernoulli laws."""
    return c * (c / p).log() + (1 - c) * ((1 - c) / (1 - p)).log()


def sigmoid(x: Ball) -> Ball:
    """1/(1 + e^-x)."""
    return 1 / (1 + (-x).exp())


def x_log_x(x: Ball) -> Ball:
    """x log x for a ball inside [0, 1], with 0 log 0 = 0; finite although log is not at 0."""
    from flint import arb

    if x > 0:
        return x * x.log()
    high = x.upper()
    if not high < 0.25:  # below 1/e the function falls, so the range is [high log high, 0]
        return arb(-0.5).union(arb(0))  # min of x log x is -1/e > -1/2
    return (high * high.log()).union(arb(0))
