"""Formal logarithms: exact arithmetic with entropies and KL divergences of rational laws.

A value is ``c + sum_p a_p log p`` over primes ``p`` with rational ``c`` and ``a_p``.  By unique
factorisation and the transcendence of e^rational (Lindemann) it is zero iff every coefficient is,
so an identity between entropies or divergences is decided with no rounding at all; a sign is
decided by Arb balls, whose precision is raised until zero lies outside the ball.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

Rational = Fraction | int


@lru_cache(maxsize=65536)
def _factors(n: int) -> tuple[tuple[int, int], ...]:
    from sympy import factorint

    return tuple((int(p), int(e)) for p, e in factorint(n).items())


class Logs:
    """An element of Q + sum over primes of Q log p.  Immutable."""

    __slots__ = ("_coefficients", "_constant")

    def __init__(self, constant: Rational = 0, coefficients: dict[int, Fraction] | None = None):
        self._constant = Fraction(constant)
        self._coefficients = {p: a for p, a in (coefficients or {}).items() if a}

    def __add__(self, other: Logs | Rational) -> Logs:
        other = other if isinstance(other, Logs) else Logs(other)
        merged = dict(self._coefficients)
        for prime, a in other._coefficients.items():
            merged[prime] = merged.get(prime, Fraction(0)) + a
        return Logs(self._constant + other._constant, merged)

    __radd__ = __add__

    def __mul__(self, factor: Rational) -> Logs:
        return Logs(self._constant * factor, {p: a * factor for p, a in self._coefficients.items()})

    __rmul__ = __mul__

    def __truediv__(self, divisor: Rational) -> Logs:
        return self * (1 / Fraction(divisor))

    def __neg__(self) -> Logs:
        return self * -1

    def __sub__(self, other: Logs | Rational) -> Logs:
        return self + (-other)

    def __rsub__(self, other: Rational) -> Logs:
        return -self + other

    def size(self) -> Fraction:
        """Sum of the absolute coefficients: 0 iff the value is 0."""
        return abs(self._constant) + sum(map(abs, self._coefficients.values()), Fraction(0))

    def arb(self, bits: int = 128) -> Any:
        """A ball that contains the value, computed with ``bits`` bits."""
        from flint import arb, ctx

        before = ctx.prec
        try:
            ctx.prec = bits
            value = arb(self._constant.numerator) / arb(self._constant.denominator)
            for prime, a in self._coefficients.items():
                value += arb(prime).log() * arb(a.numerator) / arb(a.denominator)
            return value
        finally:
            ctx.prec = before

    def sign(self) -> int:
        """-1, 0 or 1, decided rigorously."""
        if self.size() == 0:
            return 0
        bits = 128
        while True:
            ball = self.arb(bits)
            if ball > 0:
                return 1
            if ball < 0:
                return -1
            bits *= 2

    def __float__(self) -> float:
        return float(self.arb())

    def __repr__(self) -> str:
        return f"Logs({float(self):.12g})"


def log(x: Rational) -> Logs:
    """The logarithm of a positive rational.  Raises ValueError for x <= 0."""
    x = Fraction(x)
    if x <= 0:
        raise ValueError(f"log of {x}: the argument must be a positive rational")
    coefficients = {p: Fraction(e) for p, e in _factors(x.numerator)}
    for prime, e in _factors(x.denominator):
        coefficients[prime] = coefficients.get(prime, Fraction(0)) - e
    return Logs(0, coefficients)


def total(values: Iterable[Logs]) -> Logs:
    """The sum of formal logarithms."""
    result = Logs()
    for value in values:
        result = result + value
    return result


def normalised(weights: Sequence[Rational]) -> list[Fraction]:
    """The law proportional to positive rational weights."""
    mass = sum(map(Fraction, weights), Fraction(0))
    return [Fraction(w) / mass for w in weights]


def entropy(law: Sequence[Fraction]) -> Logs:
    """Shannon entropy in nats of a rational law with full support."""
    return total(-x * log(x) for x in law)


def divergence(law: Sequence[Fraction], base: Sequence[Fraction]) -> Logs:
    """Reverse KL divergence of ``law`` from ``base``, both with full support, of one length."""
    return total(x * log(x / y) for x, y in zip(law, base, strict=True))


def binary_divergence(c: Fraction, p: Fraction) -> Logs:
    """kl(c || p) between two Bernoulli laws, both in (0, 1)."""
    return divergence([c, 1 - c], [p, 1 - p])


def logit(c: Fraction) -> Logs:
    """log c/(1 - c) of a rational in (0, 1)."""
    return log(c / (1 - c))
