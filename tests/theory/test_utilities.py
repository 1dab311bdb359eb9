"""Utilities of reward-only rules: by enumeration of k, exactly, and for large groups."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory import utilities
from diffsmooth.theory.rules import REWARD_ONLY, rule

EPS = float(np.finfo(np.float64).eps)
few = settings(max_examples=25)
G = 9
every = pytest.mark.parametrize("name", sorted(REWARD_ONLY))
#: Parameters that are floats by default, as exact numbers.
EXACT: dict[str, dict[str, object]] = {
    "grpo": {"eps": 0},
    "f-grpo": {"eps": 0, "gamma": 1},
    "maxrl": {"eps": 0},
    "psr": {"positive": 1, "negative": 0},
    "nsr": {"positive": 0, "negative": 1},
    "w-reinforce": {"positive": sympy.Rational(1, 10), "negative": 1},
}
inside = st.floats(0.001, 0.999)


def expected_derivative(name: str, c: float, size: int) -> float:
    """E1 literally: E_k[(k/G) A+(k)]/C - E_k[((G-k)/G) A-(k)]/(1-C)."""
    total = 0.0
    for k in range(size + 1):
        chance = comb(size, k) * c**k * (1 - c) ** (size - k)
        plus, minus = rule(name).two_values(k, size)  # type: ignore[attr-defined]
        total += chance * (k * plus / c - (size - k) * minus / (1 - c)) / size
    return total


@every
@few
@given(c=inside)
def test_derivative_is_the_expected_gradient(name: str, c: float) -> None:
    ours = utilities.utility_derivative(rule(name), c, G)  # type: ignore[arg-type]
    # The two terms cancel: their size is at most max |A| / min(C, 1-C).
    values = np.abs([rule(name).two_values(k, G) for k in range(G + 1)])  # type: ignore[attr-defined]
    slack = 64 * G * EPS * float(values.max()) / min(c, 1 - c)
    assert float(ours) == pytest.approx(expected_derivative(name, c, G), abs=slack)


@every
@few
@given(c=st.floats(0.01, 0.99))
def test_utility_and_curvature_by_differences(name: str, c: float) -> None:
    chosen, h = rule(name), 1e-4
    u = [float(utilities.utility(chosen, c + s * h, G)) for s in (-1, 0, 1)]  # type: ignore[arg-type]
    first = float(utilities.utility_derivative(chosen, c, G))  # type: ignore[arg-type]
    second = float(utilities.utility_second_derivative(chosen, c, G))  # type: ignore[arg-type]
    # |u''''| <= (G-1)(G-2)(G-3) 8 max |A|; rounding eps/h^2.
    bound = 8 * G**3 * 9.0
    assert (u[2] - u[0]) / (2 * h) == pytest.approx(first, abs=bound * h**2 + 64 * EPS / h)
    rise = (u[2] - 2 * u[1] + u[0]) / h**2
    assert rise == pytest.approx(second, abs=bound * h**2 + 256 * EPS / h**2)
    assert float(utilities.utility(chosen, 0.0, G)) == 0.0  # type: ignore[arg-type]
    if first > 1e-6:
        bend = float(utilities.curvature(chosen, c, G))  # type: ignore[arg-type]
        assert bend == pytest.approx(-second / first, rel=1e-12)


@every
def test_exact_numbers_are_exact(name: str) -> None:
    chosen, third = rule(name, **EXACT.get(name, {})), Fraction(1, 3)
    for function in (
        utilities.utility,
        utilities.utility_derivative,
        utilities.utility_second_derivative,
        utilities.curvature,
    ):
        value = function(chosen, third, G)  # type: ignore[arg-type]
        assert not isinstance(value, float | np.ndarray)
        assert not sympy.sympify(value).atoms(sympy.Float)
        floating = function(chosen, 1 / 3, G)  # type: ignore[arg-type]
        assert float(value) == pytest.approx(float(floating), rel=1e-12, abs=1e-13)


@pytest.mark.parametrize(
    ("name", "c"), [(n, c) for n in sorted(REWARD_ONLY) for c in (0.2, 0.5, 0.8)]
)
def test_large_groups_approach_the_limit(name: str, c: float) -> None:
    options = {"k": 3} if name in ("pass-at-k", "pkpo") else {}
    limit = utilities.limit(name, 3)
    size = 400
    ours = float(utilities.utility_derivative(rule(name, **options), c, size))  # type: ignore[arg-type]
    # Means of smooth functions of k/G: the error is O(1/G).
    assert ours == pytest.approx(float(limit.derivative(c)), rel=20 / size)
    assert limit.utility


@few
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=9), st.floats(0, 1))
def test_bernstein(coefficients: list[float], c: float) -> None:
    degree = len(coefficients) - 1
    direct = sum(
        x * comb(degree, m) * c**m * (1 - c) ** (degree - m) for m, x in enumerate(coefficients)
    )
    assert float(utilities.bernstein(coefficients, c)) == pytest.approx(direct, abs=64 * EPS * 3)


def test_arrays_lists_and_the_ends() -> None:
    chosen = rule("grpo")
    grid = np.linspace(0, 1, 5)
    out = utilities.utility_derivative(chosen, grid, G)  # type: ignore[arg-type]
    assert out.shape == (5,)
    for same in (grid.tolist(), tuple(grid), grid.astype(np.float32)):
        assert np.array_equal(utilities.utility_derivative(chosen, same, G), out)  # type: ignore[arg-type]
    assert float(utilities.utility_derivative(chosen, np.float32(0.5), G)) == out[2]  # type: ignore[arg-type]
    second = utilities.utility_second_derivative(rule("vanilla"), [0.1, 0.2], 1)  # type: ignore[arg-type]
    assert second.tolist() == [0.0, 0.0]
    # pass@2's utility is flat at C = 1, with u'' < 0: infinite curvature, and no warning.
    assert utilities.curvature(rule("pkpo", k=2), 1.0, G) == np.inf  # type: ignore[arg-type]
    assert np.isnan(utilities.curvature(rule("pkpo", k=3), 1.0, G))  # type: ignore[arg-type]


BAD: list[tuple[str, Callable[[], object]]] = [
    ("coefficients", lambda: utilities.bernstein([], 0.5)),
    ("C", lambda: utilities.bernstein([1.0], 1.5)),
    ("C", lambda: utilities.bernstein([1.0], [0.5, np.nan])),
    ("C", lambda: utilities.bernstein([1], Fraction(3, 2))),
    ("C", lambda: utilities.bernstein([1], sympy.Rational(-1, 2))),
    ("group_size", lambda: utilities.coefficients(rule("grpo"), 0)),  # type: ignore[arg-type]
    ("group", lambda: utilities.coefficients(rule("rloo"), 1)),  # type: ignore[arg-type]
    ("name", lambda: utilities.limit("grppo")),
    ("k", lambda: utilities.limit("pkpo", 0)),
]


@pytest.mark.parametrize(("name", "call"), BAD)
def test_errors_name_their_argument(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}:"):
        call()


def test_what_is_no_integer() -> None:
    with pytest.raises(TypeError, match=r"^group_size:"):
        utilities.coefficients(rule("grpo"), 2.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^k:"):
        utilities.limit("pkpo", 2.5)  # type: ignore[arg-type]
