"""Measures against brute force; matching and statistics on cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.sim.matching import at_level
from diffsmooth.sim.measures import collapse_time, measure, pass_at_k
from diffsmooth.sim.regimes.bandit import Bandit
from diffsmooth.sim.regimes.multiplicity import Multiplicity
from diffsmooth.sim.statistics import (
    interquartile_mean,
    mean_intervals,
    paired_difference,
    probability_of_improvement,
    wilson,
)
from diffsmooth.theory.passk import pass_at_k_exact


def test_measures_by_brute_force():
    e = Multiplicity(solutions=2.0, forms=2.0, prompts=2, incorrect=3, largest=3).environment(
        range(1)
    )
    found = measure(e, e.base[None])
    rng = np.random.default_rng(0)
    draws, k = 4000, 16
    distinct, passed, kl, entropy = [], [], [], []
    for prompt in range(2):
        b = np.exp(e.base[0, prompt])
        samples = rng.choice(len(b), p=b / b.sum(), size=(draws, k))
        right = e.correct[0, prompt][samples]
        kinds = e.classes[0, prompt][samples]
        distinct.append([len(set(c[r])) for c, r in zip(kinds, right, strict=True)])
        passed.append(e.test_correct[0, prompt][samples].any(1))
        kl.append(0.0)
        q = b[e.correct[0, prompt]]
        q = q / q.sum()
        entropy.append(-(q * np.log(q)).sum())
    for key, sample in (("distinct@16", distinct), ("test_pass@16", passed)):
        values = np.mean(np.array(sample, dtype=float), axis=0)
        error = values.std() / np.sqrt(draws)
        assert abs(found[key][0, 0] - values.mean()) < 4 * error + 1e-12
    assert found["kl"][0, 0] == pytest.approx(0.0, abs=1e-12)
    assert found["entropy"][0, 0] == pytest.approx(np.mean(entropy))
    assert found["lost"][0, 0] == 0


def test_lost_for_good_counts_answers_below_one_in_a_million():
    e = Bandit(solutions=2, incorrect=2, prompts=1).environment(range(1))
    law = np.log(np.array([1e-7, 0.5, 0.25, 0.25 - 1e-7]))[None, None, None]
    assert measure(e, law)["lost"][0, 0] == 0.5


def test_pass_at_k_is_the_theory_s():
    c = np.array([0.0, 1e-12, 0.3, 1.0])
    for k in (1, 7, 256):
        np.testing.assert_allclose(pass_at_k(c, k), pass_at_k_exact(c, k), rtol=1e-12)


def test_collapse_time():
    steps = np.array([0.0, 10.0, 20.0])
    entropy = np.array([[2.0, 2.0], [1.5, 1.9], [0.5, 1.8]])
    np.testing.assert_allclose(collapse_time(steps, entropy), [15.0, np.inf])


def test_matching_interpolates_and_says_when_a_level_is_never_reached():
    path = np.array([[[0.0, 0.0]], [[0.5, 0.1]], [[1.0, 0.2]]])
    other = np.array([[[4.0, 4.0]], [[2.0, 3.0]], [[0.0, 2.0]]])
    found = at_level({"a": path, "b": other}, "a", np.array([0.75, 0.5]))
    np.testing.assert_allclose(found["a"], [[0.75, np.nan]])
    np.testing.assert_allclose(found["b"], [[1.0, np.nan]])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=4, max_size=40).filter(lambda x: len(x) % 4 == 0))
def test_interquartile_mean_is_that_of_the_middle_half(values):
    n = len(values) // 4
    middle = sorted(values)[n : 3 * n]
    assert interquartile_mean(np.array(values)) == pytest.approx(np.mean(middle), abs=1e-9)


def test_paired_intervals_cover():
    """A 95 % interval over 40 pairs covers the truth in most of 300 repetitions."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        shared = rng.standard_normal(40)
        a = shared + 0.3 + 0.1 * rng.standard_normal(40)
        b = shared + 0.1 * rng.standard_normal(40)
        interval = paired_difference(a, b)
        hits += interval.low <= 0.3 <= interval.high
        assert interval.high - interval.low < 0.2  # pairing removes the shared part
    assert 0.88 <= hits / 300 <= 0.99


def test_probability_of_improvement_counts_ties_half():
    assert probability_of_improvement(np.array([1.0, 2.0]), np.array([1.0, 0.0])) == 0.875


def test_wilson_stays_inside():
    assert wilson(0, 10).low == 0
    assert wilson(10, 10).high == pytest.approx(1)
    assert wilson(5, 10).low == pytest.approx(0.2366, abs=1e-4)


def test_intervals_along_a_path_are_those_of_each_point():
    values = np.random.default_rng(3).normal(size=(4, 2, 16))
    low, high = mean_intervals(values)
    for t, strength in np.ndindex(4, 2):
        alone = paired_difference(values[t, strength], np.zeros(16))
        np.testing.assert_allclose((low[t, strength], high[t, strength]), (alone.low, alone.high))
    np.testing.assert_allclose(mean_intervals(np.full((3, 5), 0.25)), 0.25)


def test_statistics_refuse_what_they_cannot_answer():
    with pytest.raises(ValueError, match="at least 3"):
        mean_intervals(np.zeros((3, 1)))
    with pytest.raises(ValueError, match="NaN"):
        mean_intervals(np.array([[0.0, np.nan, 1.0]]))
    with pytest.raises(ValueError, match="NaN"):
        paired_difference(np.array([1.0, np.nan, 1.0]), np.zeros(3))
    with pytest.raises(ValueError, match="at least 3"):
        paired_difference(np.array([1.0]), np.array([0.0]))
