"""Smoothing with a unit: the strength is a multiple of a correct answer's own advantage.

Source: theory.md C10.  A strength in nats does not transfer: what .1 does depends on the base's
advantages and on how far the log-probs of the correct answers spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from diffsmooth.theory.rules._backend import Array, divide, working
from diffsmooth.theory.rules.base import Part, Rule, among, is_zero, nonnegative
from diffsmooth.theory.rules.baselines import GRPO
from diffsmooth.theory.rules.batch import GroupBatch
from diffsmooth.theory.rules.smoothing import Reduction, SmoothingTerm, add_term


@dataclass(frozen=True)
class Relative(Rule):
    """A correct answer's advantage is A+ (1 - mu (x - mean x)), A+ its group's, x its log weight.

    The centred smoothing term with g = mu A+ in every group, over any base: A+ is the mean of the
    base's advantage over the group's correct answers (all equal for rules of rewards).  Incorrect
    answers keep the base's advantage.  Groups in which A+ is 0, such as GRPO's of one kind, get no
    term.

    mu
        Relative strength >= 0.  At 1 there is nothing to tune; near uniformity it is the critical
        strength of theory.md C5, from below for two answers (C10).
    reduction
        What x is: "sum" log-prob of the answer, "mean" per token, "spread" that over the length
        once more.
    quotient
        x is the log share of the answer's class (theory.md C8).  Needs ``classes``.

    With mu = 0 it is the base, bit for bit.  Raises ValueError on mu < 0 and other reductions.
    """

    mu: Any = 1.0
    reduction: Reduction = "sum"
    quotient: bool = False
    base: Rule = GRPO()

    part: ClassVar[Part] = "both"
    citation: ClassVar[str] = "theory.md C10"
    formula: ClassVar[str] = "A+ (1 - mu (l - mean l)) on correct"
    touches_incorrect: ClassVar[bool] = False

    def __post_init__(self) -> None:
        nonnegative("mu", self.mu)
        among("reduction", self.reduction, ("sum", "mean", "spread"))

    @property
    def needs_logps(self) -> bool:  # type: ignore[override]
        return self.base.needs_logps or not (self.quotient or is_zero(self.mu))

    @property
    def needs_classes(self) -> bool:  # type: ignore[override]
        return self.base.needs_classes or (self.quotient and not is_zero(self.mu))

    @property
    def needs_reference(self) -> bool:  # type: ignore[override]
        return self.base.needs_reference

    @property
    def token_level(self) -> bool:  # type: ignore[override]
        return self.base.token_level

    def __call__(self, batch: GroupBatch) -> Array:
        advantage = self.base(batch)
        if is_zero(self.mu):
            return advantage
        term = SmoothingTerm(
            self.mu, reduction=self.reduction, centring="correct", quotient=self.quotient
        )(batch)
        return add_term(advantage, self.unit(batch, advantage) * term)

    def unit(self, batch: GroupBatch, advantage: Array) -> Array:
        """(B,) A+ of each answer's group; 0 where no answer is correct.

        A base of tokens is averaged over the answer's tokens first.
        """
        xp, number = batch.xp, batch.correct_as_number
        own = working(xp, advantage)
        if own.ndim == 2:
            mask = xp.astype(batch.full_mask, own.dtype)
            own = divide(xp, xp.sum(own * mask, axis=1), xp.sum(mask, axis=1))
        return divide(xp, batch.groups.sum(own * number), batch.groups.sum(number))
