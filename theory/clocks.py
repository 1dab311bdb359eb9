"""Clocks: how fast a flow runs along its orbit, u'(C) of a utility, from both ends of [0, 1].

Close to C = 1 a float C keeps no digit of 1 - C, and many clocks depend on it (GRPO's limit
1/sqrt(C (1-C)), pass@k's (1-C)^(k-1)).  A clock is therefore a function of log C and log(1 - C),
and says the log of its speed: neither end loses digits and nothing underflows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffsmooth.theory.policy import Float, unit_interval


@dataclass(frozen=True)
class Clock:
    """u'(C) >= 0 of a utility; theory.md A6, E1.

    log_speed
        (log C, log(1-C)), arrays of one shape, to log u'(C) of that shape.
    exact
        u'(C) for Fractions and sympy numbers, where it has a formula.
    """

    log_speed: Callable[[Float, Float], Float]
    exact: Callable[[Any], Any] | None = None

    def __call__(self, c: Any) -> Any:
        """u'(C) for C in [0, 1]: a number or an array; Fractions and sympy numbers exactly.

        inf where u' has no bound.  Raises ValueError outside [0, 1], TypeError on an exact number
        where there is no exact formula.
        """
        if is_exact(c):
            if self.exact is None:
                raise TypeError(f"C: this clock takes floats only, got {type(c).__name__}")
            return self.exact(exact_unit(c))
        return np.exp(self.log_speed(*logs(unit_interval(c))))[()]


#: What a flow takes: a :class:`Clock`, or for convenience a function of C alone, which can't tell
#: 1 - C from 0 beyond the digits that a float C has.
ClockLike = Clock | Callable[[Float], Float]


def logs(c: Float) -> tuple[Float, Float]:
    """(log C, log(1-C)) of C in [0, 1], -inf at the ends."""
    with np.errstate(divide="ignore"):
        return np.log(c), np.log1p(-c)


def log_speed(clock: ClockLike, log_c: Float, log_1mc: Float) -> Float:
    """(...,) log of the clock's speed.  Raises ValueError unless the speed is positive and finite.

    A function of C alone is asked at e^{log C}.
    """
    if isinstance(clock, Clock):
        out = np.asarray(clock.log_speed(log_c, log_1mc), dtype=np.float64)
    else:
        speed = np.asarray(clock(np.exp(np.minimum(log_c, 0.0))), dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            out = np.log(speed)
    if not np.all(np.isfinite(out)):
        raise ValueError("clock: must be positive and finite along the orbit")
    return out


def is_exact(c: Any) -> bool:
    """Is ``c`` to be computed with exactly (Fraction, sympy), not float64 or an array of it?"""
    return not isinstance(c, (float, int, np.ndarray, np.generic, list, tuple))


def exact_unit(c: Any) -> Any:
    """``c`` as a sympy expression.  Raises ValueError if it is a number outside [0, 1]."""
    import sympy

    value = sympy.sympify(c)
    if value.is_number and not 0 <= value <= 1:
        raise ValueError(f"C: must lie in [0, 1], got {c}")
    return value
