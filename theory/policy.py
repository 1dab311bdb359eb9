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

#: How far the log of the total mass may lie from 0, per unit of log-prob: rounding.
_MASS_SLACK = 64 * np.finfo(np.float64).eps
_LARGEST = float(np.finfo(np.float64).max)


def floats(name: str, value: ArrayLike) -> Float:
    """``value`` as float64.  Raises ValueError, naming ``name``, on anything but real numbers."""
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: must be an array of real numbers; {error}") from error


def unit_interval(value: ArrayLike, name: str = "C") -> Float:
    """``value`` as float64.  Raises ValueError, naming ``name``, unless all lie in [0, 1]."""
    values = floats(name, value)
    if not np.all((values >= 0) & (values <= 1)):  # NaN is outside too
        raise ValueError(f"{name}: must lie in [0, 1]")
    return values


def _above_top(x: ArrayLike, where: ArrayLike | None) -> tuple[Float, Float, Float]:
    """(x - max x, log sum exp of that, max x) over the last axis.

    The maximum itself is left out of the sum and enters by log1p: the log of 1 + 1e-20 is 1e-20.
    """
    x = np.asarray(x, dtype=np.float64)
    if where is not None:
        x = np.where(where, x, -np.inf)
    if x.shape[-1] == 0:
        return x, np.full(x.shape[:-1], -np.inf), np.zeros(x.shape[:-1])
    first = np.argmax(x, axis=-1)[..., None]
    top = np.take_along_axis(x, first, axis=-1)
    shift = np.where(np.isfinite(top), top, 0.0)
    shifted = np.asarray(x - shift)
    rest = np.exp(shifted)
    np.put_along_axis(rest, first, 0.0, axis=-1)
    total = np.where(np.isfinite(top), np.log1p(np.sum(rest, axis=-1, keepdims=True)), top)
    return shifted, np.asarray(total[..., 0]), np.asarray(shift[..., 0])


def logsumexp(x: ArrayLike, where: ArrayLike | None = None) -> Float:
    """log sum exp over the last axis, of the entries where ``where`` holds; -inf over none."""
    _, total, top = _above_top(x, where)
    return np.asarray(total + top)


def log_normalise(x: ArrayLike, where: ArrayLike | None = None) -> Float:
    """(..., K) log of the law proportional to e^x where ``where`` holds; -inf elsewhere.

    Entries whose probability is close to 1 keep their digits: log(1 - 1e-20) is -1e-20.
    """
    shifted, total, _ = _above_top(x, where)
    return np.asarray(shifted - total[..., None])


def about_mean(x: ArrayLike, where: ArrayLike) -> Float:
    """(..., K) x minus its mean under the law e^x of the entries in ``where``; 0 elsewhere.

    Of log-probs: log q + H(q).  From differences to the likeliest, which are exact where the law is
    nearly uniform: the sum of a log and an entropy would keep no digit there.
    """
    return about_mean_and_entropy(x, where)[0]


def about_mean_and_entropy(x: ArrayLike, where: ArrayLike) -> tuple[Float, Float]:
    """:func:`about_mean` (..., K) and the entropy (...,) of the law, nats, from one exponential."""
    shifted, total, _ = _above_top(x, where)
    with np.errstate(invalid="ignore"):  # 0 times -inf
        terms = np.where(where, np.exp(shifted - total[..., None]) * shifted, 0.0)
        mean = np.sum(terms, axis=-1)
        centred = np.where(where, shifted - mean[..., None], 0.0)
    # -log q is total - shifted: neither part of its mean is negative.
    return centred, np.asarray(total - mean)


