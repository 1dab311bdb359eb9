"""Every remedy by name, each with the five strengths it is tuned over, at three learning rates.

Rules without a strength of their own are tuned by their learning rate alone, over a grid of
fifteen: everyone, GRPO among them, gets fifteen runs.
Grids were laid by a pilot on 23 cells of all regimes with wider ones, so that the best strength
seldom lies at an end, unless it is the rule's own (tau <= 1, k >= 2) or the one that does nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from diffsmooth.records import own
from diffsmooth.sim.remedies.base import LEARNING_RATE, Remedy, Update, classified
from diffsmooth.sim.remedies.tokens import ClipCov, KLCov, SimKO
from diffsmooth.theory.rules import PRESETS, UNCLIPPED, ClipBounds, Rule, rule
from diffsmooth.theory.rules.base import Part

_CLIP = ClipBounds()
RATES = (0.25, 0.5, 1.0, 2.0, 4.0)
#: Rules that subtract a baseline without dividing by a deviation, or are 0 on correct answers.
FAST = (1.0, 2.0, 4.0, 8.0, 16.0)
NATS = (0.03, 0.1, 0.2, 0.4, 0.8)
#: Smoothing of both kinds of answers.
BOTH = (0.03, 0.2, 0.8, 1.6, 3.2)
#: Smoothing of correct answers only, which bear larger strengths.
LITERAL = (0.2, 0.8, 1.6, 3.2, 6.4)
#: Relative strengths of smoothing, in units of a correct answer's advantage (theory.md C10).
MU = (0.25, 0.5, 1.0, 2.0, 4.0)
REPLAY = (0.03, 0.1, 0.3, 1.0, 3.0)
#: Strength at which replay is published (2610.11064).
PUBLISHED = 0.1
#: Centred terms push correctness nowhere and bear the largest; C5 asks for them.
CENTRED = (0.1, 0.6, 2.4, 6.0, 15.0)


def _by_rate(name: str, rates: tuple[float, ...] = RATES) -> Remedy:
    made = rule(name)
    return classified(name, lambda rate: Update(made, rate=rate), LEARNING_RATE, rates)


def _by(
    name: str,
    parameter: str,
    strengths: tuple[float, ...],
    neutral: float | None = None,
    *,
    rate: float = 1.0,
    **given: Any,
) -> Remedy:
    def make(strength: float) -> Update:
        # The number of draws k is a whole number; 2.7 is left for the rule to refuse.
        whole = parameter == "k" and float(strength).is_integer()
        value: Any = int(strength) if whole else strength
        return Update(rule(name, **{parameter: value}, **given), rate=rate)

    return classified(name, make, parameter, strengths, neutral=neutral)


def _smoothing(name: str) -> Remedy:
    both = PRESETS[name].term.g_incorrect != 0

    def make(g: float) -> Update:
        return Update(rule(name, g_correct=g, **({"g_incorrect": g} if both else {})))

    parameter = "g_correct = g_incorrect" if both else "g_correct"
    part: Part | None = "within" if PRESETS[name].term.centring == "correct" else None
    grid = BOTH if PRESETS[name].term.centring == "none" else CENTRED
    return classified(name, make, parameter, grid, neutral=0.0, part=part)


def two_part(name: str, base: str, **given: Any) -> Remedy:
    """Any reward-only remedy with the centred smoothing term (theory.md E3)."""
    across = rule(base, **given)

    def make(g: float) -> Update:
        return Update(rule("two-part", base=across, g_correct=g))

    return classified(
        name, make, "g_correct", CENTRED, neutral=0.0, formula=f"{base} + centred term"
    )


def _literal() -> Remedy:
    def make(g: float) -> Update:
        return Update(rule("eq6", g_correct=g, g_incorrect=0.0))

    return classified("literal", make, "g_correct", LITERAL, neutral=0.0, formula="A - g_p c l")


def _adaptive() -> Remedy:
    def make(multiple: float) -> Update:
        return Update(rule("grpo"), adaptive=multiple)

    return classified(
        "adaptive",
        make,
        "multiple of g*",
        (0.25, 1.0, 2.0, 4.0, 8.0),
        neutral=0.0,
        formula="A - s g*(pi) c (l - mean), g* of theory.md C5",
        citation="theory.md C5",
        part="both",
        touches_incorrect=False,
        needs_logps=True,
    )


def _untuned(name: str, made: Rule, replay: float = 0.0) -> Remedy:
    """A rule without a strength to tune: fifteen learning rates."""
    return classified(
        name,
        lambda rate: Update(made, rate=rate, replay=replay),
        LEARNING_RATE,
        RATES,
        formula=made.formula + (f" + replay {replay:g}" if replay else ""),
        citation=made.citation,
        part="both",
    )


def _replayed(name: str, base: str) -> Remedy:
    """A rule with replay of verified answers (theory.md E5, E6)."""
    made = rule(base)
    return classified(
        name,
        lambda strength: Update(made, replay=strength),
        "replay",
        REPLAY,
        neutral=0.0,
        formula=f"{base} + lam mean of log pi over the bank",
        citation="2610.11064",
        part="both",
        touches_incorrect=False,
    )


def _recalled(name: str, base: str) -> Remedy:
    """The centred term beside replay at its published strength: g sets the unseen's share (E5)."""
    across = rule(base)
    return classified(
        name,
        lambda g: Update(rule("two-part", base=across, g_correct=g), replay=PUBLISHED),
        "g_correct",
        CENTRED,
        formula=f"{base} + centred term + replay {PUBLISHED:g}",
        citation="theory.md E5",
        part="both",
    )


