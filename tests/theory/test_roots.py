"""Batched root-finding, and the two functions that answer with it, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffsmooth.theory._roots import decreasing_root
from diffsmooth.theory.length import fixed_point
from diffsmooth.theory.optima import entropy_for_temperature, temperature_for_entropy
from diffsmooth.theory.policy import logsumexp

EPS = float(np.finfo(np.float64).eps)


@given(st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=6))
def test_roots_over_twenty_four_decades(roots: list[float]) -> None:
    """1/x - 1/r falls steeply on the left and is flat on the right: Newton alone would leave."""
    at = np.array(roots)
    found = decreasing_root(
        lambda x: (1 / x - 1 / at, -1 / x**2), np.full(at.shape, 1e-13), np.full(at.shape, 1e13)
    )
    assert np.all(np.abs(found / at - 1) <= 4 * EPS)


def test_a_useless_slope_means_bisection() -> None:
    for slope in (0.0, -1e300, np.nan, 5.0):
        found = decreasing_root(
            lambda x, s=slope: (np.sqrt(2.0) - x, np.full(x.shape, s)), np.zeros(3), np.full(3, 2.0)
        )
        assert np.all(np.abs(found - np.sqrt(2.0)) <= 4 * EPS)


def test_a_step_is_found() -> None:
    found = decreasing_root(
        lambda x: (np.where(x < 0.3, 1.0, -1.0), np.zeros_like(x)), np.zeros(1), np.ones(1)
    )
    assert found[0] == pytest.approx(0.3, rel=4 * EPS)


def test_temperatures_of_a_batch() -> None:
    laws = np.log(np.random.default_rng(0).dirichlet(np.full(7, 0.4), size=(3, 5)))
    laws[0, 0] = np.log(np.full(7, 1 / 7))  # uniform: any exponent
    powers = np.random.default_rng(1).uniform(0.0, 2.5, size=(3, 5))
    entropies = entropy_for_temperature(laws, powers)
    found = temperature_for_entropy(laws, entropies)
    assert found.shape == (3, 5)
    assert found[0, 0] in (0.0, 1.0)
    mask = np.ones((3, 5), dtype=bool)
    mask[0, 0] = False
    # a is as well determined as H: rel. error eps H / (a^2 Var log p), of order 1e-13 here.
    assert np.allclose(found[mask], powers[mask], rtol=1e-9, atol=1e-9)
    for row in np.ndindex(3, 5):
        assert temperature_for_entropy(laws[row], entropies[row]) == found[row]
    # One law, many entropies.
    several = temperature_for_entropy(laws[1, 1], np.linspace(0.1, 1.2, 4))
    again = entropy_for_temperature(np.broadcast_to(laws[1, 1], (4, 7)), several)
    assert np.allclose(again, np.linspace(0.1, 1.2, 4), rtol=1e-12)


@pytest.mark.parametrize("reduction", ["sum", "mean", "spread"])
def test_length_laws_of_a_batch(reduction: str) -> None:
    sizes = np.random.default_rng(2).integers(1, 3000, size=(4, 6))
    shares = np.array([1.0, 0.5, 1e-9, 1e-300])
    log_pi, rates = fixed_point(sizes, reduction, shares)  # type: ignore[arg-type]
    assert log_pi.shape == (4, 6)
    assert rates.shape == (4,)
    assert np.allclose(logsumexp(log_pi), np.log(shares), rtol=1e-13, atol=1e-13)
    for row in range(4):
        alone, rate = fixed_point(sizes[row], reduction, shares[row])  # type: ignore[arg-type]
        assert rate == rates[row]
        assert np.array_equal(alone, log_pi[row])
