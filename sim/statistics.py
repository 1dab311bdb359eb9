"""Comparing remedies over seeds: paired bootstrap, interquartile mean, probability of improvement.

Seeds are shared, so that differences are paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from diffsmooth.sim.dynamics.models import Float, Int


@dataclass(frozen=True)
class Interval:
    """An estimate with a 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def above(self) -> bool:
        """Is the whole interval above 0?"""
        return self.low > 0

    @property
    def below(self) -> bool:
        """Is the whole interval below 0?"""
        return self.high < 0


def paired_difference(
    treated: Float, control: Float, *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean over seeds of ``treated - control`` with a percentile bootstrap interval over seeds.

    treated, control (S,), paired by seed.  Raises ValueError on unequal shapes, NaN, or S < 2.
    """
    if treated.shape != control.shape or treated.ndim != 1:
        raise ValueError(
            f"treated, control: need equal (S,) shapes, got {treated.shape}, {control.shape}"
        )
    difference = treated - control
    if len(difference) < 2:
        raise ValueError("treated: at least two seeds are needed for an interval")
    if np.isnan(difference).any():
        raise ValueError("treated, control: NaN; leave out seeds without a value in both")
    means = difference[_resampled(len(difference), resamples, seed)].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(difference.mean()), float(low), float(high))


def mean_intervals(values: Float, *, resamples: int = 1000, seed: int = 0) -> tuple[Float, Float]:
    """(low, high), each (...,): 95 % percentile bootstrap intervals of the mean of (..., S).

    Raises ValueError on fewer than two seeds S, or NaN.
    """
    size = values.shape[-1]
    if size < 2 or np.isnan(values).any():
        raise ValueError(f"values: need at least two seeds and no NaN, got {size} seeds")
    means = values.reshape(-1, size) @ _shares(size, resamples, seed)
    low, high = np.quantile(means, (0.025, 0.975), axis=1)
    return low.reshape(values.shape[:-1]), high.reshape(values.shape[:-1])


@lru_cache(maxsize=64)
def _resampled(size: int, resamples: int, seed: int) -> Int:
    """(resamples, size) indices: one table for all comparisons of that many seeds."""
    rng = np.random.Generator(np.random.Philox(seed))
    return rng.integers(size, size=(resamples, size))


@lru_cache(maxsize=64)
def _shares(size: int, resamples: int, seed: int) -> Float:
    """(size, resamples): the weight of each seed in each resample."""
    chosen = _resampled(size, resamples, seed)
    return np.stack([(chosen == i).mean(axis=1) for i in range(size)])


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


def wilson(successes: int, trials: int) -> Interval:
    """Share of successes with Wilson's 95 % score interval.  Raises ValueError on no trials."""
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"successes: need 0 <= successes <= trials, got {successes} of {trials}")
    z = 1.959963984540054
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = (
        z * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2)) / (1 + z * z / trials)
    )
    # Rounding must not push the share out of its own interval.
    low, high = min(centre - half, share), max(centre + half, share)
    return Interval(share, float(max(0.0, low)), float(min(1.0, high)))
