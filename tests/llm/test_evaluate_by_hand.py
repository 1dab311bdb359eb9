"""A tiny evaluation, from texts to the printed comparison, against exact enumeration.

Four problems with four samples each: every subset of the samples, and each of the 4^4 equally
likely draws of the problems, can be gone through.  Fractions and loops, none of the package's
arithmetic.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
import pytest

from diffsmooth.llm.compare import Run, compare, difference, load_run
from diffsmooth.llm.evaluate import evaluate
from diffsmooth.llm.evaluation import Evaluation
from diffsmooth.llm.measures import resampled_means
from diffsmooth.llm.samplers import Completion, Sampling
from diffsmooth.llm.tasks.base import Problem
from diffsmooth.llm.tasks.own import OwnTask
from diffsmooth.records import read_json, read_table

#: The samples of each problem: a capital is right and names its class, anything else is wrong.
BASELINE = ("AAA-", "----", "BB--", "AAAA")
NEW = ("AB--", "C---", "BBCD", "A-B-")
N, RESAMPLES = 4, 20_000
#: Five standard deviations of a share of about .025 (and of its estimate of bias) in 20,000 draws.
SHARE = 0.006
KS = (1, 2, 4)

Curve = list[Fraction]


class Fixed:
    """Draws the texts it was given."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts

    def sample(
        self, problems: Sequence[Problem[Any]], sampling: Sampling
    ) -> list[list[Completion]]:
        return [[Completion(t, 1, "stop") for t in self.texts[int(p.id)]] for p in problems]


def judge(row: Any, text: str) -> tuple[float, str | None]:
    return (1.0, text) if text.isupper() else (0.0, None)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("by-hand")
    task = OwnTask("hand", [{"id": str(i), "prompt": f"p{i}"} for i in range(4)], judge)
    return [
        evaluate(
            Evaluation(model=name, shard=3, resamples=RESAMPLES, out=out, sampling=Sampling(N)),
            task=task,
            sampler=Fixed(texts),
        )
        for name, texts in (("baseline", BASELINE), ("new", NEW))
    ]


@pytest.fixture(scope="module")
def comparison(folders: list[Path]) -> dict[str, Any]:
    return compare(*map(load_run, folders), resamples=RESAMPLES)


def mean(values: Iterable[Fraction | int]) -> Fraction:
    listed = list(values)
    return sum(listed, Fraction(0)) / len(listed)


def solved(texts: str) -> Curve:
    """pass@k as the share of the subsets of k samples that hold a right one."""
    return [
        mean(int(any(t.isupper() for t in some)) for some in itertools.combinations(texts, k))
        for k in range(1, N + 1)
    ]


def distinct(texts: str) -> Curve:
    return [
        mean(len({t for t in some if t.isupper()}) for some in itertools.combinations(texts, k))
        for k in range(1, N + 1)
    ]


def average(curves: Sequence[Curve]) -> Curve:
    return [mean(values) for values in zip(*curves, strict=True)]


DRAWS = list(itertools.product(range(4), repeat=4))


#: Student's quantile .975 with 3 degrees of freedom, from a table.
T3 = 3.182446305284263


def bounded(values: Sequence[Fraction], low: int, high: int) -> tuple[float, float]:
    """Interval of the mean of four values that lie between ``low`` and ``high``.

    Wilson's for the mean's share of the way, as if from so many trials that a share has the
    variance seen; where all four agree, what Clopper and Pearson say of the share that differs.
    """
    x = [(float(v) - low) / (high - low) for v in values]
    share = sum(x) / 4
    if len(set(values)) == 1:
        differs = 1 - 0.025**0.25
        ends = (share - differs * share, share + differs * (1 - share))
    else:
        trials = share * (1 - share) / (stdev(x) ** 2 / 4)
        centre = share + T3**2 / (2 * trials)
        half = T3 * math.sqrt(share * (1 - share) / trials + (T3 / (2 * trials)) ** 2)
        ends = tuple((centre + sign * half) / (1 + T3**2 / trials) for sign in (-1, 1))
    return low + (high - low) * ends[0], low + (high - low) * ends[1]


