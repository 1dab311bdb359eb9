"""Comparing remedies over seeds: interquartile mean and probability of improvement.

Intervals are in :mod:`diffsmooth.sim.intervals` and can be imported from here too.
"""

from __future__ import annotations

import numpy as np

from diffsmooth.sim.intervals import (
    Float,
    Interval,
    mean_intervals,
    paired_difference,
    wilson,
)

__all__ = [
    "Interval",
    "interquartile_mean",
    "mean_intervals",
    "paired_difference",
    "probability_of_improvement",
    "wilson",
]


def interquartile_mean(values: Float) -> float:
    """Mean of the middle half, the ends of the half weighted by their share.

    Raises ValueError on an empty array or NaN.
    """
    x = np.sort(np.asarray(values, dtype=np.float64).reshape(-1))
    if not len(x) or np.isnan(x).any():
        raise ValueError("values: need at least one value and no NaN")
    # Each value is an interval of length 1/n of the distribution; keep [1/4, 3/4].
    edges = np.arange(len(x) + 1) / len(x)
    weight = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0.0, None)
    return float((weight * x).sum() / weight.sum())


def probability_of_improvement(treated: Float, control: Float) -> float:
    """Chance that a random seed of ``treated`` beats a random one of ``control``; ties count half.

    Raises ValueError on an empty array.
    """
    if not len(treated) or not len(control):
        raise ValueError("treated, control: need at least one value each")
    gap = treated[:, None] - control[None, :]
    return float((gap > 0).mean() + 0.5 * (gap == 0).mean())
