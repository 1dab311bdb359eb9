"""Polynomials and their quotients with rational coefficients, as values a formula can work on.

A formula written for numbers is given an indeterminate instead; what comes back is the polynomial
itself, so that its degree is computed and not declared, and being 0 is a matter of its
coefficients.  Whatever is not an operation of the field (a comparison, ``max``, ``int``, ``abs``,
``float``, a branch) raises ``TypeError``: a formula that needs one is no polynomial.

Example::

    >>> x, y = indeterminates(["x", "y"])
    >>> ((x + y) ** 2 - x * x - 2 * x * y - y * y).is_zero
    True
    >>> max(x - 50, 0)
    Traceback (most recent call last):
    TypeError: max, min or < of x - 50: not an operation on polynomials
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from numbers import Rational
from typing import Any, NoReturn


class Computation:
    """What the operations on one set of indeterminates met: the highest degrees, the divisors."""

    def __init__(self, names: Sequence[str]) -> None:
        from sympy import QQ
        from sympy.polys.fields import field

        if not names or len(set(names)) != len(names):
            raise ValueError(f"indeterminates need distinct names, at least one; got {names}")
        self.names = tuple(names)
        self.field, *self.generators = field(list(names), QQ)
        self.degrees = [0] * len(names)
        self.divisors: dict[str, None] = {}

    def wrap(self, value: Any) -> Quotient:
        for i, d in enumerate(value.numer.degrees()):
            self.degrees[i] = max(self.degrees[i], d)
        return Quotient(value, self)


def indeterminates(names: Sequence[str]) -> tuple[Quotient, ...]:
    """One indeterminate for each name; ``ValueError`` for no name or one used twice."""
    computation = Computation(names)
    return tuple(computation.wrap(g) for g in computation.generators)


class Quotient:
    """An element of Q(x, y, ...): + - * / with its like, ints and Fractions, and integer powers."""

    __slots__ = ("_computation", "_value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Any, computation: Computation) -> None:
        self._value = value
        self._computation = computation

    @property
    def is_zero(self) -> bool:
        """Whether every coefficient of the numerator is 0."""
        return not self._value

    @property
    def computation(self) -> Computation:
        return self._computation

    def at(self, point: Mapping[str, Fraction]) -> Fraction:
        """The value at a rational point; ``ZeroDivisionError`` where the denominator vanishes."""
        values = [point[n] for n in self._computation.names]
        numer, denom = (_evaluate(p, values) for p in (self._value.numer, self._value.denom))
        return numer / denom

    def _read(self, other: Any) -> Any:
        if isinstance(other, Quotient):
            if other._computation is not self._computation:
                raise TypeError(f"{self} and {other} are of different sets of indeterminates")
            return other._value
        if isinstance(other, Rational):
            from sympy import QQ

            return self._computation.field(QQ(int(other.numerator), int(other.denominator)))
        return None

    def _new(self, value: Any) -> Quotient:
        return self._computation.wrap(value)

    def __add__(self, other: Any) -> Any:
        value = self._read(other)
        return NotImplemented if value is None else self._new(self._value + value)

    __radd__ = __add__

    def __mul__(self, other: Any) -> Any:
        value = self._read(other)
        return NotImplemented if value is None else self._new(self._value * value)

    __rmul__ = __mul__

    def __sub__(self, other: Any) -> Any:
        value = self._read(other)
        return NotImplemented if value is None else self._new(self._value - value)

    def __rsub__(self, other: Any) -> Any:
        value = self._read(other)
        return NotImplemented if value is None else self._new(value - self._value)

    def __truediv__(self, other: Any) -> Any:
        value = self._read(other)
        return NotImplemented if value is None else self._divide(self._value, value)

    def __rtruediv__(self, other: Any) -> Any:
        value = self._read(other)
        return NotImplemented if value is None else self._divide(value, self._value)

    def _divide(self, value: Any, divisor: Any) -> Quotient:
        if not divisor:
            raise ZeroDivisionError(f"{value} is divided by the polynomial 0")
        if not divisor.numer.is_ground:
            self._computation.divisors[str(divisor.numer.monic())] = None
        return self._new(value / divisor)

    def __neg__(self) -> Quotient:
        return self._new(-self._value)

    def __pos__(self) -> Quotient:
        return self

    def __pow__(self, exponent: Any) -> Any:
        if isinstance(exponent, bool) or not isinstance(exponent, Rational):
            return NotImplemented
        if exponent.denominator != 1:
            raise TypeError(f"({self}) ** {exponent}: only integer powers are polynomials")
        n = int(exponent.numerator)
        return self._new(self._value**n) if n >= 0 else 1 / self ** (-n)

    def __str__(self) -> str:
        return str(self._value)

    __repr__ = __str__

    def _refuse(self, operation: str) -> NoReturn:
        raise TypeError(f"{operation} of {self}: not an operation on polynomials")

    def __eq__(self, other: object) -> NoReturn:
        self._refuse("== or !=")

    def __lt__(self, other: Any) -> NoReturn:
        self._refuse("max, min or <")

    def __gt__(self, other: Any) -> NoReturn:
        self._refuse("max, min or >")

    def __le__(self, other: Any) -> NoReturn:
        self._refuse("<=")

    def __ge__(self, other: Any) -> NoReturn:
        self._refuse(">=")

    def __bool__(self) -> bool:
        raise TypeError(f"a branch on the value of {self}: not an operation on polynomials")

    def __abs__(self) -> NoReturn:
        self._refuse("abs")

    def __int__(self) -> NoReturn:
        self._refuse("int")

    def __float__(self) -> NoReturn:
        self._refuse("float")

    def __floor__(self) -> NoReturn:
        self._refuse("floor")

    def __ceil__(self) -> NoReturn:
        self._refuse("ceil")

    def __trunc__(self) -> NoReturn:
        self._refuse("trunc")

    def __round__(self, digits: int = 0) -> NoReturn:
        self._refuse("round")

    def __floordiv__(self, other: Any) -> NoReturn:
        self._refuse("//")

    def __mod__(self, other: Any) -> NoReturn:
        self._refuse("%")


def _evaluate(polynomial: Any, values: Sequence[Fraction]) -> Fraction:
    total = Fraction(0)
    for powers, coefficient in polynomial.terms():
        term = Fraction(int(coefficient.numerator), int(coefficient.denominator))
        for power, value in zip(powers, values, strict=True):
            term *= value**power
        total += term
    return total
