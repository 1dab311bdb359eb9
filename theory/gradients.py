"""Exact expected gradients of softmax policies with respect to their logits.

With advantages A held constant the expected update of logit i is pi_i (A_i - sum pi A).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffsmooth.theory.policy import Float, Policy, as_policy, floats
from diffsmooth.theory.rules.baselines import GRPO
from diffsmooth.theory.utilities import utility_derivative


def advantage_gradient(policy: Policy, advantage: ArrayLike) -> Float:
    """(..., K) E[A grad log pi] = pi (A - E A) for advantages (..., K) held constant.

    Raises ValueError on advantages that are not finite or do not fit the policy.
    """
    a = floats("advantage", advantage)
    pi = np.exp(as_policy(policy).log_probs)
    if not np.all(np.isfinite(a)):
        raise ValueError("advantage: must be finite, got NaN or infinite values")
    if a.shape[-1:] != pi.shape[-1:]:
        raise ValueError(f"advantage: shape must be (..., K) like {pi.shape}, got {a.shape}")
    return np.asarray(pi * (a - np.sum(pi * a, axis=-1, keepdims=True)))


def check_strengths(g_correct: float, g_incorrect: float) -> None:
    """Raise ValueError, naming the strength, unless both are finite and >= 0."""
    for name, value in (("g_correct", g_correct), ("g_incorrect", g_incorrect)):
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name}: must be finite and >= 0, got {value}")


def expected_gradient(policy: Policy) -> Float:
    """(..., K) gradient of correctness C: pi (r - C), without cancellation in 1 - C; A2."""
    pi = np.exp(as_policy(policy).log_probs)
    wrong, right = np.exp(policy.log_1mC)[..., None], policy.C[..., None]
    return np.asarray(np.where(policy.correct, pi * wrong, -pi * right))


def smoothing_gradient(
    policy: Policy,
    g_correct: float,
    g_incorrect: float = 0.0,
    *,
    centred: bool = False,
    standardised: bool = False,
) -> Float:
    """(..., K) gradient of on-policy differential smoothing (pi_ref = pi_old, stop-gradient).

    The reward's own gradient plus the term's: -g_correct log pi on S (centred: minus its mean under
    q), +g_incorrect log pi on F.  ``standardised``: the reward's part is divided by
    sqrt(C (1-C)), the term is not (paper Eq. 6).  theory.md C1, E2.

    Raises ValueError on strengths that are negative or not finite.
    """
    check_strengths(g_correct, g_incorrect)
    log_pi = as_policy(policy).log_probs
    x = log_pi
    if centred:
        mean = np.sum(np.exp(policy.log_q) * np.where(policy.correct, log_pi, 0.0), axis=-1)
        x = log_pi - mean[..., None]
    term = np.where(policy.correct, -g_correct * x, g_incorrect * log_pi)
    reward = expected_gradient(policy)
    if standardised:
        reward = reward * np.exp(-0.5 * (policy.log_C + policy.log_1mC))[..., None]
    return reward + advantage_gradient(policy, term)


def grpo_clock(correctness: Any, group_size: int) -> Any:
    """g_G(C)/(C (1-C)): GRPO's speed along the orbits of A3; A6.

    The expected group-standardised gradient is this times grad C, with
    g_G(C) = E[sqrt(k (G-k))]/G, k ~ Bin(G, C).  It is the derivative of GRPO's utility (E1), and is
    computed as such: finite at C = 0 and 1.  Raises ValueError on G < 1 or C outside [0, 1].
    """
    return utility_derivative(GRPO(eps=0), correctness, group_size)
