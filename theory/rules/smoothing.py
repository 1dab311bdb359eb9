"""Differential smoothing: a term in -log pi on correct answers, and (optionally) +log pi on others.

Source: arXiv 2511.19942, Eq. 4 (reward form) and Eq. 6 (advantage form); the centred and quotient
forms are new here (theory.md, "The rule" and C8).  The rule is written here only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from diffsmooth.theory.rules._backend import Array, divide, is_symbolic, namespace, working
from diffsmooth.theory.rules.base import Part, Rule, among, is_zero, nonnegative
from diffsmooth.theory.rules.baselines import GRPO
from diffsmooth.theory.rules.batch import GroupBatch, Groups

Reduction = Literal["sum", "mean", "token", "spread"]
Centring = Literal["none", "correct"]
OneKind = Literal["keep", "drop"]
Entry = Literal["advantage", "reward"]


def signed(xp: Any, correct: Array, x: Array, g_correct: Any, g_incorrect: Any) -> Array:
    """-g_correct x on correct answers, +g_incorrect x on the others: the rule in one line.

    Answers of a group and trajectories of a table alike; what x is belongs to the caller.
    """
    return xp.where(correct, -g_correct * x, g_incorrect * x)


@dataclass(frozen=True)
class SmoothingTerm:
    """The term that smoothing adds: ``-g_correct x`` on correct, ``+g_incorrect x`` on incorrect.

    g_correct, g_incorrect
        Strengths >= 0, per nat.
    reduction
        What ``x`` is: "sum" log-prob of the answer; "mean" per token; "token" each token's own
        log-prob (the term is then (B, T)); "spread" the mean divided by the length once more.
    centring
        "correct": subtract from ``x`` on correct answers its mean over the group's correct answers
        ("token": over their tokens), so that the term redistributes among correct answers and
        pushes correctness nowhere.  Incorrect answers are never centred.
    one_kind
        "drop": no term in groups that are all correct or all incorrect, where GRPO's own advantage
        is 0 (theory.md C7).  "keep": the term stays.
    quotient
        ``x`` on correct answers is the log share of the answer's class among the group's correct
        answers instead of a log-prob (theory.md C8).  Needs ``classes``; g_incorrect must be 0.

    Raises ValueError, naming the argument, on negative or non-finite strengths and on
    combinations without a meaning.
    """

    g_correct: Any = 0.0
    g_incorrect: Any = 0.0
    reduction: Reduction = "sum"
    centring: Centring = "none"
    one_kind: OneKind = "keep"
    quotient: bool = False

    def __post_init__(self) -> None:
        nonnegative("g_correct", self.g_correct)
        nonnegative("g_incorrect", self.g_incorrect)
        among("reduction", self.reduction, ("sum", "mean", "token", "spread"))
        among("centring", self.centring, ("none", "correct"))
        among("one_kind", self.one_kind, ("keep", "drop"))
        if self.quotient and not is_zero(self.g_incorrect):
            raise ValueError(
                "g_incorrect: must be 0 with quotient (incorrect answers have no class)"
            )

    @property
    def is_zero(self) -> bool:
        """True if both strengths are 0: the term is then nothing, not even a zero added."""
        return is_zero(self.g_correct) and is_zero(self.g_incorrect)

    def __call__(self, batch: GroupBatch) -> Array:
        """The term alone: (B,), or (B, T) with reduction "token" on token log-probs.

        For an engine that has computed the reward's advantage itself.  0 on masked tokens and on
        answers without a token.

        Raises ValueError if the batch lacks log-probs, lengths or classes that are needed.
        """
        xp = batch.xp
        x, present = self._log_weight(batch)
        correct = batch.correct if x.ndim == 1 else batch.correct[:, None]
        weight = xp.astype(present, x.dtype)
        if self.centring == "correct":
            # Tokens are summed first, then rows: the mean over the group's correct answers.
            rows = weight * xp.astype(correct, x.dtype)
            count = batch.groups.sum(rows if x.ndim == 1 else xp.sum(rows, axis=1))
            total = batch.groups.sum(rows * x if x.ndim == 1 else xp.sum(rows * x, axis=1))
            mean = divide(xp, total, count)
            x = xp.where(correct, x - (mean if x.ndim == 1 else mean[:, None]), x)
        if self.one_kind == "drop":
            mixed = batch.mixed if x.ndim == 1 else batch.mixed[:, None]
            weight = weight * xp.astype(mixed, x.dtype)
        return signed(xp, correct, x, self.g_correct, self.g_incorrect) * weight

    def _log_weight(self, batch: GroupBatch) -> tuple[Array, Array]:
        """(x, present): what is smoothed and where there is something to smooth."""
        xp = batch.xp
        if self.quotient:
            return _log_class_share(batch), batch.correct
        if self.reduction == "token":
            if batch.logps is None or batch.logps.ndim != 2:
                raise ValueError('logps: reduction="token" needs token log-probs (B, T)')
            mask = batch.full_mask
            logps = working(xp, batch.logps)
            return xp.where(mask, logps, xp.zeros_like(logps)), mask
        if self.reduction == "sum":
            return batch.sequence_logps, batch.has_tokens
        if self.reduction == "mean":
            return batch.mean_logps, batch.has_tokens
        return divide(xp, batch.mean_logps, batch.token_counts), batch.has_tokens


@dataclass(frozen=True)
class Smoothed(Rule):
    """Any rule with a smoothing term: the two-part rule (theory.md E3), DS-GRPO being one case.

    base
        The advantage that carries the reward (default GRPO).
    term
        The smoothing term.
    entry
        "advantage": add the term to the base's advantage (paper Eq. 6).  "reward": add it to the
        reward before the base sees it (Eq. 4).

    With both strengths 0 it is the base, bit for bit.
    """

    base: Rule = GRPO()
    term: SmoothingTerm = SmoothingTerm()
    entry: Entry = "advantage"

    part: ClassVar[Part] = "both"
    citation: ClassVar[str] = "2511.19942, Eq. 6 (Eq. 4 in the reward)"
    formula: ClassVar[str] = "A - g_p c x + g_n w x"

    def __post_init__(self) -> None:
        among("entry", self.entry, ("advantage", "reward"))
        if self.entry == "reward" and self.term.reduction == "token":
            raise ValueError(
                'entry: "reward" takes one number an answer; reduction="token" has many'
            )

    @property
    def needs_logps(self) -> bool:  # type: ignore[override]
        return self.base.needs_logps or not (self.term.quotient or self.term.is_zero)

    @property
    def needs_classes(self) -> bool:  # type: ignore[override]
        return self.base.needs_classes or (self.term.quotient and not self.term.is_zero)

    @property
    def needs_reference(self) -> bool:  # type: ignore[override]
        return self.base.needs_reference

    @property
    def touches_incorrect(self) -> bool:  # type: ignore[override]
        """Does the *term* change incorrect answers?"""
        return not is_zero(self.term.g_incorrect)

    @property
    def token_level(self) -> bool:  # type: ignore[override]
        return self.base.token_level or self.term.reduction == "token"

    def __call__(self, batch: GroupBatch) -> Array:
        if self.term.is_zero:
            return self.base(batch)
        term = self.term(batch)
        if self.entry == "reward":
            return self.base(replace(batch, reward=batch.work_reward + term))
        return add_term(self.base(batch), term)


def add_term(advantage: Array, term: Array) -> Array:
    """Advantage (B,) or (B, T) plus term (B,) or (B, T): shapes are matched on the answer's axis.

    The sum keeps the type of the advantage.  Raises ValueError if B differs.
    """
    if advantage.shape[0] != term.shape[0]:
        raise ValueError(f"term: has {term.shape[0]} answers, the advantage {advantage.shape[0]}")
    if advantage.ndim < term.ndim:
        advantage = advantage[:, None]
    elif advantage.ndim > term.ndim:
        term = term[:, None]
    if not is_symbolic(term) and not is_symbolic(advantage):
        term = namespace(term).astype(term, advantage.dtype, copy=False)
    return advantage + term


def _log_class_share(batch: GroupBatch) -> Array:
    """(B,) log share of the answer's class among its group's correct ones; 0 on incorrect."""
    if batch.classes is None:
        raise ValueError("classes: the quotient rule needs the class ids (B,); got None")
    xp, number = batch.xp, batch.correct_as_number
    same = _same_class_count(batch)
    share = divide(xp, same, batch.groups.sum(number))
    return xp.log(xp.where(batch.correct, share, xp.ones_like(share)))


def _same_class_count(batch: GroupBatch) -> Array:
    """(B,) number of correct answers in the row's group that share its class."""
    # A (group, class) pair is one id: group labels and class labels are both below B.
    pair = batch.groups.labels * batch.groups.rows + Groups(batch.classes).labels
    return Groups(pair).sum(batch.correct_as_number)
