"""Two evaluations of the same problems: paired differences, and the speed-up at equal pass@k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsmooth.llm.measures import distinct_curve, interval, pass_curve, resampled_means
from diffsmooth.llm.speedup import DECIMALS, speedups
from diffsmooth.llm.summary import powers, samples_of
from diffsmooth.records import done, read_json, read_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: Most problems for which BCa intervals are computed: their correction for skewness falls with
#: the root of the number of problems, their cost grows with its square.
MAX_BCA = 1000

#: Measures compared besides the curves.
COMPARED: tuple[str, ...] = (
    "distinct_correct",
    "entropy_correct",
    "self_similarity",
    "self_similarity_correct",
    "coverage",
    "tokens",
)


@dataclass(frozen=True)
class Run:
    """A finished evaluation: its key, its samples per problem and the rows of its problems.

    ``config`` is the evaluation's recorded identity (``evaluation.identity``).
    """

    key: str
    model: str
    samples: int
    problems: list[dict[str, Any]]
    config: dict[str, Any] = field(default_factory=dict)


def load_run(folder: Path) -> Run:
    """Read a folder written by :func:`diffsmooth.llm.evaluate.evaluate`, or one above it.

    Raises ``FileNotFoundError`` where it holds no finished evaluation and ``ValueError`` where it
    holds several, so that it is not clear which is meant.
    """
    folder = Path(folder)
    if not done(folder / "summary.json"):
        inside = sorted(p.parent for p in folder.glob("*/summary.json") if done(p))
        if not inside:
            raise FileNotFoundError(f"{folder} holds no finished evaluation (no summary.json)")
        if len(inside) > 1:
            names = ", ".join(p.name for p in inside)
            raise ValueError(f"{folder} holds several evaluations, name one: {names}")
        folder = inside[0]
    record = read_json(folder / "summary.json")
    rows = read_table(folder / "problems.parquet").to_pylist()
    config = record["config"]
    return Run(record["hash"], config["model"], samples_of(rows), rows, config)


#: Parts of an identity that may differ: what is compared, and how the problems were found, which
#: are compared themselves.
_COMPARED_ANYWAY = frozenset(
    {"type", "model", "adapter", "files.model", "files.adapter", "data", "limit", "split"}
    | {"problem_seed", "generator"}
)


def settings_that_differ(baseline: Run, new: Run) -> dict[str, dict[str, Any]]:
    """Settings of sampling and judging that differ: name -> the values of both runs.

    Everything in the runs' identities counts but the model, as nothing else should differ in a
    comparison of models.  ``problems`` is told where ids and prompts agree but not what answers
    are judged by.  A setting that a run did not record is ``None``.
    """
    a, b = _flat(baseline.config), _flat(new.config)
    names = [name for name in {**a, **b} if name not in _COMPARED_ANYWAY]
    return {
        name: {"baseline": a.get(name), "new": b.get(name)}
        for name in sorted(names)
        if a.get(name) != b.get(name)
    }


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The identity with the fields of ``sampling`` and ``files`` beside the others."""
    found = dict(config)
    sampling = found.pop("sampling", {})
    files = found.pop("files", {})
    found |= {name: value for name, value in sampling.items() if name != "type"}
    return found | {f"files.{name}": value for name, value in files.items()}


