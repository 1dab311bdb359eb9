"""From the measures of each problem to means with intervals over problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    ``distinct_high``; percentile bootstrap over problems, one draw for the whole curve.  The
    intervals of a single problem are null: it says nothing about the spread.
    """
    import numpy as np
    import pyarrow as pa

    n = samples_of(problems)
    ks = range(1, n + 1)
    solved = pass_curve(n, [row["correct"] for row in problems], ks)
    distinct = distinct_curve(n, [row["classes"] for row in problems], ks)
    draws = resampled_means(np.concatenate([solved, distinct], axis=1), resamples, seed)
    low, high = interval(draws, confidence)
    unknown = np.full(n, len(problems) < 2)
    return pa.table(
        {
            "k": pa.array(ks, pa.int32()),
            "pass": solved.mean(axis=0),
            "pass_low": pa.array(low[:n], mask=unknown),
            "pass_high": pa.array(high[:n], mask=unknown),
            "distinct": distinct.mean(axis=0),
            "distinct_low": pa.array(low[n:], mask=unknown),
            "distinct_high": pa.array(high[n:], mask=unknown),
        }
    )


def means_with_intervals(
    columns: Mapping[str, Sequence[float | None]], *, resamples: int, confidence: float, seed: int
) -> dict[str, dict[str, Any] | None]:
    """Of each column the mean over the problems where it is known, its interval, and their number.

    ``None`` for a column that is nowhere known; ``low`` and ``high`` are ``None`` where a single
    problem is known, which says nothing about the spread.
    """
    import numpy as np

    found: dict[str, dict[str, Any] | None] = dict.fromkeys(columns)
    together: dict[bytes, list[str]] = {}  # columns known on the same problems share their draws
    values = {name: np.array(column, dtype=np.float64) for name, column in columns.items()}
    for name, column in values.items():
        together.setdefault(np.isnan(column).tobytes(), []).append(name)
    for names in together.values():
        known = np.stack([values[name] for name in names], axis=1)
        known = known[~np.isnan(known[:, 0])]
        if not known.size:
            continue
        low, high = interval(resampled_means(known, resamples, seed), confidence)
        several = known.shape[0] > 1
        for i, name in enumerate(names):
            found[name] = {
                "mean": float(known[:, i].mean()),
                "low": float(low[i]) if several else None,
                "high": float(high[i]) if several else None,
                "problems": int(known.shape[0]),
            }
    return found


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
        "measures": means_with_intervals(
            {name: [row[name] for row in problems] for name in MEASURES},
            resamples=resamples,
            confidence=confidence,
            seed=seed,
        ),
    }
