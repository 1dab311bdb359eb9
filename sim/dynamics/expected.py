"""The exact expected update of a rule over groups of G answers, where it has a closed form.

Answers are drawn independently, so the expected update is ``sum_i pi_i A_i grad log pi_i`` with
``A_i`` the expected advantage of answer i, given that it was drawn.  For rules that see rewards
only it is a polynomial in C (theory.md E1); the smoothing term and the entropy bonus are linear in
log-probs.  A group centres on the mean of its own correct answers, i among them: given that i is
one of k, the expected centred term is ``(1 - 1/k)`` times the exact one, so that finite groups
smooth less by the factor ``1 - E[1/k]``, ``E[1/k] = (1 - (1-C)^G) / (G C)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsmooth.sim.policies import Float, Int
from diffsmooth.theory.rules import (
    RLOO,
    DrGRPO,
    EntropyBonus,
    GroupBatch,
    KLReward,
    Reinforce,
    RewardOnly,
    Rule,
    SignedReinforce,
    Smoothed,
)


class NoClosedFormError(ValueError):
    """The rule's expectation over groups has no closed form here; sample groups instead."""


@dataclass(frozen=True, eq=False)
class Population:
    """A law over answers: what the expectation is taken under.

    log_probs (..., K), -inf on padding; verified (..., K) chance that the verifier accepts;
    lengths (..., K); base (..., K) log-probs of the reference.  Leading axes broadcast.
    """

    log_probs: Float
    verified: Float
    lengths: Int
    base: Float

    @property
    def success(self) -> Float:
        """(..., 1) chance that a drawn answer is accepted: C, where the verifier is exact."""
        accepted = (np.exp(self.log_probs) * self.verified).sum(-1, keepdims=True)
        return np.asarray(np.minimum(accepted, 1.0))  # a sum of probabilities can round above 1

    @property
    def failure(self) -> Float:
        """(..., 1) chance that it is rejected, from its own sum: 1 - C loses its digits near 0."""
        rejected = (np.exp(self.log_probs) * (1.0 - self.verified)).sum(-1, keepdims=True)
        return np.asarray(np.minimum(rejected, 1.0))


def expected_advantage(rule: Rule, population: Population, group_size: int | None) -> Float:
    """(..., K) expected advantage of each answer, given that it is in the group.

    Up to a number common to all answers, which no update depends on.

    ``group_size`` None is the limit of large groups, for rules whose advantage does not depend on
    the group's size.  Raises NoClosedFormError for rules whose expectation is no such formula.
    """
    _check_group(group_size)
    if isinstance(rule, RewardOnly):
        return _reward_only(rule, population, group_size)
    if isinstance(rule, EntropyBonus):
        term = _answer_terms(replace(rule, base=Reinforce()), population, accepted=False)
        return expected_advantage(rule.base, population, group_size) + term
    if isinstance(rule, Smoothed):
        if rule.entry == "advantage":
            base = expected_advantage(rule.base, population, group_size)
            return base + _smoothing(rule, population, group_size)
        if rule.term.centring == "none" and not rule.term.quotient:
            base = expected_advantage(rule.base, population, group_size)
            return base + _through(rule.base, group_size) * _smoothing(rule, population, group_size)
    if isinstance(rule, KLReward):
        plain = expected_advantage(rule.base, population, group_size)
        term = _answer_terms(replace(rule, base=Reinforce()), population, accepted=False)
        return plain + _through(rule.base, group_size) * term
    raise NoClosedFormError(
        f"{type(rule).__name__}: no closed form of its expectation over groups; use sampled groups"
    )


def group_derivative(
    rule: RewardOnly, success: Float, group_size: int | None, failure: Float | None = None
) -> Float:
    """u'(C) (theory.md E1): expected advantage of a correct minus that of an incorrect answer.

    ``failure`` (...,) is 1 - C where the caller has it from its own sum.
    """
    return _bernstein(bernstein_coefficients(rule, group_size), success, failure)


def _bernstein(values: Sequence[float], success: Float, failure: Float | None) -> Float:
    from diffsmooth.theory.utilities import bernstein

    # A sum of probabilities can round above 1.
    return np.asarray(bernstein(values, np.minimum(success, 1.0), failure))


