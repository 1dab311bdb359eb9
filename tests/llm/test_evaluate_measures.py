"""Measures against slow independent computations."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.llm.measures import (
    distinct_curve,
    entropy,
    ngrams,
    pass_curve,
    problem_measures,
    resampled_means,
    self_similarity,
)
from diffsmooth.llm.summary import curve_table, means_with_intervals, powers, summarise

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


def _rows(*problems: tuple[list[bool], list[str | None], list[int]]) -> list[dict[str, Any]]:
    extra = {"score": 0.5, "tokens": None, "finished": 1.0}
    return [
        {"classes": classes, **problem_measures(ok, names, ["t"] * len(ok), 3), **extra}
        for ok, names, classes in problems
    ]


def test_summary_of_rows() -> None:
    some: tuple[list[bool], list[str | None], list[int]]
    some = ([True, True, False, True], ["a", "b", None, "a"], [2, 1])
    rows = _rows(some, ([False] * 4, [None] * 4, []), some, ([False] * 4, [None] * 4, []))
    curve = curve_table(rows, confidence=0.9)
    assert curve["k"].to_pylist() == [1, 2, 3, 4]
    assert curve["pass"].to_pylist() == pytest.approx([0.375, 0.5, 0.5, 0.5])
    assert curve["distinct"].to_pylist()[-1] == pytest.approx(1.0)
    summary = summarise(rows, curve, confidence=0.9)
    assert [row["k"] for row in summary["curve"]] == [1, 2, 4]
    measures = summary["measures"]
    assert measures["distinct_correct"]["mean"] == 1.0
    assert measures["entropy_correct"]["problems"] == 2
    assert measures["entropy_correct"]["low"] is None  # known on two problems only
    assert measures["tokens"] is None
    # One text each, on all four: at most 1 - .05^(1/4) of all problems have up to 4 texts.
    texts = measures["distinct_texts"]
    assert (texts["mean"], texts["problems"]) == (1.0, 4)
    assert texts["high"] == pytest.approx(1.0 + 3.0 * (1 - 0.05**0.25))
    for row in summary["curve"]:
        assert 0 <= row["pass_low"] < row["pass"] < row["pass_high"] <= 1
        assert 0 <= row["distinct_low"] < row["distinct"] < row["distinct_high"] <= row["k"]


@pytest.mark.parametrize("right", [False, True])
def test_none_of_160_and_all_of_160_have_an_interval(right: bool) -> None:
    rows = _rows(*[([right], ["a" if right else None], [1] if right else [])] * 160)
    row = curve_table(rows, confidence=0.95).to_pylist()[0]
    width = 1 - 0.025 ** (1 / 160)
    assert row["pass_high"] - row["pass_low"] == pytest.approx(width)
    assert row["distinct_high"] - row["distinct_low"] == pytest.approx(width)
    found = summarise(rows, curve_table(rows, confidence=0.95), confidence=0.95)["measures"]
    assert found["distinct_correct"]["low"] < found["distinct_correct"]["high"]
    assert found["coverage"]["low"] < found["coverage"]["high"]


@pytest.mark.parametrize("problems", [1, 2])
def test_less_than_three_problems_have_no_interval(problems: int) -> None:
    rows = _rows(*[([True, False], ["a", None], [1])] * problems)
    rows = [row | {"tokens": 2.0} for row in rows]
    curve = curve_table(rows, confidence=0.9)
    assert curve["pass"].to_pylist() == [0.5, 1.0]
    assert curve["pass_low"].to_pylist() == curve["distinct_high"].to_pylist() == [None, None]
    summary = summarise(rows, curve, confidence=0.9)
    assert summary["measures"]["tokens"] == {
        "mean": 2.0,
        "low": None,
        "high": None,
        "problems": problems,
    }


def test_a_measure_beyond_its_limit_still_has_an_interval() -> None:
    """A task may say less solutions than were found: coverage 2 of 1."""
    found = means_with_intervals({"coverage": [2.0, 0.0, 1.0]}, 4, confidence=0.95)["coverage"]
    assert found is not None
    assert 0.0 <= found["low"] < 1.0 < found["high"] <= 2.0
    scores = means_with_intervals({"score": [-1.0, 0.5, 1.0, 3.0]}, 4, confidence=0.95)["score"]
    assert scores is not None
    assert scores["low"] < -1.0


def test_unequal_numbers_of_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="one common number"):
        curve_table([{"samples": 1}, {"samples": 2}], confidence=0.9)
