"""What a run with a rule logs: the advantage really used, and how the group of answers looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from diffsmooth.llm.engines._gather import Answers
    from diffsmooth.llm.engines._rows import Scored


def flat(x: NDArray[np.float64], mask: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """(B,) or (B, T) -> (B,): the mean over each answer's tokens."""
    if x.ndim == 1:
        return x
    assert mask is not None
    return np.asarray(np.where(mask, x, 0.0).sum(axis=1) / mask.sum(axis=1).clip(min=1))


def per_answer(advantages: torch.Tensor, output: dict[str, Any]) -> torch.Tensor:
    """Local advantages as one number an answer (mean over its tokens), for logs."""
    if advantages.ndim == 1:
        return advantages
    mask = output["completion_mask"]
    if "tool_mask" in output:
        mask = mask * output["tool_mask"]
    weight = mask.to(advantages.dtype)
    means: torch.Tensor = (advantages * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)
    return means


def rewrite(log: Any, values: Sequence[float]) -> None:
    """Replace the last ``len(values)`` entries of a deque, which lack what the rule did."""
    if len(log) < len(values):
        raise RuntimeError("the trainer logged fewer advantages than it computed")
    for _ in values:
        log.pop()
    log.extend(values)


def metrics(
    *,
    used: NDArray[np.float64],
    base: NDArray[np.float64],
    addition: NDArray[np.float64] | None,
    scored: Scored,
    group: NDArray[np.int64],
    answers: Answers,
    critical: NDArray[np.float64],
) -> dict[str, float]:
    """Numbers for the trainer's log; NaN where a number does not exist this time.

    ``smoothing/term_to_advantage``: mean |term| over mean |advantage without it|;
    ``sequence_entropy``: mean of -log pi(answer) in nats, an estimate of the policy's entropy;
    ``distinct_correct``: per group with a correct answer (by class where there are classes);
    ``critical_strength``: median over groups of C5's plug-in estimate;
    ``one_kind_groups``: share of groups all correct or all wrong.
    """
    correct = scored.correct & scored.judged
    rows = np.bincount(group)
    hits = np.bincount(group, correct)
    out: dict[str, float] = {
        "smoothing/correct": _mean(correct),
        "smoothing/one_kind_groups": _mean((hits == 0) | (hits == rows)),
        "smoothing/advantage_abs": _mean(np.abs(used)),
    }
    if addition is not None:
        scale = _mean(np.abs(base))
        out["smoothing/term_to_advantage"] = (
            _mean(np.abs(addition)) / scale if scale > 0 else math.nan
        )
        out["smoothing/sign_flips"] = _mean((base * used < 0) & (base != 0))
    names = scored.classes if scored.classes is not None else answers.answer
    pairs = set(zip(group[correct].tolist(), names[correct].tolist(), strict=True))
    solved = int((hits > 0).sum())
    out["smoothing/distinct_correct"] = len(pairs) / solved if solved else math.nan
    if answers.logps is not None:
        out["smoothing/sequence_entropy"] = _mean(-answers.sums[answers.lengths > 0])
        finite = critical[np.isfinite(critical)]
        out["smoothing/critical_strength"] = float(np.median(finite)) if len(finite) else math.nan
        out["smoothing/critical_unreachable"] = _mean(np.isinf(critical))
    return out


def _mean(x: NDArray[Any]) -> float:
    return float(x.mean()) if len(x) else math.nan
