"""The rules as a trainer calls them: torch tensors, half precision, answers without a token.

The other methods run the very same rules on NumPy and sympy; here the torch branch is held to them.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsmooth.theory.verify.core import largest

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffsmooth.theory.rules import GroupBatch


def converted(batch: GroupBatch, convert: Callable[[Any], Any]) -> GroupBatch:
    """The batch with every array that is there converted."""
    arrays = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return type(batch)(**{k: None if x is None else convert(x) for k, x in arrays.items()})


def in_torch(batch: GroupBatch) -> GroupBatch:
    """The same numbers as torch tensors of the same types."""
    import torch

    return converted(batch, lambda x: torch.from_numpy(np.ascontiguousarray(x)))


def halved(batch: GroupBatch) -> GroupBatch:
    """Rewards and log-probs in half precision."""
    return converted(batch, lambda x: x.astype(np.float16) if x.dtype == np.float64 else x)


def torch_gap(rule: Callable[[GroupBatch], Any], batch: GroupBatch) -> float:
    """Largest difference between the rule on torch tensors and on NumPy arrays."""
    found = rule(in_torch(batch))
    return largest(np.abs(found.numpy() - rule(batch)))
