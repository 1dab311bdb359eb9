"""Differential smoothing, and every trajectory rule of the library, inside verl.

Loaded into verl's Ray workers by an environment variable, chosen by the trainer mode:

    export VERL_USE_EXTERNAL_MODULES=diffsmooth.llm.engines.verl
    python -m verl.trainer.main_ppo trainer.v1.trainer_mode=ds_sync \\
        algorithm.adv_estimator=grpo +algorithm.ds.rule=centred +algorithm.ds.g_correct=0.01 ...

Modes: ``ds_sync``, ``ds_colocate_async``, ``ds_separate_async``.  A registered advantage estimator
does not receive log-probs in verl 0.9; :class:`SmoothingMixin` therefore overrides the trainer's
``_compute_advantage``, after which the log-probs lie in the transfer queue.  The estimator
``diffsmooth`` works wherever verl passes ``batch`` to estimators (its pull request 7473), and today
for rules that read rewards alone.

Settings are :class:`diffsmooth.llm.engines._tokens.Knobs`, under ``algorithm.ds``.  Correctness is
``correct_key`` of the reward function's extra information, else score >= ``threshold``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from diffsmooth.llm.engines._tokens import Knobs, token_advantages

if TYPE_CHECKING:
    import torch

__all__ = ["ESTIMATOR", "MODES", "SmoothingMixin", "estimate", "register"]

#: Our trainer modes and the ones they extend.
MODES = {
    "ds_sync": "sync",
    "ds_colocate_async": "colocate_async",
    "ds_separate_async": "separate_async",
}
ESTIMATOR = "diffsmooth"


class SmoothingMixin:
    """Mixin over verl's v1 ``PPOTrainer``: the rule, after verl's own advantage."""

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        """verl's advantage, then ours in its place; logs ``ds/...`` metrics.

        Raises ValueError on bad settings or missing fields.
        """
        batch = super()._compute_advantage(batch, metrics)  # type: ignore[misc]
        knobs = settings(self.config)  # type: ignore[attr-defined]
        if knobs.does_nothing:
            return batch
        import torch
        import transfer_queue as tq
        from tensordict import TensorDict

        fields = ["uid", "response_mask", "rm_scores", "advantages", knobs.logps]
        made = knobs.made()
        if made.needs_reference:
            fields.append("ref_log_prob")
        if knobs.correct_key or knobs.class_key:
            fields.append("extra_fields")
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=fields
        )
        absent = [name for name in fields if name not in data.keys()]  # noqa: SIM118 - a TensorDict
        if absent:
            raise ValueError(
                f"verl's batch lacks {', '.join(absent)}, which rule {knobs.rule} needs"
            )
        nested_mask = data["response_mask"]
        mask = _padded(nested_mask).bool()
        before = _padded(data["advantages"])
        after = _by_session(
            knobs,
            keys=list(batch.keys),
            score=_padded(data["rm_scores"]).sum(dim=1),
            mask=mask,
            groups=list(data["uid"].tolist() if hasattr(data["uid"], "tolist") else data["uid"]),
            logps=_padded(data[knobs.logps]),
            ref_logps=_padded(data["ref_log_prob"]) if made.needs_reference else None,
            extra=_extra(data, knobs),
            engine=before,
        )
        metrics.update(_measures(before, after, mask))
        lengths = nested_mask.offsets().diff().tolist()
        rows = [after[i, :n] for i, n in enumerate(lengths)]
        ragged = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
        return tq.kv_batch_put(
            keys=batch.keys,
            partition_id=batch.partition_id,
            fields=TensorDict({"advantages": ragged}, batch_size=len(rows)),
        )


def settings(config: Any) -> Knobs:
    """The knobs under ``algorithm.ds`` (all defaults where the section is missing)."""
    from omegaconf import DictConfig, OmegaConf

    section = config.algorithm.get("ds", {})
    if isinstance(section, DictConfig):
        section = OmegaConf.to_container(section, resolve=True)
    return Knobs.read(section or {})


def estimate(
    *,
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    config: Any = None,
    index: Any = None,
    batch: Any = None,
    non_tensor_batch: Mapping[str, Any] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantage estimator: (advantages, returns), each (B, T).

    Works for rules that read rewards alone; for the others once verl passes ``batch`` (then it is
    to hold the knobs' ``logps``).  Raises ValueError, saying what to use instead, until then.
    """
    from omegaconf import OmegaConf

    section = (config.get("ds", None) if config is not None else None) or {}
    plain = OmegaConf.to_container(section) if OmegaConf.is_config(section) else dict(section)
    knobs = Knobs.read({**plain, "base": "rule"})
    made = knobs.made()
    logps = None if batch is None or knobs.logps not in batch else batch[knobs.logps]
    if made.needs_logps and logps is None:
        raise ValueError(
            f"rule {knobs.rule!r} reads log-probs, which this verl does not pass to estimators: "
            f"set trainer.v1.trainer_mode to one of {', '.join(MODES)} instead"
        )
    extra = non_tensor_batch or {}
    advantages = token_advantages(
        knobs,
        score=token_level_rewards.sum(dim=1),
        mask=response_mask.bool(),
        groups=list(index),
        logps=logps,
        ref_logps=batch["ref_log_prob"] if made.needs_reference and batch is not None else None,
        correct=_column(extra, knobs.correct_key),
        classes=_column(extra, knobs.class_key),
    )
    return advantages, advantages


