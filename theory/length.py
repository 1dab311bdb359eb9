"""What smoothing pays for when answers have lengths: its fixed points on S; theory.md C6.

The term is constant on S where log pi_i / w(L_i) = -lambda: w = 1 (sum of token log-probs), L (mean
per token), L^2 (spread).  lambda >= 0 is the only number that gives S its mass C.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from diffsmooth.theory._roots import decreasing_root
from diffsmooth.theory.policy import Float, floats, logsumexp

Reduction = Literal["sum", "mean", "spread"]
_POWER = {"sum": 0, "mean": 1, "spread": 2}
#: The square of a length must be a float.
_LONGEST = 1e150


def fixed_point(
    lengths: ArrayLike, reduction: Reduction = "sum", correctness: ArrayLike = 1.0
) -> tuple[Float, Float]:
    """(log pi on S (..., M), lambda (...,)): log pi_i = -lambda L_i^p, p = 0, 1, 2, total mass C.

    lengths (..., M) >= 1, correctness (...,).  "sum" is uniform; "mean" favours short answers.

    Raises ValueError on lengths below 1, C outside (0, 1] or an unknown reduction.
    """
    size, share = floats("lengths", lengths), floats("correctness", correctness)
    if size.ndim < 1 or not size.shape[-1] or not np.all((size >= 1) & (size <= _LONGEST)):
        raise ValueError(f"lengths: must be (..., M) numbers in [1, {_LONGEST:g}]")
    if not np.all((share > 0) & (share <= 1)):
        raise ValueError(f"correctness: must lie in (0, 1], got {correctness!r}")
    if reduction not in _POWER:
        raise ValueError(f"reduction: must be sum, mean or spread, got {reduction!r}")
    try:
        np.broadcast_shapes(share.shape, size.shape[:-1])
    except ValueError as error:
        raise ValueError(
            f"correctness: shape {share.shape} does not fit lengths {size.shape}"
        ) from error
    weights = size ** _POWER[reduction]
    # In units of the shortest: lambda' = lambda min L^p.
    unit = np.min(weights, axis=-1)
    ratio = weights / unit[..., None]
    target = np.log(share)

    def excess(rate: Float) -> tuple[Float, Float]:
        log_mass = -rate[..., None] * ratio
        total = logsumexp(log_mass)
        mean = np.sum(np.exp(log_mass - total[..., None]) * ratio, axis=-1)
        return total - target, -mean

    # M e^{-lambda' max} <= C <= M e^{-lambda'} brackets the root.
    spare = np.log(size.shape[-1]) - target
    low = spare / np.max(ratio, axis=-1)
    rate = decreasing_root(excess, low, np.broadcast_to(spare, low.shape)) / unit
    return np.asarray(-rate[..., None] * weights), np.asarray(rate)
