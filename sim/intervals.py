"""Every confidence interval of the package: means, paired differences, shares, statistics.

One module for the simulator (units are seeds, or cells of the map) and for language models (units
are problems, or seeds and problems).  ``benchmarks/intervals.py`` measures what these intervals
cover (docs/intervals.md).  An interval needs three units: from one nothing is known of the spread,
and with two Student's t reaches 12.7 standard errors, which says nothing either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

#: Fewest units (seeds, problems, cells) that an interval is given for.
LEAST = 3
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval, at 95 % unless said otherwise.

    ``low`` and ``high`` are NaN where there are too few units for one; it is then neither above
    nor below.
    """

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


def mean_interval(
    values: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    bounds: tuple[float, float] | None = None,
) -> Interval:
    """Mean of the independent units ``values`` (n,) with its interval.

    Student's t; with ``bounds``, the ends of what a unit can be, see :func:`mean_intervals`.
    Raises ValueError on n < 3, NaN or infinite values, values outside the bounds, or a confidence
    outside (0, 1).
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"values: need shape (n,), got {x.shape}")
    low, high = mean_intervals(x, confidence=confidence, bounds=bounds)
    return Interval(float(x.mean()), float(low), float(high))


def mean_intervals(
    values: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    bounds: tuple[float, float] | None = None,
) -> tuple[Float, Float]:
    """(low, high), each (...,): intervals of the means over the last axis of (..., n).

    Without bounds: mean +- t s / sqrt(n), Student's t with n - 1 degrees of freedom.  Exact for
    normal units; units that all agree give a point, because nothing is known of their spread.

    With ``bounds`` (a, b): Wilson's score interval of the mean's share of [a, b], at the sample
    size a share would need for the variance seen, with Student's quantile (Korn and Graubard 1998
    for surveys).  It stays inside the bounds.  Units that all agree on c say that at most a share
    p = 1 - (alpha/2)^(1/n) differs (Clopper and Pearson): the mean lies between c - p (c - a) and
    c + p (b - c), so that 0 of n and n of n have an interval too.

    Raises ValueError as :func:`mean_interval`.
    """
    x = np.asarray(values, dtype=np.float64)
    tail = _tail(confidence)
    count = _units(x)
    mean, spread = x.mean(-1), x.std(-1, ddof=1)
    same = _agree(x, 0.0 if bounds is None else bounds[1] - bounds[0])
    mean = np.where(same, x[..., 0], mean)  # a sum of equal numbers is not that number to the bit
    error = np.where(same, 0.0, spread) / np.sqrt(count)
    if bounds is None:
        reach = _student(count - 1, tail) * error
        return np.asarray(mean - reach), np.asarray(mean + reach)
    low, high = bounds
    if not low < high:
        raise ValueError(f"bounds: need low < high, got {bounds}")
    if np.any((x < low) | (x > high)):
        raise ValueError(f"values: outside the bounds {bounds}")
    width = high - low
    share = (mean - low) / width
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.where(same, np.nan, share * (1 - share) / (error / width) ** 2)
    bottom, top = _score(share, effective, _student(count - 1, tail))
    differs = 1.0 - tail ** (1.0 / count)
    ends = (mean - differs * (mean - low), mean + differs * (high - mean))
    return (
        np.asarray(np.where(same, ends[0], np.minimum(low + width * bottom, mean))),
        np.asarray(np.where(same, ends[1], np.maximum(low + width * top, mean))),
    )


def mean_or_point(values: ArrayLike, *, confidence: float = CONFIDENCE) -> Interval:
    """As :func:`mean_interval` without bounds, the ends NaN where there are less than three units.

    Raises ValueError on no units, NaN or infinite values, or a confidence outside (0, 1).
    """
    x = np.asarray(values, dtype=np.float64)
    if not 0 < x.size < LEAST:
        return mean_interval(x, confidence=confidence)
    if not np.isfinite(x).all():
        raise ValueError("values: NaN or infinite; leave out units without a value")
    return Interval(float(x.mean()), math.nan, math.nan)


def paired_difference(
    treated: ArrayLike, control: ArrayLike, *, confidence: float = CONFIDENCE
) -> Interval:
    """Mean of ``treated - control`` over units (n,) with Student's interval, paired by unit.

    Raises ValueError on unequal shapes, NaN, or n < 3.
    """
    a, b = np.asarray(treated, dtype=np.float64), np.asarray(control, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"treated, control: need equal (n,) shapes, got {a.shape}, {b.shape}")
    return mean_interval(a - b, confidence=confidence)


def p_value(values: ArrayLike) -> float:
    """Two-sided p of "the mean of the units (n,) is 0", Student's t.

    1 where all are 0.  Where all are one other number nothing is known of their spread but that
    all signs agree: the sign test's 2^(1-n).  Raises ValueError as :func:`mean_interval`.
    """
    from scipy import special

    x = np.asarray(values, dtype=np.float64)
    count = _units(x)
    error = 0.0 if _agree(x) else float(x.std(ddof=1)) / count**0.5
    if error == 0:
        return 1.0 if x[0] == 0 else 2.0 ** (1 - count)
    return float(2 * special.stdtr(count - 1, -abs(float(x.mean())) / error))


def adjusted(p_values: ArrayLike) -> Float:
    """(m,) p-values after Benjamini and Hochberg (1995).

    Calling those at most .05 findings keeps the expected share of false ones at most 5 %, and
    where nothing is true, the chance of any finding at most 5 %.  Tests may be independent or
    positively dependent, as remedies over shared seeds are.
    Raises ValueError on p-values outside [0, 1].
    """
    from scipy import stats

    p = np.asarray(p_values, dtype=np.float64)
    return np.asarray(stats.false_discovery_control(p)) if p.size else p


def wilson(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Share of successes with Wilson's score interval; 0 of n and n of n have one too.

    Raises ValueError unless 0 <= successes <= trials and trials >= 1.
    """
    from scipy import special

    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"successes: need 0 <= successes <= trials, got {successes} of {trials}")
    share = successes / trials
    z = -float(special.ndtri(_tail(confidence)))
    low, high = _score(np.asarray(share), np.asarray(float(trials)), z)
    # Rounding must not push the share out of its own interval.
    return Interval(share, min(float(low), share), max(float(high), share))


