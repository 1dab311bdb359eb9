"""Optimal policies in closed form: vanilla, entropy heuristics, differential smoothing, iteration.

All maximise an expected reward minus beta KL(pi||b): by theory.md B1 the maximiser is
pi proportional to b exp(rho/beta), computed here in log-space.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsmooth.theory._roots import decreasing_root
from diffsmooth.theory.diversity import whole
from diffsmooth.theory.policy import Float, Policy, as_policy, floats, log_normalise, logsumexp

EntropyForm = Literal["self", "base"]

#: Exponents from here on count as infinite.
_STEEPEST = 1e12
_EPS = float(np.finfo(np.float64).eps)


def _positive(name: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name}: must be finite and > 0, got {value}")


def _nonnegative(name: str, value: float) -> None:
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"{name}: must be finite and >= 0, got {value}")


def _finite(name: str, value: float) -> None:
    if not np.isfinite(value):
        raise ValueError(f"{name}: must be finite, got {value}")


def _quotient(name: str, value: float, beta: float) -> float:
    """value / beta, refused where it overflows."""
    with np.errstate(over="ignore"):
        ratio = float(np.float64(value) / beta)
    _finite(f"{name}/beta", ratio)
    return ratio


def gibbs(base: Policy, reward: ArrayLike, beta: float) -> Policy:
    """The maximiser of E[reward] - beta KL(pi||b): pi ∝ b exp(reward/beta); theory.md B1.

    reward is (..., K).  Raises ValueError unless beta > 0, the reward is finite and fits the base.
    """
    _positive("beta", beta)
    as_policy(base, "base")
    values = floats("reward", reward)
    with np.errstate(over="ignore"):
        tilt = values / beta
    if not np.all(np.isfinite(tilt)):
        raise ValueError("reward: must be finite, and so must reward/beta")
    try:
        shape = np.broadcast_shapes(tilt.shape, base.log_probs.shape)
    except ValueError:
        shape = ()
    if not values.ndim or shape[-1:] != base.log_probs.shape[-1:]:
        raise ValueError(
            f"reward: shape must be (..., K) like base {base.log_probs.shape}, got {values.shape}"
        )
    # Relative to the tilt of the likeliest: a reward of 1e9 beta may not round its log-prob away.
    first = np.argmax(base.log_probs + tilt, axis=-1)[..., None]
    tilt = np.broadcast_to(tilt, shape)
    logits = base.log_probs + (tilt - np.take_along_axis(tilt, first, axis=-1))
    return Policy.from_logits(logits, base.correct)


def _two_powers(base: Policy, a_correct: float, a_incorrect: float, reward: float) -> Policy:
    """The policy ∝ b^{a_correct} e^reward on S, b^{a_incorrect} on F, part by part.

    The laws of the parts know nothing of the reward, which may be 1e9.
    """
    right = logsumexp(a_correct * base.log_probs, base.correct)
    wrong = logsumexp(a_incorrect * base.log_probs, ~base.correct)
    return _parts(base, right + reward - wrong, a_correct, a_incorrect)


def _parts(base: Policy, logit: ArrayLike, a_correct: float, a_incorrect: float) -> Policy:
    log_q = tempered(np.where(base.correct, base.log_probs, -np.inf), a_correct)
    log_f = tempered(np.where(base.correct, -np.inf, base.log_probs), a_incorrect)
    return Policy.from_parts(logit, log_q, log_f, base.correct)


def vanilla(base: Policy, beta: float) -> Policy:
    """KL-regularised RL on the reward 1 on S: q = b_S, f = b_F, logit C = logit p + 1/beta; B3."""
    _positive("beta", beta)
    return _parts(as_policy(base, "base"), base.logit_C + _quotient("1", 1.0, beta), 1.0, 1.0)


def entropy_bonus(base: Policy, beta: float, g: float, form: EntropyForm = "self") -> Policy:
    """Optimum with an entropy bonus g (a penalty if g < 0); theory.md B4.

    "self": reward + g H(pi) - beta KL: pi ∝ b^{beta/(beta+g)} e^{r/(beta+g)}, needs beta + g > 0.
    "base": reward r - g log b: pi ∝ b^{1-g/beta} e^{r/beta}.

    Raises ValueError on beta <= 0, beta + g <= 0 (self) or an unknown form.
    """
    _positive("beta", beta)
    _finite("g", g)
    as_policy(base, "base")
    if form == "self":
        _positive("beta + g", beta + g)
        power, reward = _quotient("beta", beta, beta + g), _quotient("1", 1.0, beta + g)
    elif form == "base":
        # beta - g first: close to each other it is exact.
        power, reward = _quotient("g", beta - g, beta), _quotient("1", 1.0, beta)
    else:
        raise ValueError(f"form: must be self or base, got {form!r}")
    return _two_powers(base, power, power, reward)


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
    as_policy(base, "base")
    a_correct, a_incorrect = _exponents(beta, g_correct, g_incorrect)
    reward = _quotient("1", 1.0, beta)
    if not centred:
        if logit_C is not None:
            raise ValueError("logit_C: is free in the centred form only")
        return _two_powers(base, a_correct, a_incorrect, reward)
    target = base.logit_C + reward if logit_C is None else logit_C
    return _parts(base, target, a_correct, a_incorrect)


def _exponents(beta: float, g_correct: float, g_incorrect: float) -> tuple[float, float]:
    """(1 - g_correct/beta, 1 + g_incorrect/beta), the first with its digits near 0."""
    _positive("beta", beta)
    _nonnegative("g_correct", g_correct)
    _nonnegative("g_incorrect", g_incorrect)
    right = _quotient("g_correct", beta - g_correct, beta)
    return right, 1 + _quotient("g_incorrect", g_incorrect, beta)


def iterated(
    base: Policy, beta: float, g_correct: float, g_incorrect: float = 0.0, *, steps: int
) -> Policy:
    """``steps`` rounds of literal smoothing, each with the last policy as base; theory.md C4.

    pi_{t+1} ∝ pi_t exp(rule(pi_t)/beta): q ∝ b_S^{(1 - g_correct/beta)^steps} exactly.
    Raises ValueError on negative ``steps`` and as :func:`smoothing`.
    """
    if whole("steps", steps) < 0:
        raise ValueError(f"steps: must be >= 0, got {steps}")
    policy = as_policy(base, "base")
    a_correct, a_incorrect = _exponents(beta, g_correct, g_incorrect)
    reward = _quotient("1", 1.0, beta)
    for step in range(1, steps + 1):
        logit = _two_powers(policy, a_correct, a_incorrect, reward).logit_C
        # The laws of the parts from the base itself: no round adds to the rounding of the last.
        powers = _power("g_correct", a_correct, step), _power("g_incorrect", a_incorrect, step)
        policy = _parts(base, logit, *powers)
    return policy


def _power(name: str, a: float, steps: int) -> float:
    try:
        return float(a**steps)
    except OverflowError:
        raise ValueError(f"{name}: the exponent {a:.6g}^{steps} is not finite") from None


def tempered(log_p: ArrayLike, a: ArrayLike) -> Float:
    """(..., M) log of the law proportional to p^a; entries with log p = -inf stay without mass.

    ``a`` is a number or (...,).  theory.md B6.  Raises ValueError on NaN or infinite ``a``, NaN in
    ``log_p`` and laws without mass.
    """
    return log_normalise(_powers(*_law_and_power(log_p, a)))


def entropy_for_temperature(log_p: ArrayLike, a: ArrayLike) -> Float:
    """(...,) H(q_a) of the tempered law, nats.  One exponential an entry; raises as tempered."""
    return _entropy(_powers(*_law_and_power(log_p, a)))


def entropy_slope(log_p: ArrayLike, a: ArrayLike) -> Float:
    """(...,) dH(q_a)/da = -a Var_{q_a}(log p), nats; theory.md B6.  Raises as tempered."""
    x, there, power = _law_and_power(log_p, a)
    q = np.exp(log_normalise(_powers(x, there, power)))
    # From differences to the likeliest: a nearly uniform law keeps the digits of its spread.
    gap = _below(x, there, power)
    mean = np.sum(q * gap, axis=-1, keepdims=True)
    variance = np.sum(q * (gap - mean) ** 2, axis=-1)
    return np.asarray(-power * variance)


def _below(x: Float, there: NDArray[np.bool_], a: Float) -> Float:
    """(..., M) x minus that of the likeliest under p^a, 0 where there is no mass."""
    most = np.max(np.where(there, x, -np.inf), axis=-1)
    least = np.min(np.where(there, x, np.inf), axis=-1)
    return np.where(there, x - np.where(a >= 0, most, least)[..., None], 0.0)


def _powers(x: Float, there: NDArray[np.bool_], a: Float) -> Float:
    """(..., M) log of p^a, relative to the largest; -inf where there is no mass."""
    return np.where(there, a[..., None] * _below(x, there, a), -np.inf)


def _entropy(log_weights: Float) -> Float:
    """(...,) H of the law proportional to the weights, nats."""
    first = np.argmax(log_weights, axis=-1)[..., None]
    shifted = log_weights - np.take_along_axis(log_weights, first, axis=-1)
    weight = np.exp(shifted)
    np.put_along_axis(weight, first, 0.0, axis=-1)
    rest = np.sum(weight, axis=-1)
    # H = log Z - mean of the logs, both relative to the largest weight: no part is negative.
    with np.errstate(invalid="ignore"):  # 0 times -inf, left out of the sum
        fall = np.sum(weight * shifted, axis=-1, where=shifted > -np.inf)
    return np.asarray(np.log1p(rest) - fall / (1 + rest))


def _law_and_power(
    log_p: ArrayLike, a: ArrayLike, name: str = "a"
) -> tuple[Float, NDArray[np.bool_], Float]:
    """Checked: logs of positive weights (-inf: none), where there is mass, the exponent."""
    x, power = floats("log_p", log_p), floats(name, a)
    if x.ndim < 1 or np.any(np.isnan(x)) or np.any(x == np.inf):
        raise ValueError("log_p: must be (..., M) logs of weights, finite or -inf")
    there = x > -np.inf
    if not np.all(np.any(there, axis=-1)):
        raise ValueError("log_p: a law without mass")
    if not np.all(np.isfinite(power)):
        raise ValueError(f"{name}: must be finite")
    try:
        np.broadcast_shapes(power.shape, x.shape[:-1])
    except ValueError as error:
        raise ValueError(f"{name}: shape {power.shape} does not fit laws {x.shape}") from error
    return x, there, power


def temperature_for_entropy(log_p: ArrayLike, entropy: ArrayLike) -> Float:
    """(...,) the exponent a >= 0 with H(q_a) = ``entropy`` (...,) of laws log p (..., M); B8.

    H(q_a) falls from log M at a = 0 to the log of the number of modes as a -> inf (B6).  To the
    last digits of a, or as far as the rounding of H allows: eps H / (a^2 Var log p), relative; 0
    for a uniform law, which no exponent changes.
    Raises ValueError, naming the argument, if the entropy lies outside that range.
    """
    x, there, target = _law_and_power(log_p, entropy, "entropy")
    size = np.sum(there, axis=-1)
    modes = np.sum(x == np.max(x, axis=-1, keepdims=True), axis=-1)
    target, size, modes = np.broadcast_arrays(target, size, modes)
    top, bottom = np.log(size), np.log(modes)
    rounding = 8 * _EPS * (1 + top) * size
    outside = ~((bottom - rounding <= target) & (target <= top + rounding))
    if np.any(outside):
        raise ValueError(
            f"entropy: must lie in [{bottom[outside][0]:.6g}, {top[outside][0]:.6g}] "
            f"for this law, got {target[outside][0]:.6g}"
        )
    # Nothing to solve at the top and where the law is uniform.
    still = (size == modes) | (target >= top)

    def excess(a: Float) -> tuple[Float, Float]:
        value = _entropy(_powers(x, there, a)) - target
        return np.where(still, 0.0, value), entropy_slope(x, a)

    high = np.ones_like(top)
    while np.any(beyond := excess(high)[0] > 0):
        high = np.where(beyond, 2 * high, high)
        if np.any(high > _STEEPEST):
            worst = target[beyond][0]
            raise ValueError(f"entropy: {worst:.6g} is reached only as the exponent grows to inf")
    return np.where(still, 0.0, decreasing_root(excess, np.zeros_like(top), high))
