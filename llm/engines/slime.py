"""Differential smoothing in slime: one function, named on the command line.

    --custom-advantage-function-path diffsmooth.llm.engines.slime.advantages \\
    --disable-rewards-normalization

with the settings in the environment variable ``DIFFSMOOTH_DS``, JSON of
:class:`diffsmooth.llm.engines._tokens.Knobs`: ``{"rule": "centred", "g_correct": 0.01}``.
slime runs on Megatron and GPUs only; here the function is tested on the data it documents, not
inside slime.  See ``docs/slime.md``.
"""

from __future__ import annotations

import json
import os
from typing import Any

from diffsmooth.llm.engines._tokens import Knobs, token_advantages

#: JSON settings of the rule.
VARIABLE = "DIFFSMOOTH_DS"


def advantages(args: Any, rollout_data: dict[str, Any]) -> None:
    """Fill ``rollout_data["advantages"]`` and ``["returns"]``: a list of (T_i,) tensors.

    Reads per sample: ``rewards`` (raw), ``log_probs`` (T_i,), ``loss_masks`` (T_i,) and
    ``sample_indices``, whose quotient by ``args.n_samples_per_prompt`` names the prompt.  Groups
    that lie on several data-parallel ranks are gathered first.

    Raises ValueError if rewards were normalised before, if the context is parallel, or if a field
    is missing.
    """
    import torch

    if getattr(args, "rewards_normalization", False):
        raise ValueError("slime: pass --disable-rewards-normalization, the rule needs raw rewards")
    if getattr(args, "context_parallel_size", 1) > 1:
        raise ValueError("slime: context parallelism splits log-probs over ranks; set it to 1")
    source = "rollout_log_probs" if getattr(args, "use_rollout_logprobs", False) else "log_probs"
    absent = [
        name
        for name in ("rewards", source, "loss_masks", "sample_indices")
        if rollout_data.get(name) is None
    ]
    if absent:
        raise ValueError(f"slime: rollout_data lacks {', '.join(absent)}")
    knobs = Knobs.read({**json.loads(os.environ.get(VARIABLE, "{}")), "base": "rule"})
    mine = [
        (float(r), lp.detach().float().cpu(), m.bool().cpu(), int(i) // args.n_samples_per_prompt)
        for r, lp, m, i in zip(
            rollout_data["rewards"],
            rollout_data[source],
            rollout_data["loss_masks"],
            rollout_data["sample_indices"],
            strict=True,
        )
    ]
    everyone, start = _gathered(mine)
    pad = torch.nn.utils.rnn.pad_sequence
    full = token_advantages(
        knobs,
        score=torch.tensor([row[0] for row in everyone]),
        mask=pad([row[2] for row in everyone], batch_first=True),
        groups=[row[3] for row in everyone],
        logps=pad([row[1] for row in everyone], batch_first=True),
    )
    out = [
        full[start + k, : len(lp)].to(lp.device, torch.float32)
        for k, lp in enumerate(rollout_data[source])
    ]
    rollout_data["advantages"], rollout_data["returns"] = out, list(out)


def _gathered(rows: list[Any]) -> tuple[list[Any], int]:
    """All data-parallel ranks' rows in order of rank, and where this rank's begin."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return rows, 0
    try:
        from megatron.core import mpu

        group = mpu.get_data_parallel_group_gloo(with_context_parallel=False)
    except ImportError:
        group = None
    parts: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(parts, rows, group=group)
    before = parts[: dist.get_rank(group)]
    return [row for part in parts for row in part], sum(len(part) for part in before)
