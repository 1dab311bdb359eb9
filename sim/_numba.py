"""Numba kernels; compiled.py and models.py call them and say what they compute."""

# ruff: noqa: PLR0917, PLW3301  (compiled: flat arguments, pairwise reductions)
# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
from __future__ import annotations

import math

import numpy as np
from numba import njit

_LOG2E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
# Adding this rounds a double to an integer, which its low bits then hold.
_ROUND = 6755399441055744.0
_SMALLEST = -708.0


@njit(inline="always")
def _exp_row(x, shift, out, out_bits, scratch, scratch_bits):
    """out = exp(x - shift) for x <= shift; bits are integer views of the same memory."""
    size = x.shape[0]
    for j in range(size):
        scratch[j] = max(x[j] - shift, _SMALLEST) * _LOG2E + _ROUND
    for j in range(size):
        n = scratch[j] - _ROUND
        y = max(x[j] - shift, _SMALLEST)
        r = (y - n * _LN2_HIGH) - n * _LN2_LOW
        # Taylor's series to r^13; |r| <= log(2)/2 leaves 4e-18.
        p = 1.0 / 6227020800.0
        p = p * r + 1.0 / 479001600.0
        p = p * r + 1.0 / 39916800.0
        p = p * r + 1.0 / 3628800.0
        p = p * r + 1.0 / 362880.0
        p = p * r + 1.0 / 40320.0
        p = p * r + 1.0 / 5040.0
        p = p * r + 1.0 / 720.0
        p = p * r + 1.0 / 120.0
        p = p * r + 1.0 / 24.0
        p = p * r + 1.0 / 6.0
        p = p * r + 0.5
        p = p * r + 1.0
        out[j] = p * r + 1.0
    # Multiply by 2^n: add n to the exponent.
    for j in range(size):
        out_bits[j] += scratch_bits[j] << 52


@njit(inline="always")
def _sum(x):
    a = b = c = d = e = f = g = h = 0.0
    size = x.shape[0]
    whole = size - size % 8
    for j in range(0, whole, 8):
        a += x[j]
        b += x[j + 1]
        c += x[j + 2]
        d += x[j + 3]
        e += x[j + 4]
        f += x[j + 5]
        g += x[j + 6]
        h += x[j + 7]
    rest = 0.0
    for j in range(whole, size):
        rest += x[j]
    return ((a + b) + (c + d)) + ((e + f) + (g + h)) + rest


@njit(inline="always")
def _dot(x, y):
    a = b = c = d = e = f = g = h = 0.0
    size = x.shape[0]
    whole = size - size % 8
    for j in range(0, whole, 8):
        a += x[j] * y[j]
        b += x[j + 1] * y[j + 1]
        c += x[j + 2] * y[j + 2]
        d += x[j + 3] * y[j + 3]
        e += x[j + 4] * y[j + 4]
        f += x[j + 5] * y[j + 5]
        g += x[j + 6] * y[j + 6]
        h += x[j + 7] * y[j + 7]
    rest = 0.0
    for j in range(whole, size):
        rest += x[j] * y[j]
    return ((a + b) + (c + d)) + ((e + f) + (g + h)) + rest


@njit(inline="always")
def _max(x):
    a = b = c = d = x[0]
    size = x.shape[0]
    whole = size - size % 4
    for j in range(0, whole, 4):
        a = max(a, x[j])
        b = max(b, x[j + 1])
        c = max(c, x[j + 2])
        d = max(d, x[j + 3])
    for j in range(whole, size):
        a = max(a, x[j])
    return max(max(a, b), max(c, d))


@njit(inline="always")
def _bernstein(coefficients, x, rest, work):
    size = coefficients.shape[0]
    for j in range(size):
        work[j] = coefficients[j]
    return _casteljau(size, x, rest, work)


@njit(inline="always")
def _kept(group, x, rest, work):
    """What groups of ``group`` keep of a centred term, as sim.dynamics.expected.kept_share."""
    for m in range(group):
        work[m] = m / (m + 1.0)
    return _casteljau(group, x, rest, work)


