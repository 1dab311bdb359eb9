"""Sums that other modules share: logs of binomial weights, harmonic differences, tails.

Every function here sums terms of one sign, so that nothing cancels.
"""

from __future__ import annotations

import numpy as np

from diffsmooth.theory.policy import Float

#: B_2k/(2k), k = 1, 2, ...: the coefficients of digamma's asymptotic series.
_BERNOULLI = (
    1 / 12,
    -1 / 120,
    1 / 252,
    -1 / 240,
    1 / 132,
    -691 / 32760,
    1 / 12,
    -3617 / 8160,
    43867 / 14364,
)
#: From here on the series is exact to the last digit: B_18/18 20^-18 is 1e-23.
_FAR = 20


def harmonic_gap(low: Float, high: Float) -> Float:
    """(...,) sum of 1/i for low <= i < high, whole numbers >= 1."""
    gap = high - low
    total = np.zeros(np.broadcast_shapes(low.shape, high.shape))
    # psi(high) - psi(low), both moved up by the recurrence to where the series holds.
    for i in range(_FAR):
        total = total + gap / ((low + i) * (high + i))
    low, high = low + _FAR, high + _FAR
    total = total + np.log1p(gap / low) + gap / (2 * low * high)
    for order, ratio in enumerate(_BERNOULLI[:-1], start=1):
        total = total + ratio * (low ** (-2.0 * order) - high ** (-2.0 * order))
    return np.asarray(total)


def geometric_tail(rate: Float, start: int) -> Float:
    """(...,) sum of e^{-rate i}/i over i >= start >= 1, for rate > 0 (inf: 0).

    The first terms as they stand, the rest by Euler and Maclaurin: an exponential integral and
    derivatives of e^{-rate x}/x, which are all of one sign.
    """
    from scipy.special import exp1

    from_here = max(start, _FAR)
    # Above 1 nat a step the series itself is done after 40 terms.
    fast = rate > 1.0
    slow = np.where(fast, 1.0, rate)
    head = np.zeros(rate.shape)
    for i in range(start, from_here):
        head = head + np.exp(-slow * i) / i
    x = slow * from_here
    partial, term = np.ones(rate.shape), np.ones(rate.shape)
    series = np.full(rate.shape, 0.5 / from_here)
    done = 0
    for order, ratio in enumerate(_BERNOULLI, start=1):
        while done < 2 * order - 1:
            done += 1
            term = term * x / done
            partial = partial + term
        series = series + ratio * float(from_here) ** (-2 * order) * partial
    far = head + exp1(x) + np.exp(-x) * series
    plain = np.zeros(rate.shape)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for i in range(start, start + 45):
            plain = plain + np.exp(-rate * i) / i
    return np.where(fast, plain, far)


def binomial_weights(size: int, q: float, spread: float = 15.0) -> tuple[Float, Float]:
    """(numbers j, chances) of Bin(size, q), but for those further than ``spread`` deviations off.

    From the ratios of neighbours, outwards from the likeliest, and normalised: a weight's relative
    error is that of as many roundings as it is steps away, where a difference of log-gammas would
    lose the digits of size log(size).
    """
    mode = min(int((size + 1) * q), size)
    reach = 40 + int(spread * (size * q * (1 - q)) ** 0.5)
    low, high = max(mode - reach, 0), min(mode + reach, size)
    j = np.arange(low, high + 1, dtype=np.float64)
    if q >= 1:
        return j, (j == size) * 1.0
    up = j[mode - low : -1]
    above = np.cumprod((size - up) / (up + 1) * (q / (1 - q)))
    down = j[1 : mode - low + 1][::-1]
    below = np.cumprod(down / (size - down + 1) * ((1 - q) / q))
    weight = np.concatenate([below[::-1], [1.0], above])
    return j, weight / np.sum(weight)


def log1p_less(x: Float) -> Float:
    """(...,) log(1 + x) - x <= 0 for x > -1: near 0 by its series."""
    near = np.abs(x) < 0.1
    small = np.where(near, x, 0.0)
    # -x^2 (1/2 - x/3 + x^2/4 - ...): 0.1^17 is beyond the last digit.
    series = np.zeros(np.shape(x))
    for order in range(18, 1, -1):
        series = 1.0 / order - small * series
    return np.where(near, -small * small * series, np.log1p(np.where(near, 1.0, x)) - x)
