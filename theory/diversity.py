"""Diversity of a law q, given by its logs: every measure here is Schur-concave.

log_q is (..., M) nats with -inf allowed (no mass); results are (...,).  Because every measure is
Schur-concave, one majorisation argument covers them all (theory.md, "Setting").

Every function raises ValueError, naming ``log_q``, on NaN, log-probs above 0 and probabilities that
do not sum to 1.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsmooth.theory.policy import Float, check_mass, floats, log1mexp, logsumexp


def _law(log_q: ArrayLike, name: str = "log_q") -> Float:
    x = floats(name, log_q)
    if x.ndim < 1 or x.shape[-1] < 1:
        raise ValueError(f"{name}: shape must be (..., M) with M >= 1, got {x.shape}")
    if np.any(np.isnan(x)) or np.any(x > 1e-9):
        raise ValueError(f"{name}: must hold log-probs (<= 0, no NaN)")
    check_mass(name, x)
    return np.minimum(x, 0.0)


def shannon(log_q: ArrayLike) -> Float:
    """(...,) Shannon entropy H(q) = -sum q log q, nats."""
    return 0.0 - _sum(lambda x: np.exp(x) * x, _law(log_q))


def _sum(terms: Callable[[Float], Float], x: Float) -> Float:
    """(...,) sum of terms(x) where there is mass; in pairs, which a sum with ``where`` is not."""
    there = x > -np.inf
    return np.asarray(np.sum(np.where(there, terms(np.where(there, x, 0.0)), 0.0), axis=-1))


def renyi(log_q: ArrayLike, alpha: float) -> Float:
    """(...,) Renyi entropy of order alpha >= 0, nats; Shannon's at 1, log support size at 0.

    Accurate at orders close to 1 too.  Raises ValueError on a negative order.
    """
    if not alpha >= 0:
        raise ValueError(f"alpha: must be >= 0, got {alpha}")
    x = _law(log_q)
    if alpha == 1:
        return shannon(x)
    if alpha == np.inf:
        return np.asarray(-np.max(x, axis=-1))
    there = x > -np.inf
    log_sum = logsumexp(alpha * np.where(there, x, 0.0), there)
    # sum q^alpha = 1 + sum (q^alpha - q): near 0 no digit is lost this way.
    gap = _sum(lambda x: np.exp(min(alpha, 1.0) * x) * np.expm1(abs(alpha - 1) * x), x)
    excess = np.copysign(gap, 1 - alpha)
    with np.errstate(divide="ignore", invalid="ignore"):  # far from 0 the plain sum is the better
        log_sum = np.where(excess > -0.5, np.log1p(excess), log_sum)
    return np.asarray(log_sum / (1 - alpha))


def log_collision(log_q: ArrayLike) -> Float:
    """(...,) log sum q^2."""
    return logsumexp(2 * _law(log_q))


def simpson(log_q: ArrayLike) -> Float:
    """(...,) 1 - sum q^2 = sum q (1 - q): the chance that two draws differ."""
    x = _law(log_q)
    return np.asarray(np.sum(np.exp(x) * -np.expm1(x), axis=-1))


def effective_number(log_q: ArrayLike) -> Float:
    """(...,) 1 / sum q^2."""
    return np.exp(-log_collision(log_q))


def neg_variance(log_q: ArrayLike) -> Float:
    """(...,) minus the variance of the M numbers q_i: minus the mean of (q_i - 1/M)^2."""
    x = _law(log_q)
    size = x.shape[-1]
    # In units of the largest probability, from differences of logs: exact near the uniform law.
    top = np.max(x, axis=-1, keepdims=True)
    gap = np.expm1(x - top)
    spread = np.sum((gap - np.mean(gap, axis=-1, keepdims=True)) ** 2, axis=-1) / size
    return np.asarray(0.0 - spread * np.exp(2 * top[..., 0]))


def distinct_in_k(log_q: ArrayLike, k: int) -> Float:
    """(...,) expected number of distinct trajectories in k draws: sum_i 1 - (1 - q_i)^k.

    Raises ValueError on k < 0, TypeError if k is no integer.
    """
    k = whole("k", k)
    if k < 0:
        raise ValueError(f"k: must be >= 0, got {k}")
    x = _law(log_q)
    seen = -np.expm1(k * log1mexp(x)) if k else np.zeros_like(x)
    return np.asarray(np.sum(seen, axis=-1))


def whole(name: str, value: int) -> int:
    """``value`` as an int.  Raises TypeError, naming ``name``, if it is none (2.5, "3")."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name}: must be an integer, got {value!r}") from error


def majorises(log_p: ArrayLike, log_q: ArrayLike, slack: float = 1e-12) -> NDArray[np.bool_]:
    """(...,) does p majorise q: are the partial sums of p, largest first, all at least q's?

    ``slack`` is the rounding allowed in a partial sum of K probabilities.  Raises ValueError on
    laws of different length or a slack that is not >= 0.
    """
    if not slack >= 0:
        raise ValueError(f"slack: must be >= 0, got {slack}")
    p, q = _law(log_p, "log_p"), _law(log_q)
    if p.shape[-1] != q.shape[-1]:
        raise ValueError(
            f"log_q: needs as many entries as log_p ({p.shape[-1]}), got {q.shape[-1]}; "
            "pad with -inf"
        )
    p, q = (np.cumsum(-np.sort(-np.exp(x), axis=-1), axis=-1) for x in (p, q))
    return np.asarray(np.all(p >= q - slack, axis=-1))
