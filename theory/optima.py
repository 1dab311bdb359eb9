"""Optimal policies in closed form: vanilla, entropy heuristics, differential smoothing, iteration.

All maximise an expected reward minus beta KL(pi||b): by theory.md B1 the maximiser is
pi proportional to b exp(rho/beta), computed here in log-space.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from diffsmooth.theory.diversity import shannon
from diffsmooth.theory.policy import Float, Policy, as_policy, logsumexp

EntropyForm = Literal["self", "base"]


def _positive(name: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name}: must be finite and > 0, got {value}")


def _nonnegative(name: str, value: float) -> None:
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"{name}: must be finite and >= 0, got {value}")


def gibbs(base: Policy, reward: ArrayLike, beta: float) -> Policy:
    """The maximiser of E[reward] - beta KL(pi||b): pi ∝ b exp(reward/beta); theory.md B1.

    reward is (..., K).  Raises ValueError unless beta > 0.
    """
    _positive("beta", beta)
    tilt = np.asarray(reward, dtype=np.float64) / beta
    return Policy.from_logits(as_policy(base).log_probs + tilt, base.correct)


def vanilla(base: Policy, beta: float) -> Policy:
    """KL-regularised RL on the reward 1 on S: q = b_S, f = b_F, logit C = logit p + 1/beta; B3."""
    return gibbs(base, base.correct.astype(np.float64), beta)


def entropy_bonus(base: Policy, beta: float, g: float, form: EntropyForm = "self") -> Policy:
    """Optimum with an entropy bonus g (a penalty if g < 0); theory.md B4.

    "self": reward + g H(pi) - beta KL: pi ∝ b^{beta/(beta+g)} e^{r/(beta+g)}, needs beta + g > 0.
    "base": reward r - g log b: pi ∝ b^{1-g/beta} e^{r/beta}.

    Raises ValueError on beta <= 0, beta + g <= 0 (self) or an unknown form.
    """
    _positive("beta", beta)
    right = base.correct.astype(np.float64)
    if form == "self":
        _positive("beta + g", beta + g)
        logits = (beta * base.log_probs + right) / (beta + g)
    elif form == "base":
        logits = (1 - g / beta) * base.log_probs + right / beta
    else:
        raise ValueError(f"form: must be self or base, got {form!r}")
    return Policy.from_logits(logits, base.correct)


def smoothing(
    base: Policy,
    beta: float,
    g_correct: float,
    g_incorrect: float = 0.0,
    *,
    centred: bool = False,
    logit_C: ArrayLike | None = None,
) -> Policy:
    """Optimum of differential smoothing with pi_ref = b; theory.md B5.

    q ∝ b_S^{1 - g_correct/beta}, f ∝ b_F^{1 + g_incorrect/beta}.  Literal: C follows from the
    reward r - g log b.  Centred: C is free (a constant on S moves it anywhere in (0, 1)); it is
    what ``logit_C`` (...,) says, the vanilla logit p + 1/beta by default.

    Raises ValueError on beta <= 0, negative strengths, or ``logit_C`` without ``centred``.
    """
    _positive("beta", beta)
    _nonnegative("g_correct", g_correct)
    _nonnegative("g_incorrect", g_incorrect)
    if not centred:
        if logit_C is not None:
            raise ValueError("logit_C: is free in the centred form only")
        right = (1 - g_correct / beta) * base.log_probs + 1 / beta
        wrong = (1 + g_incorrect / beta) * base.log_probs
        return Policy.from_logits(np.where(base.correct, right, wrong), base.correct)
    target = base.logit_C + 1 / beta if logit_C is None else logit_C
    log_q = tempered(base.log_q, 1 - g_correct / beta)
    log_f = tempered(base.log_f, 1 + g_incorrect / beta)
    return Policy.from_parts(target, log_q, log_f, base.correct)


def iterated(
    base: Policy, beta: float, g_correct: float, g_incorrect: float = 0.0, *, steps: int
) -> Policy:
    """``steps`` rounds of literal smoothing, each with the last policy as base; theory.md C4.

    pi_{t+1} ∝ pi_t exp(rule(pi_t)/beta): q ∝ b_S^{(1 - g_correct/beta)^steps} exactly.
    Raises ValueError on negative ``steps`` and as :func:`smoothing`.
    """
    if steps < 0:
        raise ValueError(f"steps: must be >= 0, got {steps}")
    policy = base
    for _ in range(steps):
        policy = smoothing(policy, beta, g_correct, g_incorrect)
    return policy


def tempered(log_p: ArrayLike, a: ArrayLike) -> Float:
    """(..., M) log of the law proportional to p^a; entries with log p = -inf stay without mass.

    ``a`` is a number or (...,).  theory.md B6.
    """
    x = np.asarray(log_p, dtype=np.float64)
    power = np.asarray(a, dtype=np.float64)[..., None]
    there = x > -np.inf
    scaled = np.where(there, power * np.where(there, x, 0.0), -np.inf)
    return np.asarray(scaled - logsumexp(scaled)[..., None])


def entropy_for_temperature(log_p: ArrayLike, a: ArrayLike) -> Float:
    """(...,) H(q_a) of the tempered law, nats."""
    return shannon(tempered(log_p, a))


def temperature_for_entropy(log_p: ArrayLike, entropy: float) -> float:
    """The exponent a >= 0 with H(q_a) = ``entropy`` of one law log p (M,); theory.md B8.

    H(q_a) falls from log M at a = 0 to the log of the number of modes as a -> inf (B6).
    Raises ValueError if the entropy lies outside that range.
    """
    x = np.asarray(log_p, dtype=np.float64)
    x = x[x > -np.inf]
    top, bottom = float(np.log(x.size)), float(np.log(np.sum(x == x.max())))
    rounding = 8 * np.finfo(np.float64).eps * (1 + top) * x.size
    if not bottom - rounding <= entropy <= top + rounding:
        raise ValueError(
            f"entropy: must lie in [{bottom:.6g}, {top:.6g}] for this law, got {entropy:.6g}"
        )
    if entropy >= top:
        return 0.0
    if bottom == top:
        return 1.0

    def excess(a: float) -> float:
        return float(shannon(tempered(x, a))) - entropy

    high = 1.0
    while excess(high) > 0:
        high *= 2.0
        if high > 1e12:
            raise ValueError(f"entropy: {entropy:.6g} is reached only as the exponent grows to inf")
    return float(brentq(excess, 0.0, high, xtol=1e-15, rtol=4 * np.finfo(np.float64).eps))
