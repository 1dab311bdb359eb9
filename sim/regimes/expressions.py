"""Every CountDown expression over a few distinct numbers, with its exact value and its class.

An expression is a binary tree that uses each number once.  Two trees are the same solution if they
are the same rational function of the numbers; on distinct symbols used once that is the quotient by
commutativity, associativity and the sign and inverse rules (1, 6, 68, 1170 classes, OEIS A140606).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations

#: Arithmetic modulo a prime tells rational functions apart at a fixed generic point.
_PRIME = (1 << 61) - 1
_POINT = (0x1F83D9ABFB41BD6B, 0x137E2179B3E2A9F1, 0x0C3A5C85C97CB312, 0x1B873593CC9E2D51)


@dataclass(frozen=True)
class Expression:
    """A tree over number positions: ``shape`` is an index or (operator, left, right).

    key
        The value at the generic point modulo a prime: equal keys, equal rational functions.
    """

    shape: int | tuple[str, Expression, Expression]
    key: int

    def value(self, numbers: tuple[int, ...]) -> Fraction | None:
        """Exact value; None where it divides by zero."""
        if isinstance(self.shape, int):
            return Fraction(numbers[self.shape])
        operator, left, right = self.shape
        x, y = left.value(numbers), right.value(numbers)
        if x is None or y is None or (operator == "/" and y == 0):
            return None
        return {"+": x + y, "-": x - y, "*": x * y}[operator] if operator != "/" else x / y

    def text(self, numbers: tuple[int, ...]) -> str:
        """Infix text, every inner operation in parentheses unless it needs none."""
        if isinstance(self.shape, int):
            return str(numbers[self.shape])
        operator, left, right = self.shape
        first = left._inside(operator, False, numbers)
        return f"{first}{operator}{right._inside(operator, True, numbers)}"

    def operators(self) -> str:
        """The operators from left to right."""
        if isinstance(self.shape, int):
            return ""
        operator, left, right = self.shape
        return left.operators() + operator + right.operators()

    def _inside(self, outer: str, right: bool, numbers: tuple[int, ...]) -> str:
        text = self.text(numbers)
        if isinstance(self.shape, int):
            return text
        strength = {"+": 1, "-": 1, "*": 2, "/": 2}
        mine, theirs = strength[self.shape[0]], strength[outer]
        # a+(b+c) is written with its parentheses: it is another text than a+b+c.
        return f"({text})" if mine < theirs or (right and mine == theirs) else text


@lru_cache(maxsize=8)
def expressions(count: int) -> tuple[Expression, ...]:
    """All trees over ``count`` numbers: 1, 8, 192, 7680.  Raises ValueError beyond 4."""
    if not 1 <= count <= len(_POINT):
        raise ValueError(f"count: between 1 and {len(_POINT)} numbers, got {count}")
    return tuple(_over(tuple(range(count))))


def _over(positions: tuple[int, ...]) -> Iterator[Expression]:
    if len(positions) == 1:
        yield Expression(positions[0], _POINT[positions[0]] % _PRIME)
        return
    for size in range(1, len(positions)):
        for chosen in combinations(positions, size):
            rest = tuple(p for p in positions if p not in chosen)
            for left in _over(chosen):
                for right in _over(rest):
                    for operator in "+-*/":
                        yield Expression(
                            (operator, left, right), _apply(operator, left.key, right.key)
                        )


def _apply(operator: str, x: int, y: int) -> int:
    if operator == "+":
        return (x + y) % _PRIME
    if operator == "-":
        return (x - y) % _PRIME
    if operator == "*":
        return x * y % _PRIME
    return x * pow(y, -1, _PRIME) % _PRIME
