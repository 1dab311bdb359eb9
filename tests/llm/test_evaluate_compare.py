"""Paired comparison: intervals, probability of improvement, speed-up at equal pass@k."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.llm.compare import (
    Run,
    compare,
    difference,
)
from diffsmooth.llm.measures import pass_curve, problem_measures
from diffsmooth.llm.speedup import samples_needed, speedups

SETTINGS: dict[str, Any] = {"resamples": 300, "confidence": 0.95, "seed": 0}


def run(correct: list[list[str | None]], key: str = "k") -> Run:
    """A run from the class of each sample of each problem, ``None`` for a wrong one."""
    rows = []
    for i, answers in enumerate(correct):
        ok = [a is not None for a in answers]
        row = problem_measures(ok, answers, [a or "?" for a in answers], None)
        rows.append({"problem": str(i), "prompt": f"p{i}", "tokens": None, **row})
    return Run(key, "m", len(correct[0]), rows)


def test_a_run_against_itself_differs_by_nothing() -> None:
    one = run([["a", None, "b", "a"], [None] * 4, ["a"] * 4])
    result = compare(one, one, **SETTINGS)
    for row in (*result["pass"], *result["distinct"]):
        assert (row["difference"], row["low"], row["high"]) == (0.0, 0.0, 0.0)
        assert row["improvement"] == 0.5
        assert row["positive"] == 0.0
    for row in result["speedup"]:
        assert row["speedup"] == pytest.approx(1.0)
    assert result["measures"]["tokens"] is None


def test_a_collapsed_run_against_a_diverse_one() -> None:
    """Same pass@1, but the collapsed run solves half the problems always and the rest never."""
    collapsed = run([["a"] * 8] * 6 + [[None] * 8] * 6)
    diverse = run([["a", "b", "c", "d", None, None, None, None]] * 12)
    result = compare(collapsed, diverse, **SETTINGS)
    first, *_, last = result["pass"]
    assert first["difference"] == pytest.approx(0.0)
    assert first["low"] < 0 < first["high"]
    assert last["difference"] == pytest.approx(0.5)
    assert last["low"] > 0
    assert last["positive"] == 1.0
    assert last["improvement"] == pytest.approx(0.75)
    assert result["measures"]["distinct_correct"]["difference"] == pytest.approx(3.5)
    assert result["distinct"][-1]["difference"] == pytest.approx(3.5)
    assert result["measures"]["entropy_correct"]["problems"] == 6
    never = [r for r in result["speedup"] if r["level_of"] == "new" and r["k"] == 8]
    assert never[0]["bound"] == ">="
    assert never[0]["baseline_samples"] is None
    # Any five of the diverse run's samples hold a right one, so five are what it needs.
    assert never[0]["new_samples"] == 5.0
    assert never[0]["speedup"] == pytest.approx(8 / 5)


def test_a_level_of_nothing_solved_is_no_level() -> None:
    result = compare(run([[None, None]] * 2), run([["a", None]] * 2), **SETTINGS)
    assert {row["level_of"] for row in result["speedup"]} == {"new"}


def test_different_problems_are_refused() -> None:
    one, other = run([["a"], ["b"]]), run([["a"]])
    with pytest.raises(ValueError, match=r"\(2 and 1, 1 in common\)"):
        compare(one, other)
    changed = replace(one, problems=[row | {"prompt": "?"} for row in one.problems])
    with pytest.raises(ValueError, match="different problems"):
        compare(one, changed)


def test_order_of_problems_does_not_matter() -> None:
    a = run([["a", None], ["a", "b"], [None, None]])
    b = run([["a", "a"], [None, None], ["b", "a"]])
    shuffled = replace(b, problems=b.problems[::-1])
    assert compare(a, b, **SETTINGS) == compare(a, shuffled, **SETTINGS)


def test_interval_is_paired() -> None:
    """Problems differ by far more than the runs do; the paired interval does not see that."""
    rng = np.random.default_rng(0)
    x = rng.random(50)
    y = x + 0.01 + 0.001 * rng.standard_normal(50)
    found = difference(list(x), list(y), width=1.0, **SETTINGS)
    assert found is not None
    assert 0.009 < found["low"] < 0.01 < found["high"] < 0.011


def test_differences_where_nothing_is_known() -> None:
    assert difference([None], [1.0], **SETTINGS) is None
    one = difference([0.25, None], [0.5, 1.0], **SETTINGS)
    assert one is not None
    assert (one["low"], one["difference"], one["high"]) == (None, 0.25, None)
    assert one["problems"] == 1


@settings(deadline=None)
@given(st.floats(0.01, 0.2), st.integers(2, 5))
def test_speedup_of_a_known_law(p: float, factor: int) -> None:
    """If the new run does in one sample what the baseline does in ``factor``, the speed-up at
    the new run's pass@k is ``factor`` exactly (pass@k = 1 - (1 - p)^k)."""
    n = 16
    ks = np.arange(1, n * factor + 1)
    slow = 1 - (1 - p) ** ks
    fast = 1 - (1 - p) ** (factor * ks[:n])
    needed = samples_needed(slow, fast)
    assert needed == pytest.approx(factor * ks[:n], rel=1e-6)


def test_samples_needed_ends() -> None:
    curve = np.array([0.2, 0.4, 0.4, 0.8])
    levels = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 0.81])
    assert samples_needed(curve, levels).tolist() == pytest.approx(
        [1.0, 1.0, 1.5, 2.0, 3.5, 4.0, math.inf]
    )
    assert samples_needed(np.array([0.5]), np.array([0.5, 0.6])).tolist() == [1.0, math.inf]


def test_speedup_rows_say_which_way_a_bound_goes() -> None:
    weak = pass_curve(4, [1, 0], [1, 2, 3, 4])
    strong = pass_curve(4, [4, 2], [1, 2, 3, 4])
    rows = {(r["level_of"], r["k"]): r for r in speedups(weak, strong, **SETTINGS)}
    assert rows["new", 1]["bound"] == ">="
    assert rows["new", 1]["speedup"] == 4.0
    assert rows["baseline", 4]["bound"] == "="
    assert rows["baseline", 4]["speedup"] == 4.0
    back = {(r["level_of"], r["k"]): r for r in speedups(strong, weak, **SETTINGS)}
    assert back["baseline", 1]["bound"] == "<="
    assert back["baseline", 1]["speedup"] == 0.25


def test_problems_without_any_difference_do_not_say_that_there_is_none() -> None:
    """160 of 160 equal: up to 1 - (.025)^(1/160) of the problems may differ, by all they can."""
    rng = np.random.default_rng(0)
    x = list(rng.random(160))
    found = difference(x, x, width=1.0, **SETTINGS)
    assert found is not None
    reach = 1 - 0.025 ** (1 / 160)
    assert (found["low"], found["high"]) == pytest.approx((-reach, reach))
    assert found["improvement_low"] < 0.5 < found["improvement_high"]
    one = run([[None] * 4] * 20, key="one")
    other = run([[None] * 4] * 20, key="other")
    for row in compare(one, other, **SETTINGS)["pass"]:
        assert row["low"] < 0.0 < row["high"]
    for row in compare(one, one, **SETTINGS)["pass"]:  # the same samples: nothing to doubt
        assert (row["low"], row["high"]) == (0.0, 0.0)


def test_no_interval_from_two_problems() -> None:
    result = compare(run([["a", None]] * 2, "k1"), run([["a", "b"]] * 2, "k2"), **SETTINGS)
    for row in (*result["pass"], *result["distinct"], *result["speedup"]):
        assert (row["low"], row["high"]) == (None, None)
