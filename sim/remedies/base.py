"""What a remedy is: a rule, how it enters the update, and what it is classified as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite

from diffsmooth.sim.remedies.tokens import TokenPart
from diffsmooth.theory.rules import PKPO, RLOO, ClipBounds, PassAtK, Rule, Smoothed
from diffsmooth.theory.rules.base import Part

_CLIP = ClipBounds()
#: Factors on a strength's learning rate that it is tried at.
RELATIVE_RATES = (0.5, 1.0, 2.0)
#: The same number for rules tuned by their rate: they fill a grid of doublings in thirds.
BETWEEN_RATES = (2 ** (-1 / 3), 1.0, 2 ** (1 / 3))
#: What is tuned where a rule has no strength of its own.
LEARNING_RATE = "learning rate"


@dataclass(frozen=True)
class Update:
    """One remedy at one strength.

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
    replay
        Strength lam of replay: lam times the mean, over all verified distinct answers of the prompt
        drawn so far, of their mean token log-prob is added to the objective (theory.md E5, E6).
    """

    rule: Rule
    clip: ClipBounds = _CLIP
    tokens: TokenPart | None = None
    rate: float = 1.0
    adaptive: float | None = None
    replay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.replay < float("inf"):
            raise ValueError(f"replay: must be at least 0 and finite, got {self.replay}")
        if not 0 < self.rate < float("inf"):
            raise ValueError(f"learning rate: must be positive and finite, got {self.rate}")
        if self.adaptive is not None and not 0 <= self.adaptive < float("inf"):
            raise ValueError(f"multiple of g*: must be at least 0 and finite, got {self.adaptive}")


@dataclass(frozen=True)
class Remedy:
    """A remedy for collapse and its classifier.

    name, formula, citation
        ``formula`` in words of the rule library; ``citation`` an arXiv id or a classic.
    make
        From a strength to the update.
    parameter, strengths
        What is tuned, and the five values tried.  Each is tried at three learning rates, see
        ``trials``: the same budget for every remedy.
    neutral
        The strength at which the update is that of its base (vanilla, or GRPO); None if the
        tuned parameter is no strength.
    part
        Where it acts: "across" prompts, "within" a prompt, or "both" (theory.md E1, E2).
    needs_logps, touches_incorrect, token_level, needs_reference, needs_classes
        What it reads and what it changes.  ``touches_incorrect``: does the remedy itself, its base
        apart, change how incorrect answers are treated?
    min_group
        Smallest group on which its largest strength is defined (and not identically zero); a
        strength's own is :meth:`smallest_group`.
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

    @property
    def rates(self) -> tuple[float, ...]:
        """Factors on the learning rate at which every strength is tried."""
        return BETWEEN_RATES if self.parameter == LEARNING_RATE else RELATIVE_RATES

    @property
    def trials(self) -> tuple[tuple[float, float], ...]:
        """(strength, rate) of all that is tried when the remedy is tuned: fifteen."""
        return tuple((s, r) for s in self.strengths for r in self.rates)

    def at(self, strength: float, rate: float = 1.0) -> Update:
        """The update at any strength, at ``rate`` times its learning rate.

        Raises ValueError where the rule does not allow the strength, on one that is not finite, or
        unless rate > 0 and is finite.
        """
        if not isfinite(strength):
            raise ValueError(f"{self.name}: {self.parameter} must be finite, got {strength}")
        update = self.make(strength)
        return replace(update, rate=update.rate * rate)

    def smallest_group(self, strength: float) -> int:
        """Smallest group on which it is defined (and not identically zero) at this strength."""
        return _min_group(self.make(strength).rule)


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
) -> Remedy:
    """A remedy whose classifier is read off its rule; what the rule cannot know is passed."""
    updates = [make(s) for s in strengths]
    rule = updates[-1].rule
    return Remedy(
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
