"""What a reward-only advantage really maximises: a utility u(C), mean over prompts; theory.md E1.

Let A+(k), A-(k) be the advantages of correct and incorrect answers, k of G being correct.  The
expected gradient is u'(C) grad C with, in Bernstein form of degree G - 1,

    u'(C) = sum_m Bin(G-1, C)(m) [A+(m+1) - A-(m)].

Evaluation is de Casteljau's (convex combinations only): exact for Fractions and sympy numbers,
backward stable in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from math import comb, log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffsmooth.theory.clocks import Clock, exact_unit, is_exact
from diffsmooth.theory.diversity import whole
from diffsmooth.theory.passk import pass_at_k_exact
from diffsmooth.theory.policy import Float, logsumexp, unit_interval
from diffsmooth.theory.rules.base import RewardOnly
from diffsmooth.theory.rules.presets import REWARD_ONLY


def bernstein(coefficients: Sequence[Any], c: Any, rest: ArrayLike | None = None) -> Any:
    """sum_m c_m binom(n, m) C^m (1-C)^{n-m}, n = len - 1, at C: a number or an array.

    Floats and arrays of them in float64; Fractions, sympy expressions and other numbers exactly.
    ``rest`` is 1 - C where the caller knows it better than a float C can say (close to C = 1 the
    digits of 1 - C are lost); for floats only.

    Raises ValueError if C or ``rest`` lies outside [0, 1], the two do not sum to 1 or there is no
    coefficient.
    """
    if not len(coefficients):
        raise ValueError("coefficients: at least one is needed")
    if is_exact(c):
        if rest is not None:
            raise ValueError("rest: is for floats; an exact C has an exact 1 - C")
        if getattr(c, "is_number", isinstance(c, Fraction)) and not 0 <= c <= 1:
            raise ValueError(f"C: must lie in [0, 1], got {c}")
        values = list(coefficients)
        while len(values) > 1:
            values = [(1 - c) * a + c * b for a, b in pairwise(values)]
        return values[0]
    at = unit_interval(c)
    fail = 1 - at if rest is None else unit_interval(rest, "rest")
    if not np.all(np.abs(at + fail - 1) <= 1e-12):
        raise ValueError("rest: must be 1 - C")
    shape = np.broadcast_shapes(at.shape, fail.shape)
    value = np.empty((len(coefficients), *shape))
    value.T[...] = [float(x) for x in coefficients]
    while len(value) > 1:
        value = fail * value[:-1] + at * value[1:]
    return value[0]


def coefficients(rule: RewardOnly, group_size: int, *, exact: bool = False) -> list[Any]:
    """The G Bernstein coefficients of u': A+(m+1) - A-(m), m = 0..G-1.

    Raises ValueError on group_size < 1 and as the rule does on groups of this size, TypeError if
    group_size is no integer.
    """
    if whole("group_size", group_size) < 1:
        raise ValueError(f"group_size: must be >= 1, got {group_size}")
    return list(_coefficients(rule, group_size, exact))


@lru_cache(maxsize=1024)  # a rule runs on G + 1 groups: u, u' and u'' ask for the same ones
def _coefficients(rule: RewardOnly, group_size: int, exact: bool) -> tuple[Any, ...]:
    pairs = [rule.two_values(k, group_size, exact=exact) for k in range(group_size + 1)]
    return tuple(pairs[m + 1][0] - pairs[m][1] for m in range(group_size))


def utility_derivative(
    rule: RewardOnly, c: Any, group_size: int, rest: ArrayLike | None = None
) -> Any:
    """u'(C) for C in [0, 1]: float or array in float64, Fraction or sympy exactly.

    ``rest`` is 1 - C, as in :func:`bernstein`.
    """
    return bernstein(coefficients(rule, group_size, exact=is_exact(c)), c, rest)


def clock(rule: RewardOnly, group_size: int) -> Clock:
    """u'(C) of a rule in groups of G as the clock of a flow, from log C and log(1-C).

    Raises ValueError as :func:`coefficients`, and on a rule that pushes correct answers down in
    some group: no clock runs backwards.
    """
    steps = coefficients(rule, group_size)
    if min(steps) < 0 or max(steps) <= 0:
        raise ValueError(f"rule: u' must be positive to be a clock, got coefficients {steps}")
    m = np.array([at for at, step in enumerate(steps) if step > 0])
    logs = np.array([log(comb(group_size - 1, int(at))) + log(steps[at]) for at in m])

    def log_speed(log_c: Float, log_1mc: Float) -> Float:
        with np.errstate(invalid="ignore"):  # 0 times -inf at the ends: a power of 0
            up = np.where(m == 0, 0.0, m * log_c[..., None])
            down = np.where(m == group_size - 1, 0.0, (group_size - 1 - m) * log_1mc[..., None])
        return logsumexp(logs + up + down)

    return Clock(log_speed, lambda c: utility_derivative(rule, c, group_size))


def utility(rule: RewardOnly, c: Any, group_size: int) -> Any:
    """u(C) = integral of u' from 0 to C."""
    steps = coefficients(rule, group_size, exact=is_exact(c))
    total, sums = 0 * steps[0], [0 * steps[0]]
    for step in steps:
        total = total + step
        sums.append(total)
    return bernstein(sums, c) / group_size


