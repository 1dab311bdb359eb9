"""Positive and negative numbers as exact products, so large that no float could hold them.

``1/2004!`` and ``1/2006!`` differ by a factor of four million and are both 0 as floats.  Here a
number is a fraction times powers ``b^e`` and factorials ``n!^e`` that are too large to write out;
nothing is evaluated that would take more than some thousand digits.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from fractions import Fraction

#: Largest numbers that are written out, in bits.
MAX_BITS = 40_000
#: Largest factorial that is written out.
MAX_FACTORIAL = 3_000
#: Largest difference n - m for which n!/m! is written out.
MAX_RANGE = 1_000


class Unbounded(Exception):
    """The number could only be had by a computation without bound."""


@dataclass(frozen=True)
class Exact:
    """``rational`` times the powers; ``powers[b] = e`` means b^e, ``factorials[n] = e`` n!^e."""

    rational: Fraction
    powers: dict[int, int] = field(default_factory=dict)
    factorials: dict[int, int] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether the rational is all of it."""
        return not (self.powers or self.factorials)

    def __add__(self, other: Exact) -> Exact:
        if not (self.plain and other.plain):
            if other.rational == 0:
                return self
            if self.rational == 0:
                return other
            raise Unbounded
        return Exact(_bounded(self.rational + other.rational))

    def __neg__(self) -> Exact:
        return Exact(-self.rational, self.powers, self.factorials)

    def __mul__(self, other: Exact) -> Exact:
        return Exact(
            _bounded(self.rational * other.rational),
            _merged(self.powers, other.powers),
            _merged(self.factorials, other.factorials),
        )

    def inverse(self) -> Exact:
        """One over it.  Raises ``ZeroDivisionError`` for 0."""
        return Exact(
            1 / self.rational,
            {base: -e for base, e in self.powers.items()},
            {n: -e for n, e in self.factorials.items()},
        )

    def power(self, exponent: int) -> Exact:
        """Raised to an integer.  Raises ``ZeroDivisionError`` for 0 to a negative power."""
        r = self.rational
        if exponent < 0:
            return self.inverse().power(-exponent)
        size = max(abs(r.numerator).bit_length(), r.denominator.bit_length())
        rational, powers = Fraction(1), {b: e * exponent for b, e in self.powers.items()}
        if size <= 1 or size * exponent <= MAX_BITS:
            sign = -1 if r < 0 and exponent % 2 else 1
            rational = Fraction(sign * int(r != 0 or exponent == 0)) if size <= 1 else r**exponent
        else:
            if exponent.bit_length() > MAX_BITS:
                raise Unbounded
            if r < 0 and exponent % 2:
                rational = Fraction(-1)
            for base, e in ((abs(r.numerator), exponent), (r.denominator, -exponent)):
                if base > 1:
                    powers = _merged(powers, {base: e})
        return Exact(
            rational, powers, {n: e * exponent for n, e in self.factorials.items() if exponent}
        )

    def integer(self) -> int | None:
        """Its value where that is an integer that is written out."""
        if self.plain and self.rational.denominator == 1:
            return self.rational.numerator
        return None

    def factorial(self) -> Exact:
        """Its factorial.  Raises ``Unbounded`` for what is no integer of reasonable size."""
        n = self.integer()
        if n is None or n < 0 or n.bit_length() > 900:
            raise Unbounded
        if n <= MAX_FACTORIAL:
            return Exact(Fraction(math.factorial(n)))
        return Exact(Fraction(1), {}, {n: 1})

    def equals(self, other: Exact) -> bool:
        """Exact equality; what cannot be decided in bounded time is not equal."""
        if self.plain and other.plain:
            return self.rational == other.rational
        if self.rational == 0 or other.rational == 0:
            return self.rational == other.rational
        ratio = self * other.inverse()
        return ratio.rational > 0 and not ratio._far_from_one() and ratio._is_one()

    def _far_from_one(self) -> bool:
        """Whether the logarithm is away from 0 by more than floats could be wrong."""
        try:
            terms = [_log(self.rational.numerator), -_log(self.rational.denominator)]
            terms += [e * _log(base) for base, e in self.powers.items()]
            terms += [e * math.lgamma(n + 1.0) for n, e in self.factorials.items()]
            scale = math.fsum(map(abs, terms))
            return abs(math.fsum(terms)) > 1e-9 * (1.0 + scale)
        except OverflowError:
            return False

    def _is_one(self) -> bool:
        rational = self.rational
        left: list[list[int]] = [[n, e] for n, e in sorted(self.factorials.items())]
        for (n, e), upper in itertools.pairwise(left):
            # n!^e upper!^f: all of n's exponent moves to the next one up.
            span = upper[0] - n
            if span > MAX_RANGE or abs(e) > 8:
                return False
            product = Fraction(math.prod(range(n + 1, upper[0] + 1)))
            rational = _bounded(rational * product ** (-e))
            upper[1] += e
        if left and left[-1][1]:
            return False
        return _prime_exponents_vanish(rational, self.powers)


def _prime_exponents_vanish(rational: Fraction, powers: dict[int, int]) -> bool:
    primes = sorted({p for base in powers for p in _prime_factors(base)})
    for p in primes:
        exponent = sum(e * _valuation(base, p) for base, e in powers.items())
        exponent += _valuation(rational.numerator, p) - _valuation(rational.denominator, p)
        if exponent:
            return False
        rational /= Fraction(p) ** (
            _valuation(rational.numerator, p) - _valuation(rational.denominator, p)
        )
    return rational == 1


def _prime_factors(n: int) -> list[int]:
    """Factors of ``n`` by trial division up to 10^4; what is left counts as one of them."""
    factors, p = [], 2
    while p * p <= n and p < 10_000:
        if n % p == 0:
            factors.append(p)
            while n % p == 0:
                n //= p
        p += 1 if p == 2 else 2
    return [*factors, n] if n > 1 else factors


def _valuation(n: int, p: int) -> int:
    count = 0
    while n and n % p == 0:
        n //= p
        count += 1
    return count


def _log(n: int) -> float:
    return math.log(abs(n))


def _merged(a: dict[int, int], b: dict[int, int]) -> dict[int, int]:
    total = dict(a)
    for key, value in b.items():
        total[key] = total.get(key, 0) + value
    return {key: value for key, value in total.items() if value}


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 4 * MAX_BITS:
        raise Unbounded
    return value
