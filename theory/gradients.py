"""Exact expected gradients of softmax policies with respect to their logits.

With advantages A held constant the expected update of logit i is pi_i (A_i - sum pi A).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffsmooth.theory.clocks import Clock, ClockLike, log_speed
from diffsmooth.theory.policy import Float, Policy, about_mean_and_entropy, as_policy, floats
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
    # Differences to the likeliest trajectory's: a constant in A, however large, leaves no trace.
    a, pi = np.broadcast_arrays(a, pi)
    a = a - np.take_along_axis(a, np.argmax(pi, axis=-1)[..., None], axis=-1)
    return np.asarray(pi * (a - np.sum(pi * a, axis=-1, keepdims=True)))


def check_strengths(g_correct: float, g_incorrect: float = 0.0) -> None:
    """Raise ValueError, naming the strength, unless both are finite and >= 0."""
    for name, value in (("g_correct", g_correct), ("g_incorrect", g_incorrect)):
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name}: must be finite and >= 0, got {value}")


def check_one_clock(standardised: bool, clock: ClockLike | None) -> None:
    """Raise ValueError if the reward's part has two factors at once."""
    if standardised and clock is not None:
        raise ValueError("clock: standardised is a clock already; give one of the two")


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
    clock: ClockLike | None = None,
) -> Float:
    """(..., K) advantage of on-policy differential smoothing, its mean under the policy taken off.

    The reward's part is r - C; the term's is -g_correct log pi on S (centred: minus its mean under
    q), +g_incorrect log pi on F.  ``standardised``: the reward's part is divided by sqrt(C (1-C)),
    the term is not (paper Eq. 6).  ``clock``: it is multiplied by clock(C), the u'(C) of another
    reward-only rule (theory.md E3); a :class:`~diffsmooth.theory.clocks.Clock` also gets log(1-C).
    The natural gradient of log pi is this; that of the logits in
    softmax geometry is pi times this.

    Raises ValueError on strengths that are negative or not finite, or both factors at once.
    """
    check_strengths(g_correct, g_incorrect)
    check_one_clock(standardised, clock)
    log_pi, correct = as_policy(policy).log_probs, policy.correct
    log_c, log_1mc = policy.log_C[..., None], policy.log_1mC[..., None]
    right, wrong = np.exp(log_c), np.exp(log_1mc)
    # The term minus its mean under the policy, part by part, each a sum of terms of one sign: log q
    # and log f about their own means, the rest of the mean by the parts' entropies.
    in_q, entropy_q = about_mean_and_entropy(log_pi, correct)
    in_f, entropy_f = about_mean_and_entropy(log_pi, ~correct)
    inside = in_q if centred else wrong * log_pi + right * in_q
    term = signed(
        np,
        correct,
        np.where(correct, inside, right * log_pi + wrong * in_f),
        g_correct,
        g_incorrect,
    )
    lift = g_incorrect * wrong * (entropy_f[..., None] - log_1mc)
    drop = 0.0 if centred else g_correct * right * (entropy_q[..., None] - log_c)
    term += np.where(correct, lift, -drop)
    up, down = reward_parts(policy.log_C, policy.log_1mC, standardised, clock)
    return np.asarray(np.where(correct, up[..., None], down[..., None]) + term)


def reward_parts(
    log_c: Float, log_1mc: Float, standardised: bool, clock: ClockLike | None
) -> tuple[Float, Float]:
    """(1 - C, -C) times the clock, (...,): the advantage that a reward of 1 on S has on S, on F."""
    if standardised:
        clock = Clock(lambda log_c, log_1mc: -0.5 * (log_c + log_1mc))
    if isinstance(clock, Clock):
        speed = log_speed(clock, log_c, log_1mc)
        return np.exp(log_1mc + speed), -np.exp(log_c + speed)
    factor = 1.0 if clock is None else np.asarray(clock(np.exp(log_c)), dtype=np.float64)
    return factor * np.exp(log_1mc), -factor * np.exp(log_c)


def smoothing_gradient(
    policy: Policy,
    g_correct: float,
    g_incorrect: float = 0.0,
    *,
    centred: bool = False,
    standardised: bool = False,
    clock: ClockLike | None = None,
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
    wrong = np.exp(as_policy(policy).log_1mC)
    speed = np.asarray(utility_derivative(rule, policy.C, group_size, wrong))
    return np.asarray(speed[..., None] * expected_gradient(policy))


def grpo_clock(correctness: Any, group_size: int) -> Any:
    """g_G(C)/(C (1-C)): GRPO's speed along the orbits of A3; A6.

    The expected group-standardised gradient is this times grad C, with
    g_G(C) = E[sqrt(k (G-k))]/G, k ~ Bin(G, C).  It is the derivative of GRPO's utility (E1), and is
    computed as such: finite at C = 0 and 1.  Raises ValueError on G < 1 or C outside [0, 1].
    """
    return utility_derivative(GRPO(eps=0), correctness, group_size)
