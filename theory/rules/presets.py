"""Every rule by name: the published variants of the smoothing rule, ours, and the rivals.

Sources: the table of variants and the table of rivals in the paper's public code and theirs
(each rule's ``citation``); ``eq6`` is the paper's Eq. 6.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from diffsmooth.theory.rules.base import Rule
from diffsmooth.theory.rules.baselines import (
    FGRPO,
    GRPO,
    PKPO,
    RLOO,
    DrGRPO,
    MaxRL,
    PassAtK,
    Reinforce,
    SignedReinforce,
)
from diffsmooth.theory.rules.likelihood import MARA, UCPO, EntropyBonus, KLReward, Unlikeliness
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
    "kl": lambda **kw: KLReward(**{"beta": 0.001, **kw}),
    "unlikeliness": Unlikeliness,
    "ucpo": UCPO,
    "mara": MARA,
}

NAMES: tuple[str, ...] = (*REWARD_ONLY, *LIKELIHOOD, *PRESETS)

_TERM_FIELDS = frozenset(
    {"g_correct", "g_incorrect", "reduction", "centring", "one_kind", "quotient"}
)


def rule(name: str, **overrides: Any) -> Rule:
    """The rule of that name, with any of its parameters replaced.

    Smoothing presets take ``base`` (a Rule or a name), ``entry`` and the fields of
    :class:`SmoothingTerm`; the others take their own fields.

    Raises ValueError on an unknown name (naming the nearest) or an unknown parameter.
    """
    if isinstance(overrides.get("base"), str):
        overrides["base"] = rule(overrides["base"])
    try:
        if name in PRESETS:
            return _smoothed(PRESETS[name], overrides)
        for table in (REWARD_ONLY, LIKELIHOOD):
            if name in table:
                return table[name](**overrides)
    except TypeError as error:
        raise ValueError(f"rule {name!r}: {error}") from error
    near = difflib.get_close_matches(name, NAMES)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown rule {name!r}{hint} Known: {', '.join(NAMES)}")


def _smoothed(preset: Smoothed, overrides: dict[str, Any]) -> Smoothed:
    term = {k: v for k, v in overrides.items() if k in _TERM_FIELDS}
    rest = {k: v for k, v in overrides.items() if k not in _TERM_FIELDS}
    return replace(preset, term=replace(preset.term, **term), **rest)
