"""What a rule reads in a trainer: rewards, correctness, classes and log-probs of the answers.

``trainer`` is always a ``GRPOTrainer`` with the mixin of :mod:`diffsmooth.llm.engines.trl`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsmooth.llm.engines._gather import Answers
from diffsmooth.llm.engines._verifier import VerifierReward, answer_text
from diffsmooth.theory.rules import GroupBatch, Rule

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
    """Gathered over ranks, each (B,): reward, correctness, whether judged at all, class ids.

    ``correct`` is ``None`` where no verifier was named among several rewards.
    """

    reward: NDArray[np.float64]
    correct: NDArray[np.bool_] | None
    judged: NDArray[np.bool_]
    classes: NDArray[np.int64] | None

    def batch(
        self, answers: Answers, group: NDArray[np.int64], *, logps: bool
    ) -> tuple[GroupBatch | None, NDArray[np.int64]]:
        """The judged rows as a group batch, and their indices; ``None`` if there are none.

        ``logps``: whether the rule reads log-probs; a rule that does not is not stopped by an
        answer that has none.
        """
        rows = np.flatnonzero(self.judged)
        # Without a verifier only rules that do not depend on correctness get here.
        correct = np.zeros(len(self.reward), bool) if self.correct is None else self.correct
        if not len(rows):
            return None, rows

        def pick(x: Any) -> Any:
            return x if x is None or len(rows) == len(self.judged) else x[rows]

        batch = GroupBatch(
            reward=pick(self.reward),
            # Without a verifier only rules that do not read it get here.
            correct=pick(correct),
            group=pick(group),
            logps=pick(answers.logps) if logps else None,
            mask=pick(answers.mask) if logps else None,
            lengths=pick(answers.lengths),
            classes=pick(self.classes),
            ref_logps=pick(answers.ref_logps) if logps else None,
        )
        return batch, rows


@dataclass(frozen=True)
class Judged:
    """This rank's verdicts, before they are gathered: (B_local,) flags and names of classes."""

    flags: torch.Tensor | None
    names: Sequence[str | None] | None


def depends_on_correctness(rule: Rule, group_size: int) -> bool:
    """Whether other verdicts would give other advantages, seen on two groups of random answers.

    A rule that refuses groups of this size is taken to depend on it.
    """
    rng = np.random.Generator(np.random.Philox(0))
    rows = 2 * group_size
    logps = -rng.exponential(size=(rows, 3))
    said = rng.random(rows) < 0.5
    batch = GroupBatch(
        reward=rng.random(rows),
        correct=said,
        group=np.repeat([0, 1], group_size),
        logps=logps,
        mask=np.ones(logps.shape, bool),
        classes=rng.integers(3, size=rows),
        ref_logps=-rng.exponential(size=(rows, 3)),
    )
    others = (~said, np.zeros(rows, bool), np.ones(rows, bool))
    try:
        one = np.asarray(rule(batch))
        return not all(
            np.array_equal(one, np.asarray(rule(replace(batch, correct=other)))) for other in others
        )
    except ValueError:
        return True


def judge(
    trainer: Any, captured: Captured, column: int | None, canonical: Canonical | None
) -> Judged:
    """What the reward function in ``column`` said beside its rewards, and the answers' classes."""
    import torch

    function = None if column is None else trainer.reward_funcs[column]
    verdicts = function.take() if isinstance(function, VerifierReward) else None
    flags, names = None, None
    if verdicts is not None:
        flags = torch.tensor([float(v.correct) for v in verdicts])
        names = [v.canonical for v in verdicts]
    if canonical is not None:
        names = list(canonical(captured.inputs, [answer_text(c) for c in captured.completions]))
    return Judged(flags, names)


def score(
    trainer: Any,
    captured: Captured,
    column: int | None,
    *,
    threshold: float,
    judged: Judged,
    flags: NDArray[np.float64] | None,
) -> Scored:
    """Judge by the reward function in ``column`` alone: its verdicts (``flags``, gathered), or
    value >= ``threshold``.  Without one (``None``) every answer that got any reward is judged, and
    none is called correct."""
    from accelerate.utils import gather_object

    table = captured.rewards.double().cpu().numpy()
    weights = trainer.reward_weights.double().cpu().numpy()
    classes = None
    if judged.names is not None:
        numbers: dict[str | None, int] = {}
        everyone = gather_object(list(judged.names))
        classes = np.array([numbers.setdefault(x, len(numbers)) for x in everyone])
    reward = np.nansum(table * weights, axis=1)
    if column is None:
        return Scored(reward, None, ~np.isnan(table).all(axis=1), classes)
    values = table[:, column]
    return Scored(
        reward=reward,
        correct=values >= threshold if flags is None else flags > 0,
        judged=~np.isnan(values),
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
        faults = (torch.isnan(sampled) & output["completion_mask"].bool()).any()
    else:
        faults = torch.ones((), dtype=torch.bool, device=output["completion_mask"].device)
    # All ranks take the same road: a forward pass on some of them only would wait for ever.
    return None if bool(trainer.accelerator.gather(faults.view(1)).any()) else sampled


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


def scatter(values: Any, rows: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Put the values of ``rows`` back among ``size`` rows; the others get 0."""
    out = np.zeros((size, *values.shape[1:]))
    out[rows] = values
    return out


def rounded(values: NDArray[np.float64], like: torch.Tensor) -> NDArray[np.float64]:
    """``values`` as numbers of the type of ``like``: what the trainer will hold."""
    import torch

    return np.asarray(torch.from_numpy(values).to(like.dtype).double().numpy())


def local(values: NDArray[Any], rows: slice, like: torch.Tensor, width: int) -> torch.Tensor:
    """This rank's rows as a tensor of the type and on the device of ``like``.

    Token values, padded to the longest rank's width, are cut to this rank's ``width``.
    """
    import torch

    mine = values[rows] if values.ndim == 1 else values[rows, :width]
    return torch.from_numpy(np.ascontiguousarray(mine)).to(dtype=like.dtype).to(like.device)
