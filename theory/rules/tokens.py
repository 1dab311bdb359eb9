"""Rivals that act on single tokens inside the loss: clip-higher, Clip-Cov, KL-Cov, SimKO.

They select or reweigh tokens of the policy-gradient loss; the advantage comes from any rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from diffsmooth.theory.rules._backend import Array, check_fraction, namespace
from diffsmooth.theory.rules.base import among

#: Whose quantile decides which tokens fork.
Scope = Literal["response", "batch"]


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
#: No clipping: the surrogate keeps its gradient whatever the ratio.
UNCLIPPED = ClipBounds(1.0, float("inf"))


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

    ``max(1, int(fraction * unmasked tokens))`` tokens, chosen at random by the smallest of
    ``uniforms`` (B, T) among those with low < cov < high (all of them if there are fewer); none at
    fraction 0.  Source: 2505.22617, its fraction, bounds and count.
    Raises ValueError on fraction outside [0, 1] or low >= high.
    """
    check_fraction("fraction", fraction)
    if not low < high:
        raise ValueError(f"low: must be below high, got low={low}, high={high}")
    xp = namespace(advantage, logps)
    covariance = token_covariance(advantage, logps, mask)
    candidate = (covariance > low) & (covariance < high) & mask
    key = xp.where(candidate, uniforms, xp.full_like(uniforms, float("inf")))
    return _smallest(xp, key, share_of(fraction, _tokens(xp, mask))) & candidate


def kl_cov_select(advantage: Array, logps: Array, mask: Array, *, fraction: float = 2e-3) -> Array:
    """(B, T) bool: the ``max(1, int(fraction * unmasked tokens))`` tokens of largest covariance.

    KL-Cov adds beta |log pi - log pi_old| to the loss of these; none at fraction 0.
    Source: 2505.22617.  Raises ValueError on fraction outside [0, 1].
    """
    check_fraction("fraction", fraction)
    xp = namespace(advantage, logps)
    covariance = token_covariance(advantage, logps, mask)
    key = xp.where(mask, -covariance, xp.full_like(covariance, float("inf")))
    return _smallest(xp, key, share_of(fraction, _tokens(xp, mask))) & mask


def share_of(fraction: float, total: int) -> int:
    """``max(1, int(fraction * total))`` without rounding: 0.29 of 100 is 29; 0 at fraction 0.

    A float is taken for the decimal that it is written as.
    """
    if fraction == 0 or total == 0:
        return 0
    return max(1, int(Fraction(repr(float(fraction))) * total))


def forking_tokens(
    entropy: Array, mask: Array, quantile: float = 0.8, scope: Scope = "response"
) -> Array:
    """(B, T) bool: tokens whose entropy lies strictly above the ``quantile``, as SimKO has it.

    scope
        "response": the quantile of each response's own unmasked tokens (the authors' code; a
        response of one token has none that forks); "batch": that of all unmasked tokens.

    entropy (B, T) nats.  The quantile interpolates linearly between order statistics; one that
    falls on a token is exactly its entropy, so that this token does not fork.
    Source: 2510.14807.  Raises ValueError on quantile outside [0, 1] and on an unknown scope.
    """
    check_fraction("quantile", quantile)
    among("scope", scope, ("response", "batch"))
    xp = namespace(entropy)
    if scope == "batch":
        shape = entropy.shape
        flat = forking_tokens(xp.reshape(entropy, (1, -1)), xp.reshape(mask, (1, -1)), quantile)
        return xp.reshape(flat, shape)
    # What is masked comes last in the order and is never reached.
    ordered = xp.sort(xp.where(mask, entropy, xp.full_like(entropy, float("inf"))), axis=1)
    count = xp.sum(xp.astype(mask, xp.int64), axis=1, keepdims=True)
    last = xp.where(count > 0, count - 1, xp.zeros_like(count))
    # In whole numbers: 0.7 * 10 is 7, not 7.000000000000001.
    exact = Fraction(repr(float(quantile))).limit_denominator(10**6)
    place = last * exact.numerator
    index = place // exact.denominator
    part = xp.astype(place % exact.denominator, entropy.dtype) / exact.denominator
    above = xp.where(index < last, index + 1, last)

    def at(which: Array) -> Array:  # a response without a token has no quantile
        value = xp.take_along_axis(ordered, which, axis=1)
        return xp.where(count > 0, value, xp.zeros_like(value))

    return (entropy > at(index) + part * (at(above) - at(index))) & mask


def simko_parts(
    log_probs: Array,
    taken: Array,
    positive: Array,
    forking: Array,
    *,
    alpha: float = 0.01,
    top: int = 3,
    penalty: float = 1.1,
) -> tuple[Array, Array]:
    """(factor (N,) on the token taken, spread (N, V)) of SimKO at N token positions.

    At forking positions (``forking``; nothing is changed elsewhere): of correct answers
    (``positive``) the token taken keeps 1 - alpha, and alpha is spread evenly over the ``top``
    likeliest tokens; of incorrect ones a taken top-1 token counts ``penalty`` times.
    log_probs (N, V) nats, taken (N,) token ids, positive and forking (N,) bool.
    Source: 2510.14807.  Raises ValueError on alpha outside [0, 1], top < 1 or top > V.
    """
    check_fraction("alpha", alpha)
    xp = namespace(log_probs)
    vocabulary = log_probs.shape[1]
    if not 1 <= top <= vocabulary:
        raise ValueError(f"top: must lie in [1, {vocabulary}], got {top}")
    descending = xp.argsort(-log_probs, axis=1, stable=True)
    rank = xp.argsort(descending, axis=1, stable=True)
    spreads = positive & forking
    among_top = xp.astype((rank < top) & spreads[:, None], log_probs.dtype)
    penalised = forking & ~positive & (descending[:, 0] == taken)
    one = xp.ones_like(log_probs[:, 0])
    factor = xp.where(spreads, (1 - alpha) * one, xp.where(penalised, penalty * one, one))
    return factor, among_top * (alpha / top)


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
    """(N, V) weights w of the surrogate sum_v w_v log pi_v * A: both of :func:`simko_parts`.

    Arguments, source and errors are those of :func:`simko_parts`.
    """
    factor, spread = simko_parts(
        log_probs, taken, positive, forking, alpha=alpha, top=top, penalty=penalty
    )
    xp = namespace(log_probs)
    tokens = xp.arange(log_probs.shape[1])
    if hasattr(log_probs, "device") and hasattr(tokens, "to"):
        tokens = tokens.to(log_probs.device)
    one_hot = xp.astype(taken[:, None] == tokens[None, :], log_probs.dtype)
    return factor[:, None] * one_hot + spread


def _tokens(xp: Any, mask: Array) -> int:
    return int(xp.sum(xp.astype(mask, xp.int64)))


def _smallest(xp: Any, key: Array, count: int) -> Array:
    """Bool of the shape of ``key``: its ``count`` smallest entries (ties by position)."""
    flat = xp.reshape(key, (-1,))
    order = xp.argsort(flat, stable=True)
    return xp.reshape(xp.argsort(order, stable=True) < count, key.shape)
