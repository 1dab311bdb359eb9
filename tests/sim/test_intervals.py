"""Intervals hold the truth as often as they say, at every size; counts are corrected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from diffsmooth.sim.intervals import (
    LEAST,
    adjusted,
    clopper_pearson,
    jackknife,
    mean_interval,
    mean_intervals,
    mean_or_point,
    p_value,
    paired_difference,
    percentile,
    wilson,
)

SIZES = (3, 4, 8, 16, 32)
REPEATS = 10_000
#: Four standard errors of a coverage of .95.
SLACK = 4 * (0.95 * 0.05 / REPEATS) ** 0.5


def held(ends, truth):
    low, high = ends
    return ((low <= truth + 1e-12) & (truth - 1e-12 <= high)).mean()


@pytest.mark.parametrize("count", SIZES)
def test_differences_hold_95_percent_at_every_number_of_seeds(count):
    x = np.random.default_rng(count).standard_normal((REPEATS, count))
    assert abs(held(mean_intervals(x), 0.0) - 0.95) < SLACK


@pytest.mark.parametrize("count", [8, 16])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda r, s: r.random(s), 0.5),
        (lambda r, s: r.beta(0.5, 0.5, s), 0.5),
        (lambda r, s: r.beta(2, 5, s), 2 / 7),
        (lambda r, s: r.binomial(8, r.beta(0.4, 0.6, s)) / 8, 0.4),
        (lambda r, s: (r.random(s) < 0.1).astype(float), 0.1),
    ],
    ids=["uniform", "at the ends", "skewed", "pass@1 of problems", "solved, one in ten"],
)
def test_what_is_bounded_holds_at_least_94_percent(draw, truth, count):
    x = draw(np.random.default_rng(count), (REPEATS, count))
    assert held(mean_intervals(x, bounds=(0, 1)), truth) >= 0.94
    wide = mean_intervals(3 * x - 1, bounds=(-1, 2))  # scale and place do not matter
    np.testing.assert_allclose(wide, 3 * np.array(mean_intervals(x, bounds=(0, 1))) - 1, atol=1e-9)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(0, 64).map(lambda k: k / 64), min_size=LEAST, max_size=40),
    st.floats(0.5, 0.999),
)
def test_a_bounded_interval_holds_its_mean_stays_inside_and_is_never_a_point(values, confidence):
    found = mean_interval(values, confidence=confidence, bounds=(0, 1))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 1e-12
    wider = mean_interval(values, confidence=confidence + 0.0005, bounds=(0, 1))
    assert wider.low <= found.low + 1e-12
    assert wider.high >= found.high - 1e-12


@pytest.mark.parametrize("trials", [1, 3, 16, 160])
def test_none_and_all_of_many_have_an_interval(trials):
    for interval in (wilson, clopper_pearson):
        none, all_ = interval(0, trials), interval(trials, trials)
        assert none.low == 0 < none.high < 1
        assert none.high == pytest.approx(1 - all_.low)
        assert all_.high == 1
    if trials >= LEAST:
        none = mean_interval(np.zeros(trials), bounds=(0, 1))
        assert none.high == pytest.approx(clopper_pearson(0, trials).high)


@pytest.mark.parametrize("trials", [4, 17, 60])
def test_counts_are_those_of_scipy(trials):
    for successes in range(trials + 1):
        for name, interval in (("wilson", wilson), ("exact", clopper_pearson)):
            theirs = stats.binomtest(successes, trials).proportion_ci(0.95, name)
            mine = interval(successes, trials)
            assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=LEAST, max_size=30))
def test_student_is_that_of_scipy_and_agrees_with_its_p(values):
    x = np.array(values)
    found = mean_interval(x)
    if np.ptp(x) < 1e-6:
        return
    theirs = stats.ttest_1samp(x, 0.0)
    ends = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), rel=1e-9, abs=1e-9)
    assert p_value(x) == pytest.approx(theirs.pvalue, rel=1e-9)
    # For a mean over one kind of unit the jackknife is Student's interval.
    _, low, high = jackknife(lambda w: w[0] @ x, (len(x),))
    assert (low, high) == pytest.approx((found.low, found.high), rel=1e-6, abs=1e-9)


def test_equal_units_are_no_proof():
    assert p_value(np.zeros(5)) == 1
    assert p_value(np.full(16, 0.25)) == 2.0**-15  # sixteen equal signs
    assert p_value(np.full(3, 0.25)) == 0.25


@pytest.mark.parametrize("count", [0, 1, 2])
def test_no_interval_from_less_than_three(count):
    x = np.zeros(count)
    for make in (
        lambda: mean_interval(x),
        lambda: mean_intervals(x, bounds=(0, 1)),
        lambda: paired_difference(x, x),
        lambda: p_value(x),
        lambda: percentile(np.zeros(10), count),
        lambda: jackknife(lambda w: w[0].sum(), (8, count)),
    ):
        with pytest.raises(ValueError, match="at least 3"):
            make()
    if count:
        found = mean_or_point(x)
        assert found.value == 0
        assert np.isnan([found.low, found.high]).all()
        assert not found.above
        assert not found.below


def test_seeds_and_problems_count_together():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        x = 0.1 * rng.standard_normal((8, 1)) + 0.3 * rng.standard_normal((1, 16))
        x = x + 0.3 * rng.standard_normal((8, 16))
        _, low, high = jackknife(lambda w, x=x: w[0] @ x @ w[1], x.shape)
        hits += bool(low <= 0 <= high)
    assert hits / 1000 >= 0.94 - 2 * 0.007
    value, low, high = jackknife(lambda w: 0 * w[0].sum(), (3, 100), bounds=(0, 1))
    assert (value, low, high) == pytest.approx((0, 0, 1 - 0.025 ** (1 / 3)))


@pytest.mark.parametrize("count", [8, 16])
def test_expanded_percentiles_hold_what_plain_ones_do_not(count):
    rng = np.random.default_rng(count)
    x = rng.standard_normal((2000, count))
    picks = rng.integers(count, size=(1000, count))
    share = np.stack([(picks == i).mean(axis=1) for i in range(count)])
    means = (x @ share).T
    assert held(percentile(means, count), 0.0) >= 0.935
    assert held(np.quantile(means, (0.025, 0.975), axis=0), 0.0) < 0.93


def test_counts_over_many_cells_are_corrected_for_their_number():
    """All remedies alike over 40 cells, with the reference's seeds shared: as the map compares."""
    rng = np.random.default_rng(0)
    plain, corrected = [], []
    for _ in range(60):
        x = rng.standard_normal((40, 32, 16)) + rng.standard_normal((40, 1, 16))
        p = [p_value(r - cell[0]) for cell in x for r in cell[1:]]
        plain.append(any(v <= 0.05 for v in p))
        corrected.append((adjusted(p) <= 0.05).any())
    assert np.mean(plain) == 1
    assert np.mean(corrected) <= 0.05 + 3 * (0.05 * 0.95 / 60) ** 0.5


def test_what_is_no_sample_is_refused():
    with pytest.raises(ValueError, match="outside the bounds"):
        mean_interval([0.0, 0.5, 1.5], bounds=(0, 1))
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([0.0, 0.5, 1.0], confidence=95)
    with pytest.raises(ValueError, match="NaN"):
        mean_or_point([np.nan])
    with pytest.raises(ValueError, match="0 <= successes"):
        wilson(3, 2)
