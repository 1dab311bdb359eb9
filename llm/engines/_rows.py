"""What a rule reads in a trainer: rewards, correctness, classes and log-probs of the answers.

``trainer`` is always a ``GRPOTrainer`` with the mixin of :mod:`diffsmooth.llm.engines.trl`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffsmooth.llm.engines._gather import Answers
from diffsmooth.llm.engines._verifier import VerifierReward, answer_text
from diffsmooth.theory.rules import GroupBatch

if TYPE_CHECKING:
    import torch

#: ``canonical(rows, texts)``: the class of each answer (any string), ``None`` for no answer.
Canonical = Callable[[Sequence[dict[str, Any]], Sequence[str]], Sequence[str | None]]

_MULTIMODAL = (
    "pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "image_sizes",
    "token_type_ids", "mm_token_type_ids", "spatial_shapes", "num_tiles", "image_position_ids",
)  # fmt: skip


@dataclass(frozen=True)
class Captured:
    """What ``_calculate_rewards`` saw: rewards gathered (B, functions), the rest of this rank."""

    rewards: torch.Tensor
    inputs: list[dict[str, Any]]
    completions: list[Any]


@dataclass(frozen=True)
class Scored:
    """Gathered over ranks, each (B,): reward, correctness, whether judged at all, class ids."""

    reward: torch.Tensor
    correct: torch.Tensor
    judged: torch.Tensor
    classes: torch.Tensor | None

    def batch(
        self, answers: Answers, group: torch.Tensor
    ) -> tuple[GroupBatch | None, torch.Tensor]:
        """The judged rows as a group batch, and their indices; ``None`` if there are none."""
        rows = self.judged.nonzero()[:, 0]
        if not len(rows):
            return None, rows

        def pick(x: torch.Tensor | None) -> torch.Tensor | None:
            return None if x is None else x[rows]

        batch = GroupBatch(
            reward=self.reward[rows],
            correct=self.correct[rows],
            group=group[rows],
            logps=pick(answers.logps),
            mask=pick(answers.mask),
            lengths=answers.lengths[rows],
            classes=pick(self.classes),
            ref_logps=pick(answers.ref_logps),
        )
        return batch, rows


def score(
    trainer: Any,
    captured: Captured,
    column: int,
    *,
    threshold: float,
    canonical: Canonical | None,
) -> Scored:
    """Judge by the reward function in ``column`` alone: its verdicts, or value >= ``threshold``."""
    import torch
    from accelerate.utils import gather_object

    table = captured.rewards
    values = table[:, column]
    weights = trainer.reward_weights.to(table.device).unsqueeze(0)
    function = trainer.reward_funcs[column]
    verdicts = function.take() if isinstance(function, VerifierReward) else None
    names: Sequence[str | None] | None = None
    if verdicts is not None:
        flags = torch.tensor([v.correct for v in verdicts], device=table.device)
        correct = trainer.accelerator.gather(flags)
        names = [v.canonical for v in verdicts]
    else:
        correct = values >= threshold
    if canonical is not None:
        names = canonical(captured.inputs, [answer_text(c) for c in captured.completions])
    classes = None
    if names is not None:
        numbers: dict[str | None, int] = {}
        ids = [numbers.setdefault(name, len(numbers)) for name in gather_object(list(names))]
        classes = torch.tensor(ids, device=table.device)
    return Scored(
        reward=(table * weights).nansum(dim=1),
        correct=correct,
        judged=~torch.isnan(values),
        classes=classes,
    )


def engine_logps(trainer: Any, output: dict[str, Any]) -> torch.Tensor | None:
    """Token log-probs that the engine has, (B_local, T_local), or ``None``."""
    import torch

    old: torch.Tensor | None = output.get("old_per_token_logps")
    if old is not None:
        return old
    sampled: torch.Tensor | None = output.get("sampling_per_token_logps")
    usable = sampled is not None and sampled.shape == output["completion_mask"].shape
    if sampled is not None and usable:
        # vLLM marks tokens it could not score with NaN: then they are of no use.
        usable = not bool((torch.isnan(sampled) & output["completion_mask"].bool()).any())
    # All ranks take the same road: a forward pass on some of them only would wait for ever.
    flag = torch.tensor([usable], device=output["completion_mask"].device)
    return sampled if bool(trainer.accelerator.gather(flag).all()) else None


def forward_logps(trainer: Any, output: dict[str, Any]) -> torch.Tensor:
    """One forward pass without gradient over this rank's answers: (B_local, T_local)."""
    import torch

    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
    mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
    extra = {k: output[k] for k in _MULTIMODAL if k in output}
    args, training = trainer.args, trainer.model.training
    result = trainer._get_per_token_logps_and_entropies(
        trainer.model,
        ids,
        mask,
        output["completion_ids"].size(1),
        batch_size=args.per_device_train_batch_size
        if training
        else args.per_device_eval_batch_size,
        **extra,
    )
    logps: torch.Tensor = result[0] if isinstance(result, tuple) else result["logps"]
    return logps


def scatter(values: torch.Tensor, rows: torch.Tensor, size: int) -> torch.Tensor:
    """Put the values of ``rows`` back among ``size`` rows; the others get 0."""
    out = values.new_zeros((size, *values.shape[1:]))
    out[rows] = values
    return out


def fit(values: torch.Tensor, output: dict[str, Any]) -> torch.Tensor:
    """Cut token values, padded to the longest rank's width, to this rank's width."""
    return values if values.ndim == 1 else values[:, : output["completion_mask"].shape[1]]