def utility_second_derivative(rule: RewardOnly, c: Any, group_size: int) -> Any:
    """u''(C); 0 for groups of one answer."""
    steps = coefficients(rule, group_size, exact=is_exact(c))
    if len(steps) == 1:
        return 0 * (c if is_exact(c) else unit_interval(c))
    rises = [b - a for a, b in pairwise(steps)]
    return bernstein(rises, c) * (group_size - 1)


def curvature(rule: RewardOnly, c: Any, group_size: int) -> Any:
    """-u''/u': the larger, the less a solved prompt is reinforced at an unsolved one's cost.

    In float64 inf (or nan, where u'' is 0 too) at a C where u' is 0.
    """
    bend, slope = (f(rule, c, group_size) for f in (utility_second_derivative, utility_derivative))
    if is_exact(c):
        return -bend / slope
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(-bend, slope)


def power_basis(coefficients: Sequence[Any]) -> list[Any]:
    """Coefficients of 1, C, C^2, ... of a polynomial in Bernstein form.

    For exact numbers: in float64 the signs alternate and digits cancel.
    Raises ValueError if there is no coefficient.
    """
    if not len(coefficients):
        raise ValueError("coefficients: at least one is needed")
    degree, differences, out = len(coefficients) - 1, list(coefficients), []
    for m in range(degree + 1):
        out.append(comb(degree, m) * differences[0])
        differences = [b - a for a, b in pairwise(differences)]
    return out


@dataclass(frozen=True)
class Limit:
    """The utility as G -> infinity: in words, u' and u as functions of C in [0, 1].

    Both take floats, arrays of them, Fractions and sympy numbers (the last two exactly), to within
    1e-12 of the value at both ends; u' is a :class:`~diffsmooth.theory.clocks.Clock`, inf where it
    has no bound.  u is 0 at C = 0, but for log C.  Both raise ValueError on C outside [0, 1].
    """

    utility: str
    derivative: Clock
    value: Callable[[Any], Any]


def limit(name: str, k: int = 8) -> Limit:
    """The utility of a rule of ``rules.REWARD_ONLY`` for large groups (``k`` of pass@k rules).

    Parameters are the rules' defaults (gamma = 1, W-REINFORCE .1 and 1).
    Raises ValueError on a name without one and on k < 1, TypeError if k is no integer.
    """
    k = whole("k", k)
    if k < 1:
        raise ValueError(f"k: must be >= 1, got {k}")
    limits = _limits(k)
    if name not in limits:
        raise ValueError(f"name: {name!r} has no known limit; known: {', '.join(limits)}")
    return limits[name]


