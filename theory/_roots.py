"""Roots of decreasing functions, one for every element of a batch, by safeguarded bisection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffsmooth.theory.policy import Float

#: 2 for the exponent's range, 53 for the digits, and room for the switch between the two.
_ROUNDS = 1100


def decreasing_root(
    function: Callable[[Float], tuple[Float, Float]], low: Float, high: Float
) -> Float:
    """x with f(x) = 0 between ``low`` and ``high`` (...,), where f(low) >= 0 >= f(high).

    ``function`` returns (f, f') of arrays (...,).  Newton's step where it stays inside the bracket
    and the bracket keeps shrinking, bisection elsewhere: to the last digit, or to where f's own
    rounding hides the root.
    """
    a, b = (np.array(x, dtype=np.float64) for x in np.broadcast_arrays(low, high))
    x, width = 0.5 * (a + b), b - a
    done = np.zeros(x.shape, dtype=bool)  # a root does not depend on its neighbours
    for number in range(_ROUNDS):
        value, slope = function(x)
        a, b = np.where(value >= 0, x, a), np.where(value <= 0, x, b)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            newton = x - value / slope
        # Every third round the bracket must have shrunk to a quarter, or it is bisected.
        check = number % 3 == 2
        slow = check & (b - a > 0.25 * width)
        width = np.where(check, b - a, width)
        new = np.where((newton > a) & (newton < b) & ~slow, newton, 0.5 * (a + b))
        new = np.where(done | (value == 0), x, new)
        done |= np.abs(new - x) <= 2 * np.finfo(np.float64).eps * np.abs(x)
        x = new
        if np.all(done):
            break
    return x