def clopper_pearson(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Share of successes with the exact interval, which covers at least what it says.

    Raises ValueError unless 0 <= successes <= trials and trials >= 1.
    """
    from scipy import special

    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"successes: need 0 <= successes <= trials, got {successes} of {trials}")
    tail, failures = _tail(confidence), trials - successes
    low = special.betaincinv(successes, failures + 1, tail) if successes else 0.0
    high = special.betaincinv(successes + 1, failures, 1 - tail) if failures else 1.0
    return Interval(successes / trials, float(low), float(high))


def percentile(draws: ArrayLike, units: int, *, confidence: float = CONFIDENCE) -> Any:
    """(low, high), each (...,), from bootstrap ``draws`` (m, ...) of a statistic of ``units``.

    For statistics that are not means, such as ratios with a bound.  The levels are those of the
    expanded percentile interval (Hesterberg 2015, "What teachers should know about the
    bootstrap"): Phi(-t sqrt(n / (n - 1))), t Student's quantile, which makes up for the
    bootstrap's variance, (n - 1)/n of the right one, and for its normal tails.
    Raises ValueError on less than three units or a confidence outside (0, 1).
    """
    from scipy import special

    tail = _tail(confidence)
    if units < LEAST:
        raise ValueError(f"units: an interval needs at least {LEAST}, got {units}")
    level = float(special.ndtr(-_student(units - 1, tail) * math.sqrt(units / (units - 1))))
    low, high = np.quantile(np.asarray(draws, dtype=np.float64), [level, 1.0 - level], axis=0)
    return low, high


def jackknife(
    statistic: Callable[[Sequence[Float]], ArrayLike],
    counts: Sequence[int],
    *,
    confidence: float = CONFIDENCE,
    bounds: tuple[float, float] | None = None,
) -> tuple[Float, Float, Float]:
    """(value, low, high) of a smooth statistic of several crossed kinds of units.

    ``statistic(weights)`` gets, per kind (seeds, problems), weights (n,) that add to 1 and returns
    an array; ``counts`` are the n.  The variances of leaving out one unit of each kind in turn are
    added (with both kinds drawn anew, their sum is at least the variance of a mean), and Student's
    quantile is taken at Satterthwaite's degrees of freedom.  For a mean over one kind this *is*
    Student's interval.  With ``bounds``, the ends of what the statistic can be, the interval is
    cut there, and where leaving out any unit changes nothing its ends are those of
    :func:`mean_intervals` for as many units as the scarcest kind has.
    Raises ValueError where a kind has less than three units.
    """
    from scipy import special

    tail = _tail(confidence)
    for count in counts:
        if count < LEAST:
            raise ValueError(f"counts: an interval needs at least {LEAST} units, got {count}")
    even = [np.full(n, 1.0 / n) for n in counts]
    value = np.asarray(statistic(even), dtype=np.float64)
    total, weighted = np.zeros_like(value), np.zeros_like(value)
    for kind, n in enumerate(counts):
        left_out = []
        for unit in range(n):
            weights = list(even)
            weights[kind] = np.where(np.arange(n) == unit, 0.0, 1.0 / (n - 1))
            left_out.append(np.asarray(statistic(weights), dtype=np.float64))
        variance = (n - 1) * np.stack(left_out).var(axis=0)
        total += variance
        weighted += variance**2 / (n - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(weighted > 0, total**2 / weighted, np.inf)
    reach = -special.stdtrit(np.minimum(freedom, 1e9), tail) * np.sqrt(total)
    if bounds is None:
        return value, value - reach, value + reach
    # Weights are rounded: a statistic that no unit changes may still move in its last digits.
    spread = total > (1e-12 * np.maximum(1.0, np.abs(value))) ** 2
    differs = 1.0 - tail ** (1.0 / min(counts))
    down = np.where(spread, reach, differs * (value - bounds[0]))
    up = np.where(spread, reach, differs * (bounds[1] - value))
    return value, np.maximum(value - down, bounds[0]), np.minimum(value + up, bounds[1])


def _score(share: Any, size: Any, critical: float) -> tuple[Float, Float]:
    """Wilson's ends of a share seen in ``size`` trials; the whole of [0, 1] holds them."""
    ratio = critical**2 / size
    centre = (share + ratio / 2) / (1 + ratio)
    half = np.sqrt(ratio * share * (1 - share) + ratio**2 / 4) / (1 + ratio)
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def _agree(x: Float, scale: float = 0.0) -> Any:
    """(...,) where all units of (..., n) are one number, up to its rounding."""
    return np.ptp(x, axis=-1) <= 1e-12 * np.maximum(np.abs(x).max(axis=-1), scale)


def _student(freedom: int, tail: float) -> float:
    from scipy import special

    return -float(special.stdtrit(freedom, tail))


def _tail(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: must lie strictly between 0 and 1, got {confidence}")
    return (1.0 - confidence) / 2.0


def _units(x: Float) -> int:
    count = x.shape[-1] if x.ndim else 0
    if count < LEAST:
        raise ValueError(f"values: an interval needs at least {LEAST} units, got {count}")
    if not np.isfinite(x).all():
        raise ValueError("values: NaN or infinite; leave out units without a value")
    return count
