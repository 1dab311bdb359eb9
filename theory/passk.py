"""pass@k: the unbiased estimate, its variance and an estimate of that, the exact value; D1, D2.

Every result is a sum or product of numbers >= 0: relative errors are about k eps.
"""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffsmooth.theory.diversity import whole
from diffsmooth.theory.policy import Float, unit_interval


def _whole(name: str, value: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    x = np.asarray(value)
    if x.dtype.kind not in "iu":
        raise ValueError(f"{name}: must hold integers, got {x.dtype}")
    return x.astype(np.int64)


def pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> Float:
    """Unbiased estimate of pass@k from c correct of n samples: 1 - C(n-c, k)/C(n, k).

    n, c are integers or integer arrays that broadcast.  The chance that the j-th of k draws without
    replacement is the first correct one, summed over j: no binomial coefficient, no cancellation.
    Source: Chen et al. 2021 (2107.03374); theory.md D1.

    Raises ValueError unless 1 <= k <= n and 0 <= c <= n, TypeError if k is no integer.
    """
    k = whole("k", k)
    total, right = _whole("n", n), _whole("c", c)
    try:
        total, right = np.broadcast_arrays(total, right)
    except ValueError as error:
        raise ValueError(
            f"c: shape {right.shape} does not broadcast with {total.shape} of n"
        ) from error
    if k < 1 or np.any(total < k):
        raise ValueError(f"k: must lie in [1, n]; got k={k}, least n={np.min(total, initial=k)}")
    if np.any((right < 0) | (right > total)):
        raise ValueError("c: must lie in [0, n]")
    miss, hit = np.ones(total.shape), np.zeros(total.shape)
    for j in range(k):
        left = total - j
        hit = hit + miss * (np.minimum(right, left) / left)
        miss = miss * (np.maximum(left - right, 0) / left)
    return np.where(total - right < k, 1.0, np.minimum(hit, 1.0))


def pass_at_k_exact(correctness: ArrayLike, k: int) -> Float:
    """1 - (1 - C)^k for C in [0, 1]: the chance that one of k draws is correct.

    Raises ValueError on k < 0 or C outside [0, 1], TypeError if k is no integer.
    """
    c, k = unit_interval(correctness, "correctness"), whole("k", k)
    if k < 0:
        raise ValueError(f"k: must be >= 0, got {k}")
    with np.errstate(divide="ignore"):
        miss = np.log1p(-c)
    return np.asarray(-np.expm1(k * miss)) if k else np.zeros_like(c)


def pass_at_k_variance(n: int, correctness: ArrayLike, k: int) -> Float:
    """Exact variance of :func:`pass_at_k` over c ~ Bin(n, C), at the true C.

    The estimate is one minus a U-statistic; its variance is a sum over the overlap j of two
    k-subsets of Q^{2k-j} (1 - Q^j), Q = 1 - C: no cancellation.  With c/n for C it is a plug-in
    estimate, biased; :func:`pass_at_k_variance_estimate` is not.

    Raises ValueError unless 1 <= k <= n.
    """
    c, k, n = unit_interval(correctness, "correctness"), whole("k", k), whole("n", n)
    if not 1 <= k <= n:
        raise ValueError(f"k: must lie in [1, n={n}], got {k}")
    out = np.zeros_like(c)
    with np.errstate(divide="ignore"):
        log_fail = np.log1p(-c)
    subsets, first = comb(n, k), max(1, 2 * k - n)
    pairs = comb(k, first) * comb(n - k, k - first)
    for j in range(first, k + 1):
        # Exact integers of any size, whose quotient is a float.
        chance = pairs / subsets
        both = np.exp((2 * k - j) * log_fail)
        out = out + chance * both * pass_at_k_exact(c, j)
        pairs = pairs * (k - j) ** 2 // ((j + 1) * (n - 2 * k + j + 1))
    return out


def pass_at_k_variance_estimate(n: ArrayLike, c: ArrayLike, k: int) -> Float:
    """Unbiased estimate of the variance of :func:`pass_at_k`, from the same n samples.

    U^2 - C(n-c, 2k)/C(n, 2k) with U = C(n-c, k)/C(n, k): both terms are unbiased, for E U^2 and for
    (1-C)^2k.  It is never negative (two disjoint k-subsets without a success are rarer than
    independence has it) and is summed as a telescope of such differences: no cancellation.
    Average it over prompts and divide by their number for the variance of a benchmark's mean, given
    its prompts.

    Raises ValueError unless 1 <= 2k <= n (no unbiased estimate exists below: the variance has
    degree 2k in C) and 0 <= c <= n, TypeError if k is no integer.
    """
    k = whole("k", k)
    total, right = np.broadcast_arrays(_whole("n", n), _whole("c", c))
    if k < 1 or np.any(total < 2 * k):
        raise ValueError(f"k: must lie in [1, n/2]; got k={k}, least n={np.min(total, initial=k)}")
    if np.any((right < 0) | (right > total)):
        raise ValueError("c: must lie in [0, n]")
    wrong = total - right
    # The j-th factor of U, and of the second k-subset's given that the first k were all wrong.
    miss, gap = np.ones(total.shape), np.zeros(total.shape)
    for j in range(k):
        first = np.maximum(wrong - j, 0) / (total - j)
        again = np.maximum(wrong - k - j, 0) / (total - k - j)
        # first - again, exactly: k c / ((n - j)(n - k - j)) where nothing is cut off at 0.
        both = k * right / ((total - j) * (total - k - j))
        gap = gap * again + miss * np.where(wrong >= k + j, both, first)
        miss = miss * first
    return np.asarray(miss * gap)
