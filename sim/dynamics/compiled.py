"""Compiled kernels (extra ``fast``): exact steps of many tabular policies, sampled groups.

A policy is followed for all its steps while it lies in the first cache; policies are independent,
so that threads change no byte.  ``fastmath`` is off: sums have a fixed order, eight partial sums
that the compiler may keep in one vector register.  The exponential is our own, so that it
vectorises and rounds alike everywhere: at most 2 units in the last place for arguments in
[-708, 0], clamped below.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from diffsmooth.sim import kernels
from diffsmooth.sim.dynamics.expected import (
    NoClosedFormError,
    bernstein_coefficients,
)
from diffsmooth.sim.policies import Bool, Float, Int
from diffsmooth.theory.rules import (
    EntropyBonus,
    GroupBatch,
    Reinforce,
    RewardOnly,
    Rule,
    Smoothed,
)


@dataclass(frozen=True)
class Linear:
    """A rule's expected advantage as numbers: what the kernel needs.

    ``A = c (u'(C) + share * right * (l - centre)) + (1 - c) * wrong * l`` with l the log-prob, u'
    in Bernstein form, and, where ``centred``, centre the mean of l over correct answers and share
    1 - E[1/k] for groups of ``group_size`` (0 for large groups).
    """

    coefficients: tuple[float, ...]
    right: float
    wrong: float
    centred: bool
    group_size: int


def linear(rule: Rule, group_size: int | None) -> Linear:
    """The rule as :class:`Linear`; slopes are read off the rule itself.

    Raises NoClosedFormError for rules that are not of this form.
    """
    size = 0 if group_size is None else group_size
    if isinstance(rule, RewardOnly):
        return Linear(bernstein_coefficients(rule, group_size), 0.0, 0.0, False, size)
    if isinstance(rule, EntropyBonus) and rule.reduction == "sum":
        slope = _slope(replace(rule, base=Reinforce()), correct=False)
        return replace(linear(rule.base, group_size), right=slope, wrong=slope)
    if isinstance(rule, Smoothed) and rule.entry == "advantage":
        term = rule.term
        if term.reduction == "sum" and term.one_kind == "keep" and not term.quotient:
            plain = replace(rule, base=Reinforce(), term=replace(term, centring="none"))
            return replace(
                linear(rule.base, group_size),
                right=_slope(plain, correct=True),
                wrong=_slope(plain, correct=False),
                centred=term.centring == "correct",
            )
    raise NoClosedFormError(f"{type(rule).__name__}: not linear in the answers' log-probs")


def _slope(rule: Rule, *, correct: bool) -> float:
    """What one nat of log-prob adds to the advantage of an answer whose reward is 0."""
    batch = GroupBatch(
        reward=np.zeros(1),
        correct=np.array([correct]),
        group=np.zeros(1, dtype=np.int64),
        logps=np.array([-1.0]),
    )
    return -float(np.asarray(rule(batch))[0])


def exact_steps(
    logits: Float,
    verified: Float,
    rules: Sequence[Rule],
    *,
    rates: Sequence[float] | Float,
    count: int,
    group_size: int | None,
    threads: int = 1,
) -> None:
    """``count`` exact steps in place: logits (L, N, K), one rule and rate a copy.

    verified (N, K), or (1, K) where all policies share one correct set (half the memory).

    Raises ImportError without numba, ValueError on logits that are not finite or not contiguous,
    NoClosedFormError as :func:`linear`.
    """
    if not np.isfinite(logits).all():
        raise ValueError("logits: must be finite (the kernel knows no padding)")
    if not logits.flags.c_contiguous or logits.dtype != np.float64:
        raise ValueError("logits: must be a contiguous float64 array, it is changed in place")
    steps = kernels.kernel("steps")
    reward = np.ascontiguousarray(verified, dtype=np.float64)
    for copy, (rule, rate) in enumerate(zip(rules, rates, strict=True)):
        form = linear(rule, group_size)
        coefficients = np.array(form.coefficients)
        numbers = (form.right, form.wrong, form.centred, form.group_size, float(rate), count)

        def part(
            rows: slice,
            policies: Float = logits[copy],
            coefficients: Float = coefficients,
            numbers: tuple[Any, ...] = numbers,
        ) -> None:
            mine = reward if len(reward) == 1 else reward[rows]
            steps(policies[rows], mine, coefficients, *numbers)

        edges = np.linspace(0, logits.shape[1], threads + 1).astype(int)
        pieces = [slice(a, b) for a, b in pairwise(edges)]
        if threads == 1:
            part(pieces[0])
            continue
        # The kernel releases the interpreter's lock.
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(part, pieces))


def draw_rows(
    probabilities: Float,
    local: Float,
    *,
    policy: Int,
    uniforms: Float,
    noise: Float,
    verified: Float,
    position: Int,
    mask: Bool,
    single: bool,
) -> tuple[Int, Bool, Float, Int]:
    """(answers, accepted, old, where) of ``draws.Sampler``, bit for bit, in one pass.

    probabilities (L, S, P, K), local (L, S, P, n, V), policy (S, Q) index among the S x P policies,
    uniforms and noise (S, Q, G), verified (S, P, K), position and mask (K, T); single: every answer
    is one token, in the place of its id.
    """
    copies, size, length = len(probabilities), probabilities.shape[-1], position.shape[-1]
    shape = (copies, policy.size, uniforms.shape[-1])
    answers = np.empty(shape, dtype=np.int64)
    accepted = np.empty(shape, dtype=np.bool_)
    old = np.empty((*shape, length))
    where = np.empty((*shape, length), dtype=np.int64)
    kernels.kernel("draw_rows")(
        np.ascontiguousarray(probabilities).reshape(copies, -1, size),
        np.ascontiguousarray(local).reshape(copies, verified.size // size, -1),
        policy.reshape(-1),
        np.ascontiguousarray(uniforms).reshape(shape[1:]),
        np.ascontiguousarray(noise).reshape(shape[1:]),
        verified.reshape(-1, size),
        position,
        mask,
        single,
        (answers, accepted, old, where),
    )
    whole = (copies, *uniforms.shape)
    tokens = (*whole, length)
    return (
        answers.reshape(whole),
        accepted.reshape(whole),
        old.reshape(tokens),
        where.reshape(tokens),
    )
