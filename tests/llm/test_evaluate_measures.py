"""Measures against slow independent computations."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.llm.measures import (
    distinct_curve,
    entropy,
    interval,
    ngrams,
    pass_curve,
    problem_measures,
    resampled_means,
    self_similarity,
)
from diffsmooth.llm.summary import curve_table, powers, summarise

draws = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=7)


@settings(deadline=None)
@given(draws)
def test_curves_are_means_over_all_subsets(answers: list[str | None]) -> None:
    """None is a wrong answer, a letter the class of a right one."""
    n = len(answers)
    ks = range(1, n + 1)
    sizes = list(Counter(a for a in answers if a).values())
    solved = pass_curve(n, [sum(sizes)], ks)[0]
    distinct = distinct_curve(n, [sizes], ks)[0]
    for k in ks:
        subsets = list(itertools.combinations(answers, k))
        assert solved[k - 1] == pytest.approx(
            sum(any(s) for s in subsets) / len(subsets), abs=1e-12
        )
        assert distinct[k - 1] == pytest.approx(
            sum(len({a for a in s if a}) for s in subsets) / len(subsets), abs=1e-12
        )


@pytest.mark.parametrize("n", [1, 5, 64, 300])
def test_the_curve_is_the_estimator_of_the_theory_at_every_k(n: int) -> None:
    from diffsmooth.theory.passk import pass_at_k

    counts = sorted({0, 1, n // 3, n - 1, n})
    curve = pass_curve(n, counts, range(1, n + 1))
    for k in range(1, n + 1):
        assert curve[:, k - 1] == pytest.approx(pass_at_k(n, counts, k), rel=1e-12, abs=1e-15)


def test_ks_outside_the_samples_are_refused() -> None:
    for k in (0, 5):
        with pytest.raises(ValueError, match="allowed: 1 to samples = 4"):
            pass_curve(4, [1], [k])
    with pytest.raises(ValueError, match="allowed: 0 to samples = 4"):
        pass_curve(4, [5], [1])


def test_entropy() -> None:
    assert entropy([]) is None
    assert [entropy([m]) for m in range(1, 200)] == [0.0] * 199
    assert entropy([1, 1, 1, 1]) == pytest.approx(math.log(4))
    assert entropy([3, 1]) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


texts = st.lists(st.text(alphabet="12+* ", max_size=8), min_size=2, max_size=6)


@settings(deadline=None)
@given(texts)
def test_self_similarity_is_the_mean_over_pairs(answers: list[str]) -> None:
    def cosine(x: str, y: str) -> float:
        a, b = ngrams(x), ngrams(y)
        norm = math.sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values()))
        return sum(a[g] * b[g] for g in a) / norm

    pairs = [cosine(x, y) for x, y in itertools.combinations(answers, 2)]
    assert self_similarity(answers) == pytest.approx(sum(pairs) / len(pairs), abs=1e-9)


def test_self_similarity_ends() -> None:
    assert self_similarity(["1+2"]) is None
    assert self_similarity(["1+2"] * 3) == pytest.approx(1.0)
    assert self_similarity(["1+2+3", "9*8*7"]) == 0.0
    assert self_similarity(["one two three four", "one two three five"]) == pytest.approx(2 / 4)


def test_a_row_of_a_problem() -> None:
    row = problem_measures(
        [True, True, False, True], ["x", "x", "y", None], ["1", "1 ", "2", " z"], 4
    )
    assert row["correct"] == 3
    assert row["classes"] == [2, 1]
    assert row["distinct_correct"] == 2
    assert row["coverage"] == 0.5
    assert row["entropy_correct"] == pytest.approx(entropy([2, 1]))
    none = problem_measures([False], [None], ["?"], None)
    assert none["entropy_correct"] is None
    assert none["self_similarity"] is None
    assert none["coverage"] is None


def test_bootstrap_interval_covers_as_often_as_it_says() -> None:
    """400 data sets of 40 problems at 90 %: the hits are binomial around .90 minus the known
    shortfall of the percentile interval (about .015 at 40); four standard deviations."""
    rng = np.random.default_rng(1)
    data = rng.beta(2.0, 3.0, size=(400, 40))
    hits = 0
    for i, values in enumerate(data):
        low, high = interval(resampled_means(values[:, None], 400, seed=i), 0.9)
        hits += bool(low[0] <= 0.4 <= high[0])
    assert abs(hits / 400 - 0.885) < 4 * math.sqrt(0.9 * 0.1 / 400)


def test_bootstrap_is_seeded_and_draws_whole_rows() -> None:
    values = np.arange(12.0).reshape(6, 2)
    first = resampled_means(values, 300, seed=3)
    assert first.shape == (300, 2)
    assert np.array_equal(first, resampled_means(values, 300, seed=3))
    assert not np.array_equal(first, resampled_means(values, 300, seed=4))
    assert np.allclose(first[:, 1] - first[:, 0], 1.0)


def test_powers() -> None:
    assert powers(1) == [1]
    assert powers(4) == [1, 2, 4]
    assert powers(6) == [1, 2, 4, 6]


def test_summary_of_rows() -> None:
    rows = [
        {"samples": 4, "classes": classes, **problem_measures(ok, names, ["t"] * 4, 3)}
        for ok, names, classes in (
            ([True, True, False, True], ["a", "b", None, "a"], [2, 1]),
            ([False] * 4, [None] * 4, []),
        )
    ]
    rows = [row | {"score": 0.5, "tokens": None, "finished": 1.0} for row in rows]
    settings = {"resamples": 200, "confidence": 0.9, "seed": 0}
    curve = curve_table(rows, **settings)  # type: ignore[arg-type]
    assert curve["k"].to_pylist() == [1, 2, 3, 4]
    assert curve["pass"].to_pylist() == pytest.approx([0.375, 0.5, 0.5, 0.5])
    assert curve["distinct"].to_pylist()[-1] == pytest.approx(1.0)
    summary = summarise(rows, curve, **settings)  # type: ignore[arg-type]
    assert [row["k"] for row in summary["curve"]] == [1, 2, 4]
    measures = summary["measures"]
    assert measures["distinct_correct"]["mean"] == 1.0
    assert measures["entropy_correct"]["problems"] == 1
    assert measures["tokens"] is None
    assert measures["distinct_texts"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "problems": 2}
    for row in summary["curve"]:
        assert row["pass_low"] <= row["pass"] <= row["pass_high"]


def test_one_problem_has_no_interval() -> None:
    row = {"score": 1.0, "tokens": 2.0, "finished": 1.0}
    rows = [row | problem_measures([True, False], ["a", None], ["x", "y"], 1)]
    settings = {"resamples": 10, "confidence": 0.9, "seed": 0}
    curve = curve_table(rows, **settings)  # type: ignore[arg-type]
    assert curve["pass"].to_pylist() == [0.5, 1.0]
    assert curve["pass_low"].to_pylist() == curve["distinct_high"].to_pylist() == [None, None]
    summary = summarise(rows, curve, **settings)  # type: ignore[arg-type]
    assert summary["measures"]["tokens"] == {
        "mean": 2.0,
        "low": None,
        "high": None,
        "problems": 1,
    }


def test_unequal_numbers_of_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="one common number"):
        curve_table([{"samples": 1}, {"samples": 2}], resamples=1, confidence=0.9, seed=0)
