"""Rows of the oracle: a function, the questions put to it, and what is right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Pair:
    """What a function says and what is right.

    found, right
        Numbers of the same order and number; ``right`` with at least 60 digits' worth of work.
    scale
        What the error is compared with where it is larger than the right value; 0: nothing.
    shown
        The input, for a message.
    """

    found: Iterable[float]
    right: Iterable[Any]
    scale: Iterable[Any] | None
    shown: str

    def errors(self) -> Iterator[float]:
        """The relative error of every number; inf where one of the two is not finite."""
        import mpmath

        found, right = list(self.found), list(self.right)
        scale = [0] * len(right) if self.scale is None else list(self.scale)
        for ours, exact, least in zip(found, right, scale, strict=True):
            value = mpmath.mpf(float(ours))
            if value == exact:
                yield 0.0
                continue
            size = max(abs(exact), abs(least))
            # Below the normal numbers float64 has fewer digits to give.
            if size < 1e-300 and abs(value) < 1e-300:
                yield 0.0
            elif size and mpmath.isfinite(value) and mpmath.isfinite(exact):
                yield float(abs(value - exact) / size)
            else:
                yield float("inf")


@dataclass(frozen=True)
class Row:
    """One function: where it is asked, what its error is relative to, and the questions."""

    name: str
    domain: str
    relative_to: str
    ask: Callable[[np.random.Generator], Iterator[Pair]]
