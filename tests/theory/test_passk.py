"""pass@k against rational arithmetic over all outcomes of Bin(n, C)."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffsmooth.theory.passk import (
    pass_at_k,
    pass_at_k_exact,
    pass_at_k_variance,
    pass_at_k_variance_estimate,
)

EPS = float(np.finfo(np.float64).eps)


def estimate(n: int, c: int, k: int) -> Fraction:
    return 1 - Fraction(comb(n - c, k), comb(n, k))


def mean(n: int, chance: Fraction, value: Callable[[int], Fraction]) -> Fraction:
    """E value(c), c ~ Bin(n, chance), exactly."""
    return sum(
        (comb(n, c) * chance**c * (1 - chance) ** (n - c) * value(c) for c in range(n + 1)),
        Fraction(0),
    )


@st.composite
def counts(draw: st.DrawFn, times: int = 1) -> tuple[int, int, int]:
    """(n, c, k) with times k <= n."""
    n = draw(st.integers(times, 60))
    return n, draw(st.integers(0, n)), draw(st.integers(1, n // times))


@given(counts())
def test_estimate_is_the_ratio_of_binomials(nck: tuple[int, int, int]) -> None:
    n, c, k = nck
    exact = estimate(n, c, k)
    # k products and k sums of positive numbers, each rounded a few times: a relative error.
    assert abs(Fraction(float(pass_at_k(n, c, k))) - exact) <= 8 * k * EPS * exact


@given(st.integers(1, 12), st.data(), st.fractions(0, 1, max_denominator=50))
def test_estimate_is_unbiased(n: int, data: st.DataObject, chance: Fraction) -> None:
    k = data.draw(st.integers(1, n))
    found = mean(n, chance, lambda c: Fraction(float(pass_at_k(n, c, k))))
    assert abs(found - (1 - (1 - chance) ** k)) <= 8 * k * EPS


@given(st.integers(1, 10), st.data(), st.fractions(0, 1, max_denominator=20))
def test_variance_by_enumeration(n: int, data: st.DataObject, chance: Fraction) -> None:
    k = data.draw(st.integers(1, n))
    second = mean(n, chance, lambda c: estimate(n, c, k) ** 2)
    exact = second - mean(n, chance, lambda c: estimate(n, c, k)) ** 2
    found = float(pass_at_k_variance(n, float(chance), k))
    # C itself is rounded: the 2k-th power moves by 2k eps relative to 1 - C, that of C by eps / C.
    slack = 32 * (k + 2) * EPS * (exact + Fraction(1, 10**3))
    assert abs(Fraction(found) - exact) <= slack


@given(counts(2))
def test_variance_estimate_is_the_difference_of_binomials(nck: tuple[int, int, int]) -> None:
    n, c, k = nck
    exact = (1 - estimate(n, c, k)) ** 2 - Fraction(comb(n - c, 2 * k), comb(n, 2 * k))
    found = float(pass_at_k_variance_estimate(n, c, k))
    assert found >= 0
    assert abs(Fraction(found) - exact) <= 16 * (k + 1) * EPS * exact


@given(st.integers(2, 12), st.data(), st.fractions(0, 1, max_denominator=20))
def test_variance_estimate_is_unbiased(n: int, data: st.DataObject, chance: Fraction) -> None:
    k = data.draw(st.integers(1, n // 2))
    found = mean(n, chance, lambda c: Fraction(float(pass_at_k_variance_estimate(n, c, k))))
    second = mean(n, chance, lambda c: estimate(n, c, k) ** 2)
    exact = second - mean(n, chance, lambda c: estimate(n, c, k)) ** 2
    assert abs(found - exact) <= 16 * (k + 1) * EPS


def test_a_success_in_a_million_keeps_its_digits() -> None:
    assert float(pass_at_k(10**6, 1, 1)) == 1e-6
    assert float(pass_at_k(10**6, 1, 100)) == pytest.approx(1e-4, rel=1e-13)
    assert float(pass_at_k_exact(1e-300, 8)) == pytest.approx(8e-300, rel=1e-15)


def test_ends() -> None:
    assert pass_at_k(5, [0, 5, 3], 3).tolist() == [0.0, 1.0, 1.0]
    assert pass_at_k_exact([0.0, 1.0], 3).tolist() == [0.0, 1.0]
    assert pass_at_k_exact([0.3, 1.0], 0).tolist() == [0.0, 0.0]
    assert pass_at_k_variance(4, [0.0, 1.0], 2).tolist() == [0.0, 0.0]
    assert pass_at_k_variance_estimate(6, [0, 6, 5], 2).tolist() == [0.0, 0.0, 0.0]


@given(st.floats(0, 1), st.integers(1, 40))
def test_more_samples_do_not_hurt(chance: float, k: int) -> None:
    few, more = float(pass_at_k_exact(chance, k)), float(pass_at_k_exact(chance, k + 1))
    assert few <= more + EPS
    spread = [float(pass_at_k_variance(n, chance, k)) for n in (k, 2 * k, 4 * k)]
    # One subset: a coin; more samples: a mean over subsets, never more variable.
    assert spread[0] == pytest.approx(few * (1 - few), rel=0, abs=8 * k * EPS)
    assert spread[2] <= spread[1] + 8 * k * EPS <= spread[0] + 16 * k * EPS


def test_batches_broadcast() -> None:
    n, c = np.array([[8], [16]]), np.array([0, 1, 5])
    table = pass_at_k(n, c, 4)
    assert table.shape == (2, 3)
    assert table[1, 2] == pass_at_k(16, 5, 4)
    assert pass_at_k_variance_estimate(n, c, 4)[0, 1] == pass_at_k_variance_estimate(8, 1, 4)


BAD: list[tuple[str, Callable[[], object]]] = [
    ("k", lambda: pass_at_k(3, 1, 4)),
    ("k", lambda: pass_at_k(3, 1, 0)),
    ("c", lambda: pass_at_k(3, 4, 2)),
    ("c", lambda: pass_at_k(3, -1, 2)),
    ("c", lambda: pass_at_k(3, 1.0, 2)),
    ("n", lambda: pass_at_k(3.0, 1, 2)),
    ("c", lambda: pass_at_k([3, 3], [1, 1, 1], 2)),
    ("k", lambda: pass_at_k_exact(0.5, -1)),
    ("correctness", lambda: pass_at_k_exact(1.5, 2)),
    ("correctness", lambda: pass_at_k_exact(np.nan, 2)),
    ("k", lambda: pass_at_k_variance(3, 0.5, 4)),
    ("k", lambda: pass_at_k_variance_estimate(7, 1, 4)),
    ("c", lambda: pass_at_k_variance_estimate(8, 9, 4)),
]


@pytest.mark.parametrize(("name", "call"), BAD)
def test_errors_name_their_argument(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}:"):
        call()


def test_a_fraction_of_a_sample() -> None:
    with pytest.raises(TypeError, match="^k:"):
        pass_at_k(3, 1, 1.5)  # type: ignore[arg-type]
