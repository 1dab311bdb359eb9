"""What a heuristic is: a rule, how it enters the update, and what it is classified as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from diffsmooth.sim.heuristics.tokens import TokenPart
from diffsmooth.theory.rules import PKPO, RLOO, ClipBounds, PassAtK, Rule, Smoothed
from diffsmooth.theory.rules.base import Part

_CLIP = ClipBounds()


@dataclass(frozen=True)
class Update:
    """One heuristic at one strength.

    rule
        From a group to advantages.
    clip
        Interval of the importance ratio (matters from the second epoch on).
    tokens
        What is done to single tokens inside the loss, if anything.
    rate
        Factor on the learning rate.
    adaptive
        If set: the centred smoothing term is added to ``rule`` with this multiple of the critical
        strength of theory.md C5, computed from the policy as training goes.
    """

    rule: Rule
    clip: ClipBounds = _CLIP
    tokens: TokenPart | None = None
    rate: float = 1.0
    adaptive: float | None = None


@dataclass(frozen=True)
class Heuristic:
    """A remedy for collapse and its classifier.

    name, formula, citation
        ``formula`` in words of the rule library; ``citation`` an arXiv id or a classic.
    make
        From a strength to the update.
    parameter, strengths
        What is tuned, and the five values tried: the same budget for every heuristic.
    neutral
        The strength at which the update is that of its base (vanilla, or GRPO); None if the
        tuned parameter is no strength.
    part
        Where it acts: "across" prompts, "within" a prompt, or "both" (theory.md E1, E2).
    needs_logps, touches_incorrect, token_level, needs_reference, needs_classes
        What it reads and what it changes.  ``touches_incorrect``: does the remedy itself, its base
        apart, change how incorrect answers are treated?
    min_group
        Smallest group on which it is defined (and not identically zero).
    """

    name: str
    formula: str
    citation: str
    make: Callable[[float], Update]
    parameter: str
    strengths: tuple[float, ...]
    part: Part
    neutral: float | None = None
    needs_logps: bool = False
    touches_incorrect: bool = True
    token_level: bool = False
    needs_reference: bool = False
    needs_classes: bool = False
    min_group: int = 2

    def updates(self) -> tuple[Update, ...]:
        """The update at each strength."""
        return tuple(self.make(s) for s in self.strengths)

    def at(self, strength: float) -> Update:
        """The update at any strength.  Raises ValueError where the rule does not allow it."""
        return self.make(strength)


def classified(
    name: str,
    make: Callable[[float], Update],
    parameter: str,
    strengths: tuple[float, ...],
    *,
    neutral: float | None = None,
    formula: str | None = None,
    citation: str | None = None,
    part: Part | None = None,
    touches_incorrect: bool | None = None,
    token_level: bool | None = None,
    needs_logps: bool | None = None,
) -> Heuristic:
    """A heuristic whose classifier is read off its rule; what the rule cannot know is passed."""
    updates = [make(s) for s in strengths]
    rule = updates[-1].rule
    return Heuristic(
        name=name,
        formula=rule.formula if formula is None else formula,
        citation=rule.citation if citation is None else citation,
        make=make,
        parameter=parameter,
        strengths=strengths,
        part=rule.part if part is None else part,
        neutral=neutral,
        needs_logps=_given(needs_logps, rule.needs_logps),
        touches_incorrect=_given(touches_incorrect, rule.touches_incorrect),
        token_level=_given(token_level, rule.token_level),
        needs_reference=rule.needs_reference,
        needs_classes=rule.needs_classes,
        min_group=max(_min_group(u.rule) for u in updates),
    )


def _given(value: bool | None, otherwise: bool) -> bool:
    return otherwise if value is None else value


def _min_group(rule: Rule) -> int:
    if isinstance(rule, Smoothed):
        return max(_min_group(rule.base), 2 if rule.term.centring == "correct" else 1)
    if isinstance(rule, PassAtK):
        return max(rule.k, 2)
    if isinstance(rule, PKPO):
        return rule.k + (rule.baseline == "loo")
    if isinstance(rule, RLOO):
        return 2
    base = getattr(rule, "base", None)
    if isinstance(base, Rule):
        return _min_group(base)
    # A single answer tells these nothing: its advantage is 0 whatever it is.
    return 1 if type(rule).__name__ in ("Reinforce", "SignedReinforce") else 2
