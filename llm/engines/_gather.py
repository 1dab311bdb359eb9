"""From a trainer's local tensors to the whole group of answers, on every rank, and back.

A group may be split over ranks, so each statistic within a group is taken after gathering; every
rank computes the same advantages and keeps its own slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

#: By how much a token's log-prob may lie above 0 and still be the log of a probability of 1: a
#: logit less its log-sum-exp in float32, for logits of up to a thousand or so.
ROUNDING = 1e-3

#: Multiplier of the polynomial hash of token ids (an odd 64-bit constant).
_HASH = 6364136223846793005


@dataclass(frozen=True)
class Answers:
    """All B answers of a generation, gathered over ranks, in the order of the gathered rewards.

    NumPy arrays in the memory of the CPU: what follows is small, and on a GPU each look at a value
    would wait for the device.  ``logps`` is (B, T) with ``mask``, or (B,), or ``None``;
    ``lengths``, ``prompt`` and ``answer`` (hashes of token ids) are (B,); ``columns`` holds what
    the caller sent along.  ``unusable`` (B,): whether a token's log-prob is no finite number <= 0.
    """

    logps: Any
    ref_logps: Any
    mask: Any
    lengths: NDArray[np.int64]
    prompt: NDArray[np.int64]
    answer: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float64]]
    unusable: NDArray[np.bool_]

    @cached_property
    def sums(self) -> Any:
        """(B,) log-prob of each whole answer; ``None`` without log-probs."""
        if self.logps is None or self.mask is None:
            return self.logps
        with np.errstate(invalid="ignore"):  # infinities of unusable answers
            return np.where(self.mask, self.logps, 0.0).sum(axis=1)

    @cached_property
    def log_probs(self) -> NDArray[np.float64]:
        """(B,) log-prob of each whole answer for the logs; NaN where it has none (``unusable``)."""
        return np.where(self.unusable, np.nan, self.sums)


def token_hash(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B,) 64-bit hash of the unmasked ids of each row; padding on either side does not matter."""
    import torch

    powers = torch.full((max(ids.shape[1], 1),), _HASH, device=ids.device).cumprod(0)
    place = (mask.long().cumsum(1) - 1).clamp(min=0)
    terms = (ids.long() + 1) * powers[place]  # wraps modulo 2**64, the same everywhere
    return torch.where(mask.bool(), terms, torch.zeros_like(terms)).sum(dim=1)


def gather_answers(
    accelerator: Any,
    output: dict[str, Any],
    logps: torch.Tensor | None,
    token_level: bool,
    columns: Mapping[str, torch.Tensor] | None = None,
) -> Answers:
    """Gather what a rule needs.  ``logps`` are the local token log-probs (B_local, T_local).

    All numbers of an answer are one row of 64-bit words: one collective and one copy to the CPU.
    Log-probs travel as sums, or with ``token_level`` token by token; a token's rounding above 0
    (:data:`ROUNDING`) is taken back to 0, and what is no log-prob at all is left as it is and
    marked ``unusable``.  ``columns`` are any further numbers of the local answers (B_local,), each
    exact in float32.
    """
    import torch

    mask = output["completion_mask"]
    if "tool_mask" in output:
        mask = mask * output["tool_mask"]
    mask = mask.bool()
    extra = columns or {}
    found = {"logps": logps, "ref_logps": output.get("ref_per_token_logps")}
    bad = torch.zeros_like(mask)
    for name, x in found.items():
        if x is None:
            continue
        values = torch.where(mask, x.detach().float(), 0.0)
        wrong = ~torch.isfinite(values) | (values > ROUNDING)
        found[name] = torch.where(wrong, values, values.clamp(max=0.0))
        if name == "logps":
            bad = wrong

    def bits(x: torch.Tensor) -> torch.Tensor:
        # Not float64, which not every device has.
        return x.detach().float().view(torch.int32).long()

    words = [
        token_hash(output["prompt_ids"], output["prompt_mask"]),
        token_hash(output["completion_ids"], mask),
        mask.sum(dim=1),
        bad.any(dim=1).long(),
        *(bits(x.to(mask.device)) for x in extra.values()),
    ]
    if not token_level:
        words += [bits(x.sum(dim=1)) for x in found.values() if x is not None]
    table = accelerator.gather(torch.stack(words, dim=1)).cpu().numpy()
    numbers = iter(np.ascontiguousarray(table[:, 4:].T, np.int32).view(np.float32).astype(float))
    sent = {name: next(numbers) for name in extra}

    def tokens(x: torch.Tensor, fill: float) -> Any:
        padded = accelerator.pad_across_processes(x, dim=1, pad_index=fill)
        return accelerator.gather(padded.contiguous()).cpu().numpy()

    read: dict[str, Any] = dict.fromkeys(found)
    for name, x in found.items():
        if x is not None:
            read[name] = tokens(x, 0.0).astype(np.float64) if token_level else next(numbers)
    return Answers(
        logps=read["logps"],
        ref_logps=read["ref_logps"],
        mask=tokens(mask.to(torch.uint8), 0).astype(bool) if token_level else None,
        lengths=table[:, 2],
        prompt=table[:, 0],
        answer=table[:, 1],
        columns=sent,
        unusable=table[:, 3].astype(bool),
    )


def one_prompt_a_group(prompt: NDArray[np.int64], group_size: int) -> bool:
    """Whether the rows are whole groups, each of answers to one prompt."""
    if len(prompt) % group_size:
        return False
    blocks = prompt.reshape(-1, group_size)
    return bool((blocks == blocks[:, :1]).all())


def group_ids(prompt: NDArray[np.int64], group_size: int) -> NDArray[np.int64]:
    """(B,) group id of every gathered row: blocks of ``group_size``, as the trainer's own mean.

    Raises ``RuntimeError`` if a block holds two different prompts: then the trainer's rows have
    been reordered, and its own advantages are as wrong as ours would be.
    """
    if len(prompt) % group_size:
        raise RuntimeError(f"{len(prompt)} answers do not divide into groups of {group_size}")
    if not one_prompt_a_group(prompt, group_size):
        raise RuntimeError("a group holds answers to different prompts: the rows were reordered")
    return np.arange(len(prompt)) // group_size
