"""First derivatives of functions of Arb balls, obtained from the functions themselves.

Forward-mode differentiation: a function written for balls is given :class:`Slopes` instead, a ball
and balls that enclose its partial derivatives, and the chain rule is followed operation by
operation.  So a gradient is never declared.  An operation whose derivative is not known here (a
branch on the value, ``upper``, ``union``) raises ``TypeError``.

Example::

    >>> from flint import arb
    >>> (value,) = gradient(lambda x: x * x.log(), [arb(1)])
    >>> value.contains(1)
    True
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

Ball = Any  # flint.arb; python-flint ships no types


def gradient(f: Callable[..., Any], at: Sequence[Ball]) -> list[Ball]:
    """Balls that enclose the partial derivatives of ``f`` on the box ``at``, in order.

    Raises ``TypeError`` where ``f`` uses an operation that is not differentiated here.
    """
    from flint import arb

    n = len(at)
    arguments = [
        Slopes(x, tuple(arb(1) if i == j else arb(0) for j in range(n))) for i, x in enumerate(at)
    ]
    result = f(*arguments)
    if not isinstance(result, Slopes):  # a constant
        return [arb(0)] * n
    return list(result.partials)


class Slopes:
    """A ball and the balls of its partial derivatives."""

    __slots__ = ("partials", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Ball, partials: tuple[Ball, ...]) -> None:
        self.value = value
        self.partials = partials

    def _chain(self, value: Ball, derivative: Ball) -> Slopes:
        return Slopes(value, tuple(derivative * p for p in self.partials))

    def __add__(self, other: Any) -> Slopes:
        if isinstance(other, Slopes):
            partials = tuple(p + q for p, q in zip(self.partials, other.partials, strict=True))
            return Slopes(self.value + other.value, partials)
        return Slopes(self.value + other, self.partials)

    __radd__ = __add__

    def __neg__(self) -> Slopes:
        return Slopes(-self.value, tuple(-p for p in self.partials))

    def __sub__(self, other: Any) -> Any:
        return self + (-other)

    def __rsub__(self, other: Any) -> Any:
        return (-self) + other

    def __mul__(self, other: Any) -> Slopes:
        if isinstance(other, Slopes):
            partials = tuple(
                p * other.value + self.value * q
                for p, q in zip(self.partials, other.partials, strict=True)
            )
            return Slopes(self.value * other.value, partials)
        return Slopes(self.value * other, tuple(p * other for p in self.partials))

    __rmul__ = __mul__

    def _reciprocal(self) -> Slopes:
        inverse = 1 / self.value
        return self._chain(inverse, -inverse * inverse)

    def __truediv__(self, other: Any) -> Slopes:
        if isinstance(other, Slopes):
            return self * other._reciprocal()
        return Slopes(self.value / other, tuple(p / other for p in self.partials))

    def __rtruediv__(self, other: Any) -> Any:
        return self._reciprocal() * other

    def __pow__(self, exponent: Any) -> Any:
        if isinstance(exponent, int) and not isinstance(exponent, bool):
            return self.power(exponent)
        return (exponent * self.log()).exp()

    def __rpow__(self, base: Any) -> Any:
        from flint import arb

        return (self * arb(base).log()).exp()

    def power(self, n: int) -> Slopes:
        """The n-th power, n an integer."""
        return self._chain(
            power(self.value, n), n * power(self.value, n - 1) if n else self.value * 0
        )

    def exp(self) -> Slopes:
        e = self.value.exp()
        return self._chain(e, e)

    def log(self) -> Slopes:
        return self._chain(self.value.log(), 1 / self.value)

    def sqrt(self) -> Slopes:
        root = self.value.sqrt()
        return self._chain(root, 1 / (2 * root))

    def sin(self) -> Slopes:
        return self._chain(self.value.sin(), self.value.cos())

    def cos(self) -> Slopes:
        return self._chain(self.value.cos(), -self.value.sin())

    def sinh(self) -> Slopes:
        return self._chain(self.value.sinh(), self.value.cosh())

    def cosh(self) -> Slopes:
        return self._chain(self.value.cosh(), self.value.sinh())

    def tanh(self) -> Slopes:
        t = self.value.tanh()
        return self._chain(t, 1 - t * t)

    def nonnegative_part(self) -> Slopes:
        """max(x, 0): its slope lies between 0 and 1 where the ball reaches below 0."""
        from flint import arb

        inside = self.value >= 0
        return self._chain(
            self.value.nonnegative_part(), arb(1) if inside else arb(0).union(arb(1))
        )

    def __abs__(self) -> Slopes:
        from flint import arb

        if self.value >= 0:
            return self
        return -self if self.value <= 0 else self._chain(abs(self.value), arb(-1).union(arb(1)))

    def _refuse(self, operation: str) -> NoReturn:
        raise TypeError(f"no derivative is known through {operation}; call without slopes=True")

    def __lt__(self, other: Any) -> NoReturn:
        self._refuse("a comparison")

    __gt__ = __le__ = __ge__ = __lt__

    def __eq__(self, other: object) -> NoReturn:
        self._refuse("a comparison")

    def __bool__(self) -> bool:
        raise TypeError("no derivative is known through a branch on the value")

    def __float__(self) -> NoReturn:
        self._refuse("float")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):  # a protocol that another type asks for; it has its own answer
            raise AttributeError(name)
        self._refuse(name)


def power(x: Any, n: int) -> Any:
    """``x**n`` for an integer n; python-flint's own ``**`` is nan on balls that contain 0."""
    from flint import arb

    if isinstance(x, Slopes):
        return x.power(n)
    if n < 0:
        return 1 / power(x, -n)
    if n == 0:
        return arb(1)
    half = power(x, n // 2)
    square = (half * half).nonnegative_part()
    return square * x if n % 2 else square