def _clip_higher() -> Remedy:
    def make(high: float) -> Update:
        return Update(rule("grpo"), clip=ClipBounds(0.2, high))

    return classified(
        "clip-higher",
        make,
        "upper clip",
        (0.24, 0.28, 0.35, 0.5, 1.0),
        neutral=0.2,
        formula="ratio clipped to [1 - .2, 1 + high]",
        citation="2503.14476, Sec. 3.1",
        part="both",
        touches_incorrect=False,
        token_level=True,
        needs_logps=True,
    )


def _token_part(
    name: str,
    part: Callable[[float], Any],
    strengths: tuple[float, ...],
    *,
    parameter: str,
    formula: str,
    citation: str,
    clip: ClipBounds = _CLIP,
) -> Remedy:
    return classified(
        name,
        lambda s: Update(rule("grpo"), tokens=part(s), clip=clip if s else _CLIP),
        parameter,
        strengths,
        neutral=0.0,
        formula=formula,
        citation=citation,
        part="both",
        token_level=True,
        needs_logps=True,
    )


def _all() -> tuple[Remedy, ...]:
    return (
        *(_by_rate(name) for name in ("vanilla", "grpo")),
        *(_by_rate(name, FAST) for name in ("dr-grpo", "rloo")),
        _by_rate("psr"),
        _by_rate("nsr", FAST),
        _by("w-reinforce", "positive", (0.05, 0.1, 0.2, 0.4, 0.8)),
        _by_rate("maxrl"),
        _by("f-grpo", "gamma", (0.1, 0.25, 0.5, 1.0, 2.0), 0.0),
        _by("pass-at-k", "k", (2, 3, 4, 6, 8)),
        _by("pkpo", "k", (2, 3, 4, 6, 8)),
        _clip_higher(),
        _by("entropy-bonus", "g", NATS, 0.0),
        _by("entropy-penalty", "g", tuple(-g for g in NATS), 0.0),
        _by("kl", "beta", NATS, 0.0),
        _by("kl-reward", "beta", NATS, 0.0),
        _by("unlikeliness", "weight", (0.1, 0.25, 0.5, 0.75, 1.0), 0.0),
        _by("ucpo", "tau", (0.1, 0.2, 0.4, 0.7, 1.0), 0.0),
        # Its base does not divide by the deviation: the middle of FAST is its rate.
        _by("mara", "beta", NATS, 0.0, rate=FAST[2]),
        _token_part(
            "clip-cov",
            ClipCov,
            NATS,
            parameter="fraction",
            formula="drop the gradient of max(1, int(fraction n)) random tokens with 1 < cov < 5",
            citation="2505.22617, Eq. 10",
        ),
        _token_part(
            "kl-cov",
            KLCov,
            (0.03, 0.1, 0.3, 0.6, 1.0),
            parameter="fraction",
            formula="A r, unclipped; - |log r| on max(1, int(fraction n)) tokens of largest cov",
            citation="2505.22617, Eq. 10",
            clip=UNCLIPPED,
        ),
        _token_part(
            "simko",
            lambda alpha: SimKO(alpha=alpha, penalty=1.1 if alpha else 1.0),
            (0.003, 0.01, 0.03, 0.1, 0.3),
            parameter="alpha",
            formula="at forks: spread alpha over the top 3 on correct, 1.1x on top-1 wrong",
            citation="2510.14807",
        ),
        *(_smoothing(name) for name in ("eq6", "token", "spread", "reward", "mean")),
        _literal(),
        _smoothing("centred"),
        _adaptive(),
        _smoothing("quotient"),
        _by("relative", "mu", MU, 0.0),
        _untuned("unit", rule("relative")),
        _untuned("unit-maxrl", rule("relative", base="maxrl")),
        two_part("two-part", "pass-at-k", k=4),
        two_part("two-part-maxrl", "maxrl"),
        _replayed("replay", "grpo"),
        _replayed("maxrl-replay", "maxrl"),
        _recalled("centred-replay", "grpo"),
        _recalled("three-levers", "maxrl"),
        _untuned("unit-replay", rule("relative"), replay=PUBLISHED),
    )


