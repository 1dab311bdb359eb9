"""Flows and steps of tabular policies: policy gradient, natural gradient, smoothing.

``softmax_pg_flow`` is theory.md A3 in closed form: 1/w_i - 1/w_i(0) is -c on S and +d on F.  The
two shifts obey sum_S -log(1 - c b_i) = sum_F log(1 + d b_j) (the logits' sum is conserved), so that
one number fixes the state and one integral relates it to time.  Smoothing leaves these orbits: its
softmax flows are solved by an implicit method made for stiff equations
(:mod:`diffsmooth.theory._radau`), its natural-gradient flows by closed laws and one equation for
logit C.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from diffsmooth.theory._fields import Natural, Softmax
from diffsmooth.theory._orbit import Orbit
from diffsmooth.theory._radau import Path
from diffsmooth.theory.clocks import ClockLike
from diffsmooth.theory.gradients import check_one_clock, check_strengths, expected_gradient
from diffsmooth.theory.optima import tempered
from diffsmooth.theory.policy import Float, Policy, as_policy, floats

Geometry = Literal["softmax", "natural"]

#: Exponent beyond which e^x is taken for infinite, with room for sums and products.
_STEEPEST = 700.0


def softmax_pg_step(logits: ArrayLike, correct: ArrayLike, eta: float) -> Float:
    """(..., K) logits after one exact policy-gradient step: theta + eta pi (r - C); A2.

    Raises ValueError on a step that is not finite and as :meth:`Policy.from_logits`.
    """
    if not np.isfinite(eta):
        raise ValueError(f"eta: must be finite, got {eta}")
    theta = floats("logits", logits)
    return np.asarray(theta + eta * expected_gradient(Policy.from_logits(theta, correct)))


def softmax_pg_flow(policy: Policy, t: ArrayLike, *, clock: ClockLike | None = None) -> Policy:
    """The policy after time t of theta' = grad C, or clock(C) grad C; A3.

    t
        A number, or (T,) in ascending order: the result then has a leading axis of T times.
    clock
        u'(C) of a utility: any reward-only advantage runs along the same orbit (A6, E1).  A
        :class:`~diffsmooth.theory.clocks.Clock` (``limit("grpo").derivative``,
        ``utilities.clock(rule, G)``) is a function of log C and log(1-C) and right up to C = 1; a
        plain function of C (...,) is asked at the float C.  Must be smooth, positive and finite
        for every C in (0, 1).

    Any batch shape, up to millions of trajectories, base probabilities down to 1e-300; memory is a
    few arrays of the policy's size.  See :mod:`diffsmooth.theory._orbit` for the method and error.

    Raises ValueError on t < 0, not finite or not ascending, or such a clock.
    """
    shape = as_policy(policy).log_probs.shape
    rows = (policy.C.size, shape[-1])
    orbit = Orbit(policy.log_probs.reshape(rows), policy.correct.reshape(rows))

    def advance(step: float) -> Float:
        orbit.advance(step, clock)
        return orbit.log_weights().reshape(shape)

    return _along(policy, t, advance)


def natural_gradient_flow(
    policy: Policy, g_correct: float, g_incorrect: float, t: float, *, centred: bool = False
) -> Policy:
    """The policy after time t of the natural-gradient flow of on-policy smoothing; C3, A5.

    Within S log-odds shrink by e^{-g_correct t}, within F they grow by e^{+g_incorrect t}, in
    closed form; logit C follows from one scalar equation (without smoothing: logit C + t).

    Raises ValueError on t < 0 or negative strengths.
    """
    if not (np.isfinite(t) and t >= 0):
        raise ValueError(f"t: must be finite and >= 0, got {t}")
    return smoothing_flow(policy, t, g_correct, g_incorrect, centred=centred, geometry="natural")


def smoothing_flow(
    policy: Policy,
    t: ArrayLike,
    g_correct: float,
    g_incorrect: float = 0.0,
    *,
    centred: bool = False,
    standardised: bool = False,
    clock: ClockLike | None = None,
    geometry: Geometry = "softmax",
) -> Policy:
    """The policy after time t of on-policy smoothing's exact gradient flow.

    Stiff or not, at any strength: the number of steps grows with the logarithm of g t.

    t
        A number, or (T,) in ascending order: the result then has a leading axis of T times.
    geometry
        "softmax": theta' = gradient; "natural": log pi' = A - E A.

    The other arguments are those of :func:`smoothing_gradient`.

    Raises ValueError on t < 0, not finite or not ascending, negative strengths, an unknown
    geometry, natural log-odds on F beyond e^700, and flows that leave float64 before t
    (standardised, the natural flow reaches C = 1 in finite time).
    """
    check_strengths(g_correct, g_incorrect)
    if geometry not in ("softmax", "natural"):
        raise ValueError(f"geometry: must be softmax or natural, got {geometry!r}")
    check_one_clock(standardised, clock)
    shape = as_policy(policy).log_probs.shape
    if geometry == "natural":
        times = _times(t)
        laws = policy.log_q.reshape(-1, shape[-1]), policy.log_f.reshape(-1, shape[-1])
        rise = g_incorrect * np.max(times, initial=0.0)
        if rise > _STEEPEST:
            raise ValueError(
                f"g_incorrect: log-odds on F grow by e^(g_incorrect t), got e^{rise:.6g}"
            )
        speed = Natural(*laws, g_correct, g_incorrect, centred, standardised, clock)
        return _natural(policy, times, speed)
    rows = policy.log_probs.reshape(-1, shape[-1])
    field = Softmax(
        policy.correct.reshape(rows.shape), g_correct, g_incorrect, centred, standardised, clock
    )
    path = Path(field, rows)
    return _along(policy, t, lambda step: path.advance(step).reshape(shape))


def _natural(policy: Policy, times: Float, speed: Natural) -> Policy:
    """The laws of the parts in closed form, logit C by the one equation that is left."""
    start = policy.logit_C
    if speed.g_incorrect == 0 and (speed.centred or speed.g_correct == 0) and speed.plain:
        logits = start + times.reshape(times.shape + (1,) * start.ndim)
    else:
        path, now, ends = Path(speed, start.reshape(-1, 1)), 0.0, []
        for time in times.ravel():
            if time > now:
                path.advance(float(time - now))
            ends.append(path.y.reshape(start.shape))
            now = time
        logits = (
            np.stack(ends).reshape(times.shape + start.shape)
            if ends
            else np.empty((0, *start.shape))
        )
    one = (Ellipsis,) + (None,) * start.ndim
    powers = np.exp(-speed.g_correct * times)[one], np.exp(speed.g_incorrect * times)[one]
    log_q, log_f = (
        tempered(law, np.broadcast_to(power, logits.shape))
        for law, power in zip((policy.log_q, policy.log_f), powers, strict=True)
    )
    return Policy.from_parts(logits, log_q, log_f, policy.correct)


def _along(policy: Policy, t: ArrayLike, advance: Callable[[float], Float]) -> Policy:
    """The policy at the times t; ``advance`` moves on by a time > 0 and returns the logits."""
    times = _times(t)
    if not times.ndim and times == 0:
        return policy
    states, now, before = [], policy.log_probs, 0.0
    for time in times.ravel():
        now = advance(float(time - before)) if time > before else now
        states.append(now)
        before = time
    if not times.ndim:
        return Policy.from_logits(states[0], policy.correct)
    stacked = np.stack(states) if states else np.empty((0, *policy.log_probs.shape))
    return Policy.from_logits(stacked, policy.correct)


def _times(t: ArrayLike) -> Float:
    times = floats("t", t)
    if times.ndim > 1 or not np.all(np.isfinite(times) & (times >= 0)):
        raise ValueError(f"t: must be finite and >= 0, a number or (T,), got {t!r}")
    if np.any(np.diff(times.ravel()) < 0):
        raise ValueError("t: must be in ascending order")
    return times
