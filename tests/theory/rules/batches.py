"""Groups of answers for the tests of the rules, in NumPy, torch and sympy."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import sympy
import torch
from hypothesis import strategies as st

from diffsmooth.theory.rules import GroupBatch

#: Group sizes stay >= 8, so that every preset (pass@k with k = 8) applies.
SMALLEST = 8


@st.composite
def batches(draw: st.DrawFn, tokens: bool = True, dyadic: bool = False) -> GroupBatch:
    """Rows in any order, ids of any value, ragged masks, groups of one kind among them.

    ``dyadic`` draws log-probs that float64 holds exactly, so that sympy sees the same numbers.
    """
    sizes = draw(st.lists(st.integers(SMALLEST, SMALLEST + 3), min_size=1, max_size=3))
    ids = draw(
        st.lists(st.integers(-5, 10**6), min_size=len(sizes), max_size=len(sizes), unique=True)
    )
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    group = np.repeat(np.array(ids, dtype=np.int64), sizes)
    rows = len(group)
    rates = np.repeat(rng.choice([0.0, 0.3, 0.7, 1.0], size=len(sizes)), sizes)
    correct = rng.random(rows) < rates
    width = draw(st.integers(1, 5))
    shape = (rows, width) if tokens else (rows,)
    logps, reference = -rng.exponential(2.0, shape), -rng.exponential(2.0, shape)
    if dyadic:
        logps, reference = np.round(logps * 16) / 16, np.round(reference * 16) / 16
    mask = np.arange(width) < rng.integers(1, width + 1, (rows, 1)) if tokens else None
    order = rng.permutation(rows)
    batch = GroupBatch(
        reward=correct.astype(np.float64) + 0.125 * (~correct & (rng.random(rows) < 0.3)),
        correct=correct,
        group=group,
        logps=logps,
        mask=mask,
        lengths=None if tokens else rng.integers(1, 50, rows),
        classes=rng.integers(-1, 3, rows),
        ref_logps=reference,
    )
    return permuted(batch, order)


def mapped(batch: GroupBatch, function: Any) -> GroupBatch:
    """The batch with ``function(name, array)`` applied to every array that is there."""
    return GroupBatch(
        **{
            f.name: None
            if getattr(batch, f.name) is None
            else function(f.name, getattr(batch, f.name))
            for f in fields(batch)
        }
    )


def permuted(batch: GroupBatch, order: np.ndarray) -> GroupBatch:
    return mapped(batch, lambda _, x: x[order])


def in_torch(batch: GroupBatch, dtype: torch.dtype = torch.float64) -> GroupBatch:
    def convert(_: str, x: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(x))
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return mapped(batch, convert)


def in_sympy(batch: GroupBatch) -> GroupBatch:
    """Rewards and log-probs as exact rationals."""

    def convert(name: str, x: np.ndarray) -> np.ndarray:
        if name not in ("reward", "logps", "ref_logps"):
            return x
        out = np.empty(x.shape, dtype=object)
        out.ravel()[:] = [sympy.Rational(float(v)) for v in x.ravel()]
        return out

    return mapped(batch, convert)
