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
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffsmooth.theory.diversity import whole
from diffsmooth.theory.passk import pass_at_k_exact
from diffsmooth.theory.policy import Float, floats
from diffsmooth.theory.rules.base import RewardOnly
from diffsmooth.theory.rules.presets import REWARD_ONLY


def bernstein(coefficients: Sequence[Any], c: Any) -> Any:
    """sum_m c_m binom(n, m) C^m (1-C)^{n-m}, n = len - 1, at C: a number or an array.

    Floats and arrays of them in float64; Fractions, sympy expressions and other numbers exactly.
    Raises ValueError if C lies outside [0, 1] or there is no coefficient.
    """
    if not len(coefficients):
        raise ValueError("coefficients: at least one is needed")
    if _is_exact(c):
        if getattr(c, "is_number", isinstance(c, Fraction)) and not 0 <= c <= 1:
            raise ValueError(f"C: must lie in [0, 1], got {c}")
        values: list[Any] = list(coefficients)
    else:
        c = _unit_interval(c)
        values = [np.full(c.shape, float(x)) for x in coefficients]
    rest = 1 - c
    while len(values) > 1:
        values = [rest * a + c * b for a, b in pairwise(values)]
    return values[0]


def _unit_interval(c: Any) -> Float:
    values = floats("C", c)
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError("C: must lie in [0, 1]")
    return values


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


def utility_derivative(rule: RewardOnly, c: Any, group_size: int) -> Any:
    """u'(C) for C in [0, 1]: float or array in float64, Fraction or sympy exactly."""
    return bernstein(coefficients(rule, group_size, exact=_is_exact(c)), c)


def utility(rule: RewardOnly, c: Any, group_size: int) -> Any:
    """u(C) = integral of u' from 0 to C."""
    steps = coefficients(rule, group_size, exact=_is_exact(c))
    total, sums = 0 * steps[0], [0 * steps[0]]
    for step in steps:
        total = total + step
        sums.append(total)
    return bernstein(sums, c) / group_size


def utility_second_derivative(rule: RewardOnly, c: Any, group_size: int) -> Any:
    """u''(C); 0 for groups of one answer."""
    steps = coefficients(rule, group_size, exact=_is_exact(c))
    if len(steps) == 1:
        return 0 * (c if _is_exact(c) else _unit_interval(c))
    rises = [b - a for a, b in pairwise(steps)]
    return bernstein(rises, c) * (group_size - 1)


def curvature(rule: RewardOnly, c: Any, group_size: int) -> Any:
    """-u''/u': the larger, the less a solved prompt is reinforced at an unsolved one's cost.

    In float64 inf (or nan, where u'' is 0 too) at a C where u' is 0.
    """
    bend, slope = (f(rule, c, group_size) for f in (utility_second_derivative, utility_derivative))
    if _is_exact(c):
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
    """The utility as G -> infinity: in words, u' and u as functions of C in (0, 1).

    ``derivative`` also takes sympy numbers; ``value`` is for float64 and 0 at C = 0, but for log C.
    """

    utility: str
    derivative: Callable[[Any], Any]
    value: Callable[[Any], Any]


def limit(name: str, k: int = 8) -> Limit:
    """The utility of a rule of ``rules.REWARD_ONLY`` for large groups (``k`` of pass@k rules).

    Parameters are the rules' defaults (gamma = 1, W-REINFORCE .1 and 1).
    Raises ValueError on a name without one and on k < 1, TypeError if k is no integer.
    """
    if whole("k", k) < 1:
        raise ValueError(f"k: must be >= 1, got {k}")
    flat = Limit("C", lambda c: 0 * c + 1, lambda c: 1.0 * c)
    limits = {
        "vanilla": flat,
        "dr-grpo": flat,
        "rloo": flat,
        "psr": flat,
        "nsr": flat,
        "w-reinforce": Limit("1.1 C", lambda c: 0 * c + 1.1, lambda c: 1.1 * c),
        "grpo": Limit(
            "2 arcsin sqrt C",
            lambda c: (c * (1 - c)) ** -0.5,
            lambda c: 2 * np.arcsin(np.sqrt(c)),
        ),
        "f-grpo": Limit(
            "arcsin sqrt C + sqrt(C (1-C))",
            lambda c: (1 - c) * (c * (1 - c)) ** -0.5,
            lambda c: np.arcsin(np.sqrt(c)) + np.sqrt(c * (1 - c)),
        ),
        "maxrl": Limit("log C", lambda c: 1 / c, np.log),
        "pkpo": Limit(
            "1 - (1-C)^k", lambda c: k * (1 - c) ** (k - 1), lambda c: pass_at_k_exact(c, k)
        ),
        "pass-at-k": Limit(
            "(2/k) arcsin sqrt(1 - (1-C)^k)",
            lambda c: (1 - c) ** (k - 1) / ((1 - c) ** k * (1 - (1 - c) ** k)) ** 0.5,
            lambda c: 2 / k * np.arcsin(np.sqrt(pass_at_k_exact(c, k))),
        ),
    }
    if name not in limits:
        raise ValueError(f"name: {name!r} has no known limit; known: {', '.join(limits)}")
    return limits[name]


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
    at, rows = _unit_interval(c), []
    for name, make in REWARD_ONLY.items():
        rule = make(**({"k": k} if name in ("pass-at-k", "pkpo") else {}))
        assert isinstance(rule, RewardOnly)
        u, slope, bend = (f(rule, at, group_size) for f in (utility, utility_derivative, curvature))
        rows.append(Row(name, rule.formula, u, slope, bend, limit(name, k)))
    return rows


def _is_exact(c: Any) -> bool:
    return not isinstance(c, (float, int, np.ndarray, np.generic, list, tuple))
