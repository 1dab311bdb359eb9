"""Exact expected gradients of softmax policies with respect to their logits.

With advantages A held constant the expected update of logit i is pi_i (A_i - sum pi A).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffsmooth.theory._orbit import Clock
from diffsmooth.theory.policy import Float, Policy, as_policy, floats
from diffsmooth.theory.rules.base import RewardOnly
from diffsmooth.theory.rules.baselines import GRPO
from diffsmooth.theory.rules.smoothing import signed
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


def check_strengths(g_correct: float, g_incorrect: float = 0.0) -> None:
    """Raise ValueError, naming the strength, unless both are finite and >= 0."""
    for name, value in (("g_correct", g_correct), ("g_incorrect", g_incorrect)):
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name}: must be finite and >= 0, got {value}")


def expected_gradient(policy: Policy) -> Float:
    """(..., K) gradient of correctness C: pi (r - C), without cancellation in 1 - C; A2."""
    pi = np.exp(as_policy(policy).log_probs)
    wrong, right = np.exp(policy.log_1mC)[..., None], policy.C[..., None]
    return np.asarray(np.where(policy.correct, pi * wrong, -pi * right))


def smoothing_advantage(
    policy: Policy,
    g_correct: float,
    g_incorrect: float = 0.0,
    *,
    centred: bool = False,
    standardised: bool = False,
    clock: Clock | None = None,
) -> Float:
    """(..., K) advantage of on-policy differential smoothing, its mean under the policy taken off.

    The reward's part is r - C; the term's is -g_correct log pi on S (centred: minus its mean under
    q), +g_incorrect log pi on F.  ``standardised``: the reward's part is divided by sqrt(C (1-C)),
    the term is not (paper Eq. 6).  ``clock``: it is multiplied by clock(C), the u'(C) of another
    reward-only rule (theory.md E3).  The natural gradient of log pi is this; that of the logits in
    softmax geometry is pi times this.

    Raises ValueError on strengths that are negative or not finite, or both factors at once.
    """
    check_strengths(g_correct, g_incorrect)
    if standardised and clock is not None:
        raise ValueError("clock: standardised is a clock already; give one of the two")
    log_pi = as_policy(policy).log_probs
    x = log_pi
    if centred:
        # log pi minus its mean under q is log q + H(q); a group's mean weighs its answers alike.
        q, log_q = np.exp(policy.log_q), np.where(policy.correct, policy.log_q, 0.0)
        x = np.where(policy.correct, log_q - np.sum(q * log_q, axis=-1, keepdims=True), log_pi)
    term = signed(np, policy.correct, x, g_correct, g_incorrect)
    term -= np.sum(np.exp(log_pi) * term, axis=-1, keepdims=True)
    right, wrong = policy.C[..., None], np.exp(policy.log_1mC)[..., None]
    factor = np.ones_like(policy.C)
    if standardised:
        factor = np.exp(-0.5 * (policy.log_C + policy.log_1mC))
    elif clock is not None:
        factor = np.asarray(clock(policy.C), dtype=np.float64)
    return np.asarray(np.where(policy.correct, wrong, -right) * factor[..., None] + term)


def smoothing_gradient(
    policy: Policy,
    g_correct: float,
    g_incorrect: float = 0.0,
    *,
    centred: bool = False,
    standardised: bool = False,
    clock: Clock | None = None,
) -> Float:
    """(..., K) exact gradient of on-policy smoothing: pi times :func:`smoothing_advantage`; C1, E2.

    pi_ref = pi_old = the policy, held constant.  Raises ValueError as there.
    """
    advantage = smoothing_advantage(
        policy, g_correct, g_incorrect, centred=centred, standardised=standardised, clock=clock
    )
    return np.asarray(np.exp(policy.log_probs) * advantage)


def reward_only_gradient(policy: Policy, rule: RewardOnly, group_size: int) -> Float:
    """(..., K) expected gradient of a reward-only rule in groups of G answers: u'(C) grad C; E1.

    Exact for every G: the mean over all groups of G independent answers of the mean over the group
    of advantage times grad log pi.  Raises ValueError as the rule does on such groups.
    """
    speed = np.asarray(utility_derivative(rule, np.minimum(policy.C, 1.0), group_size))
    return np.asarray(speed[..., None] * expected_gradient(policy))


def grpo_clock(correctness: Any, group_size: int) -> Any:
    """g_G(C)/(C (1-C)): GRPO's speed along the orbits of A3; A6.

    The expected group-standardised gradient is this times grad C, with
    g_G(C) = E[sqrt(k (G-k))]/G, k ~ Bin(G, C).  It is the derivative of GRPO's utility (E1), and is
    computed as such: finite at C = 0 and 1.  Raises ValueError on G < 1 or C outside [0, 1].
    """
    return utility_derivative(GRPO(eps=0), correctness, group_size)
