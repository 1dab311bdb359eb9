"""Flows and steps of tabular policies: policy gradient, natural gradient, smoothing.

``softmax_pg_flow`` is theory.md A3 in closed form: 1/w_i - 1/w_i(0) is -c on S and +d on F.  The
two shifts obey sum_S -log(1 - c b_i) = sum_F log(1 + d b_j) (the logits' sum is conserved), so that
one number fixes the state and one scalar equation relates it to time.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from diffsmooth.theory.gradients import check_strengths, expected_gradient, smoothing_gradient
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


def softmax_pg_flow(policy: Policy, t: float) -> Policy:
    """The policy after time t of theta' = grad C; A3.

    Any batch shape.  The state is (x, d): x the growth of the likeliest correct weight, so that
    1 - c b_i = (1 - rho_i) + rho_i e^{-x} with rho = b/max b; no digit is lost for large x.
    Memory is a few arrays of the policy's size, whatever t.

    Raises ValueError on t < 0 or non-finite.
    """
    _check_time(t)
    shape = as_policy(policy).log_probs.shape
    if t == 0:
        return policy
    orbit = _Orbit(policy.log_probs.reshape(-1, shape[-1]), policy.correct.reshape(-1, shape[-1]))
    rows = len(orbit.log_b)
    state = _integrate(orbit.speed, np.zeros(2 * rows), t)
    growth = state[:rows]
    log_w = orbit.log_weights(growth, orbit.incorrect_shift(growth, state[rows:]))
    return Policy.from_logits(log_w.reshape(shape), policy.correct)


class _Orbit:
    """The one-parameter orbit of A3 for a flat batch: log b (B, K), correct (B, K).

    In units of the largest weight of each part: on S w_i = b_top / (rest_i/rho_i + e^{-x}), on F
    w_i = b_top_F sigma_i / (1 + sigma_i d).
    """

    def __init__(self, log_b: Float, correct: Any) -> None:
        self.log_b, self.correct = log_b, correct
        self.top = np.max(np.where(correct, log_b, -np.inf), axis=1)
        self.other_top = np.max(np.where(correct, -np.inf, log_b), axis=1)
        # (1 - rho)/rho = 1/rho - 1, exactly 0 for the winners; inf where there is no share.
        log_rho = np.where(correct, log_b - self.top[:, None], -_STEEPEST)
        self.lag = np.expm1(np.minimum(-log_rho, _STEEPEST))
        self.sigma = np.where(correct, 0.0, np.exp(np.minimum(log_b - self.other_top[:, None], 0)))

    def log_weights(self, x: Float, d: Float) -> Float:
        """(B, K) log w for growth x (B,) and the scaled shift d (B,) (in units of 1/max b_F)."""
        return np.asarray(self.log_b + self.gain(x) - np.log1p(self.sigma * d[:, None]))

    def gain(self, x: Float) -> Float:
        """(B, K) log w - log b on S: -log(1 - rho (1 - e^{-x})); 0 on F."""
        rho = np.where(self.correct, 1 / (1 + self.lag), 0.0)
        # 1 - rho + rho e^{-x}, by whichever form keeps the digits.
        left = np.where(self.correct, rho * (self.lag + self._shrink(x)), 1.0)
        little = left < 0.5
        lost = np.where(little, 0.0, rho * np.expm1(-x)[:, None])
        return np.where(little, -np.log(left), -np.log1p(lost))

    @staticmethod
    def _shrink(x: Float) -> Float:
        """(B, 1) e^{-x}, never 0: 1/w of the likeliest against its start."""
        return np.asarray(np.exp(-np.minimum(x, _STEEPEST))[:, None])

    def incorrect_shift(self, x: Float, guess: Float) -> Float:
        """(B,) the d that conserves the sum of logits, by Newton's method from ``guess``.

        sum log(1 + sigma d) is concave and increasing in d: Newton from below never overshoots
        twice; the integration's d is right to 1e-11 already.
        """
        target, d = np.sum(self.gain(x), axis=1), np.maximum(guess, 0.0)
        for _ in range(50):
            scaled = self.sigma * d[:, None]
            error = np.sum(np.log1p(scaled), axis=1) - target
            slope = np.sum(self.sigma / (1 + scaled), axis=1)
            new = np.maximum(d - error / slope, 0.0)
            if np.all(np.abs(new - d) <= 4 * np.finfo(np.float64).eps * new):
                return np.asarray(new)
            d = new
        return np.asarray(d)

    def speed(self, _: float, state: Float) -> Float:
        """(x', d') by c' = (1-C)/W, d' = C/W in the scaled variables: one division an entry."""
        x, d = state[: len(self.top)], state[len(self.top) :]
        right = np.sum(self.correct / (self.lag + self._shrink(x)), axis=1)
        wrong = np.sum(self.sigma / (1 + self.sigma * d[:, None]), axis=1)
        # The weights are right e^top and wrong e^other_top; dx/dc = e^x e^top.
        log_odds = np.log(right) + self.top - np.log(wrong) - self.other_top
        log_total = np.logaddexp(np.log(right) + self.top, np.log(wrong) + self.other_top)
        log_c, log_rest = -np.logaddexp(0.0, -log_odds), -np.logaddexp(0.0, log_odds)
        growth = np.exp(log_rest - log_total + x + self.top)
        shift = np.exp(log_c - log_total + self.other_top)
        return np.concatenate([growth, shift])


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
    t: float,
    g_correct: float,
    g_incorrect: float = 0.0,
    *,
    centred: bool = False,
    standardised: bool = False,
    geometry: Geometry = "softmax",
) -> Policy:
    """The policy after time t of on-policy smoothing's exact gradient flow, by an ODE solver.

    geometry "softmax": theta' = gradient; "natural": log pi' = A - E A.  ``standardised`` as in
    :func:`smoothing_gradient`.  Local errors are below TOLERANCE.

    Raises ValueError on t < 0, negative strengths or an unknown geometry.
    """
    _check_time(t)
    check_strengths(g_correct, g_incorrect)
    if geometry not in ("softmax", "natural"):
        raise ValueError(f"geometry: must be softmax or natural, got {geometry!r}")
    shape, correct = as_policy(policy).log_probs.shape, policy.correct

    def speed(_: float, flat: Float) -> Float:
        now = Policy.from_logits(flat.reshape(shape), correct)
        gradient = smoothing_gradient(
            now, g_correct, g_incorrect, centred=centred, standardised=standardised
        )
        if geometry == "natural":
            gradient = gradient / np.exp(now.log_probs)
        return np.asarray(gradient.ravel())

    logits = _integrate(speed, policy.log_probs.ravel(), t).reshape(shape)
    return Policy.from_logits(logits, correct)


def _integrate(speed: Any, start: Float, t: float) -> Float:
    """The state at time t.  Local errors of *every* component are below TOLERANCE."""
    from scipy.integrate import solve_ivp

    if t == 0:
        return start
    # The solver bounds the root mean square over the components, hence the square root.
    bound = max(TOLERANCE / max(start.size, 1) ** 0.5, _LEAST_TOLERANCE)
    solved = solve_ivp(speed, (0.0, t), start, method="DOP853", rtol=bound, atol=bound)
    if not solved.success:
        raise ValueError(f"t: the flow could not be followed to {t}: {solved.message}")
    return np.asarray(solved.y[:, -1])


def _check_time(t: float) -> None:
    if not (np.isfinite(t) and t >= 0):
        raise ValueError(f"t: must be finite and >= 0, got {t}")