def check_mass(name: str, log_p: Float) -> None:
    """Raise ValueError, naming ``name``, if probabilities (..., K) miss 1 by more than rounding."""
    with np.errstate(over="ignore", divide="ignore"):  # infinite either way, and refused
        # A plain sum is off by K ulps at most, far inside the slack.
        mass = np.log(np.sum(np.exp(log_p), axis=-1))
    # Each log-prob is off by half an ulp at least, and so is the log of their sum.
    there = np.where(log_p > -np.inf, log_p, 0.0)
    slack = _MASS_SLACK * (log_p.shape[-1] - np.min(there, axis=-1))
    if np.any(~(np.abs(mass) <= slack)):
        worst = float(np.max(np.abs(np.expm1(np.minimum(mass, 700.0)))))
        raise ValueError(
            f"{name}: probabilities must sum to 1, off by {worst:.3g}; "
            "Policy.from_logits and log_normalise normalise"
        )


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
        values = np.array(floats("log_probs", log_probs))  # a copy: the caller's may change
        mask = _correct_set(correct)
        if values.ndim < 1 or values.shape[-1] < 2:
            raise ValueError(f"log_probs: shape must be (..., K) with K >= 2, got {values.shape}")
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
        check_mass("log_probs", values)
        values.flags.writeable = False
        self.log_probs: Float = values
        self.correct: Bool = mask

    @classmethod
    def from_logits(cls, logits: ArrayLike, correct: ArrayLike) -> Policy:
        """The softmax policy of finite logits (..., K).  Raises ValueError as the class."""
        values = floats("logits", logits)
        if values.ndim < 1 or values.shape[-1] < 2:
            raise ValueError(f"logits: shape must be (..., K) with K >= 2, got {values.shape}")
        if not np.all(np.isfinite(values)):
            raise ValueError("logits: must be finite (full support), got NaN or infinite values")
        if np.any(np.max(values, axis=-1) / 2 - np.min(values, axis=-1) / 2 > 0.4 * _LARGEST):
            raise ValueError("logits: lie further apart than float64 can hold")
        return cls(log_normalise(values), correct)

    @classmethod
    def from_probs(cls, probs: ArrayLike, correct: ArrayLike) -> Policy:
        """From probabilities (..., K) > 0 that sum to 1.  Raises ValueError as the class."""
        values = floats("probs", probs)
        if values.ndim < 1 or values.shape[-1] < 2:
            raise ValueError(f"probs: shape must be (..., K) with K >= 2, got {values.shape}")
        if not np.all((values > 0) & np.isfinite(values)):
            raise ValueError("probs: must be positive and finite (full support)")
        check_mass("probs", np.log(values))
        return cls(np.log(values), correct)

    @classmethod
    def from_parts(
        cls, logit_C: ArrayLike, log_q: ArrayLike, log_f: ArrayLike, correct: ArrayLike
    ) -> Policy:
        """From logit C (...,) and the laws log q, log f (..., K), each read on its own part.

        Raises ValueError, naming the argument, on a logit that is not finite, laws that do not sum
        to 1 on their part or are not positive there, and shapes that do not fit each other.
        """
        logit = floats("logit_C", logit_C)[..., None]
        if not np.all(np.isfinite(logit)):
            raise ValueError("logit_C: must be finite, got NaN or infinite values")
        mask = _correct_set(correct)
        parts = []
        for name, law, part in (("log_q", log_q, mask), ("log_f", log_f, ~mask)):
            values = floats(name, law)
            try:
                values, where = np.broadcast_arrays(values, part)
                np.broadcast_shapes(values.shape, logit.shape)
            except ValueError as error:
                raise ValueError(
                    f"{name}: shape {values.shape} does not fit correct {mask.shape} "
                    f"and logit_C {logit.shape[:-1]}"
                ) from error
            if not np.all(np.isfinite(values[where])):
                raise ValueError(f"{name}: must be finite on its part (full support)")
            if np.all(np.any(where, axis=-1)):  # the constructor names an empty part
                check_mass(name, np.where(where, values, -np.inf))
            parts.append(np.where(where, values, 0.0))
        inside = parts[0] - np.logaddexp(0.0, -logit)
        outside = parts[1] - np.logaddexp(0.0, logit)
        return cls(np.where(mask, inside, outside), mask)

    def __repr__(self) -> str:
        return f"Policy(shape={self.log_probs.shape}, C={self.C})"

    @cached
    def _log_masses(self) -> tuple[Float, Float]:
        """(log C, log 1 - C): the smaller summed, the larger from it, so that both are exact."""
        right = logsumexp(self.log_probs, self.correct)
        wrong = logsumexp(self.log_probs, ~self.correct)
        smaller = np.minimum(np.minimum(right, wrong), 0.0)
        larger = log1mexp(smaller)
        return np.where(right <= wrong, right, larger), np.where(right <= wrong, larger, wrong)

    @property
    def log_C(self) -> Float:
        """(...,) log of the correctness C = pi(S)."""
        return np.asarray(self._log_masses[0])

    @property
    def log_1mC(self) -> Float:
        """(...,) log of 1 - C = pi(F): no cancellation."""
        return np.asarray(self._log_masses[1])

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
        return log_normalise(self.log_probs, self.correct)

    @cached
    def log_f(self) -> Float:
        """(..., K) log of the law of the incorrect part; -inf on correct trajectories."""
        return log_normalise(self.log_probs, ~self.correct)


