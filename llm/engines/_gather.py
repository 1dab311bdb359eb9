"""From a trainer's local tensors to the whole group of answers, on every rank, and back.

A group may be split over ranks, so each statistic within a group is taken after gathering; every
rank computes the same advantages and keeps its own slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Multiplier of the polynomial hash of token ids (an odd 64-bit constant).
_HASH = 6364136223846793005


@dataclass(frozen=True)
class Answers:
    """All B answers of a generation, gathered over ranks, in the order of the gathered rewards.

    ``logps`` is (B, T) with ``mask``, or (B,), or ``None``; ``lengths``, ``prompt`` and
    ``answer`` (hashes of token ids) are (B,).
    """

    logps: torch.Tensor | None
    ref_logps: torch.Tensor | None
    mask: torch.Tensor | None
    lengths: torch.Tensor
    prompt: torch.Tensor
    answer: torch.Tensor


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
) -> Answers:
    """Gather what a rule needs.  ``logps`` are the local token log-probs (B_local, T_local).

    Only sums per answer travel unless ``token_level``.
    """
    import torch

    mask = output["completion_mask"]
    if "tool_mask" in output:
        mask = mask * output["tool_mask"]
    mask = mask.bool()
    prompt = token_hash(output["prompt_ids"], output["prompt_mask"])
    answer = token_hash(output["completion_ids"], mask)
    ids = accelerator.gather(torch.stack([prompt, answer, mask.sum(dim=1)], dim=1))

    def tokens(x: torch.Tensor, fill: float | bool) -> Any:
        padded = accelerator.pad_across_processes(x, dim=1, pad_index=fill)
        return accelerator.gather(padded.contiguous())

    def sums(x: torch.Tensor) -> Any:
        return accelerator.gather(torch.where(mask, x, torch.zeros_like(x)).sum(dim=1))

    def collect(x: torch.Tensor | None) -> Any:
        if x is None:
            return None
        x = x.detach().float()
        return tokens(x, 0.0) if token_level else sums(x)

    return Answers(
        logps=collect(logps),
        ref_logps=collect(output.get("ref_per_token_logps")),
        mask=tokens(mask.to(torch.uint8), 0).bool() if token_level else None,
        lengths=ids[:, 2],
        prompt=ids[:, 0],
        answer=ids[:, 1],
    )


def group_ids(prompt: torch.Tensor, group_size: int) -> torch.Tensor:
    """(B,) group id of every gathered row: blocks of ``group_size``, as the trainer's own mean.

    Raises ``RuntimeError`` if a block holds two different prompts: then the trainer's rows have
    been reordered, and its own advantages are as wrong as ours would be.
    """
    import torch

    if prompt.numel() % group_size:
        raise RuntimeError(f"{prompt.numel()} answers do not divide into groups of {group_size}")
    blocks = prompt.view(-1, group_size)
    if bool((blocks != blocks[:, :1]).any()):
        raise RuntimeError("a group holds answers to different prompts: the rows were reordered")
    return torch.arange(prompt.numel(), device=prompt.device) // group_size
