"""Rivals that read log-probs: entropy bonus, KL in loss and reward, unlikeliness, UCPO, MARA.

An answer whose mask is empty has no log-prob: it keeps its reward, and is neither an anchor nor
one of the answers that are weighed against each other.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from diffsmooth.theory.rules._backend import Array, divide, is_symbolic, working
from diffsmooth.theory.rules.base import Part, Rule, among, check_values, is_zero, nonnegative
from diffsmooth.theory.rules.baselines import GRPO, DrGRPO
from diffsmooth.theory.rules.batch import GroupBatch, Groups
from diffsmooth.theory.rules.smoothing import OneKind, add_term

SequenceReduction = Literal["sum", "mean"]


def _answer_logps(batch: GroupBatch, reduction: str) -> Array:
    return batch.sequence_logps if reduction == "sum" else batch.mean_logps


@dataclass(frozen=True)
class EntropyBonus(Rule):
    """A - g log pi on every answer, correct or not; g < 0 is the entropy penalty.

    The sequence form; the token form (entropy of the token law in the loss) belongs to the update.
    """

    g: Any = 0.0
    reduction: SequenceReduction = "sum"
    base: Rule = GRPO()

    part: ClassVar[Part] = "both"
    citation: ClassVar[str] = "Williams & Peng 1991"
    formula: ClassVar[str] = "A - g log pi"
    needs_logps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        among("reduction", self.reduction, ("sum", "mean"))

    def __call__(self, batch: GroupBatch) -> Array:
        if is_zero(self.g):
            return self.base(batch)
        return add_term(self.base(batch), -self.g * _answer_logps(batch, self.reduction))


class ChangedReward(Rule):
    """The base's advantage of another reward; at strength 0 the base's own, bit for bit."""

    base: Rule

    @property
    @abstractmethod
    def strength(self) -> Any:
        """The strength that is 0 where the reward stays as it is."""

    @abstractmethod
    def reward(self, batch: GroupBatch) -> Array:
        """(B,) the reward that the base gets to see."""

    def __call__(self, batch: GroupBatch) -> Array:
        if is_zero(self.strength):
            return self.base(batch)
        return self.base(replace(batch, reward=self.reward(batch)))


@dataclass(frozen=True)
class KLLoss(Rule):
    """The base's advantage and, undivided, GRPO's KL: the term of beta k3 in the loss.

    k3 = e^d - d - 1 with d = log pi_ref - log pi has the gradient (1 - e^d) grad log pi, so that
    a token gets beta (pi_ref/pi - 1) beside its advantage: linear in beta, and gone with it,
    whatever the group.  Token log-probs (B, T) give every token its own term; log-probs of whole
    answers (B,) take an answer for one token.  In expectation over pi the term descends
    beta KL(pi_ref || pi), although k3 itself estimates KL(pi || pi_ref) (N5).
    Raises ValueError where pi_ref/pi overflows.
    """

    beta: Any = 0.0
    base: Rule = GRPO()

    part: ClassVar[Part] = "both"
    citation: ClassVar[str] = "2402.03300, Eq. 4"
    formula: ClassVar[str] = "A + beta (pi_ref/pi - 1) per token"
    needs_logps: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    token_level: ClassVar[bool] = True

    def __post_init__(self) -> None:
        nonnegative("beta", self.beta)

    def __call__(self, batch: GroupBatch) -> Array:
        if is_zero(self.beta):
            return self.base(batch)
        return add_term(self.base(batch), self.term(batch))

    def term(self, batch: GroupBatch) -> Array:
        """The term alone, of the shape of the log-probs; 0 on masked tokens.

        Raises ValueError if the batch lacks log-probs of either policy, and on overflow.
        """
        xp = batch.xp
        # Both raise, naming what is missing.
        _, _ = batch.sequence_logps, batch.sequence_ref_logps
        log_ratio = working(xp, batch.ref_logps) - working(xp, batch.logps)
        present = batch.full_mask if log_ratio.ndim == 2 else batch.has_tokens
        log_ratio = xp.where(present, log_ratio, xp.zeros_like(log_ratio))
        if not is_symbolic(log_ratio):
            largest = math.log(xp.finfo(log_ratio.dtype).max)
            check_values(
                log_ratio > largest, "ref_logps: pi_ref/pi overflows; was the answer drawn from pi?"
            )
        return self.beta * xp.expm1(log_ratio)


@dataclass(frozen=True)
class KLReward(ChangedReward):
    """r' = r - beta (log pi - log pi_ref), then the base's advantage (KL in the reward).

    A base that divides by the deviation divides the KL too: under GRPO it *is* the reward in
    groups of one kind, and its strength plays no part there however small.  :class:`KLLoss`, or a
    base that does not divide, is linear in beta.
    """

    beta: Any = 0.0
    base: Rule = GRPO()

    part: ClassVar[Part] = "both"
    citation: ClassVar[str] = "2203.02155, Eq. 2"
    formula: ClassVar[str] = "base of r - beta log(pi/pi_ref)"
    needs_logps: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True

    def __post_init__(self) -> None:
        nonnegative("beta", self.beta)

    @property
    def strength(self) -> Any:
        return self.beta

    def reward(self, batch: GroupBatch) -> Array:
        ratio = batch.sequence_logps - batch.sequence_ref_logps
        return batch.work_reward - self.beta * ratio


@dataclass(frozen=True)
class Unlikeliness(ChangedReward):
    """Correct answers: r (1 - weight * rank / G), then the base's advantage.

    rank 0..G-1 counts the answers of the group (correct or not) with a smaller mean log-prob per
    token; ties share their mean rank, so that the order of the rows plays no part.

    one_kind
        "drop": groups that are all correct (or all wrong) keep their reward, under GRPO an
        advantage of 0, as the authors' training leaves such groups out.  "keep": they are ranked
        too; GRPO then divides a spread that is the penalty's own, whose weight plays no part.
    """

    weight: Any = 0.25
    reduction: SequenceReduction = "mean"
    base: Rule = GRPO()
    one_kind: OneKind = "drop"

    part: ClassVar[Part] = "both"
    citation: ClassVar[str] = "2506.02355"
    formula: ClassVar[str] = "base of r (1 - w rank/G) on correct, in mixed groups"
    needs_logps: ClassVar[bool] = True
    touches_incorrect: ClassVar[bool] = False

    def __post_init__(self) -> None:
        nonnegative("weight", self.weight)
        among("reduction", self.reduction, ("sum", "mean"))
        among("one_kind", self.one_kind, ("keep", "drop"))

    @property
    def strength(self) -> Any:
        return self.weight

    def reward(self, batch: GroupBatch) -> Array:
        xp, reward = batch.xp, batch.work_reward
        rank = xp.astype(_ranks(batch, _answer_logps(batch, self.reduction)), reward.dtype)
        size = batch.groups.sum(xp.ones_like(reward))
        scored = batch.correct & batch.has_tokens
        if self.one_kind == "drop":
            scored = scored & batch.mixed
        factor = xp.where(scored, 1 - self.weight * rank / size, xp.ones_like(reward))
        return reward * factor


@dataclass(frozen=True)
class UCPO(Rule):
    """Positive advantages reweighted towards unlikely correct answers, their sum kept.

    w = (1 - tau)/n + tau (1/q)/sum(1/q) over the n correct answers of the group, q proportional to
    exp(mean log-prob); A on a correct answer becomes A n w.  Computed as a softmax of -log q.
    """

    tau: Any = 0.2
    reduction: SequenceReduction = "mean"
    base: Rule = GRPO()

    part: ClassVar[Part] = "both"
    citation: ClassVar[str] = "2605.00365"
    formula: ClassVar[str] = "A n ((1-tau)/n + tau (1/q)/sum(1/q)) on correct"
    needs_logps: ClassVar[bool] = True
    touches_incorrect: ClassVar[bool] = False

    def __post_init__(self) -> None:
        nonnegative("tau", self.tau)
        among("reduction", self.reduction, ("sum", "mean"))
        if not getattr(self.tau, "free_symbols", None) and float(self.tau) > 1:
            raise ValueError(f"tau: must lie in [0, 1], got {self.tau}")

    def __call__(self, batch: GroupBatch) -> Array:
        if is_zero(self.tau):
            return self.base(batch)
        xp = batch.xp
        score = -_answer_logps(batch, self.reduction)
        scored = batch.correct & batch.has_tokens
        number = xp.astype(scored, score.dtype)
        top = batch.groups.max(xp.where(scored, score, xp.full_like(score, -float("inf"))))
        shifted = xp.where(scored, score - top, xp.zeros_like(score))
        weight = xp.exp(shifted) * number
        count = batch.groups.sum(number)
        share = divide(xp, weight, batch.groups.sum(weight))
        spread = (1 - self.tau) + self.tau * count * share
        factor = xp.where(scored, spread, xp.ones_like(spread))
        advantage = self.base(batch)
        return advantage * xp.astype(factor, advantage.dtype)


@dataclass(frozen=True)
class MARA(ChangedReward):
    """R(z) + beta (log pi_ref(z) - log pi_ref(y)) for correct y, r for others, less the KL.

    z, the anchor, is the group's likeliest correct answer under the reference; a correct answer is
    paid the anchor's reward.  The KL of the same strength, -beta log(pi/pi_ref) on every answer,
    is part of the rule: with it the law that is aimed for, pi proportional to pi_ref e^{R'/beta}
    and so uniform over correct answers with a common anchor, is a fixed point; without it nothing
    holds the policy there, and it runs on to the reference's rarest correct answer.

    The default base does not divide by the deviation, so that the term is linear in beta.
    """

    beta: Any = 0.1
    base: Rule = DrGRPO()

    part: ClassVar[Part] = "both"
    citation: ClassVar[str] = "2510.20817, Alg. 1"
    formula: ClassVar[str] = (
        "base of r' - beta log(pi/pi_ref), r' = R(z) + beta log(pi_ref(z)/pi_ref(y)) on correct"
    )
    needs_logps: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True

    def __post_init__(self) -> None:
        nonnegative("beta", self.beta)

    @property
    def strength(self) -> Any:
        return self.beta

    def reward(self, batch: GroupBatch) -> Array:
        xp, reference, reward = batch.xp, batch.sequence_ref_logps, batch.work_reward
        scored = batch.correct & batch.has_tokens

        def largest(where: Array, x: Array) -> Array:
            return batch.groups.max(xp.where(where, x, xp.full_like(x, -float("inf"))))

        anchor = largest(scored, reference)
        paid = xp.where(scored, largest(scored & (reference == anchor), reward), reward)
        bonus = xp.where(scored, anchor - reference, xp.zeros_like(reference))
        log_ratio = batch.sequence_logps - reference
        return paid + self.beta * xp.astype(bonus - log_ratio, reward.dtype)


def _ranks(batch: GroupBatch, values: Array) -> Array:
    """(B,) rank 0..G-1 of each value within its group, ascending; ties get their mean rank."""
    if is_symbolic(values):
        raise TypeError(
            "logps: this rule orders log-probs, which symbolic expressions do not allow"
        )
    xp, labels = batch.xp, batch.groups.labels
    # Sort by (group, value): two stable sorts.
    by_value = xp.argsort(values, stable=True)
    order = xp.take(by_value, xp.argsort(xp.take(labels, by_value), stable=True))
    label, value = xp.take(labels, order), xp.take(values, order)
    start = xp.zeros_like(label[:1])
    new_run = (label[1:] != label[:-1]) | (value[1:] != value[:-1])
    runs = Groups(xp.cumulative_sum(xp.concat([start, xp.astype(new_run, label.dtype)])))
    ones = xp.ones_like(value)
    position = xp.cumulative_sum(ones)
    mean_position = runs.sum(position) / runs.sum(ones)
    group = Groups(label)
    first = -group.max(-position)
    ranked = mean_position - first
    return xp.take(ranked, xp.argsort(order, stable=True))
