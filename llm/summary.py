"""From the measures of each problem to means with intervals over problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diffsmooth.llm.measures import (
    distinct_curve,
    interval,
    pass_curve,
    resampled_means,
)

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


def curve_table(
    problems: Sequence[dict[str, Any]], *, resamples: int, confidence: float, seed: int
) -> pa.Table:
    """pass@k and distinct correct answers in k draws for every k from 1 to n, with intervals.

    Columns ``k``, ``pass``, ``pass_low``, ``pass_high``, ``distinct``, ``distinct_low``,
    ``distinct_high``; percentile bootstrap over problems, one draw for the whole curve.
    """
    import numpy as np
    import pyarrow as pa

    n = samples_of(problems)
    ks = range(1, n + 1)
    solved = pass_curve(n, [row["correct"] for row in problems], ks)
    distinct = distinct_curve(n, [row["classes"] for row in problems], ks)
    draws = resampled_means(np.concatenate([solved, distinct], axis=1), resamples, seed)
    low, high = interval(draws, confidence)
    return pa.table(
        {
            "k": pa.array(ks, pa.int32()),
            "pass": solved.mean(axis=0),
            "pass_low": low[:n],
            "pass_high": high[:n],
            "distinct": distinct.mean(axis=0),
            "distinct_low": low[n:],
            "distinct_high": high[n:],
        }
    )


def mean_with_interval(
    values: Sequence[float | None], *, resamples: int, confidence: float, seed: int
) -> dict[str, Any] | None:
    """Mean over the problems where the value is known, its interval, and how many those are."""
    import numpy as np

    known = np.array([v for v in values if v is not None], dtype=np.float64)
    if not known.size:
        return None
    low, high = interval(resampled_means(known[:, None], resamples, seed), confidence)
    return {
        "mean": float(known.mean()),
        "low": float(low[0]),
        "high": float(high[0]),
        "problems": int(known.size),
    }


def summarise(
    problems: Sequence[dict[str, Any]],
    curve: pa.Table,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """What a reader wants first: the curve at powers of two and every measure with its interval."""
    n = samples_of(problems)
    wanted = set(powers(n))
    return {
        "problems": len(problems),
        "samples": n,
        "confidence": confidence,
        "curve": [row for row in curve.to_pylist() if row["k"] in wanted],
        "measures": {
            name: mean_with_interval(
                [row[name] for row in problems],
                resamples=resamples,
                confidence=confidence,
                seed=seed,
            )
            for name in MEASURES
        },
    }
