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
  One that is no finite number <= 0 stops a run whose rule reads log-probs; it counts in no log.
- Binary rewards: the literal term never flips an advantage's sign, so losses that branch on the
  sign stay what they are.  The centred term can flip it; ``smoothing/sign_flips`` counts how often.
- Correctness comes from one named verifier, as verdicts (:class:`VerifierReward`) or as a column
  with a threshold; never from the sum of the rewards.  Rows it did not judge get no term.  With
  several rewards it must be named where something depends on correctness, and only there.
"""

from __future__ import annotations

import dataclasses
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from diffsmooth.llm.engines import _logs
from diffsmooth.llm.engines._adaptive import (
    Adaptive,
    AdaptiveState,
    check_adaptive_term,
    critical_strengths,
)
from diffsmooth.llm.engines._gather import (
    Answers,
    gather_answers,
    group_ids,
    one_prompt_a_group,
)
from diffsmooth.llm.engines._hooks import (
    TRL_HOOKS,
    UpstreamChangedError,
    check_hooks,
    installed,
    require,
)
from diffsmooth.llm.engines._loss import KL_COV, SIMKO, KLCov, LossMixin, SimKO
from diffsmooth.llm.engines._resume import ResumableMixin
from diffsmooth.llm.engines._rows import (
    Canonical,
    Captured,
    Scored,
    depends_on_correctness,
    engine_logps,
    forward_logps,
    judge,
    local,
    rounded,
    scatter,
    score,
)
from diffsmooth.llm.engines._verifier import PROBLEM_COLUMN, VerifierReward
from diffsmooth.theory.rules import (
    GRPO,
    Rule,
    Smoothed,
    SmoothingTerm,
    add_term,
    clip_cov_drop,
    kl_cov_select,
)

if TYPE_CHECKING:
    import torch

    from diffsmooth.theory.critical import Form

__all__ = [
    "PROBLEM_COLUMN",
    "Adaptive",
    "KLCov",
    "SimKO",
    "SmoothedGRPOTrainer",  # noqa: F822 - made on demand, below
    "SmoothedMixin",
    "UpstreamChangedError",
    "VerifierReward",
    "smoothed",
]

Base = Literal["engine", "rule"]


class SmoothedMixin(LossMixin, ResumableMixin):
    """Mixin over ``trl.GRPOTrainer``; takes its constructor's arguments and these:

    rule
        Any :class:`Rule`, or a bare :class:`SmoothingTerm`, or ``None`` (plain GRPO with our logs).
    verifier
        Name of the reward function that decides correctness; may be left out with only one, and
        where nothing depends on correctness (no rule, strength 0, a rule of rewards alone).
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
    clip_cov
        Clip-Cov's fraction of tokens (its paper: 2e-4) whose gradient is dropped, on top of any
        rule; 0: none.  Exact with one update a generation, where dropping a token's gradient and
        giving it the advantage 0 are the same.
    kl_cov, simko
        :class:`KLCov`, :class:`SimKO`: inside the loss, on top of any rule (``_loss.py`` says how).
        Clip-higher and token entropy are TRL's own (``epsilon_high``, ``entropy_coef``).

    Raises ``ValueError`` for settings that contradict each other and
    :class:`UpstreamChangedError` if the installed TRL lacks a hook.
    """

    # What the trainer behind the mixin has.
    model: Any
    beta: float
    num_generations: int
    reward_funcs: list[Any]
    reward_func_names: list[str]
    reward_weights: Any
    _logs: Any

    def __init__(
        self,
        *args: Any,
        rule: Rule | SmoothingTerm | None = None,
        verifier: str | None = None,
        threshold: float = 1.0,
        canonical: Canonical | None = None,
        gamma: Adaptive | Literal["adaptive"] | None = None,
        base: Base = "engine",
        clip_cov: float = 0.0,
        kl_cov: KLCov | None = None,
        simko: SimKO | None = None,
        **kwargs: Any,
    ) -> None:
        check_hooks(_upstream(type(self)), TRL_HOOKS, "trl")
        self._set_loss_rivals(_upstream(type(self)), kl_cov, simko)
        if base not in ("engine", "rule"):
            raise ValueError(f"base is {base!r}; allowed: engine, rule")
        if not math.isfinite(threshold):
            raise ValueError(f"threshold is {threshold}; it must be finite")
        if not 0.0 <= clip_cov <= 1.0:
            raise ValueError(f"clip_cov is {clip_cov}; it must lie in [0, 1]")
        self._threshold, self._canonical, self._clip_cov = threshold, canonical, clip_cov
        self._set_rule(rule, base)
        adaptive = Adaptive() if gamma == "adaptive" else gamma
        if adaptive is not None:
            check_adaptive_term(self._smoothing_term())
        self._adaptive = None if adaptive is None else AdaptiveState(adaptive)
        self._captured: Captured | None = None
        super().__init__(*args, **kwargs)
        self._check_upstream_state()
        self._check_loss_rivals()
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
        if self._verifier_index is None and self._needs_correctness():
            raise ValueError(
                f"verifier: name the one of {', '.join(self.reward_func_names) or '(none)'} that "
                "decides correctness"
            )
        classes = (
            rule.needs_classes
            if rule is not None
            else bool(self._term and self._term.quotient and not self._term.is_zero)
        )
        if classes and self._canonical is None and self._verdict_source() is None:
            raise ValueError("the quotient rule needs `canonical` or a VerifierReward as verifier")

    def _needs_correctness(self) -> bool:
        """Whether anything that is done to the advantages or the loss depends on correctness."""
        return bool(
            (self._term is not None and not self._term.is_zero)
            or self._adaptive is not None
            or self._simko is not None
            or (
                self._whole is not None
                and depends_on_correctness(self._whole, self.num_generations)
            )
        )

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
                f"trl {installed('trl')}: GRPOTrainer has no {', '.join(missing)}; "
                "use a supported version"
            )

    def _find_verifier(self, name: str | None) -> int | None:
        """Its column among the rewards; ``None`` where it is not named and not the only one."""
        names: list[str] = list(self.reward_func_names)
        if name is None:
            return 0 if len(names) == 1 else None
        if names.count(name) != 1:
            raise ValueError(f"verifier is {name!r}; allowed: {', '.join(names)}")
        return names.index(name)

    def _verdict_source(self) -> VerifierReward | None:
        if self._verifier_index is None:
            return None
        function = self.reward_funcs[self._verifier_index]
        return function if isinstance(function, VerifierReward) else None

    # -- the two hooks ------------------------------------------------------------------------

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any, **kwargs: Any
    ) -> torch.Tensor:
        rewards: torch.Tensor = super()._calculate_rewards(  # type: ignore[misc]
            inputs, prompts, completions, completion_ids_list, **kwargs
        )
        self._captured = Captured(rewards, list(inputs), list(completions))
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

    def _take_captured(self) -> Captured | None:
        captured, self._captured = self._captured, None
        return captured

    def _apply_rule(self, output: dict[str, Any], captured: Captured) -> None:
        import torch

        training: bool = self.model.training
        said = judge(self, captured, self._verifier_index, self._canonical)
        logps = engine_logps(self, output)
        term, whole = self._in_force()
        chooses = training and (self._clip_cov > 0 or self._kl_cov is not None)
        reads = _reads_logps(term, whole) or chooses or self._adaptive is not None
        if logps is None and reads:
            logps = self._forward_logps(output)
        token_level = bool(
            (whole is not None and whole.token_level)
            or (term is not None and term.reduction == "token" and not term.is_zero)
            or chooses
        )
        before: torch.Tensor = output["advantages"]
        columns = {"engine": _logs.per_answer(before, output)}
        if said.flags is not None:
            columns["correct"] = said.flags
        answers = gather_answers(self.accelerator, output, logps, token_level, columns)
        scored = score(
            self,
            captured,
            self._verifier_index,
            threshold=self._threshold,
            judged=said,
            flags=answers.columns.get("correct"),
        )
        acts = chooses or whole is not None or self._simko is not None
        acts = acts or self._adaptive is not None or (term is not None and not term.is_zero)
        group: NDArray[np.int64] | None = None
        size = self._group_size(training)
        if acts or one_prompt_a_group(answers.prompt, size):
            group = group_ids(answers.prompt, size)
        if reads:
            _check_logps(answers, scored.judged)
        critical = self._critical(answers, scored, group)
        if self._adaptive is not None:
            if training:
                self._adaptive.update(_median(critical))
            term, whole = self._in_force()

        count = len(captured.completions)
        rank: int = self.accelerator.process_index
        mine, width = slice(rank * count, (rank + 1) * count), output["completion_mask"].shape[1]
        base: Any = answers.columns["engine"]  # the advantage to which a term was added
        used: Any = base
        addition: Any = None
        if whole is not None:
            assert group is not None
            batch, rows = scored.batch(answers, group, logps=_reads_logps(None, whole))
            values = whole(batch) if batch is not None else np.zeros(0)
            used = rounded(scatter(values, rows, len(scored.reward)), before)
            output["advantages"] = local(used, mine, before, width)
            if isinstance(whole, Smoothed) and batch is not None:
                # What was added to the base, for the log.
                base = scatter(whole.base(batch), rows, len(scored.reward))
                addition = used - (base[:, None] if base.ndim < used.ndim else base)
        elif term is not None and not term.is_zero:
            assert group is not None
            batch, rows = scored.batch(answers, group, logps=_reads_logps(term, None))
            values = term(batch) if batch is not None else np.zeros(0)
            addition = rounded(scatter(values, rows, len(scored.reward)), before)
            output["advantages"] = add_term(before, local(addition, mine, before, width))
            used = rounded(add_term(base, addition), before)
        if chooses:
            used = self._choose_tokens(output, answers, mine)
        if self._simko is not None:
            assert scored.correct is not None
            kind = np.where(scored.judged, np.where(scored.correct, 1, -1), 0)
            output[SIMKO] = torch.from_numpy(kind[mine].copy()).to(before.device)
        if acts:  # else upstream's own log is right, and whatever it holds
            _logs.rewrite(self._logs["advantages"], _logs.flat(used, answers.mask).tolist())
        self._write_logs(
            used=_logs.flat(used, answers.mask),
            base=_logs.flat(base, answers.mask),
            addition=None if addition is None else _logs.flat(addition, answers.mask),
            scored=scored,
            answers=answers,
            group=group,
            critical=critical,
            training=training,
        )

    def _choose_tokens(self, output: dict[str, Any], answers: Answers, rows: slice) -> Any:
        """Clip-Cov: advantage 0 on the chosen tokens.  KL-Cov: mark them for the loss.

        The same choice on every rank.  Returns everyone's advantages (B, T).
        """
        import torch

        used = output["advantages"]
        shape = output["completion_mask"].shape
        mine = used if used.ndim == 2 else used[:, None].expand(shape)
        padded = self.accelerator.pad_across_processes(mine.contiguous(), dim=1, pad_index=0.0)
        everyone = self.accelerator.gather(padded).double().cpu().numpy()
        log = self._metrics["train"]

        def keep(chosen: NDArray[np.bool_], name: str) -> torch.Tensor:
            log[f"smoothing/{name}"].append(float(chosen.sum() / max(1, answers.mask.sum())))
            return torch.from_numpy(chosen[rows, : shape[1]].copy()).to(mine.device)

        if self._kl_cov is not None:
            chosen = kl_cov_select(
                everyone, answers.logps, answers.mask, fraction=self._kl_cov.fraction
            )
            output[KL_COV] = keep(chosen, "kl_cov_chosen")
        if self._clip_cov > 0:
            generator = torch.Generator().manual_seed(self.args.seed * 1_000_003 + self._step)
            uniforms = torch.rand(everyone.shape, generator=generator).numpy()
            drop = clip_cov_drop(
                everyone, answers.logps, answers.mask, uniforms, fraction=self._clip_cov
            )
            output["advantages"] = mine.masked_fill(keep(drop, "clip_cov_dropped"), 0.0)
            everyone = np.where(drop, 0.0, everyone)
        return everyone

    def _forward_logps(self, output: dict[str, Any]) -> torch.Tensor:
        return forward_logps(self, output)

    # -- what is measured ------------------------------------------------------------------------

    def _group_size(self, training: bool) -> int:
        size: int = self.num_generations
        return size if training else getattr(self, "num_generations_eval", None) or size

    def _critical(
        self, answers: Answers, scored: Scored, group: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """C5's g* of each group (plug-in) for the rule in force; empty without log-probs.

        A group with an answer whose log-prob is unusable has no estimate: the others' shares would
        be wrong without it.
        """
        if answers.logps is None or scored.correct is None or group is None:
            return np.zeros(0)
        keep = scored.judged & (answers.lengths > 0)
        lost = np.unique(group[keep & np.isnan(answers.log_probs)])
        keep &= ~np.isin(group, lost)
        if not keep.any():
            return np.zeros(0)
        return critical_strengths(
            answers.log_probs[keep],
            scored.correct[keep],
            group[keep],
            answers.answer[keep],
            form=self._critical_form(),
        )

    def _critical_form(self) -> Form:
        """The rule's one of C5's forms: reward centred or standardised, term centred or not."""
        term = self._smoothing_term()
        centred = term is None or term.centring == "correct"
        if isinstance(self._whole, Smoothed):
            standardised = isinstance(self._whole.base, GRPO) and self._whole.entry == "advantage"
        else:
            standardised = self.args.scale_rewards not in (False, "none")
        if standardised:
            return "advantage-centred" if centred else "advantage"
        return "centred" if centred else "literal"

    # -- logs ---------------------------------------------------------------------------------

    def _write_logs(self, *, used: Any, training: bool, **facts: Any) -> None:
        values = _logs.metrics(used=used, **facts)
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
            # Old versions average NaN in; a number that does not exist this time is left out.
            if not math.isnan(value):
                store[name].append(value)

    # -- resume -------------------------------------------------------------------------------

    def _rule_state(self) -> dict[str, float] | None:
        return None if self._adaptive is None else self._adaptive.state_dict()

    def _load_rule_state(self, state: dict[str, float]) -> None:
        if self._adaptive is not None:
            self._adaptive.load_state_dict(state)


def _reads_logps(term: SmoothingTerm | None, whole: Rule | None) -> bool:
    if whole is not None:
        return bool(whole.needs_logps)
    return term is not None and not (term.is_zero or term.quotient)


def _check_logps(answers: Answers, judged: NDArray[np.bool_]) -> None:
    """Raise ``ValueError`` for log-probs that no rule can read, before any of them is used."""
    bad = np.flatnonzero(answers.unusable & judged)
    if len(bad):
        values = answers.sums if answers.mask is None else answers.logps
        row = np.atleast_1d(values[bad[0]])
        lost = row[~np.isfinite(row)]
        what = f"{lost[0]:g}" if len(lost) else "a number above 0"
        raise ValueError(
            f"logps: holds {what} ({len(bad)} of {len(judged)} answers): an answer that was "
            "drawn has a positive probability, at most 1. The rule in force reads log-probs: let "
            "the sampler return those of the whole softmax (not cut off by top-k or rounding)"
        )


def _no_grad() -> Any:
    import torch

    return torch.no_grad()


def _engine_can_base(rule: Smoothed) -> bool:
    return isinstance(rule.base, GRPO) and rule.entry == "advantage"


def _median(values: Any) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else math.nan


def _upstream(cls: type) -> type:
    """The first class behind the mixins in the order of resolution."""
    order = cls.__mro__
    return order[order.index(ResumableMixin) + 1]


@lru_cache(maxsize=8)
def smoothed(trainer: type) -> type:
    """``trainer`` (a subclass of ``trl.GRPOTrainer``) with the mixin in front."""
    check_hooks(trainer, TRL_HOOKS, "trl")
    return type(f"Smoothed{trainer.__name__}", (SmoothedMixin, trainer), {})


def __getattr__(name: str) -> Any:
    if name == "SmoothedGRPOTrainer":
        return smoothed(require("trl", "trl").GRPOTrainer)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