def _correct_set(correct: ArrayLike) -> Bool:
    mask = np.asarray(correct)
    if mask.dtype != np.bool_:
        raise ValueError(f"correct: must be boolean, got {mask.dtype}")
    return mask


def relative_entropy(log_p: ArrayLike, log_b: ArrayLike) -> Float:
    """(...,) KL(p||b) in nats of laws given by logs (..., K); entries with log p = -inf are empty.

    inf where p has mass that b lacks.  Summed as p (r - 1 + e^{-r}) with r = log p/b: no term is
    negative, so that nearly equal laws have an accurate divergence, and equal ones exactly 0.

    Raises ValueError, naming the argument, on NaN or shapes that do not broadcast.
    """
    p, b = floats("log_p", log_p), floats("log_b", log_b)
    for name, values in (("log_p", p), ("log_b", b)):
        if np.any(np.isnan(values)):
            raise ValueError(f"{name}: holds NaN")
    try:
        p, b = np.broadcast_arrays(p, b)
    except ValueError as error:
        raise ValueError(
            f"log_b: shape {b.shape} does not broadcast with {p.shape} of log_p"
        ) from error
    there = p > -np.inf
    both = there & (b > -np.inf)
    r = np.subtract(p, b, out=np.zeros_like(p), where=both)
    terms = np.where(both, _divergence(p, r, np.where(both, b, -np.inf)), 0.0)
    # Where p is empty its terms are b: the laws have the same total mass.
    empty = np.where(there, 0.0, np.exp(b))
    total = np.sum(terms + empty, axis=-1)
    return np.asarray(np.where(np.any(there & ~both, axis=-1), np.inf, total))


def _divergence(log_p: Float, r: Float, log_b: Float) -> Float:
    """p (r - 1 + e^{-r}) >= 0 with r = log p/b, to its last digits whatever r is."""
    near, middle = np.abs(r) < 0.02, np.abs(r) < 1.0
    small = np.where(near, r, 0.0)
    # r + expm1(-r) by its series, which keeps the digits that the sum would lose.
    series = np.zeros_like(r)
    for order in range(10, 1, -1):
        series = series * -small / (order + 1) + 1.0
    series = series * small * small / 2
    mass = np.exp(log_p)
    moderate = mass * (r + np.expm1(-np.where(middle, r, 0.0)))
    # Far below b the product p e^{-r} is b itself, which cannot overflow.
    far = mass * (r - 1) + np.exp(log_b)
    return np.asarray(np.where(near, mass * series, np.where(middle, moderate, far)))


def kl(policy: Policy, base: Policy) -> Float:
    """(...,) reverse KL(policy || base), nats.  Raises ValueError, TypeError on what is no pair."""
    _check_pair(policy, base)
    return relative_entropy(policy.log_probs, base.log_probs)