def assert_quantile(value: float, exact: Sequence[Fraction], share: float) -> None:
    """``value`` is a ``share``-quantile of the equally likely ``exact`` values, up to SHARE."""
    below = sum(float(x) < value - 1e-9 for x in exact) / len(exact)
    up_to = sum(float(x) <= value + 1e-9 for x in exact) / len(exact)
    assert below - SHARE <= share <= up_to + SHARE, (value, below, up_to)


def assert_interval(low: float, high: float, exact: Sequence[Fraction]) -> None:
    """The expanded levels of four units: Phi(-t sqrt(4/3))."""
    level = 0.5 * math.erfc(T3 * math.sqrt(4 / 3) / math.sqrt(2))
    assert_quantile(low, exact, level)
    assert_quantile(high, exact, 1 - level)


@pytest.mark.parametrize("which", [0, 1])
def test_curves_and_their_intervals(folders: list[Path], which: int) -> None:
    texts = (BASELINE, NEW)[which]
    rows = read_table(folders[which] / "curve.parquet").to_pylist()
    assert [r["k"] for r in rows] == [1, 2, 3, 4]
    for name, curve in (("pass", solved), ("distinct", distinct)):
        curves = [curve(t) for t in texts]
        for k, row in enumerate(rows):
            assert row[name] == pytest.approx(float(average(curves)[k]), abs=1e-12)
            most = 1 if name == "pass" else k + 1
            found = (row[f"{name}_low"], row[f"{name}_high"])
            assert found == pytest.approx(bounded([c[k] for c in curves], 0, most), abs=1e-12)
    curve = read_json(folders[which] / "summary.json")["summary"]["curve"]
    assert curve == [row for row in rows if row["k"] in KS]


def test_bootstrap_draws_follow_the_exact_law() -> None:
    """Each mean comes up as often as among the 27 equally likely draws of three problems."""
    values = [0, 1, 5]
    exact = [sum(draw) for draw in itertools.product(values, repeat=3)]
    found = np.rint(3 * resampled_means(np.array(values, float)[:, None], RESAMPLES, 7)[:, 0])
    assert set(found.tolist()) == set(exact)
    for total in set(exact):
        p = exact.count(total) / 27
        deviation = math.sqrt(p * (1 - p) / RESAMPLES)
        assert abs(float(np.mean(found == total)) - p) < 5 * deviation, total


@pytest.mark.parametrize("name", ["pass", "distinct"])
def test_paired_differences_and_probability_of_improvement(
    comparison: dict[str, Any], name: str
) -> None:
    curve = {"pass": solved, "distinct": distinct}[name]
    old, new = [curve(t) for t in BASELINE], [curve(t) for t in NEW]
    assert [row["k"] for row in comparison[name]] == list(KS)
    for row in comparison[name]:
        k = row["k"] - 1
        shifts = [n[k] - o[k] for o, n in zip(old, new, strict=True)]
        better = [Fraction(int(s > 0)) if s else Fraction(1, 2) for s in shifts]
        assert row["problems"] == 4
        assert row["baseline"] == pytest.approx(float(mean(o[k] for o in old)), abs=1e-12)
        assert row["new"] == pytest.approx(float(mean(n[k] for n in new)), abs=1e-12)
        assert row["difference"] == pytest.approx(float(mean(shifts)), abs=1e-12)
        assert row["improvement"] == float(mean(better))
        found = (row["improvement_low"], row["improvement_high"])
        assert found == pytest.approx(bounded(better, 0, 1), abs=1e-12)
        drawn = [mean(shifts[i] for i in draw) for draw in DRAWS]
        share = sum(x > 0 for x in drawn) / len(drawn)
        assert abs(row["positive"] - share) < 5 * math.sqrt(0.25 / RESAMPLES)
        most = 1 if name == "pass" else k + 1
        assert (row["low"], row["high"]) == pytest.approx(bounded(shifts, -most, most), abs=1e-12)


def test_measures_beside_the_curves(comparison: dict[str, Any]) -> None:
    counts = [[len({t for t in texts if t.isupper()}) for texts in run] for run in (BASELINE, NEW)]
    found = comparison["measures"]["distinct_correct"]
    assert found["baseline"] == sum(counts[0]) / 4
    assert found["new"] == sum(counts[1]) / 4
    # Entropy is known only where something is right: problem 1 of the baseline has nothing.
    entropies = [
        [
            -sum(p * math.log(p) for p in (t.count(c) / len(t) for c in set(t)))
            for t in ("".join(filter(str.isupper, run[i])) for i in (0, 2, 3))
        ]
        for run in (BASELINE, NEW)
    ]
    found = comparison["measures"]["entropy_correct"]
    assert found["problems"] == 3
    assert found["baseline"] == pytest.approx(sum(entropies[0]) / 3, abs=1e-12)
    assert found["new"] == pytest.approx(sum(entropies[1]) / 3, abs=1e-12)