@njit(inline="always")
def _casteljau(size, x, rest, work):
    """``rest`` is 1 - x from its own sum: near x = 1 the digits of 1 - x are lost."""
    for level in range(size - 1, 0, -1):
        for j in range(level):
            work[j] = rest * work[j] + x * work[j + 1]
    return work[0]


@njit(inline="always")
def _policy(theta, reward, coefficients, right, wrong, centred, group, rate, count, memory):
    size = theta.shape[0]
    weight, advantage, scratch, work = memory
    weight_bits, scratch_bits = weight.view(np.int64), scratch.view(np.int64)
    smooth = right != 0.0 or wrong != 0.0
    for _ in range(count):
        top = _max(theta)
        _exp_row(theta, top, weight, weight_bits, scratch, scratch_bits)
        total = _sum(weight)
        mass = _dot(weight, reward)
        success = min(mass / total, 1.0)
        for j in range(size):
            advantage[j] = 1.0 - reward[j]
        rest = min(_dot(weight, advantage) / total, 1.0)
        push = _bernstein(coefficients, success, rest, work)
        if smooth:
            shift = top + math.log(total)
            centre, share = shift, 1.0
            if centred:
                for j in range(size):
                    advantage[j] = reward[j] * theta[j]
                centre = _dot(weight, advantage) / mass
                if group > 0:
                    share = _kept(group, success, rest, work)
            slope = share * right
            for j in range(size):
                inside = push + slope * (theta[j] - centre)
                outside = wrong * (theta[j] - shift)
                advantage[j] = outside + reward[j] * (inside - outside)
            mean = _dot(weight, advantage) / total
            scale = rate / total
            for j in range(size):
                theta[j] += scale * weight[j] * (advantage[j] - mean)
        else:
            scale = rate * push / total
            for j in range(size):
                theta[j] += scale * weight[j] * (reward[j] - success)


@njit(inline="always")
def _memory(size, degree):
    return (
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(degree),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def steps(theta, reward, coefficients, right, wrong, centred, group, rate, count):
    memory = _memory(theta.shape[1], max(coefficients.shape[0], group))
    for row in range(theta.shape[0]):
        mine = reward[row % reward.shape[0]]
        _policy(theta[row], mine, coefficients, right, wrong, centred, group, rate, count, memory)


@njit(cache=True, nogil=True, error_model="numpy")
def draw_rows(probabilities, local, policy, uniforms, noise, verified, position, mask, single, out):
    answers, accepted, old, where = out
    copies, policies, size = probabilities.shape
    table, length = local.shape[2], position.shape[1]
    cumulated = np.empty(size)
    for copy in range(copies):
        for row in range(policy.shape[0]):
            mine = policy[row]
            law = probabilities[copy, mine]
            total = 0.0
            for j in range(size):
                total += law[j]
                cumulated[j] = total
            for j in range(size):
                cumulated[j] /= total
            first = (copy * policies + mine) * table
            for g in range(uniforms.shape[1]):
                # Counted, not searched: no branch to mispredict, many entries at a time.
                u, answer = uniforms[row, g], 0
                for j in range(size):
                    answer += cumulated[j] <= u
                answers[copy, row, g] = answer
                accepted[copy, row, g] = noise[row, g] < verified[mine, answer]
                if single:
                    where[copy, row, g, 0] = first + answer
                    old[copy, row, g, 0] = local[copy, mine, answer]
                    continue
                for t in range(length):
                    at = position[answer, t]
                    where[copy, row, g, t] = first + at
                    old[copy, row, g, t] = local[copy, mine, at] if mask[answer, t] else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def below_top(x, out):
    for row in range(x.shape[0]):
        top = _max(x[row])
        for j in range(x.shape[1]):
            out[row, j] = x[row, j] - top


@njit(cache=True, nogil=True, error_model="numpy")
def normalise(log_probs, law, total, log_total):
    for row in range(law.shape[0]):
        for j in range(law.shape[1]):
            log_probs[row, j] -= log_total[row]
            law[row, j] /= total[row]
