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
    group: NDArray[np.int64] | None,
    answers: Answers,
    critical: NDArray[np.float64],
) -> dict[str, float]:
    """Numbers for the trainer's log; NaN where a number does not exist this time.

    ``smoothing/term_to_advantage``: mean |term| over mean |advantage without it|;
    ``sequence_entropy``: mean of -log pi(answer) in nats, an estimate of the policy's entropy;
    ``distinct_correct``: per group with a correct answer (by class where there are classes);
    ``critical_strength``: median over groups of C5's plug-in estimate;
    ``one_kind_groups``: share of groups all correct or all wrong;
    ``logps_unusable``: share of answers whose log-prob is no finite number <= 0, where there are
    any (they count in no other number).

    Without a verifier (``scored.correct`` is ``None``) or without groups (the trainer's blocks hold
    several prompts) what needs them is left out.
    """
    out: dict[str, float] = {"smoothing/advantage_abs": _mean(np.abs(used))}
    if addition is not None:
        scale = _mean(np.abs(base))
        out["smoothing/term_to_advantage"] = (
            _mean(np.abs(addition)) / scale if scale > 0 else math.nan
        )
        out["smoothing/sign_flips"] = _mean((base * used < 0) & (base != 0))
    if scored.correct is not None:
        correct = scored.correct & scored.judged
        out["smoothing/correct"] = _mean(correct)
        if group is not None:
            rows, hits = np.bincount(group), np.bincount(group, correct)
            out["smoothing/one_kind_groups"] = _mean((hits == 0) | (hits == rows))
            names = scored.classes if scored.classes is not None else answers.answer
            pairs = set(zip(group[correct].tolist(), names[correct].tolist(), strict=True))
            solved = int((hits > 0).sum())
            out["smoothing/distinct_correct"] = len(pairs) / solved if solved else math.nan
    if answers.logps is not None:
        nats = -answers.log_probs[answers.lengths > 0]
        out["smoothing/sequence_entropy"] = _mean(nats[np.isfinite(nats)])
        unusable = _mean(answers.unusable[answers.lengths > 0])
        out["smoothing/logps_unusable"] = unusable if unusable > 0 else math.nan
        finite = critical[np.isfinite(critical)]
        out["smoothing/critical_strength"] = float(np.median(finite)) if len(finite) else math.nan
        out["smoothing/critical_unreachable"] = _mean(np.isinf(critical))
    return out


def _mean(x: NDArray[Any]) -> float:
    return float(x.mean()) if len(x) else math.nan