REMEDIES: dict[str, Remedy] = {h.name: h for h in _all()}


def remedy_named(name: str) -> Remedy:
    """The remedy of that name, or of a user's file: ``path/to/file.py:Name``.

    That names a Remedy, or a rule: a class with attributes ``parameter`` and ``strengths`` (five
    values) is tuned over them, another by its learning rate.  Raises ValueError on an unknown name,
    naming the nearest.
    """
    if name in REMEDIES:
        return REMEDIES[name]
    if ".py:" in name:
        return _own(name)
    near = difflib.get_close_matches(name, REMEDIES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"unknown remedy {name!r}{hint} Known: {', '.join(REMEDIES)}")


def register(remedy: Remedy | Rule) -> str:
    """Make a remedy, or a rule as one, known to this process; returns its name.

    A rule is named by its class and tuned as its class says (see :func:`remedy`).  Raises
    ValueError where another remedy has the name.
    """
    made = remedy if isinstance(remedy, Remedy) else _of_rule(type(remedy).__name__, remedy)
    known = REMEDIES.get(made.name)
    if known is not None and known.formula != made.formula:
        raise ValueError(f"{made.name}: another remedy has this name")
    REMEDIES[made.name] = made
    return made.name


def _own(spec: str) -> Remedy:
    """A user's remedy: a Remedy, or a rule with what it is tuned by."""
    found = own.load(spec, "remedy")
    if isinstance(found, Remedy):
        return replace(found, name=spec)
    return _of_rule(spec, rule(spec))


def _of_rule(name: str, made: Rule) -> Remedy:
    """``parameter`` and ``strengths`` (five) of its class, else fifteen learning rates."""
    parameter = getattr(made, "parameter", None)
    if parameter is None:
        return replace(_untuned(name, made), formula=made.formula)
    grid = tuple(float(s) for s in getattr(made, "strengths", ()))
    if len(grid) != len(RATES):
        raise ValueError(f"{name}: strengths must be {len(RATES)} numbers, got {grid}")
    return classified(
        name,
        lambda s: Update(replace(made, **{parameter: s})),
        parameter,
        grid,
        neutral=getattr(made, "neutral", None),
    )


def named(names: tuple[str, ...] | None) -> tuple[str, ...]:
    """The names given to ``--remedies``, each once; empty (all) where the option was left out.

    Raises ValueError, listing what there is, on an option without a value or an unknown name.
    """
    if names is None:
        return ()
    if not names:
        raise ValueError(f"--remedies: at least one name is needed. Known: {', '.join(REMEDIES)}")
    for name in names:
        remedy_named(name)
    return tuple(dict.fromkeys(names))
