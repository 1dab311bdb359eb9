"""Diversity of a law q, given by its logs: every measure here is Schur-concave.

log_q is (..., M) nats with -inf allowed (no mass); results are (...,).  Because every measure is
Schur-concave, one majorisation argument covers them all (theory.md, "Setting").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsmooth.theory.policy import Float, logsumexp


def _law(log_q: ArrayLike) -> Float:
    x = np.asarray(log_q, dtype=np.float64)
    if x.ndim < 1 or x.shape[-1] < 1:
        raise ValueError(f"log_q: shape must be (..., M) with M >= 1, got {x.shape}")
    if np.any(np.isnan(x)) or np.any(x > 1e-9):
        raise ValueError("log_q: must hold log-probs (<= 0, no NaN)")
    return x


def shannon(log_q: ArrayLike) -> Float:
    """(...,) Shannon entropy H(q) = -sum q log q, nats."""
    x = _law(log_q)
    return np.asarray(-np.sum(np.exp(x) * np.where(x == -np.inf, 0.0, x), axis=-1))


def renyi(log_q: ArrayLike, alpha: float) -> Float:
    """(...,) Renyi entropy of order alpha >= 0, nats; Shannon's at 1, log support size at 0.

    Raises ValueError on a negative order.
    """
    if not alpha >= 0:
        raise ValueError(f"alpha: must be >= 0, got {alpha}")
    x = _law(log_q)
    if alpha == 1:
        return shannon(x)
    if alpha == np.inf:
        return np.asarray(-np.max(x, axis=-1))
    powers = np.where(x == -np.inf, -np.inf, alpha * np.where(x == -np.inf, 0.0, x))
    return np.asarray(logsumexp(powers) / (1 - alpha))


def log_collision(log_q: ArrayLike) -> Float:
    """(...,) log sum q^2."""
    return logsumexp(2 * _law(log_q))


def simpson(log_q: ArrayLike) -> Float:
    """(...,) 1 - sum q^2: the chance that two draws differ."""
    return np.asarray(-np.expm1(log_collision(log_q)))


def effective_number(log_q: ArrayLike) -> Float:
    """(...,) 1 / sum q^2."""
    return np.exp(-log_collision(log_q))


def neg_variance(log_q: ArrayLike) -> Float:
    """(...,) minus the variance of the M numbers q_i: 1/M^2 - (sum q^2)/M."""
    x = _law(log_q)
    size = x.shape[-1]
    return np.asarray(1.0 / size**2 - np.exp(log_collision(x)) / size)


def distinct_in_k(log_q: ArrayLike, k: int) -> Float:
    """(...,) expected number of distinct trajectories in k draws: sum_i 1 - (1 - q_i)^k.

    Raises ValueError on k < 0.
    """
    if k < 0:
        raise ValueError(f"k: must be >= 0, got {k}")
    x = np.minimum(_law(log_q), 0.0)
    with np.errstate(divide="ignore"):
        log_miss = np.where(x == 0.0, -np.inf, np.log1p(-np.exp(x)))
    seen = -np.expm1(k * log_miss) if k else np.zeros_like(x)
    return np.asarray(np.sum(seen, axis=-1))


def majorises(log_p: ArrayLike, log_q: ArrayLike, slack: float = 1e-12) -> NDArray[np.bool_]:
    """(...,) does p majorise q: are the partial sums of p, largest first, all at least q's?

    ``slack`` is the rounding allowed in a partial sum of K probabilities.
    """
    p = -np.sort(-np.exp(_law(log_p)), axis=-1)
    q = -np.sort(-np.exp(_law(log_q)), axis=-1)
    return np.asarray(np.all(np.cumsum(p, axis=-1) >= np.cumsum(q, axis=-1) - slack, axis=-1))
