"""Flows and steps of tabular policies: policy gradient, natural gradient, smoothing.

``softmax_pg_flow`` is theory.md A3 in closed form: 1/w_i - 1/w_i(0) is -c on S and +d on F.  The
two shifts obey sum_S -log(1 - c b_i) = sum_F log(1 + d b_j) (the logits' sum is conserved), so that
one number fixes the state and one integral relates it to time.  Smoothing leaves these orbits: its
flows are solved by a Runge-Kutta method of order 8, local errors below TOLERANCE.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from diffsmooth.theory._orbit import Clock, Orbit
from diffsmooth.theory.gradients import check_strengths, expected_gradient, smoothing_advantage
from diffsmooth.theory.optima import entropy_for_temperature, tempered
from diffsmooth.theory.policy import Float, Policy, as_policy, floats

Geometry = Literal["softmax", "natural"]

#: Local error of the scalar and vector integrations (relative and absolute).
TOLERANCE = 1e-12
#: The least that the solver accepts.
_LEAST_TOLERANCE = 2.3e-14
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


def softmax_pg_flow(policy: Policy, t: ArrayLike, *, clock: Clock | None = None) -> Policy:
    """The policy after time t of theta' = grad C, or clock(C) grad C; A3.

    t
        A number, or (T,) in ascending order: the result then has a leading axis of T times.
    clock
        u'(C) of a utility, C (...,) to (...,): any reward-only advantage runs along the same orbit
        (A6, E1).  Must be smooth, positive and finite for every C in (0, 1].

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
    _check_time(t)
    check_strengths(g_correct, g_incorrect)
    rise = g_incorrect * t
    if rise > _STEEPEST:
        raise ValueError(f"g_incorrect: log-odds on F grow by e^(g_incorrect t), got e^{rise:.6g}")
    log_q, log_f = as_policy(policy).log_q, policy.log_f

    def speed(time: float, logit: Float) -> Float:
        total = np.ones_like(logit)
        if g_correct and not centred:
            entropy = entropy_for_temperature(log_q, np.exp(-g_correct * time))
            total = total + g_correct * (entropy.ravel() + np.logaddexp(0.0, -logit))
        if g_incorrect:
            entropy = entropy_for_temperature(log_f, np.exp(g_incorrect * time))
            total = total + g_incorrect * (entropy.ravel() + np.logaddexp(0.0, logit))
        return np.asarray(total)

    start = policy.logit_C
    if g_incorrect == 0 and (centred or g_correct == 0):
        end = start + t
    else:
        end = _integrate(speed, start.ravel(), t).reshape(start.shape)
    laws = tempered(log_q, np.exp(-g_correct * t)), tempered(log_f, np.exp(rise))
    return Policy.from_parts(end, *laws, policy.correct)


def smoothing_flow(
    policy: Policy,
    t: ArrayLike,
    g_correct: float,
    g_incorrect: float = 0.0,
    *,
    centred: bool = False,
    standardised: bool = False,
    clock: Clock | None = None,
    geometry: Geometry = "softmax",
) -> Policy:
    """The policy after time t of on-policy smoothing's exact gradient flow, by an ODE solver.

    t
        A number, or (T,) in ascending order: the result then has a leading axis of T times.
    geometry
        "softmax": theta' = gradient; "natural": log pi' = A - E A.

    The other arguments are those of :func:`smoothing_gradient`.

    Raises ValueError on t < 0, not finite or not ascending, negative strengths or an unknown
    geometry.
    """
    check_strengths(g_correct, g_incorrect)
    if geometry not in ("softmax", "natural"):
        raise ValueError(f"geometry: must be softmax or natural, got {geometry!r}")
    shape, correct = as_policy(policy).log_probs.shape, policy.correct

    def speed(_: float, flat: Float) -> Float:
        now = Policy.from_logits(flat.reshape(shape), correct)
        advantage = smoothing_advantage(
            now, g_correct, g_incorrect, centred=centred, standardised=standardised, clock=clock
        )
        return (advantage if geometry == "natural" else np.exp(now.log_probs) * advantage).ravel()

    path = _Path(speed, policy.log_probs.ravel())
    return _along(policy, t, lambda step: path.advance(step).reshape(shape))


def _along(policy: Policy, t: ArrayLike, advance: Callable[[float], Float]) -> Policy:
    """The policy at the times t; ``advance`` moves on by a time > 0 and returns the logits."""
    times = floats("t", t)
    if times.ndim > 1 or not np.all(np.isfinite(times) & (times >= 0)):
        raise ValueError(f"t: must be finite and >= 0, a number or (T,), got {t!r}")
    if np.any(np.diff(times.ravel()) < 0):
        raise ValueError("t: must be in ascending order")
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


class _Path:
    """A solution of y' = speed(t, y), followed step by step: nothing but the last state is kept."""

    def __init__(self, speed: Callable[[float, Float], Float], start: Float) -> None:
        from scipy.integrate import DOP853

        # The solver bounds the root mean square over the components; this bounds every component.
        bound = max(TOLERANCE / max(start.size, 1) ** 0.5, _LEAST_TOLERANCE)
        self.solver = DOP853(speed, 0.0, start, np.inf, rtol=bound, atol=bound)

    def advance(self, t: float) -> Float:
        """The state a time t > 0 later.  Raises ValueError if the solver fails."""
        solver = self.solver
        # The next stop: the solver goes on from where it is, with the step size that it had.
        solver.t_bound, solver.status = solver.t + t, "running"
        while solver.t < solver.t_bound:
            message = solver.step()
            if solver.status == "failed":
                end = solver.t_bound
                raise ValueError(f"t: the flow could not be followed to {end}: {message}")
        return np.asarray(solver.y)


def _integrate(speed: Callable[[float, Float], Float], start: Float, t: float) -> Float:
    return _Path(speed, start).advance(t) if t else start


def _check_time(t: float) -> None:
    if not (np.isfinite(t) and t >= 0):
        raise ValueError(f"t: must be finite and >= 0, got {t}")
