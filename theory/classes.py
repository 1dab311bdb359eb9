"""Surface forms: a partition of S into classes, and what a group can tell of them; theory.md C8."""

from __future__ import annotations

from math import comb, log

import numpy as np
from numpy.typing import ArrayLike

from diffsmooth.theory.policy import Float, logsumexp


def class_log_masses(log_q: ArrayLike, classes: ArrayLike, count: int | None = None) -> Float:
    """(..., count) log mass of every class 0..count-1 of the laws log q (..., M), classes (M,).

    Raises ValueError on class ids that are not integers in [0, count).
    """
    ids = np.asarray(classes)
    x = np.asarray(log_q, dtype=np.float64)
    if ids.dtype.kind not in "iu" or ids.shape != x.shape[-1:]:
        raise ValueError(f"classes: must be ({x.shape[-1]},) integers, got {ids.dtype} {ids.shape}")
    size = int(ids.max()) + 1 if count is None else count
    if ids.min() < 0 or ids.max() >= size:
        raise ValueError(f"classes: must lie in [0, {size})")
    return np.stack([logsumexp(x, ids == label) for label in range(size)], axis=-1)


def expected_log_share(q: float, n: int) -> float:
    """E[log share] of an answer's own class among n correct answers: sum over j ~ Bin(n-1, q).

    The answer itself is one; the share is (1 + j)/n.  Raises ValueError unless 0 < q <= 1, n >= 1.
    """
    if not 0 < q <= 1 or n < 1:
        raise ValueError(f"q, n: need 0 < q <= 1 and n >= 1, got q={q}, n={n}")
    return sum(comb(n - 1, j) * q**j * (1 - q) ** (n - 1 - j) * log((1 + j) / n) for j in range(n))


def log_share_bias(q: float, n: int) -> float:
    """Bias of the log class share as an estimate of log q: positive for rare classes; C8."""
    return expected_log_share(q, n) - log(q)
