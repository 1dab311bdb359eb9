"""What smoothing pays for when answers have lengths: its fixed points on S; theory.md C6.

The term is constant on S where log pi_i / w(L_i) = -lambda: w = 1 (sum of token log-probs), L (mean
per token), L^2 (spread).  lambda >= 0 is the only number that gives S its mass C.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from diffsmooth.theory.policy import Float, floats, logsumexp

Reduction = Literal["sum", "mean", "spread"]
_POWER = {"sum": 0, "mean": 1, "spread": 2}
#: The square of a length must be a float.
_LONGEST = 1e150


def fixed_point(
    lengths: ArrayLike, reduction: Reduction = "sum", correctness: float = 1.0
) -> tuple[Float, float]:
    """(log pi on S (M,), lambda): log pi_i = -lambda L_i^p with p = 0, 1, 2 and total mass C.

    lengths (M,) >= 1.  "sum" is uniform; "mean" favours short answers.

    Raises ValueError on lengths below 1, C outside (0, 1] or an unknown reduction.
    """
    size = floats("lengths", lengths)
    if size.ndim != 1 or not size.size or not np.all((size >= 1) & (size <= _LONGEST)):
        raise ValueError(f"lengths: must be (M,) numbers in [1, {_LONGEST:g}]")
    if not 0 < correctness <= 1:
        raise ValueError(f"correctness: must lie in (0, 1], got {correctness}")
    if reduction not in _POWER:
        raise ValueError(f"reduction: must be sum, mean or spread, got {reduction!r}")
    weights = size ** _POWER[reduction]
    target = float(np.log(correctness))

    def excess(rate: float) -> float:
        return float(logsumexp(-rate * weights)) - target

    # M e^{-lambda w_max} <= C-mass <= M e^{-lambda w_min} brackets the root.
    spare = float(np.log(size.size)) - target
    low, high = spare / float(weights.max()), spare / float(weights.min())
    if low == high or excess(low) <= 0:
        rate = low
    elif excess(high) >= 0:
        rate = high
    else:
        rate = float(brentq(excess, low, high, xtol=1e-300, rtol=4 * np.finfo(np.float64).eps))
    return -rate * weights, rate