@lru_cache(maxsize=256)
def bernstein_coefficients(rule: RewardOnly, group_size: int | None) -> tuple[float, ...]:
    """Bernstein coefficients of u', a single one where u' is constant.

    Raises NoClosedFormError for group_size None unless the rule looks at one answer at a time.
    """
    from diffsmooth.theory.utilities import coefficients

    if group_size is None:
        if not isinstance(rule, (Reinforce, SignedReinforce)):
            raise NoClosedFormError(
                f"{type(rule).__name__}: needs the group's size; pass group_size"
            )
        group_size = 1
    values = [float(c) for c in coefficients(rule, group_size)]
    return (values[0],) if len(set(values)) == 1 else tuple(values)


def kept_share(
    success: Float,
    group_size: int | None,
    failure: Float | None = None,
    *,
    drop_one_kind: bool = False,
) -> Float:
    """The share of a group-centred term that survives: 1 - E[1/k] for a drawn correct answer.

    0 for groups of one answer; tends to 1 as G C grows.  ``drop_one_kind``: groups of correct
    answers alone keep nothing.  ``failure`` (...,) is 1 - C where the caller has it from its own
    sum.  As the sum over the other correct answers m of Bin(G-1, C)(m) m/(m+1): no term is
    negative, so nothing cancels at either end.
    """
    if group_size is None:
        return np.ones_like(success)
    shares = [m / (m + 1) for m in range(group_size)]
    if drop_one_kind:
        shares[-1] = 0.0
    return _bernstein(shares, success, failure)


def _check_group(group_size: int | None) -> None:
    if group_size is not None and group_size < 1:
        raise ValueError(f"group_size: must be at least 1, got {group_size}")


def _reward_only(rule: RewardOnly, population: Population, group_size: int | None) -> Float:
    # The advantage of a rejected answer is common to all answers and moves nothing.
    push = group_derivative(rule, population.success, group_size, population.failure)
    return population.verified * push


def _through(base: Rule, group_size: int | None) -> float:
    """The factor by which a linear base passes on a term that is added to the reward."""
    if isinstance(base, (Reinforce, RLOO)):
        return 1.0
    if isinstance(base, DrGRPO):
        return 1.0 if group_size is None else 1.0 - 1.0 / group_size
    raise NoClosedFormError(
        f"a term in the reward has no closed form through {type(base).__name__}; "
        "use sampled groups, or a base that is linear in the reward"
    )


def _smoothing(rule: Smoothed, population: Population, group_size: int | None) -> Float:
    term = rule.term
    if term.is_zero:
        return np.zeros_like(population.log_probs)
    if term.quotient or term.reduction == "token":
        raise NoClosedFormError(
            "quotient and token terms have no closed form of their expectation; use sampled groups"
        )
    # The rule's own term, before its centring: one answer at a time.
    plain = replace(rule, base=Reinforce(), entry="advantage")
    plain = replace(plain, term=replace(term, centring="none", one_kind="keep"))
    right = _answer_terms(plain, population, accepted=True)
    wrong = _answer_terms(plain, population, accepted=False)
    success, failure = population.success, population.failure
    # Groups of one kind drop the term.
    drop = term.one_kind == "drop" and group_size is not None
    if term.centring == "correct":
        weight = np.exp(population.log_probs) * population.verified
        right = right - (weight * right).sum(-1, keepdims=True) / weight.sum(-1, keepdims=True)
        share = kept_share(success, group_size, failure, drop_one_kind=drop)
    else:
        share = _mixed(failure, group_size) if drop else np.ones_like(success)
    if drop:
        wrong = wrong * _mixed(success, group_size)
    return population.verified * right * share + (1.0 - population.verified) * wrong


def _mixed(other_kind: Float, group_size: int | None) -> Float:
    """The chance that an answer's G - 1 companions are not all of its own kind."""
    from diffsmooth.theory.passk import pass_at_k_exact

    assert group_size is not None
    return pass_at_k_exact(other_kind, group_size - 1)


def _answer_terms(rule: Rule, population: Population, *, accepted: bool) -> Float:
    """(..., K) the rule's value on every answer, each a group of its own with reward 0."""
    shape = population.log_probs.shape
    finite = np.where(np.isfinite(population.log_probs), population.log_probs, 0.0)
    rows = finite.size

    def flat(x: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(np.broadcast_to(x, shape)).reshape(rows)

    batch = GroupBatch(
        reward=np.zeros(rows),
        correct=np.full(rows, accepted),
        group=np.arange(rows),
        logps=np.minimum(finite.reshape(rows), 0.0),
        lengths=flat(population.lengths),
        ref_logps=flat(np.where(np.isfinite(population.base), population.base, 0.0)),
    )
    return np.asarray(rule(batch)).reshape(shape)