def reached(curve: Curve, level: Fraction) -> Fraction | None:
    """Samples at which the curve, drawn with straight lines, first reaches the level."""
    for i, value in enumerate(curve):
        if value >= level:
            if i == 0:
                return Fraction(1)
            return i + (level - curve[i - 1]) / (value - curve[i - 1])
    return None


def speedup(
    first: Sequence[str], second: Sequence[str], k: int, owner: str, draw: Sequence[int]
) -> tuple[Fraction, str, Fraction]:
    """(samples of the baseline over those of the new run, =/>=/<=, level)."""
    curves = {
        "baseline": average([solved(first[i]) for i in draw]),
        "new": average([solved(second[i]) for i in draw]),
    }
    level = curves[owner][k - 1]
    needs = {name: reached(curve, level) for name, curve in curves.items()}
    bound = "="
    if needs["new"] is None:
        bound = "<="
    if needs["baseline"] is None:
        bound = ">="
    return Fraction(needs["baseline"] or N) / Fraction(needs["new"] or N), bound, level


@pytest.mark.parametrize(
    ("order", "bounds"), [((0, 1), {"=", ">="}), ((1, 0), {"=", "<="})], ids=["forth", "back"]
)
def test_speed_up_at_equal_pass(
    folders: list[Path], order: tuple[int, int], bounds: set[str]
) -> None:
    first, second = ((BASELINE, NEW)[i] for i in order)
    result = compare(*(load_run(folders[i]) for i in order), resamples=RESAMPLES)
    rows = {(row["level_of"], row["k"]): row for row in result["speedup"]}
    assert set(rows) == {(owner, k) for owner in ("baseline", "new") for k in KS}
    assert {row["bound"] for row in rows.values()} == bounds
    for (owner, k), row in rows.items():
        ratio, bound, level = speedup(first, second, k, owner, range(4))
        assert row["speedup"] == pytest.approx(float(ratio), abs=1e-9), (owner, k)
        assert row["bound"] == bound
        assert row["level"] == pytest.approx(float(level), abs=1e-12)
        exact = [speedup(first, second, k, owner, draw)[0] for draw in DRAWS]
        assert_interval(row["low"], row["high"], exact)


def test_an_unbounded_difference_has_students_interval() -> None:
    shifts = [0.0, 0.013, -0.021, 0.9]
    settings = {"resamples": 50, "confidence": 0.95, "seed": 0}
    found = difference([0.0] * 4, shifts, **settings)  # type: ignore[arg-type]
    assert found is not None
    reach = T3 * stdev(shifts) / 2
    middle = sum(shifts) / 4
    assert (found["low"], found["high"]) == pytest.approx((middle - reach, middle + reach))


# -- mutants: what the checks above must notice ----------------------------------------------------


def biased(texts: str) -> Curve:
    """The plug-in 1 - (1 - c/n)^k, which is biased."""
    miss = Fraction(sum(not t.isupper() for t in texts), N)
    return [1 - miss**k for k in range(1, N + 1)]


def test_the_plug_in_estimate_of_pass_at_k_is_another_number(folders: list[Path]) -> None:
    run: Run = load_run(folders[0])
    assert run.samples == N
    row = read_table(folders[0] / "curve.parquet").to_pylist()[1]
    plug_in = average([biased(t) for t in BASELINE])[1]
    assert abs(row["pass"] - float(plug_in)) > 0.02


@pytest.mark.parametrize("shift", [-0.1, 0.1])
def test_a_moved_interval_is_noticed(folders: list[Path], shift: float) -> None:
    row = read_table(folders[0] / "curve.parquet").to_pylist()[0]
    exact = [mean(solved(BASELINE[i])[0] for i in draw) for draw in DRAWS]
    check: Callable[[], None] = partial(
        assert_interval, row["pass_low"] + shift, row["pass_high"] + shift, exact
    )
    with pytest.raises(AssertionError):
        check()
