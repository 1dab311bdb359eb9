"""The right-hand sides of the smoothing flows, with their Jacobians for the stiff solver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffsmooth.theory.clocks import ClockLike
from diffsmooth.theory.gradients import reward_parts, smoothing_gradient
from diffsmooth.theory.optima import entropy_for_temperature
from diffsmooth.theory.policy import Bool, Float, Policy, about_mean_and_entropy

#: Step in logit C of the difference quotient of the reward's part; the solver needs it roughly.
_STEP = 1e-4


@dataclass(frozen=True)
class Softmax:
    """theta' = the exact gradient of smoothing, states (..., B, K) logits."""

    correct: Bool
    g_correct: float
    g_incorrect: float
    centred: bool
    standardised: bool
    clock: ClockLike | None

    def __call__(self, t: Float, y: Float) -> Float:
        return smoothing_gradient(
            Policy.from_logits(y, self.correct),
            self.g_correct,
            self.g_incorrect,
            centred=self.centred,
            standardised=self.standardised,
            clock=self.clock,
        )

    def jacobian(self, t: float, y: Float) -> tuple[Float, Float, Float]:
        """diag D + U V^T, V^T = (q, q w, f, f v): w, v are log q, log f about their means.

        Along d theta: d log pi = d theta - C a - (1-C) c, d logit C = a - c, dH(q) = -b, dH(f) = -d
        and d w = d theta - a - b, d v = d theta - c - d with (a, b, c, d) = V^T d theta.
        """
        policy, right = Policy.from_logits(y, self.correct), self.correct
        g, k = self.g_correct, self.g_incorrect
        pi, c, r = np.exp(policy.log_probs), policy.C[..., None], np.exp(policy.log_1mC)[..., None]
        in_q, entropy_q = about_mean_and_entropy(policy.log_probs, right)
        in_f, entropy_f = about_mean_and_entropy(policy.log_probs, ~right)
        q, f = np.exp(policy.log_q), np.exp(policy.log_f)
        surprise_q = (entropy_q - policy.log_C)[..., None]
        surprise_f = (entropy_f - policy.log_1mC)[..., None]
        advantage = self(np.zeros(1), y) / pi
        # d of the advantage's part that is common to S, or to F; columns of a, b, c, d.
        move = self._reward_slope(policy)
        mix = c * r
        on_s: list[Any] = [0.0, 0.0, 0.0, -k * r]
        logit_s = move[0] + k * (-mix * surprise_f + mix)
        on_f: list[Any] = [0.0, 0.0, -k * r, -k * r]
        logit_f = move[1] - k * mix * surprise_f
        on_f[0], on_f[2] = on_f[0] - k * c * c, on_f[2] - k * c * r
        if self.centred:
            on_s[0], on_s[1] = on_s[0] + g, on_s[1] + g
        else:
            on_s[0], on_s[1] = on_s[0] + g * (c + mix), on_s[1] + g * c
            on_s[2] = on_s[2] + g * r * r
            logit_s = logit_s - g * mix * surprise_q
            on_f[1] = on_f[1] + g * c
            logit_f = logit_f - g * mix * (surprise_q - 1)
        on_s[0], on_s[2] = on_s[0] + logit_s, on_s[2] - logit_s
        on_f[0], on_f[2] = on_f[0] + logit_f, on_f[2] - logit_f
        shift: list[Any] = [c, 0.0, r, 0.0]  # d log of the total weight
        u = np.stack(
            [
                pi * (np.where(right, s, w) - advantage * total)
                for s, w, total in zip(on_s, on_f, shift, strict=True)
            ],
            axis=-1,
        )
        v = np.stack([q, q * in_q, f, f * in_f], axis=-1)
        return pi * (advantage + np.where(right, -g, k)), u, v

    def _reward_slope(self, policy: Policy) -> tuple[Float, Float]:
        """d/d logit C of the reward's part on S and on F, (..., 1) each."""
        ends = []
        for logit in (policy.logit_C - _STEP, policy.logit_C + _STEP):
            logs = -np.logaddexp(0.0, -logit), -np.logaddexp(0.0, logit)
            ends.append(reward_parts(*logs, self.standardised, self.clock))
        rise = [(up - down)[..., None] / (2 * _STEP) for down, up in zip(*ends, strict=True)]
        return rise[0], rise[1]


@dataclass(frozen=True)
class Natural:
    """(logit C)' of the natural-gradient flow, states (..., B, 1); the laws follow (C3) exactly.

    E_q A - E_f A: the reward's speed, g_correct (H(q) - log C) unless centred, and
    g_incorrect (H(f) - log(1-C)).
    """

    log_q: Float
    log_f: Float
    g_correct: float
    g_incorrect: float
    centred: bool
    standardised: bool
    clock: ClockLike | None

    @property
    def plain(self) -> bool:
        """Is the reward's speed 1?"""
        return not self.standardised and self.clock is None

    def __call__(self, t: Float, y: Float) -> Float:
        logit, at = y[..., 0], t[:, None]
        log_c, log_1mc = -np.logaddexp(0.0, -logit), -np.logaddexp(0.0, logit)
        up, down = reward_parts(log_c, log_1mc, self.standardised, self.clock)
        total = up - down
        if self.g_correct and not self.centred:
            entropy = entropy_for_temperature(self.log_q, np.exp(-self.g_correct * at))
            total = total + self.g_correct * (entropy - log_c)
        if self.g_incorrect:
            entropy = entropy_for_temperature(self.log_f, np.exp(self.g_incorrect * at))
            total = total + self.g_incorrect * (entropy - log_1mc)
        return np.asarray(total[..., None])

    def jacobian(self, t: float, y: Float) -> tuple[Float, Float, Float]:
        up, down = self(np.array([t, t]), np.stack([y + _STEP, y - _STEP]))
        none = np.zeros((*y.shape, 0))
        return (up - down) / (2 * _STEP), none, none