def register() -> None:
    """Register the three trainers and the estimator; does nothing the second time."""
    from verl.trainer.ppo import core_algos
    from verl.trainer.ppo.v1 import get_trainer_cls, register_trainer, trainer_base

    for ours, theirs in MODES.items():
        if ours in trainer_base.TRAINER_REGISTRY:
            continue
        parent = get_trainer_cls(theirs)
        if not callable(getattr(parent, "_compute_advantage", None)):
            raise RuntimeError(
                f"verl {metadata.version('verl')}: {parent.__name__} has no _compute_advantage; "
                "use a supported version (0.9.x)"
            )
        register_trainer(ours)(type(f"Smoothing{parent.__name__}", (SmoothingMixin, parent), {}))
    core_algos.register_adv_est(ESTIMATOR)(estimate)


def _padded(x: torch.Tensor) -> torch.Tensor:
    return x.to_padded_tensor(0) if x.is_nested else x


def _extra(data: Any, knobs: Knobs) -> Mapping[str, Any]:
    """Columns of the reward function's extra information, one value an answer."""
    wanted = [key for key in (knobs.correct_key, knobs.class_key) if key]
    if not wanted:
        return {}
    # One mapping an answer: a NonTensorStack or a plain list, depending on the path it took.
    found = data["extra_fields"]
    found = found.tolist() if hasattr(found, "tolist") else list(found)
    rows = [row.get("reward_extra_info", {}) for row in found]
    for key in wanted:
        if any(key not in row for row in rows):
            raise ValueError(f"the reward function returned no {key!r} for some answers")
    return {key: [row[key] for row in rows] for key in wanted}


def _column(columns: Mapping[str, Any], key: str | None) -> Sequence[Any] | None:
    if key is None:
        return None
    if key not in columns:
        raise ValueError(f"the batch holds no {key!r}; known: {', '.join(columns) or 'nothing'}")
    return list(columns[key])


def _by_session(
    knobs: Knobs,
    *,
    keys: Sequence[str],
    score: torch.Tensor,
    mask: torch.Tensor,
    groups: Sequence[str],
    logps: torch.Tensor,
    ref_logps: torch.Tensor | None,
    extra: Mapping[str, Any],
    engine: torch.Tensor,
) -> torch.Tensor:
    """The rule over the answers, one a session: its last output, as verl's own GRPO does.

    Keys read ``prompt_session_index``.  Outputs before the last of a session take the last one's
    change; a token-level rule has none to take and refuses them.
    """
    last: dict[str, int] = {}
    sessions = [key.rsplit("_", 1)[0] for key in keys]
    order = [int(key.rsplit("_", 1)[1]) for key in keys]
    for row, session in enumerate(sessions):
        if session not in last or order[row] > order[last[session]]:
            last[session] = row
    rows = sorted(last.values())
    made = knobs.made()
    if len(rows) < len(keys) and made.token_level:
        raise ValueError(f"rule {knobs.rule!r} is token-level; sessions have several outputs")
    correct, classes = _column(extra, knobs.correct_key), _column(extra, knobs.class_key)
    after = engine.clone()
    after[rows] = token_advantages(
        knobs,
        score=score[rows],
        mask=mask[rows],
        groups=[groups[i] for i in rows],
        logps=logps[rows],
        ref_logps=None if ref_logps is None else ref_logps[rows],
        correct=None if correct is None else [bool(correct[i]) for i in rows],
        classes=None if classes is None else [classes[i] for i in rows],
        engine=engine[rows],
    ).to(engine.dtype)
    for row, session in enumerate(sessions):
        final = last[session]
        if final != row:
            first = int(mask[final].long().argmax())
            change = after[final, first] - engine[final, first]
            after[row] = (engine[row] + change) * mask[row]
    return after


def _measures(before: torch.Tensor, after: torch.Tensor, mask: torch.Tensor) -> dict[str, float]:
    """|term| / |A| and the share of tokens whose sign changed, over the unmasked tokens."""
    base, change = before[mask], (after - before)[mask]
    scale = base.abs().mean()
    flips = (base * after[mask] < 0).float().mean()
    return {
        "ds/term_over_advantage": float(change.abs().mean() / scale) if scale > 0 else 0.0,
        "ds/term_abs": float(change.abs().mean()),
        "ds/sign_flips": float(flips),
    }


def _loaded_by_verl() -> bool:
    """True where verl imports this module itself, by VERL_USE_EXTERNAL_MODULES."""
    import os

    return __name__ in os.environ.get("VERL_USE_EXTERNAL_MODULES", "").split(",")


if _loaded_by_verl():
    register()
