"""Flows and steps of tabular policies: policy gradient, natural gradient, smoothing.

``softmax_pg_flow`` is theory.md A3 in closed form: 1/w_i - 1/w_i(0) is -c on S and +d on F.  The
two shifts obey sum_S -log(1 - c b_i) = sum_F log(1 + d b_j) (the logits' sum is conserved), so that
one number fixes the state and one scalar equation relates it to time.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from diffsmooth.theory.diversity import shannon
from diffsmooth.theory.gradients import expected_gradient, smoothing_gradient
from diffsmooth.theory.optima import tempered
from diffsmooth.theory.policy import Float, Policy, as_policy

Geometry = Literal["softmax", "natural"]

#: Local error of the scalar and vector integrations (relative and absolute).
TOLERANCE = 1e-12


def softmax_pg_step(logits: ArrayLike, correct: ArrayLike, eta: float) -> Float:
    """(..., K) logits after one exact policy-gradient step: theta + eta pi (r - C); A2."""
    theta = np.asarray(logits, dtype=np.float64)
    return np.asarray(theta + eta * expected_gradient(Policy.from_logits(theta, correct)))


def softmax_pg_flow(policy: Policy, t: float) -> Policy:
    """The policy after time t of theta' = grad C; A3.

    Any batch shape.  The state is (x, d): x the growth of the likeliest correct weight, so that
    1 - c b_i = (1 - rho_i) + rho_i e^{-x} with rho = b/max b; no digit is lost for large x.

    Raises ValueError on t < 0 or non-finite.
    """
    _check_time(t)
    shape = as_policy(policy).log_probs.shape
    log_b = policy.log_probs.reshape(-1, shape[-1])
    mask = policy.correct.reshape(-1, shape[-1])
    if t == 0:
        return Policy(policy.log_probs, policy.correct)
    from scipy.integrate import solve_ivp

    weights = _Orbit(log_b, mask)
    start = np.zeros(2 * len(log_b))
    solved = solve_ivp(
        weights.speed, (0.0, t), start, method="DOP853", rtol=TOLERANCE, atol=TOLERANCE * 1e-1
    )
    if not solved.success:
        raise ValueError(f"t: the flow could not be followed to {t}: {solved.message}")
    growth = solved.y[: len(log_b), -1]
    log_w = weights.log_weights(growth, weights.incorrect_shift(growth, solved.y[len(log_b) :, -1]))
    return Policy.from_logits(log_w.reshape(shape), policy.correct)


class _Orbit:
    """The one-parameter orbit of A3 for a flat batch: log b (B, K), correct (B, K)."""

    def __init__(self, log_b: Float, correct: Any) -> None:
        self.log_b, self.correct = log_b, correct
        self.top = np.max(np.where(correct, log_b, -np.inf), axis=1)
        self.other_top = np.max(np.where(correct, -np.inf, log_b), axis=1)
        log_rho = np.where(correct, log_b - self.top[:, None], -np.inf)
        self.rho = np.exp(log_rho)
        # 1 - rho, exactly 0 for the winners.
        self.rest = np.where(correct, -np.expm1(np.where(correct, log_rho, 0.0)), 1.0)
        self.sigma = np.where(correct, 0.0, np.exp(log_b - self.other_top[:, None]))

    def log_weights(self, x: Float, d: Float) -> Float:
        """(B, K) log w for growth x (B,) and the scaled shift d (B,) (in units of 1/max b_F)."""
        shrink = self.rest + self.rho * np.exp(-x)[:, None]
        return np.asarray(self.log_b - np.log(shrink) - np.log1p(self.sigma * d[:, None]))

    def correct_sum(self, x: Float) -> Float:
        """(B,) sum over S of log w - log b: what the incorrect logits have lost together."""
        shrink = self.rest + self.rho * np.exp(-x)[:, None]
        return np.asarray(-np.sum(np.log(shrink), axis=1))

    def incorrect_shift(self, x: Float, guess: Float) -> Float:
        """(B,) the d that conserves the sum of logits, by Newton's method from ``guess``.

        sum log(1 + sigma d) is concave and increasing in d: Newton from below never overshoots
        twice; the integration's d is right to 1e-11 already.
        """
        target, d = self.correct_sum(x), np.maximum(guess, 0.0)
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
        """(x', d') by c' = (1-C)/W, d' = C/W in the scaled variables."""
        x, d = state[: len(self.top)], state[len(self.top) :]
        log_w = self.log_weights(x, d)
        top = np.max(log_w, axis=1)
        scaled = np.exp(log_w - top[:, None])
        right = np.sum(np.where(self.correct, scaled, 0.0), axis=1)
        wrong = np.sum(np.where(self.correct, 0.0, scaled), axis=1)
        total = right + wrong
        # dx/dc = e^x b_top; everything over W = total e^top.
        growth = wrong / total**2 * np.exp(x + self.top - top)
        shift = right / total**2 * np.exp(self.other_top - top)
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
    for name, value in (("g_correct", g_correct), ("g_incorrect", g_incorrect)):
        if not value >= 0:
            raise ValueError(f"{name}: must be >= 0, got {value}")
    as_policy(policy)

    def laws(time: float) -> tuple[Float, Float]:
        return (
            tempered(policy.log_q, np.exp(-g_correct * time)),
            tempered(policy.log_f, np.exp(g_incorrect * time)),
        )

    def speed(time: float, logit: Float) -> Float:
        log_q, log_f = laws(time)
        log_c, log_rest = -np.logaddexp(0.0, -logit), -np.logaddexp(0.0, logit)
        right = 0.0 if centred else g_correct * (shannon(log_q).ravel() - log_c)
        wrong = g_incorrect * (log_rest - shannon(log_f).ravel())
        return np.asarray(1.0 + right - wrong)

    start = policy.logit_C
    if g_correct == 0 and g_incorrect == 0:
        end = start + t
    else:
        end = _integrate(speed, start.ravel(), t).reshape(start.shape)
    return Policy.from_parts(end, *laws(t), policy.correct)


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

    Raises ValueError on t < 0 or an unknown geometry.
    """
    _check_time(t)
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
    from scipy.integrate import solve_ivp

    if t == 0:
        return start
    solved = solve_ivp(speed, (0.0, t), start, method="DOP853", rtol=TOLERANCE, atol=TOLERANCE)
    if not solved.success:
        raise ValueError(f"t: the flow could not be followed to {t}: {solved.message}")
    return np.asarray(solved.y[:, -1])


def _check_time(t: float) -> None:
    if not (np.isfinite(t) and t >= 0):
        raise ValueError(f"t: must be finite and >= 0, got {t}")
