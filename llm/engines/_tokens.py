"""A rule applied to padded token tensors: what the engines other than TRL hand over.

verl, slime and the estimators all end here: scores, masks, log-probs and group names in, token
advantages (B, T) out.  The formulae live in :mod:`diffsmooth.theory.rules` alone.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from diffsmooth.theory.rules import GroupBatch, Rule, Smoothed, add_term, rule

if TYPE_CHECKING:
    import torch

Base = Literal["engine", "rule"]

#: Settings of the engine's side; every other knob is a parameter of the rule.
_OWN = ("rule", "base", "threshold", "correct_key", "class_key", "logps")


@dataclass(frozen=True)
class Knobs:
    """What a user sets in an engine's configuration, under ``ds``.

    rule, parameters
        A name of :data:`diffsmooth.theory.rules.NAMES` and its parameters (g_correct, base, ...).
    base
        "engine": a smoothing rule over GRPO adds its term to the engine's own advantage (strength 0
        changes nothing, bit for bit).  "rule": the rule computes the whole advantage.
    threshold
        Score from which an answer is correct, where no ``correct_key`` is given.
    correct_key, class_key
        Names under which the reward function returned correctness and the answer's canonical form.
    logps
        Which log-probs to read: the trainer's "old_log_probs" or the sampler's
        "rollout_log_probs".
    """

    rule: str = "centred"
    base: Base = "engine"
    threshold: float = 1.0
    correct_key: str | None = None
    class_key: str | None = None
    logps: str = "old_log_probs"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.base not in ("engine", "rule"):
            raise ValueError(f"ds.base: must be engine or rule, got {self.base!r}")
        if not math.isfinite(self.threshold):
            raise ValueError(f"ds.threshold: must be finite, got {self.threshold}")
        made = self.made()
        if made.needs_classes and self.class_key is None:
            raise ValueError(f"ds.class_key: rule {self.rule!r} needs the answers' classes")

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Knobs:
        """From a plain mapping.  Raises ValueError on an unknown rule or parameter."""
        own = {k: v for k, v in settings.items() if k in _OWN}
        return cls(**own, parameters={k: v for k, v in settings.items() if k not in _OWN})

    def made(self) -> Rule:
        """The rule.  Raises ValueError on an unknown name or parameter."""
        return rule(self.rule, **self.parameters)

    @property
    def adds(self) -> bool:
        """True if the engine's advantage is kept and a term is added to it."""
        made = self.made()
        return self.base == "engine" and isinstance(made, Smoothed) and made.entry == "advantage"

    @property
    def does_nothing(self) -> bool:
        """True if the engine's own advantage is already the answer (strength 0 over the engine)."""
        made = self.made()
        return self.adds and isinstance(made, Smoothed) and made.term.is_zero


def numbered(names: Sequence[Hashable]) -> list[int]:
    """0, 1, 2, ... in order of first appearance: group or class ids from any names."""
    ids: dict[Hashable, int] = {}
    return [ids.setdefault(name, len(ids)) for name in names]


def token_advantages(
    knobs: Knobs,
    *,
    score: torch.Tensor,
    mask: torch.Tensor,
    groups: Sequence[Hashable],
    logps: torch.Tensor | None = None,
    ref_logps: torch.Tensor | None = None,
    correct: Sequence[bool] | None = None,
    classes: Sequence[Hashable] | None = None,
    engine: torch.Tensor | None = None,
) -> torch.Tensor:
    """Token advantages (B, T), 0 on masked tokens.

    score (B,) rewards; mask (B, T) bool; groups B names of prompts; logps, ref_logps (B, T) nats;
    engine (B, T) the engine's own advantages.  ``correct`` overrides ``score >= threshold``.

    Raises ValueError, naming the argument, if something the rule needs is missing.
    """
    import torch

    made = knobs.made()
    if knobs.adds and engine is None:
        raise ValueError('ds.base: "engine" needs the engine\'s advantages')
    if knobs.does_nothing:
        assert engine is not None
        return engine
    device = score.device
    batch = GroupBatch(
        reward=score,
        correct=(
            score >= knobs.threshold
            if correct is None
            else torch.tensor(list(correct), dtype=torch.bool, device=device)
        ),
        group=torch.tensor(numbered(groups), device=device),
        logps=logps,
        mask=None if logps is None else mask,
        lengths=mask.sum(dim=1),
        classes=None if classes is None else torch.tensor(numbered(classes), device=device),
        ref_logps=ref_logps if logps is not None else None,
    )
    if knobs.adds:
        assert isinstance(made, Smoothed)
        assert engine is not None
        values = add_term(engine, made.term(batch))
    else:
        values = made(batch)
    if values.ndim == 1:
        values = values[:, None].expand(mask.shape)
    return torch.where(mask, values, torch.zeros_like(values))
