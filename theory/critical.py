"""How strong smoothing must be for the entropy of the correct part to stop falling; theory.md C5.

Along the softmax policy-gradient flow dH(q)/dt has the sign of g (bracket) - a K1, with
w = log q + H(q), K1 = E_q[q w], E = E_q[q w^2], a = 1 - C (reward) or sqrt((1-C)/C) (the reward's
advantage standardised, the term added after: Eq. 6), and the bracket E for the centred form,
E - (1-C)(H(q) - log C) K1 for the literal one.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from diffsmooth.theory.diversity import shannon
from diffsmooth.theory.gradients import check_strengths
from diffsmooth.theory.policy import Float, Policy, about_mean, as_policy, logsumexp

Form = Literal["centred", "literal", "advantage-centred", "advantage"]
FORMS: tuple[Form, ...] = ("centred", "literal", "advantage-centred", "advantage")


def sharpening_ratio(policy: Policy) -> Float:
    """(...,) K1/E > 0, and its limit 1 where q is uniform."""
    log_k1, log_e = _log_moments(policy)
    with np.errstate(invalid="ignore"):  # -inf - -inf where q is uniform
        return np.asarray(np.where(log_e == -np.inf, 1.0, np.exp(log_k1 - log_e)))


def _log_moments(policy: Policy) -> tuple[Float, Float]:
    """(log K1, log E) without their common factor e^{-H}, (...,) each; -inf where q is uniform.

    With q = e^{w-H}, K1 is computed as sum q w (e^w - 1), because sum q w = 0: no term is
    negative, so nothing cancels near the uniform law, and w comes from differences of log-probs.
    Summed in logs: near a point mass E is as small as the square of the rarest probability.
    """
    log_q, there = as_policy(policy).log_q, policy.correct
    w = about_mean(policy.log_probs, there)
    with np.errstate(divide="ignore", invalid="ignore"):  # w = 0 adds e^-inf; no mass, nothing
        log_size = np.log(np.abs(w))
        k1 = log_q + log_size + np.log(np.abs(np.expm1(w)))
        e = log_q + w + 2 * log_size
    return logsumexp(k1, there), logsumexp(e, there)


def entropy_rate(policy: Policy, g_correct: float, form: Form = "centred") -> Float:
    """(...,) dH(q)/dt along the softmax policy-gradient flow of smoothing, g_incorrect = 0.

    C (g bracket - a K1) with the two sides of the module's condition; A4 is g_correct = 0.
    Raises ValueError on an unknown form or a strength that is negative or not finite.
    """
    check_strengths(g_correct)
    log_k1, log_e = _log_moments(policy)
    push, spill = _push(policy, form)
    scale = policy.log_C - shannon(policy.log_q)
    drop = (push + g_correct * spill) * np.exp(scale + log_k1)
    return np.asarray(g_correct * np.exp(scale + log_e) - drop)


def _push(policy: Policy, form: Form) -> tuple[Float, Float]:
    """(a, (1-C)(H(q) - log C)): what multiplies K1, of the reward and of a strength of 1."""
    if form not in FORMS:
        raise ValueError(f"form: must be one of {', '.join(FORMS)}; got {form!r}")
    wrong = np.exp(policy.log_1mC)
    advantage = form.startswith("advantage")
    push = np.exp(0.5 * (policy.log_1mC - policy.log_C)) if advantage else wrong
    if form.endswith("centred"):
        return np.asarray(push), np.zeros_like(wrong)
    return np.asarray(push), np.asarray(wrong * (shannon(policy.log_q) - policy.log_C))


def critical_strength(policy: Policy, form: Form = "centred") -> Float:
    """(...,) the least g_correct at which dH(q)/dt >= 0 (g_incorrect = 0).

    inf where no strength stops the collapse (literal forms only: there smoothing speeds it up).
    Where q is uniform nothing falls; the value is the limit.

    Raises ValueError on an unknown form.
    """
    ratio = sharpening_ratio(policy)
    push, spill = _push(policy, form)
    bracket = 1.0 - spill * ratio
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(bracket > 0, push * ratio / bracket, np.inf))