def kl_binary(policy: Policy, base: Policy) -> Float:
    """(...,) kl(C||p) between the two Bernoulli laws of correctness, nats."""
    _check_pair(policy, base)
    right, wrong = _log_ratios(policy, base)
    return np.asarray(
        _divergence(policy.log_C, right, base.log_C)
        + _divergence(policy.log_1mC, wrong, base.log_1mC)
    )


def kl_decomposition(policy: Policy, base: Policy) -> tuple[Float, Float, Float]:
    """The three terms of the chain rule: kl(C||p), C KL(q||b_S), (1-C) KL(f||b_F); theory.md B2.

    Raises ValueError if the correct sets differ.
    """
    _check_pair(policy, base)
    if np.any(policy.correct != base.correct):
        raise ValueError("base: its correct set differs from the policy's")
    ratio = policy.log_probs - base.log_probs
    terms = []
    for part, mass in ((policy.correct, policy.log_C), (~policy.correct, policy.log_1mC)):
        laws = log_normalise(policy.log_probs, part), log_normalise(base.log_probs, part)
        first = np.argmax(np.broadcast_to(laws[1], ratio.shape), axis=-1)[..., None]
        # Relative to the likeliest's, so that a part of one trajectory differs by exactly 0.
        rise = np.where(part, ratio - np.take_along_axis(ratio, first, axis=-1), 0.0)
        rise = rise - _log_mean(laws[1], rise)[..., None]
        each = np.where(part, _divergence(laws[0], rise, laws[1]), 0.0)
        terms.append(np.asarray(np.exp(mass) * np.sum(each, axis=-1)))
    return kl_binary(policy, base), terms[0], terms[1]


def _log_mean(log_b: Float, x: Float) -> Float:
    """(...,) log of the mean of e^x under the law b, with its digits where x is close to 0."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        rise = np.sum(np.where(log_b > -np.inf, np.exp(log_b) * np.expm1(x), 0.0), axis=-1)
        return np.where(np.abs(rise) < 0.5, np.log1p(rise), logsumexp(log_b + x))


def _log_ratios(policy: Policy, base: Policy) -> tuple[Float, Float]:
    """(...,) log C/p and log (1-C)/(1-p), with their digits where the two are close."""
    plain = policy.log_C - base.log_C, policy.log_1mC - base.log_1mC
    if np.any(policy.correct != base.correct):
        return np.asarray(plain[0]), np.asarray(plain[1])
    ratio = policy.log_probs - base.log_probs
    # Both laws are normalised to rounding only, which close to each other is not nothing.
    ratio = ratio - _log_mean(log_normalise(base.log_probs), ratio)[..., None]
    right, wrong = _log_mean(base.log_q, ratio), _log_mean(base.log_f, ratio)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # The larger part's is what the smaller leaves.
        odds, few = np.exp(base.logit_C), base.logit_C <= 0
        of_right = np.where(few, right, np.log1p(-np.expm1(wrong) / odds))
        of_wrong = np.where(few, np.log1p(-np.expm1(right) * odds), wrong)
    far = np.maximum(np.abs(plain[0]), np.abs(plain[1])) > 0.5
    return np.where(far, plain[0], of_right), np.where(far, plain[1], of_wrong)


def _check_pair(policy: Policy, base: Policy) -> None:
    as_policy(policy)
    as_policy(base, "base")
    try:
        np.broadcast_shapes(policy.log_probs.shape, base.log_probs.shape)
        fits = policy.log_probs.shape[-1] == base.log_probs.shape[-1]
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"base: shape {base.log_probs.shape} does not fit the policy's {policy.log_probs.shape}"
        )


def as_policy(value: Any, name: str = "policy") -> Policy:
    """``value`` if it is a Policy; raises TypeError, naming ``name``, otherwise."""
    if not isinstance(value, Policy):
        raise TypeError(f"{name}: must be a diffsmooth.theory.policy.Policy, got {type(value)}")
    return value