def paired(baseline: Run, new: Run) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The problems of both runs in one order.  Raises ``ValueError`` unless they are the same."""
    a = {row["problem"]: row for row in baseline.problems}
    b = {row["problem"]: row for row in new.problems}
    if a.keys() != b.keys() or any(a[i]["prompt"] != b[i]["prompt"] for i in a):
        raise ValueError(
            f"the runs answer different problems ({len(a)} and {len(b)}, "
            f"{len(a.keys() & b.keys())} in common); a paired comparison needs the same"
        )
    return [a[i] for i in a], [b[i] for i in a]


def difference(
    a: Sequence[float | None],
    b: Sequence[float | None],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any] | None:
    """Paired difference b - a over the problems where both are known; ``None`` where none is.

    ``low``/``high``: bootstrap over problems (``scipy.stats.bootstrap``, paired, BCa; percentile
    above :data:`MAX_BCA` problems and where BCa is not defined).  ``improvement``: probability
    that on a random problem b is above a, ties half; with its own interval.  ``positive``: share
    of the bootstrap means above 0.
    """
    import numpy as np

    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not pairs:
        return None
    x, y = np.array(pairs, dtype=np.float64).T
    # Rounded where the sign counts: a sum of differences that cancel is not 0 to the bit.
    better = (np.sign(np.round(y - x, DECIMALS)) + 1.0) / 2.0
    draws = resampled_means(np.stack([y - x, better], axis=1), resamples, seed)
    low: float | None
    high: float | None
    if x.size > MAX_BCA:
        low, high = map(float, interval(draws[:, 0], confidence))
    else:
        low, high = bca_interval(x, y, resamples=resamples, confidence=confidence, seed=seed)
    better_low, better_high = interval(draws[:, 1], confidence)
    return {
        "baseline": float(x.mean()),
        "new": float(y.mean()),
        "difference": float((y - x).mean()),
        "low": low,
        "high": high,
        "improvement": float(better.mean()),
        "improvement_low": float(better_low),
        "improvement_high": float(better_high),
        "positive": float(np.mean(np.round(draws[:, 0], DECIMALS) > 0)),
        "problems": len(pairs),
    }


def bca_interval(
    x: Array, y: Array, *, resamples: int, confidence: float, seed: int
) -> tuple[float | None, float | None]:
    """Bootstrap interval of mean(y - x), pairs drawn together; a point where all pairs agree.

    (None, None) for a single problem, which says nothing about the spread.
    """
    import numpy as np
    from scipy import stats

    shift = y - x
    if shift.size < 2:
        return None, None
    if np.ptp(shift) == 0.0:
        return float(shift[0]), float(shift[0])

    def mean_shift(first: Array, second: Array, axis: int) -> Array:
        return np.asarray(np.mean(second - first, axis=axis))

    for method in ("BCa", "percentile"):
        result = stats.bootstrap(
            (x, y),
            mean_shift,
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            batch=256,
            confidence_level=confidence,
            method=method,
            rng=np.random.Generator(np.random.Philox(seed)),
        )
        low, high = result.confidence_interval
        if np.isfinite(low) and np.isfinite(high):
            break
    return float(low), float(high)


def compare(
    baseline: Run,
    new: Run,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything the two runs say about each other, as plain values.

    ``pass`` and ``distinct`` hold a paired difference for each power of two k that both runs
    have; ``measures`` one for each of :data:`COMPARED`; ``speedup`` the rows of
    :func:`speedups`.  ``settings`` names what differs besides the models
    (:func:`settings_that_differ`).  Raises ``ValueError`` where the runs answer different problems.
    """
    import numpy as np

    rows_a, rows_b = paired(baseline, new)
    settings: dict[str, Any] = {
        "resamples": resamples,
        "confidence": confidence,
        "seed": seed,
    }
    ks = powers(min(baseline.samples, new.samples))

    def solved(run: Run, rows: Sequence[dict[str, Any]], at: Sequence[int]) -> Array:
        return pass_curve(run.samples, [row["correct"] for row in rows], at)

    def distinct(run: Run, rows: Sequence[dict[str, Any]]) -> Array:
        return distinct_curve(run.samples, [row["classes"] for row in rows], ks)

    def by_k(a: Array, b: Array) -> list[dict[str, Any]]:
        columns = zip(ks, a.T, b.T, strict=True)
        return [{"k": k, **(difference(list(x), list(y), **settings) or {})} for k, x, y in columns]

    return {
        "baseline": {"model": baseline.model, "hash": baseline.key, "samples": baseline.samples},
        "new": {"model": new.model, "hash": new.key, "samples": new.samples},
        "settings": settings_that_differ(baseline, new),
        "problems": len(rows_a),
        "confidence": confidence,
        "pass": by_k(solved(baseline, rows_a, ks), solved(new, rows_b, ks)),
        "distinct": by_k(distinct(baseline, rows_a), distinct(new, rows_b)),
        "measures": {
            name: difference([r[name] for r in rows_a], [r[name] for r in rows_b], **settings)
            for name in COMPARED
        },
        "speedup": speedups(
            solved(baseline, rows_a, np.arange(1, baseline.samples + 1).tolist()),
            solved(new, rows_b, np.arange(1, new.samples + 1).tolist()),
            **settings,
        ),
    }
