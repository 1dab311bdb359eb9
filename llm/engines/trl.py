"""Differential smoothing, and every rule of :mod:`diffsmooth.theory.rules`, inside TRL.

    from diffsmooth.llm.engines.trl import SmoothedGRPOTrainer
    trainer = SmoothedGRPOTrainer(model, reward_funcs=verifier, args=config, train_dataset=data,
                                  rule=rule("centred", g_correct=0.1), verifier="verifier")

:class:`SmoothedMixin` works over any subclass of ``trl.GRPOTrainer``: it keeps the verifier's
column (``_calculate_rewards``) and edits the advantages (``_generate_and_score_completions``),
which is where TRL's maintainers send such changes.  The formulae live in ``theory.rules`` alone.

Facts that matter:

- With strength 0 nothing is computed and nothing is added: plain GRPO, bit for bit.
- A :class:`~diffsmooth.theory.rules.Smoothed` rule over GRPO adds its term to *TRL's own* advantage
  (``base="engine"``: TRL's ``scale_rewards`` and reward weights stay in force).  Every other rule,
  or ``base="rule"``, replaces the advantage.
- Log-probs are those of the engine where it has any (``old_per_token_logps``, else those of the
  sampler), else one forward pass without gradient.  They are of the temperature-scaled softmax.
- Binary rewards: the literal term never flips an advantage's sign, so losses that branch on the
  sign stay what they are.  The centred term can flip it; ``smoothing/sign_flips`` counts how often.
- Correctness comes from one named verifier, as verdicts (:class:`VerifierReward`) or as a column
  with a threshold; never from the sum of the rewards.  Rows it did not judge get no term.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from diffsmooth.llm.engines import _logs
from diffsmooth.llm.engines._adaptive import Adaptive, AdaptiveState, critical_strengths
from diffsmooth.llm.engines._gather import Answers, gather_answers, group_ids
from diffsmooth.llm.engines._hooks import (
    TRL_HOOKS,
    UpstreamChangedError,
    check_hooks,
    installed,
    require,
)
from diffsmooth.llm.engines._resume import ReplaySampler
from diffsmooth.llm.engines._verifier import PROBLEM_COLUMN, VerifierReward, answer_text
from diffsmooth.theory.rules import GRPO, GroupBatch, Rule, Smoothed, SmoothingTerm, add_term

if TYPE_CHECKING:
    import torch

__all__ = [
    "PROBLEM_COLUMN",
    "Adaptive",
    "SmoothedGRPOTrainer",
    "SmoothedMixin",
    "UpstreamChangedError",
    "VerifierReward",
    "smoothed",
]

Base = Literal["engine", "rule"]
#: ``canonical(rows, texts)``: the class of each answer (any string), ``None`` for no answer.
Canonical = Callable[[Sequence[dict[str, Any]], Sequence[str]], Sequence[str | None]]

_STATE_FILE = "diffsmooth_state_{rank}.pt"


class SmoothedMixin:
    """Mixin over ``trl.GRPOTrainer``; takes its constructor's arguments and these:

    rule
        Any :class:`Rule`, or a bare :class:`SmoothingTerm`, or ``None`` (plain GRPO with our logs).
    verifier
        Name of the reward function that decides correctness; may be left out with only one.
    threshold
        A plain reward function's value from which an answer counts as correct (default 1.0).
        Not used with a :class:`VerifierReward`, which says so itself.
    canonical
        The class of each answer, for the quotient rule and the count of distinct correct answers.
        A :class:`VerifierReward` brings its own.
    gamma
        ``"adaptive"`` or an :class:`Adaptive`: g_correct follows theory.md C5 (needs a smoothing
        term over the sum of log-probs).  ``None``: the rule's own strength.
    base
        ``"engine"`` or ``"rule"``, see the module.

    Raises ``ValueError`` for settings that contradict each other and
    :class:`UpstreamChangedError` if the installed TRL lacks a hook.
    """

    # What the trainer behind the mixin has.
    model: Any
    args: Any
    accelerator: Any
    state: Any
    beta: float
    num_generations: int
    num_iterations: int
    reward_funcs: list[Any]
    reward_func_names: list[str]
    reward_weights: Any
    _metrics: Any
    _logs: Any
    _step: int
    _buffered_inputs: Any
    _get_per_token_logps_and_entropies: Any

    def __init__(
        self,
        *args: Any,
        rule: Rule | SmoothingTerm | None = None,
        verifier: str | None = None,
        threshold: float = 1.0,
        canonical: Canonical | None = None,
        gamma: Adaptive | Literal["adaptive"] | None = None,
        base: Base = "engine",
        **kwargs: Any,
    ) -> None:
        check_hooks(_upstream(type(self)), TRL_HOOKS, "trl")
        if base not in ("engine", "rule"):
            raise ValueError(f"base is {base!r}; allowed: engine, rule")
        if not math.isfinite(threshold):
            raise ValueError(f"threshold is {threshold}; it must be finite")
        self._threshold, self._canonical = threshold, canonical
        self._set_rule(rule, base)
        adaptive = Adaptive() if gamma == "adaptive" else gamma
        if adaptive is not None:
            self._check_adaptive(adaptive)
        self._adaptive = None if adaptive is None else AdaptiveState(adaptive)
        self._captured: _Captured | None = None
        super().__init__(*args, **kwargs)
        self._check_upstream_state()
        self._verifier_index = self._find_verifier(verifier)
        self._check_needs()

    # -- what the rule is ---------------------------------------------------------------------

    def _set_rule(self, rule: Rule | SmoothingTerm | None, base: Base) -> None:
        self.smoothing_rule = rule
        self._term: SmoothingTerm | None = None
        self._whole: Rule | None = None
        if isinstance(rule, SmoothingTerm):
            self._term = rule
        elif isinstance(rule, Smoothed) and base == "engine" and _engine_can_base(rule):
            self._term = rule.term
        elif rule is not None:
            self._whole = rule

    def _smoothing_term(self) -> SmoothingTerm | None:
        if self._term is not None:
            return self._term
        return self._whole.term if isinstance(self._whole, Smoothed) else None

    def _check_adaptive(self, adaptive: Adaptive) -> None:
        term = self._smoothing_term()
        if term is None or term.quotient or term.reduction != "sum":
            raise ValueError(
                'gamma="adaptive" follows theory.md C5, which is about a smoothing term over the sum '
                "of log-probs: give a Smoothed rule with reduction='sum' and without quotient"
            )

    def _in_force(self) -> tuple[SmoothingTerm | None, Rule | None]:
        """The term to add or the rule that replaces, with the adaptive strength put in."""
        if self._adaptive is None:
            return self._term, self._whole
        g = self._adaptive.value
        if self._term is not None:
            return dataclasses.replace(self._term, g_correct=g), None
        assert isinstance(self._whole, Smoothed)
        term = dataclasses.replace(self._whole.term, g_correct=g)
        return None, dataclasses.replace(self._whole, term=term)

    def _check_needs(self) -> None:
        rule: Any = self._whole
        if rule is not None and rule.needs_reference and self.beta == 0.0:
            raise ValueError(
                "this rule reads a reference model's log-probs: set beta > 0 in GRPOConfig"
            )
        classes = (
            rule.needs_classes if rule is not None else bool(self._term and self._term.quotient)
        )
        if classes and self._canonical is None and self._verdict_source() is None:
            raise ValueError("the quotient rule needs `canonical` or a VerifierReward as verifier")

    def _check_upstream_state(self) -> None:
        missing = [
            name
            for name in (
                "_metrics",
                "_logs",
                "reward_func_names",
                "reward_weights",
                "num_generations",
            )
            if not hasattr(self, name)
        ]
        if missing:
            raise UpstreamChangedError(
                f"trl {installed('trl')}: GRPOTrainer has no {', '.join(missing)}; use a supported version"
            )

    def _find_verifier(self, name: str | None) -> int:
        names: list[str] = list(self.reward_func_names)
        if name is None:
            if len(names) != 1:
                raise ValueError(
                    f"verifier: name the one of {', '.join(names)} that decides correctness"
                )
            return 0
        if names.count(name) != 1:
            raise ValueError(f"verifier is {name!r}; allowed: {', '.join(names)}")
        return names.index(name)

    def _verdict_source(self) -> VerifierReward | None:
        function = self.reward_funcs[self._verifier_index]
        return function if isinstance(function, VerifierReward) else None

    # -- the two hooks ------------------------------------------------------------------------

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any, **kwargs: Any
    ) -> torch.Tensor:
        rewards: torch.Tensor = super()._calculate_rewards(  # type: ignore[misc]
            inputs, prompts, completions, completion_ids_list, **kwargs
        )
        self._captured = _Captured(rewards, list(inputs), list(completions))
        return rewards

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        self._captured = None
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        captured = self._take_captured()
        if captured is None:
            raise UpstreamChangedError(
                f"trl {installed('trl')}: _calculate_rewards was not called while scoring; "
                "the rule cannot see the verifier. Use a supported version."
            )
        with _no_grad():
            self._apply_rule(output, captured)
        return output

    def _take_captured(self) -> _Captured | None:
        captured, self._captured = self._captured, None
        return captured

    def _apply_rule(self, output: dict[str, Any], captured: _Captured) -> None:
        training: bool = self.model.training
        scored = self._scored(captured)
        logps = self._engine_logps(output)
        term, whole = self._in_force()
        needed: Any = whole.needs_logps if whole is not None else None
        if needed is None:
            needed = term is not None and not (term.is_zero or term.quotient)
        if logps is None and (needed or self._adaptive is not None):
            logps = self._forward_logps(output)
        token_level = bool(
            (whole is not None and whole.token_level)
            or (term is not None and term.reduction == "token" and not term.is_zero)
        )
        answers = gather_answers(self.accelerator, output, logps, token_level)
        group = group_ids(answers.prompt, self._group_size(training))
        critical = self._critical(answers, scored, group)
        if self._adaptive is not None:
            if training:
                self._adaptive.update(_median(critical))
            term, whole = self._in_force()

        local = slice(
            self.accelerator.process_index * len(captured.completions),
            (self.accelerator.process_index + 1) * len(captured.completions),
        )
        before = output["advantages"]
        addition: torch.Tensor | None = None
        if whole is not None:
            batch, rows = _batch(scored, answers, group)
            values = whole(batch) if batch is not None else scored.reward.new_zeros(0)
            full = _scatter(values.to(before.dtype), rows, len(scored.reward))
            output["advantages"] = _fit(full[local], output)
            if isinstance(whole, Smoothed) and batch is not None:
                # What was added to the base, for the log.
                base = _scatter(whole.base(batch).to(before.dtype), rows, len(scored.reward))
                addition = full - (base[:, None] if base.ndim < full.ndim else base)
        elif term is not None and not term.is_zero:
            batch, rows = _batch(scored, answers, group)
            values = term(batch) if batch is not None else scored.reward.new_zeros(0)
            addition = _scatter(values.to(before.dtype), rows, len(scored.reward))
            output["advantages"] = add_term(before, _fit(addition[local], output))
        self._write_logs(output, before, addition, scored, answers, group, critical, training)

    # -- what the rule reads ------------------------------------------------------------------

    def _scored(self, captured: _Captured) -> _Scored:
        """Rewards, correctness and classes of all answers, gathered."""
        import torch
        from accelerate.utils import gather_object

        table = captured.rewards
        column = table[:, self._verifier_index]
        weights = self.reward_weights.to(table.device).unsqueeze(0)
        source = self._verdict_source()
        verdicts = source.take() if source is not None else None
        names: Sequence[str | None] | None = None
        if verdicts is not None:
            flags = torch.tensor([v.correct for v in verdicts], device=table.device)
            correct = self.accelerator.gather(flags)
            names = [v.canonical for v in verdicts]
        else:
            correct = column >= self._threshold
        if self._canonical is not None:
            names = self._canonical(captured.inputs, [answer_text(c) for c in captured.completions])
        classes = None
        if names is not None:
            everywhere = gather_object(list(names))
            numbers: dict[str | None, int] = {}
            ids = [numbers.setdefault(name, len(numbers)) for name in everywhere]
            classes = torch.tensor(ids, device=table.device)
        return _Scored(
            reward=(table * weights).nansum(dim=1),
            correct=correct,
            judged=~torch.isnan(column),
            classes=classes,
        )

    def _engine_logps(self, output: dict[str, Any]) -> torch.Tensor | None:
        """Token log-probs that the engine has, (B_local, T_local), or ``None``."""
        import torch

        old: torch.Tensor | None = output.get("old_per_token_logps")
        if old is not None:
            return old
        sampled: torch.Tensor | None = output.get("sampling_per_token_logps")
        if sampled is None or sampled.shape != output["completion_mask"].shape:
            return None
        # vLLM marks tokens it could not score with NaN: then they are of no use.
        unusable = torch.isnan(sampled) & output["completion_mask"].bool()
        found = self.accelerator.gather(unusable.any().reshape(1))
        return None if bool(found.any()) else sampled

    def _forward_logps(self, output: dict[str, Any]) -> torch.Tensor:
        """One forward pass without gradient over this rank's answers: (B_local, T_local)."""
        import torch

        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
        mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
        extra = {k: output[k] for k in _MULTIMODAL if k in output}
        args = self.args
        training = self.model.training
        size = args.per_device_train_batch_size if training else args.per_device_eval_batch_size
        result = self._get_per_token_logps_and_entropies(
            self.model,
            ids,
            mask,
            output["completion_ids"].size(1),
            batch_size=size,
            **extra,
        )
        logps: torch.Tensor = result[0] if isinstance(result, tuple) else result["logps"]
        return logps

    def _group_size(self, training: bool) -> int:
        size: int = self.num_generations
        return size if training else getattr(self, "num_generations_eval", None) or size

    def _critical(self, answers: Answers, scored: _Scored, group: torch.Tensor) -> Any:
        """C5's g* of each group (plug-in estimate), for the entry in force; empty without log-probs."""
        import numpy as np

        if answers.logps is None:
            return np.zeros(0)
        sums = answers.logps
        if answers.mask is not None:
            sums = sums.masked_fill(~answers.mask, 0.0).sum(dim=1)
        term = self._smoothing_term()
        keep = scored.judged & (answers.lengths > 0)
        return critical_strengths(
            sums[keep].double().cpu().numpy().clip(max=0.0),
            scored.correct[keep].cpu().numpy(),
            group[keep].cpu().numpy(),
            answers.answer[keep].cpu().numpy(),
            form=self._critical_form(),
            centred=term is None or term.centring == "correct",
        )

    def _critical_form(self) -> Literal["reward", "advantage"]:
        """C5 has a factor for rewards centred only and another for rewards divided by their std."""
        if isinstance(self._whole, Smoothed):
            standardised = isinstance(self._whole.base, GRPO) and self._whole.entry == "advantage"
            return "advantage" if standardised else "reward"
        return "reward" if self.args.scale_rewards in (False, "none") else "advantage"

    # -- logs ---------------------------------------------------------------------------------

    def _write_logs(
        self,
        output: dict[str, Any],
        before: torch.Tensor,
        addition: torch.Tensor | None,
        scored: _Scored,
        answers: Answers,
        group: torch.Tensor,
        critical: Any,
        training: bool,
    ) -> None:
        used = _logs.per_answer(output["advantages"], output)
        gathered = self.accelerator.gather(used)
        engine = self.accelerator.gather(_logs.per_answer(before, output))
        _logs.rewrite(self._logs["advantages"], gathered.tolist())
        values = _logs.metrics(
            used=gathered,
            base=gathered - _logs.flat(addition, answers.mask) if addition is not None else engine,
            addition=_logs.flat(addition, answers.mask) if addition is not None else None,
            correct=scored.correct & scored.judged,
            group=group,
            answers=answers,
            classes=scored.classes,
            critical=critical,
        )
        term = self._smoothing_term()
        if self._adaptive is not None:
            values["smoothing/strength"] = self._adaptive.value
            values["smoothing/strength_at_maximum"] = float(
                self._adaptive.value >= self._adaptive.config.maximum
            )
        elif term is not None:
            values["smoothing/strength"] = float(term.g_correct)
        store = self._metrics["train" if training else "eval"]
        for name, value in values.items():
            store[name].append(value)

    # -- resume -------------------------------------------------------------------------------

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        sampler = super()._get_train_sampler(*args, **kwargs)  # type: ignore[misc]
        return ReplaySampler.wrap(sampler, lambda: int(self.state.epoch or 0))

    def _save_rng_state(self, output_dir: str) -> None:
        """Write, beside the generators, what TRL and the rule hold in memory between steps.

        Called before ``trainer_state.json``, whose presence therefore means a whole checkpoint.
        """
        import torch

        super()._save_rng_state(output_dir)  # type: ignore[misc]
        state = {
            "adaptive": None if self._adaptive is None else self._adaptive.state_dict(),
            "step": self._step,
            "buffered": self._buffered_inputs if self._mid_buffer() else None,
            "metrics": {mode: dict(values) for mode, values in self._metrics.items()},
        }
        path = os.path.join(output_dir, _STATE_FILE.format(rank=self.args.process_index))
        torch.save(state, path + ".part")
        os.replace(path + ".part", path)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        import torch

        super()._load_rng_state(checkpoint)  # type: ignore[misc]
        path = os.path.join(checkpoint or "", _STATE_FILE.format(rank=self.args.process_index))
        if checkpoint is None or not os.path.isfile(path):
            return
        # Written by this very class; holds plain containers and tensors only.
        state = torch.load(path, weights_only=True, map_location=self.accelerator.device)
        self._step = state["step"]
        self._buffered_inputs = state["buffered"]
        for mode, values in state["metrics"].items():
            self._metrics[mode].update(values)
        if self._adaptive is not None and state["adaptive"] is not None:
            self._adaptive.load_state_dict(state["adaptive"])

    def _mid_buffer(self) -> bool:
        """Does the next step still use answers that were generated before?"""
        every = self.args.steps_per_generation * self.num_iterations
        return bool(self._step % every)