def _limits(k: int) -> dict[str, Limit]:
    def root(x: Any) -> Any:
        return _sympy().sqrt(x)

    def angle(c: Any) -> Any:
        """arcsin sqrt C: as an angle of two sides it keeps its digits at both ends."""
        return np.arctan2(np.sqrt(c), np.sqrt(1 - c))

    def fails(c: Any) -> Any:
        return k * np.log1p(-c)

    def pass_angle(c: Any) -> Any:
        with np.errstate(divide="ignore"):  # C = 1: no failure, a right angle
            log_fail = fails(c)
        return 2 / k * np.arctan2(np.sqrt(-np.expm1(log_fail)), np.exp(log_fail / 2))

    def log_of(c: Any) -> Any:
        with np.errstate(divide="ignore"):
            return np.log(c)

    flat = _limit(
        "C", lambda lc, l1: np.zeros_like(lc), lambda c: 0 * c + 1, lambda c: 1.0 * c, lambda c: c
    )
    tenth = Fraction(11, 10)
    return {
        "vanilla": flat,
        "dr-grpo": flat,
        "rloo": flat,
        "psr": flat,
        "nsr": flat,
        "w-reinforce": _limit(
            "1.1 C",
            lambda lc, l1: np.full_like(lc, np.log(1.1)),
            lambda c: 0 * c + _sympy().Rational(tenth),
            lambda c: 1.1 * c,
            lambda c: _sympy().Rational(tenth) * c,
        ),
        "grpo": _limit(
            "2 arcsin sqrt C",
            lambda lc, l1: -0.5 * (lc + l1),
            lambda c: 1 / root(c * (1 - c)),
            lambda c: 2 * angle(c),
            lambda c: 2 * _sympy().asin(root(c)),
        ),
        "f-grpo": _limit(
            "arcsin sqrt C + sqrt(C (1-C))",
            lambda lc, l1: 0.5 * (l1 - lc),
            lambda c: root((1 - c) / c),
            lambda c: angle(c) + np.sqrt(c * (1 - c)),
            lambda c: _sympy().asin(root(c)) + root(c * (1 - c)),
        ),
        "maxrl": _limit(
            "log C", lambda lc, l1: -lc, lambda c: 1 / c, log_of, lambda c: _sympy().log(c)
        ),
        "pkpo": _limit(
            "1 - (1-C)^k",
            lambda lc, l1: np.log(k) + _times(k - 1, l1),
            lambda c: k * (1 - c) ** (k - 1),
            lambda c: pass_at_k_exact(c, k),
            lambda c: 1 - (1 - c) ** k,
        ),
        "pass-at-k": _limit(
            "(2/k) arcsin sqrt(1 - (1-C)^k)",
            lambda lc, l1: _times(k / 2 - 1, l1) - 0.5 * _log_pass(lc, l1, k),
            lambda c: (1 - c) ** (k - 1) / root((1 - c) ** k * (1 - (1 - c) ** k)),
            pass_angle,
            lambda c: _sympy().Rational(2, k) * _sympy().asin(root(1 - (1 - c) ** k)),
        ),
    }


def _sympy() -> Any:
    import sympy

    return sympy


def _times(power: float, log_1mc: Float) -> Float:
    """power log(1-C), 0 at power 0 even where 1 - C = 0."""
    return power * log_1mc if power else 0.0 * np.exp(log_1mc)


def _log_pass(log_c: Float, log_1mc: Float, k: int) -> Float:
    """log of 1 - (1-C)^k, from log C where 1 - C has forgotten it."""
    with np.errstate(divide="ignore"):
        passes = np.log(-np.expm1(k * log_1mc))
    return np.where(log_c < -500.0, np.log(k) + log_c, passes)


def _limit(
    text: str,
    log_speed: Callable[[Float, Float], Float],
    exact_speed: Callable[[Any], Any],
    value: Callable[[Float], Float],
    exact_value: Callable[[Any], Any],
) -> Limit:
    def u(c: Any) -> Any:
        return exact_value(exact_unit(c)) if is_exact(c) else value(unit_interval(c))[()]

    return Limit(text, Clock(log_speed, exact_speed), u)


@dataclass(frozen=True)
class Row:
    """One rule of the table: u, u' and -u''/u' at the given C, for groups of G and in the limit."""

    name: str
    formula: str
    utility: Float
    derivative: Float
    curvature: Float
    limit: Limit


def table(c: ArrayLike, group_size: int, k: int = 8) -> list[Row]:
    """What every reward-only rule of ``rules.REWARD_ONLY`` maximises, at C (...,); E1.

    ``k`` is that of the pass@k rules.  Raises ValueError unless 1 <= k <= group_size, and on C
    outside [0, 1]; TypeError if one of the two is no integer.
    """
    if not 1 <= whole("k", k) <= whole("group_size", group_size):
        raise ValueError(f"k: must lie in [1, group_size={group_size}], got {k}")
    at, rows = unit_interval(c), []
    for name, make in REWARD_ONLY.items():
        rule = make(**({"k": k} if name in ("pass-at-k", "pkpo") else {}))
        assert isinstance(rule, RewardOnly)
        u, slope, bend = (f(rule, at, group_size) for f in (utility, utility_derivative, curvature))
        rows.append(Row(name, rule.formula, u, slope, bend, limit(name, k)))
    return rows
