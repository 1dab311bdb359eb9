"""A CountDown puzzle: numbers and a target."""

from __future__ import annotations

from dataclasses import dataclass, field

from diffsmooth.llm.tasks.expression import MAX_DIGITS, MAX_LEAVES


@dataclass(frozen=True)
class Puzzle:
    """Numbers (in the order shown) and a target.

    ``solution`` is one expression known to be right, or ``None``; it is no part of the identity.
    Raises ``ValueError`` for no numbers, more than ``MAX_LEAVES`` (none could be answered),
    negative numbers or more than ``MAX_DIGITS`` digits.
    """

    nums: tuple[int, ...]
    target: int
    solution: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.nums:
            raise ValueError("nums is empty; at least one number is needed")
        if len(self.nums) > MAX_LEAVES:
            raise ValueError(f"nums has {len(self.nums)} numbers; allowed: at most {MAX_LEAVES}")
        if any(n < 0 or n >= 10**MAX_DIGITS for n in self.nums):
            raise ValueError(f"nums is {self.nums}; allowed: 0 <= n < 10**{MAX_DIGITS}")

    @property
    def key(self) -> tuple[tuple[int, ...], int]:
        """Sorted numbers and target: two puzzles with one key are the same problem."""
        return (tuple(sorted(self.nums)), self.target)