# -- pieces -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Captured:
    """What ``_calculate_rewards`` saw: rewards gathered (B, functions), the rest of this rank."""

    rewards: Any
    inputs: list[dict[str, Any]]
    completions: list[Any]


@dataclasses.dataclass(frozen=True)
class _Scored:
    """Gathered over ranks, each (B,)."""

    reward: torch.Tensor
    correct: torch.Tensor
    judged: torch.Tensor
    classes: torch.Tensor | None


_MULTIMODAL = (
    "pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "image_sizes",
    "token_type_ids", "mm_token_type_ids", "spatial_shapes", "num_tiles", "image_position_ids",
)  # fmt: skip


def _no_grad() -> Any:
    import torch

    return torch.no_grad()


def _engine_can_base(rule: Smoothed) -> bool:
    return isinstance(rule.base, GRPO) and rule.entry == "advantage"


def _median(values: Any) -> float:
    import numpy as np

    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else math.nan


def _batch(
    scored: _Scored, answers: Answers, group: torch.Tensor
) -> tuple[GroupBatch | None, torch.Tensor]:
    """The judged rows as a :class:`GroupBatch`, and their indices; ``None`` if there are none."""
    rows = scored.judged.nonzero()[:, 0]
    if not len(rows):
        return None, rows

    def pick(x: torch.Tensor | None) -> torch.Tensor | None:
        return None if x is None else x[rows]

    return (
        GroupBatch(
            reward=scored.reward[rows],
            correct=scored.correct[rows],
            group=group[rows],
            logps=pick(answers.logps),
            mask=pick(answers.mask),
            lengths=answers.lengths[rows],
            classes=pick(scored.classes),
            ref_logps=pick(answers.ref_logps),
        ),
        rows,
    )


def _scatter(values: torch.Tensor, rows: torch.Tensor, size: int) -> torch.Tensor:
    """Put the values of the judged rows back among all rows; the others get 0."""
    out = values.new_zeros((size, *values.shape[1:]))
    out[rows] = values
    return out


def _fit(values: torch.Tensor, output: dict[str, Any]) -> torch.Tensor:
    """Cut token values, padded to the longest rank's width, to this rank's width."""
    return values if values.ndim == 1 else values[:, : output["completion_mask"].shape[1]]


def _upstream(cls: type) -> type:
    """The first class behind the mixin in the order of resolution."""
    order = cls.__mro__
    return order[order.index(SmoothedMixin) + 1]


@lru_cache(maxsize=8)
def smoothed(trainer: type) -> type:
    """``trainer`` (a subclass of ``trl.GRPOTrainer``) with the mixin in front."""
    check_hooks(trainer, TRL_HOOKS, "trl")
    return type(f"Smoothed{trainer.__name__}", (SmoothedMixin, trainer), {})


def __getattr__(name: str) -> Any:
    if name == "SmoothedGRPOTrainer":
        return smoothed(require("trl", "trl").GRPOTrainer)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
