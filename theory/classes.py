"""Surface forms: a partition of S into classes, and what a group can tell of them; theory.md C8."""

from __future__ import annotations

from math import log, log1p

import numpy as np
from numpy.typing import ArrayLike

from diffsmooth.theory.diversity import whole
from diffsmooth.theory.policy import Float, floats


def class_log_masses(log_q: ArrayLike, classes: ArrayLike, count: int | None = None) -> Float:
    """(..., count) log mass of every class 0..count-1 of the laws log q (..., M), classes (M,).

    -inf for a class without mass.  One sort, whatever the number of classes.
    Raises ValueError on class ids that are not integers in [0, count) or do not fit ``log_q``.
    """
    ids = np.asarray(classes)
    x = floats("log_q", log_q)
    if x.ndim < 1 or not x.shape[-1] or np.any(np.isnan(x)) or np.any(x > 1e-9):
        raise ValueError(f"log_q: must be (..., M) log-probs <= 0, M >= 1; got shape {x.shape}")
    if ids.dtype.kind not in "iu" or ids.shape != x.shape[-1:]:
        raise ValueError(f"classes: must be ({x.shape[-1]},) integers, got {ids.dtype} {ids.shape}")
    size = int(ids.max()) + 1 if count is None else whole("count", count)
    if ids.min() < 0 or ids.max() >= size:
        raise ValueError(f"classes: must lie in [0, {size})")
    order = np.argsort(ids, kind="stable")
    present, starts, members = np.unique(ids[order], return_index=True, return_counts=True)
    arranged = x[..., order]
    top = np.maximum.reduceat(arranged, starts, axis=-1)
    shift = np.where(top > -np.inf, top, 0.0)
    total = np.add.reduceat(np.exp(arranged - np.repeat(shift, members, axis=-1)), starts, axis=-1)
    out = np.full((*x.shape[:-1], size), -np.inf)
    out[..., present] = np.log(np.where(total > 0, total, 1.0)) + top
    return out


def expected_log_share(q: float, n: int) -> float:
    """E[log share] of an answer's own class among n correct answers: sum over j ~ Bin(n-1, q).

    The answer itself is one; the share is (1 + j)/n.  The binomial weights are taken in logs.
    Raises ValueError unless 0 < q <= 1 and n >= 1, TypeError if n is no integer.
    """
    if not 0 < q <= 1:
        raise ValueError(f"q: must lie in (0, 1], got {q}")
    if whole("n", n) < 1:
        raise ValueError(f"n: must be >= 1, got {n}")
    if q == 1:
        return 0.0
    from scipy.special import gammaln

    j = np.arange(n, dtype=np.float64)
    ways = gammaln(n) - gammaln(j + 1) - gammaln(n - j)
    weight = np.exp(ways + j * log(q) + (n - 1 - j) * log1p(-q))
    return float(np.sum(weight * np.log((1 + j) / n)))


def log_share_bias(q: float, n: int) -> float:
    """Bias of the log class share as an estimate of log q: positive for rare classes; C8."""
    return expected_log_share(q, n) - log(q)
