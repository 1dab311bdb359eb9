"""Tabular policies in log-space: correctness C, the laws q and f of the two parts, divergences.

Arrays are float64 with leading batch axes; the last axis runs over K trajectories.  No
probability is formed where its log will do: base probabilities of 1e-300 are ordinary numbers
here.  C and 1 - C come from separate log-sum-exps, so that neither loses digits next to the other.

Source: theory.md, "Setting" and B2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsmooth.theory.rules._backend import cached

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

#: How far the log of the total mass may lie from 0, per trajectory and unit of log-prob: rounding.
_MASS_SLACK = 64 * np.finfo(np.float64).eps


def logsumexp(x: ArrayLike, where: ArrayLike | None = None) -> Float:
    """log sum exp over the last axis, of the entries where ``where`` holds; -inf over none."""
    x = np.asarray(x, dtype=np.float64)
    if where is not None:
        x = np.where(where, x, -np.inf)
    top = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.sum(np.exp(x - shift), axis=-1))
    return np.asarray(total + shift[..., 0])


def log1mexp(x: ArrayLike) -> Float:
    """log(1 - e^x) for x <= 0, accurate at both ends; -inf at 0.

    Raises ValueError on positive x.
    """
    x = np.asarray(x, dtype=np.float64)
    if np.any(x > 0):
        raise ValueError(f"x: log(1 - e^x) needs x <= 0, got {float(np.max(x)):.6g}")
    with np.errstate(divide="ignore"):
        near = x > -np.log(2.0)
        return np.asarray(np.where(near, np.log(-np.expm1(x)), np.log1p(-np.exp(x))))


class Policy:
    """A batch of tabular policies with their correct sets.

    log_probs
        (..., K) nats, finite: full support.
    correct
        (..., K) bool, broadcast against ``log_probs``; both kinds must occur in every policy.

    Raises ValueError, naming the argument, on wrong shapes, NaN or infinite log-probs, total mass
    other than 1 beyond rounding (nothing is renormalised), or a part that is empty.
    """

    def __init__(self, log_probs: ArrayLike, correct: ArrayLike) -> None:
        values = np.asarray(log_probs, dtype=np.float64)
        mask = np.asarray(correct)
        if values.ndim < 1 or values.shape[-1] < 2:
            raise ValueError(f"log_probs: shape must be (..., K) with K >= 2, got {values.shape}")
        if mask.dtype != np.bool_:
            raise ValueError(f"correct: must be boolean, got {mask.dtype}")
        try:
            mask = np.broadcast_to(mask, values.shape)
        except ValueError as error:
            raise ValueError(
                f"correct: shape {mask.shape} does not broadcast to {values.shape}"
            ) from error
        if not np.all(np.isfinite(values)):
            raise ValueError("log_probs: must be finite (full support), got NaN or infinite values")
        if not np.all(np.any(mask, axis=-1) & ~np.all(mask, axis=-1)):
            raise ValueError("correct: every policy needs a correct and an incorrect trajectory")
        mass = logsumexp(values)
        # Each log-prob is off by half an ulp at least, and so is the log of their sum.
        slack = _MASS_SLACK * (values.shape[-1] + np.max(np.abs(values), axis=-1))
        if np.any(np.abs(mass) > slack):
            worst = float(np.max(np.abs(np.expm1(mass))))
            raise ValueError(
                f"log_probs: probabilities must sum to 1, off by {worst:.3g}; "
                "use Policy.from_logits to normalise"
            )
        self.log_probs: Float = values
        self.correct: Bool = mask

    @classmethod
    def from_logits(cls, logits: ArrayLike, correct: ArrayLike) -> Policy:
        """The softmax policy of finite logits (..., K).  Raises ValueError as the class."""
        values = np.asarray(logits, dtype=np.float64)
        return cls(values - logsumexp(values)[..., None], correct)

    @classmethod
    def from_probs(cls, probs: ArrayLike, correct: ArrayLike) -> Policy:
        """From probabilities (..., K) > 0 that sum to 1.  Raises ValueError as the class."""
        values = np.asarray(probs, dtype=np.float64)
        if not np.all(values > 0):
            raise ValueError("probs: must be positive (full support)")
        return cls(np.log(values), correct)

    @classmethod
    def from_parts(
        cls, logit_C: ArrayLike, log_q: ArrayLike, log_f: ArrayLike, correct: ArrayLike
    ) -> Policy:
        """From logit C (...,) and the laws log q, log f (..., K), each read on its own part."""
        logit = np.asarray(logit_C, dtype=np.float64)[..., None]
        mask = np.asarray(correct)
        inside = np.where(mask, log_q, 0.0) - np.logaddexp(0.0, -logit)
        outside = np.where(mask, 0.0, log_f) - np.logaddexp(0.0, logit)
        return cls(np.where(mask, inside, outside), mask)

    def __repr__(self) -> str:
        return f"Policy(shape={self.log_probs.shape}, C={self.C})"

    @cached
    def log_C(self) -> Float:
        """(...,) log of the correctness C = pi(S)."""
        return logsumexp(self.log_probs, self.correct)

    @cached
    def log_1mC(self) -> Float:
        """(...,) log of 1 - C = pi(F), summed over F: no cancellation."""
        return logsumexp(self.log_probs, ~self.correct)

    @property
    def C(self) -> Float:
        """(...,) correctness."""
        return np.asarray(np.exp(self.log_C))

    @property
    def logit_C(self) -> Float:
        """(...,) log C/(1 - C)."""
        return np.asarray(self.log_C - self.log_1mC)

    @cached
    def log_q(self) -> Float:
        """(..., K) log of the law of the correct part; -inf on incorrect trajectories."""
        return np.where(self.correct, self.log_probs - self.log_C[..., None], -np.inf)

    @cached
    def log_f(self) -> Float:
        """(..., K) log of the law of the incorrect part; -inf on correct trajectories."""
        return np.where(self.correct, -np.inf, self.log_probs - self.log_1mC[..., None])


def relative_entropy(log_p: ArrayLike, log_b: ArrayLike) -> Float:
    """(...,) KL(p||b) in nats of laws given by logs (..., K); entries with log p = -inf give 0.

    inf where p has mass that b lacks.
    """
    p, b = np.broadcast_arrays(np.asarray(log_p, np.float64), np.asarray(log_b, np.float64))
    there = p > -np.inf
    ratio = np.subtract(p, b, out=np.zeros_like(p), where=there)
    return np.asarray(np.sum(np.where(there, np.exp(p) * ratio, 0.0), axis=-1))


def kl(policy: Policy, base: Policy) -> Float:
    """(...,) reverse KL(policy || base), nats."""
    return relative_entropy(policy.log_probs, base.log_probs)


def kl_binary(policy: Policy, base: Policy) -> Float:
    """(...,) kl(C||p) between the two Bernoulli laws of correctness, nats."""
    right = policy.C * (policy.log_C - base.log_C)
    wrong = np.exp(policy.log_1mC) * (policy.log_1mC - base.log_1mC)
    return np.asarray(right + wrong)


def kl_decomposition(policy: Policy, base: Policy) -> tuple[Float, Float, Float]:
    """The three terms of the chain rule: kl(C||p), C KL(q||b_S), (1-C) KL(f||b_F); theory.md B2.

    Raises ValueError if the correct sets differ.
    """
    if np.any(policy.correct != base.correct):
        raise ValueError("base: its correct set differs from the policy's")
    inside = policy.C * relative_entropy(policy.log_q, base.log_q)
    outside = np.exp(policy.log_1mC) * relative_entropy(policy.log_f, base.log_f)
    return kl_binary(policy, base), np.asarray(inside), np.asarray(outside)


def as_policy(value: Any) -> Policy:
    """``value`` if it is a Policy; raises TypeError, saying what to pass, otherwise."""
    if not isinstance(value, Policy):
        raise TypeError(f"policy: must be a diffsmooth.theory.policy.Policy, got {type(value)}")
    return value
