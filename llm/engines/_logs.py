"""What a run with a rule logs: the advantage really used, and how the group of answers looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from diffsmooth.llm.engines._gather import Answers


def flat(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(B,) or (B, T) -> (B,): the mean over each answer's tokens."""
    if x.ndim == 1:
        return x
    assert mask is not None
    weight = mask.to(x.dtype)
    return (x * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)


def per_answer(advantages: torch.Tensor, output: dict[str, Any]) -> torch.Tensor:
    """Local advantages as one number an answer (mean over its tokens), for logs."""
    mask = output["completion_mask"]
    if "tool_mask" in output:
        mask = mask * output["tool_mask"]
    return flat(advantages, mask)


def rewrite(log: Any, values: Sequence[float]) -> None:
    """Replace the last ``len(values)`` entries of a deque, which lack what the rule did."""
    if len(log) < len(values):
        raise RuntimeError("the trainer logged fewer advantages than it computed")
    for _ in values:
        log.pop()
    log.extend(values)


def metrics(
    *,
    used: torch.Tensor,
    base: torch.Tensor,
    addition: torch.Tensor | None,
    correct: torch.Tensor,
    group: torch.Tensor,
    answers: Answers,
    classes: torch.Tensor | None,
    critical: Any,
) -> dict[str, float]:
    """Numbers for the trainer's log; NaN where a number does not exist this time.

    ``smoothing/term_to_advantage``: mean |term| over mean |advantage without it|;
    ``sequence_entropy``: mean of -log pi(answer) in nats, an estimate of the policy's entropy;
    ``distinct_correct``: per group with a correct answer (by class where there are classes);
    ``critical_strength``: median over groups of C5's plug-in estimate;
    ``one_kind_groups``: share of groups all correct or all wrong.
    """
    import numpy as np
    import torch

    size = int(group.max()) + 1 if len(group) else 0
    rows = torch.zeros(size, device=group.device).index_add_(
        0, group, torch.ones_like(used.float())
    )
    hits = torch.zeros(size, device=group.device).index_add_(0, group, correct.float())
    out: dict[str, float] = {
        "smoothing/correct": float(correct.float().mean()),
        "smoothing/one_kind_groups": float(((hits == 0) | (hits == rows)).float().mean()),
        "smoothing/advantage_abs": float(used.abs().mean()),
    }
    if addition is not None:
        scale = float(base.abs().mean())
        out["smoothing/term_to_advantage"] = (
            float(addition.abs().mean()) / scale if scale > 0 else float("nan")
        )
        flips = (base * used < 0) & (base != 0)
        out["smoothing/sign_flips"] = float(flips.float().mean())
    names = classes if classes is not None else answers.answer
    if bool(correct.any()):
        pairs = torch.stack([group[correct], names[correct]], dim=1)
        distinct = len(torch.unique(pairs, dim=0))
        out["smoothing/distinct_correct"] = distinct / int((hits > 0).sum())
    else:
        out["smoothing/distinct_correct"] = float("nan")
    if answers.logps is not None:
        sums = answers.logps
        if answers.mask is not None:
            sums = sums.masked_fill(~answers.mask, 0.0).sum(dim=1)
        present = answers.lengths > 0
        out["smoothing/sequence_entropy"] = (
            float(-sums[present].mean()) if bool(present.any()) else float("nan")
        )
        finite = critical[np.isfinite(critical)]
        out["smoothing/critical_strength"] = (
            float(np.median(finite)) if len(finite) else float("nan")
        )
        out["smoothing/critical_unreachable"] = (
            float(np.isinf(critical).mean()) if len(critical) else float("nan")
        )
    return out
