"""Every rule by name: the published variants of the smoothing rule, ours, and the rivals.

Sources: the table of variants and the table of rivals in the paper's public code and theirs
(each rule's ``citation``); ``eq6`` is the paper's Eq. 6.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from diffsmooth.theory.rules.base import RewardOnly, Rule
from diffsmooth.theory.rules.baselines import (
    FGRPO,
    GRPO,
    PKPO,
    RLOO,
    DrGRPO,
    Focal,
    MaxRL,
    PassAtK,
    Reinforce,
    SignedReinforce,
)
from diffsmooth.theory.rules.likelihood import (
    MARA,
    UCPO,
    EntropyBonus,
    KLLoss,
    KLReward,
    Unlikeliness,
)
from diffsmooth.theory.rules.relative import Relative
from diffsmooth.theory.rules.smoothing import Smoothed, SmoothingTerm

#: Presets of the smoothing rule.  Strengths are the public defaults where there are any (.01 in the
#: scripts for Qwen2.5-Math, .05 in the 2026 code); ours carry g_correct = .05 and g_incorrect = 0.
PRESETS: dict[str, Smoothed] = {
    "eq6": Smoothed(GRPO(), SmoothingTerm(0.01, 0.01, "sum")),
    "token": Smoothed(GRPO(), SmoothingTerm(0.01, 0.01, "token")),
    "spread": Smoothed(GRPO(), SmoothingTerm(0.01, 0.01, "spread")),
    "reward": Smoothed(DrGRPO(), SmoothingTerm(0.01, 0.01, "mean"), entry="reward"),
    "mean": Smoothed(GRPO(eps=1e-6), SmoothingTerm(0.05, 0.05, "mean")),
    "centred": Smoothed(GRPO(), SmoothingTerm(0.05, 0.0, "sum", centring="correct")),
    "quotient": Smoothed(GRPO(), SmoothingTerm(0.05, 0.0, centring="correct", quotient=True)),
    "two-part": Smoothed(PassAtK(8), SmoothingTerm(0.05, 0.0, "sum", centring="correct")),
}

#: Rules that see rewards only.
REWARD_ONLY: dict[str, Callable[..., Rule]] = {
    "vanilla": Reinforce,
    "grpo": GRPO,
    "dr-grpo": DrGRPO,
    "rloo": RLOO,
    "psr": lambda **kw: SignedReinforce(**{"positive": 1.0, "negative": 0.0, **kw}),
    "nsr": lambda **kw: SignedReinforce(**{"positive": 0.0, "negative": 1.0, **kw}),
    "w-reinforce": lambda **kw: SignedReinforce(**{"positive": 0.1, "negative": 1.0, **kw}),
    "pass-at-k": PassAtK,
    "pkpo": PKPO,
    "maxrl": MaxRL,
    "f-grpo": FGRPO,
}

#: Rules that read log-probs, smoothing apart.
LIKELIHOOD: dict[str, Callable[..., Rule]] = {
    "entropy-bonus": lambda **kw: EntropyBonus(**{"g": 0.01, **kw}),
    "entropy-penalty": lambda **kw: EntropyBonus(**{"g": -0.01, **kw}),
    "kl": lambda **kw: KLLoss(**{"beta": 0.001, **kw}),
    "kl-reward": lambda **kw: KLReward(**{"beta": 0.001, **kw}),
    "unlikeliness": Unlikeliness,
    "ucpo": UCPO,
    "mara": MARA,
    "relative": Relative,
}

NAMES: tuple[str, ...] = (*REWARD_ONLY, *LIKELIHOOD, *PRESETS)

_TERM_FIELDS = frozenset(
    {"g_correct", "g_incorrect", "reduction", "centring", "one_kind", "quotient"}
)


def rule(name: str, **overrides: Any) -> Rule:
    """The rule of that name, with any of its parameters replaced.

    Smoothing presets take ``entry`` and the fields of :class:`SmoothingTerm`; the others take their
    own fields.  Rules that are built over another one take ``base``, a Rule or a name, and pass on
    to it what is not theirs: ``rule("f-grpo", base="dr-grpo")``, ``rule("eq6", ddof=1)``,
    ``rule("two-part", base="f-grpo", gamma=0.5, eps=0)``.

    A rule of the user's own is named ``path/to/file.py:Name``.

    Raises ValueError on an unknown name (naming the nearest) or an unknown parameter.
    """
    if name in PRESETS:
        return _changed(name, PRESETS[name], overrides)
    if ".py:" in name:
        return _changed(name, _own(name), overrides)
    for table in (REWARD_ONLY, LIKELIHOOD):
        if name in table:
            return _changed(name, table[name](), overrides)
    near = difflib.get_close_matches(name, NAMES)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown rule {name!r}{hint} Known: {', '.join(NAMES)}")


def _own(spec: str) -> Rule:
    """A user's rule, ``path/to/file.py:Name``: a Rule, or a class of rules with defaults."""
    from diffsmooth.records import own

    found = own.load(spec, "rule")
    made = found() if isinstance(found, type) and issubclass(found, Rule) else found
    if not isinstance(made, Rule):
        raise ValueError(f"{spec}: must be a Rule or a class of rules, got {found!r}")
    return made


def _changed(
    name: str, made: Rule, given: dict[str, Any], above: frozenset[str] = frozenset()
) -> Rule:
    """``made`` with the parameters given; those that are not its own go to its base.

    ``above``: the parameters of the rules that are built over it, for the message.
    """
    own = _parameters(made)
    mine = {k: v for k, v in given.items() if k in own}
    passed = {k: v for k, v in given.items() if k not in own}
    if "base" in own:
        base = mine.pop("base", made.base)  # type: ignore[attr-defined]
        base = rule(base) if isinstance(base, str) else base
        if not isinstance(base, Rule):
            raise ValueError(f"base: must be a rule or the name of one, got {base!r}")
        made = _over(made, _changed(name, base, passed, above | own) if passed else base)
    elif passed:
        unknown = next(iter(passed))
        known = sorted(above | own)
        near = difflib.get_close_matches(unknown, known)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(
            f"rule {name!r}: unknown parameter {unknown!r}{hint} "
            f"It takes {', '.join(known) or 'none'}"
        )
    if isinstance(made, Smoothed):
        term = {k: mine.pop(k) for k in _TERM_FIELDS & mine.keys()}
        made = replace(made, term=replace(made.term, **term))
    return replace(made, **mine)


def _parameters(made: Rule) -> frozenset[str]:
    own = frozenset(f.name for f in fields(made))
    return (own - {"term"}) | _TERM_FIELDS if isinstance(made, Smoothed) else own


def _over(made: Any, base: Rule) -> Rule:
    """``made`` over another base.  The focal weight stays a rule of rewards only where it can."""
    if isinstance(made, FGRPO | Focal):
        return FGRPO(made.gamma, base) if isinstance(base, RewardOnly) else Focal(made.gamma, base)
    changed: Rule = replace(made, base=base)
    return changed
