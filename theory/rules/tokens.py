"""Rivals that act on single tokens inside the loss: clip-higher, Clip-Cov, KL-Cov, SimKO.

They select or reweigh tokens of the policy-gradient loss; the advantage comes from any rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffsmooth.theory.rules._backend import Array, check_fraction, namespace


@dataclass(frozen=True)
class ClipBounds:
    """Interval [1 - low, 1 + high] to which the importance ratio is clipped (PPO).

    ``ClipBounds()`` is PPO's .2/.2; ``CLIP_HIGHER`` is DAPO's .2/.28 (2503.14476).
    Raises ValueError unless 0 <= low <= 1 and high >= 0.
    """

    low: float = 0.2
    high: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.low <= 1:
            raise ValueError(f"low: must lie in [0, 1], got {self.low}")
        if not self.high >= 0:
            raise ValueError(f"high: must be >= 0, got {self.high}")

    def passes(self, ratio: Array, advantage: Array) -> Array:
        """Bool, broadcast: where the clipped surrogate still has a gradient.

        It has none where the ratio has left the interval on the side that the advantage pushes to.
        """
        above = (ratio > 1 + self.high) & (advantage > 0)
        below = (ratio < 1 - self.low) & (advantage < 0)
        return ~(above | below)


CLIP_HIGHER = ClipBounds(0.2, 0.28)


def token_covariance(advantage: Array, logps: Array, mask: Array) -> Array:
    """(B, T) (A_t - mean A)(l_t - mean l), means over the unmasked tokens of the batch; 0 masked.

    advantage is (B,) or (B, T).  Source: 2505.22617, Eq. 10.
    Raises ValueError if no token is unmasked.
    """
    xp = namespace(advantage, logps)
    weight = xp.astype(mask, logps.dtype)
    count = xp.sum(weight)
    if not bool(count > 0):
        raise ValueError("mask: no token is unmasked")
    spread = advantage if advantage.ndim == 2 else xp.broadcast_to(advantage[:, None], logps.shape)
    clean = xp.where(mask, logps, xp.zeros_like(logps))
    centred_advantage = spread - xp.sum(spread * weight) / count
    centred_logps = clean - xp.sum(clean * weight) / count
    return centred_advantage * centred_logps * weight


def clip_cov_drop(
    advantage: Array,
    logps: Array,
    mask: Array,
    uniforms: Array,
    *,
    fraction: float = 2e-4,
    low: float = 1.0,
    high: float = 5.0,
) -> Array:
    """(B, T) bool: tokens whose gradient Clip-Cov drops.

    ``ceil(fraction * unmasked tokens)`` tokens, chosen at random by the smallest of ``uniforms``
    (B, T) among those with low < cov < high (all of them if there are fewer).
    Source: 2505.22617.  Raises ValueError on fraction outside [0, 1] or low >= high.
    """
    check_fraction("fraction", fraction)
    if not low < high:
        raise ValueError(f"low: must be below high, got low={low}, high={high}")
    xp = namespace(advantage, logps)
    covariance = token_covariance(advantage, logps, mask)
    candidate = (covariance > low) & (covariance < high) & mask
    key = xp.where(candidate, uniforms, xp.full_like(uniforms, float("inf")))
    return _smallest(xp, key, _count(xp, mask, fraction)) & candidate


def kl_cov_select(advantage: Array, logps: Array, mask: Array, *, fraction: float = 2e-3) -> Array:
    """(B, T) bool: the ``ceil(fraction * unmasked tokens)`` tokens of largest covariance.

    KL-Cov adds a KL penalty to the old policy on them.  Source: 2505.22617.
    Raises ValueError on fraction outside [0, 1].
    """
    check_fraction("fraction", fraction)
    xp = namespace(advantage, logps)
    covariance = token_covariance(advantage, logps, mask)
    key = xp.where(mask, -covariance, xp.full_like(covariance, float("inf")))
    return _smallest(xp, key, _count(xp, mask, fraction)) & mask


def simko_weights(
    log_probs: Array,
    taken: Array,
    positive: Array,
    forking: Array,
    *,
    alpha: float = 0.01,
    top: int = 3,
    penalty: float = 1.1,
) -> Array:
    """(N, V) weights w of the surrogate sum_v w_v log pi_v * A at N token positions.

    Positions of correct answers (``positive``) that fork (``forking``: high entropy) spread alpha
    evenly over the ``top`` likeliest tokens and keep 1 - alpha on the token taken; positions of
    incorrect answers weigh a taken top-1 token ``penalty`` times; all others weigh the token taken
    by 1.  log_probs (N, V) nats, taken (N,) token ids, positive and forking (N,) bool.
    Source: 2510.14807.  Raises ValueError on alpha outside [0, 1], top < 1 or top > V.
    """
    check_fraction("alpha", alpha)
    xp = namespace(log_probs)
    vocabulary = log_probs.shape[1]
    if not 1 <= top <= vocabulary:
        raise ValueError(f"top: must lie in [1, {vocabulary}], got {top}")
    tokens = xp.arange(vocabulary)
    if hasattr(log_probs, "device") and hasattr(tokens, "to"):
        tokens = tokens.to(log_probs.device)
    one_hot = xp.astype(taken[:, None] == tokens[None, :], log_probs.dtype)
    descending = xp.argsort(-log_probs, axis=1, stable=True)
    rank = xp.argsort(descending, axis=1, stable=True)
    spread = xp.astype(rank < top, log_probs.dtype) * (alpha / top)
    smoothed = (1 - alpha) * one_hot + spread
    mode = xp.astype((rank == 0), log_probs.dtype)
    penalised = one_hot * (1 + (penalty - 1) * mode)
    kept = xp.where((positive & forking)[:, None], smoothed, one_hot)
    return xp.where(positive[:, None], kept, penalised)


def _count(xp: Any, mask: Array, fraction: float) -> int:
    total = int(xp.sum(xp.astype(mask, xp.int64)))
    return min(total, -int(-(fraction * total) // 1))


def _smallest(xp: Any, key: Array, count: int) -> Array:
    """Bool of the shape of ``key``: its ``count`` smallest entries (ties by position)."""
    flat = xp.reshape(key, (-1,))
    order = xp.argsort(flat, stable=True)
    return xp.reshape(xp.argsort(order, stable=True) < count, key.shape)
