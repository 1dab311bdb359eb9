"""From the measures of each problem to means with intervals over problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diffsmooth.llm.measures import distinct_curve, pass_curve
from diffsmooth.sim.intervals import LEAST, mean_interval, mean_intervals

if TYPE_CHECKING:
    import pyarrow as pa

#: Columns of a problem that are averaged; a problem where one is null is left out of that mean.
MEASURES: tuple[str, ...] = (
    "score",
    "distinct_correct",
    "entropy_correct",
    "distinct_texts",
    "self_similarity",
    "self_similarity_correct",
    "multiplicity",
    "coverage",
    "tokens",
    "finished",
)
#: Those that lie in [0, 1].
SHARES = frozenset({"self_similarity", "self_similarity_correct", "coverage", "finished"})


def ends(name: str, values: Sequence[float], samples: int) -> tuple[float, float] | None:
    """What a problem's measure can be, for its interval; ``None`` where there is no limit.

    A score is a share where all of them are; numbers of distinct answers end at the samples.
    ``values`` beyond the limits (a task that says less multiplicity than was found) lift them.
    """
    if name.startswith("distinct_"):
        return 0.0, float(samples)
    if name in SHARES or (name == "score" and min(values) >= 0.0 and max(values) <= 1.0):
        return 0.0, max(1.0, *values)
    return None


def powers(samples: int) -> list[int]:
    """1, 2, 4, ... below ``samples``, and ``samples`` itself."""
    ks = [1 << i for i in range(samples.bit_length()) if 1 << i < samples]
    return [*ks, samples]


def samples_of(problems: Sequence[dict[str, Any]]) -> int:
    """The common number of samples; ``ValueError`` where problems differ or there are none."""
    counts = {row["samples"] for row in problems}
    if len(counts) != 1:
        raise ValueError(f"problems have {sorted(counts)} samples; one common number is needed")
    return int(counts.pop())


def curve_table(problems: Sequence[dict[str, Any]], *, confidence: float) -> pa.Table:
    """pass@k and distinct correct answers in k draws for every k from 1 to n, with intervals.

    Columns ``k``, ``pass``, ``pass_low``, ``pass_high``, ``distinct``, ``distinct_low``,
    ``distinct_high``; intervals over problems inside [0, 1] and [0, k], see
    :func:`diffsmooth.sim.intervals.mean_intervals`.  They are null for less than three problems,
    which say nothing about the spread.
    """
    import numpy as np
    import pyarrow as pa

    n = samples_of(problems)
    ks = range(1, n + 1)
    solved = pass_curve(n, [row["correct"] for row in problems], ks)
    distinct = distinct_curve(n, [row["classes"] for row in problems], ks)
    # Answers in k draws as shares of k, so that one pair of bounds serves every k.
    shares = np.stack([solved.T, np.minimum(distinct.T / np.arange(1, n + 1)[:, None], 1.0)])
    unknown = len(problems) < LEAST
    low, high = (
        (np.zeros((2, n)), np.zeros((2, n)))
        if unknown
        else mean_intervals(shares, confidence=confidence, bounds=(0.0, 1.0))
    )
    mask = np.full(n, unknown)
    return pa.table(
        {
            "k": pa.array(ks, pa.int32()),
            "pass": solved.mean(axis=0),
            "pass_low": pa.array(low[0], mask=mask),
            "pass_high": pa.array(high[0], mask=mask),
            "distinct": distinct.mean(axis=0),
            "distinct_low": pa.array(low[1] * np.arange(1, n + 1), mask=mask),
            "distinct_high": pa.array(high[1] * np.arange(1, n + 1), mask=mask),
        }
    )


def means_with_intervals(
    columns: Mapping[str, Sequence[float | None]], samples: int, *, confidence: float
) -> dict[str, dict[str, Any] | None]:
    """Of each column the mean over the problems where it is known, its interval, and their number.

    ``None`` for a column that is nowhere known; ``low`` and ``high`` are ``None`` where less than
    three problems are known, which say nothing about the spread.
    """
    found: dict[str, dict[str, Any] | None] = {}
    for name, column in columns.items():
        known = [float(v) for v in column if v is not None]
        found[name] = None
        if known:
            low: float | None = None
            high: float | None = None
            if len(known) >= LEAST:
                inside = ends(name, known, samples)
                made = mean_interval(known, confidence=confidence, bounds=inside)
                low, high = made.low, made.high
            mean = sum(known) / len(known)
            found[name] = {"mean": mean, "low": low, "high": high, "problems": len(known)}
    return found


def summarise(
    problems: Sequence[dict[str, Any]], curve: pa.Table, *, confidence: float
) -> dict[str, Any]:
    """What a reader wants first: the curve at powers of two and every measure with its interval."""
    n = samples_of(problems)
    wanted = set(powers(n))
    return {
        "problems": len(problems),
        "samples": n,
        "confidence": confidence,
        "curve": [row for row in curve.to_pylist() if row["k"] in wanted],
        "measures": means_with_intervals(
            {name: [row[name] for row in problems] for name in MEASURES}, n, confidence=confidence
        ),
    }
