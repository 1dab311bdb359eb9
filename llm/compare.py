"""Two evaluations of the same problems: paired differences, and the speed-up at equal pass@k.

Intervals are those of :mod:`diffsmooth.sim.intervals`, as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsmooth.llm.measures import distinct_curve, pass_curve, resampled_means
from diffsmooth.llm.speedup import DECIMALS, speedups
from diffsmooth.llm.summary import ends, powers, samples_of
from diffsmooth.records import done, read_json, read_table
from diffsmooth.sim.intervals import LEAST, mean_interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

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
    width: float | None = None,
) -> dict[str, Any] | None:
    """Paired difference b - a over the problems where both are known; ``None`` where none is.

    width
        Most that one problem's difference can be, if there is a most.
    ``low``, ``high``
        Interval over problems, ``None`` from less than three, which say nothing about the spread.
        With ``width`` n problems without any difference have one too: they do not say that there
        is none anywhere.
    ``improvement``
        Probability that on a random problem b is above a, ties half; with its own interval.
    ``positive``
        Share of the means over problems drawn again (``resamples`` times) that are above 0.
    """
    import numpy as np

    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not pairs:
        return None
    x, y = np.array(pairs, dtype=np.float64).T
    # Rounded where the sign counts: a sum of differences that cancel is not 0 to the bit.
    shift = np.where(np.round(y - x, DECIMALS) == 0, 0.0, y - x)
    better = (np.sign(shift) + 1.0) / 2.0
    span: tuple[float, float] | None = None if width is None else (-width, width)
    known = len(pairs) >= LEAST
    apart = mean_interval(shift, confidence=confidence, bounds=span) if known else None
    drawn = resampled_means(shift[:, None], resamples, seed)
    above = mean_interval(better, confidence=confidence, bounds=(0.0, 1.0)) if known else None
    return {
        "baseline": float(x.mean()),
        "new": float(y.mean()),
        "difference": float((y - x).mean()),
        "low": apart.low if apart else None,
        "high": apart.high if apart else None,
        "improvement": float(better.mean()),
        "improvement_low": above.low if above else None,
        "improvement_high": above.high if above else None,
        "positive": float(np.mean(np.round(drawn, DECIMALS) > 0)),
        "problems": len(pairs),
    }


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
    (:func:`settings_that_differ`).  A run against itself differs by nothing, without doubt.
    Raises ``ValueError`` where the runs answer different problems.
    """
    import numpy as np

    rows_a, rows_b = paired(baseline, new)
    same = baseline == new
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

    def by_k(a: Array, b: Array, widths: Sequence[float]) -> list[dict[str, Any]]:
        columns = zip(ks, a.T, b.T, widths, strict=True)
        return [{"k": k, **(apart(list(x), list(y), most) or {})} for k, x, y, most in columns]

    def apart(
        a: Sequence[float | None], b: Sequence[float | None], width: float | None
    ) -> dict[str, Any] | None:
        return difference(a, b, width=None if same else width, **settings)

    def measure(name: str) -> dict[str, Any] | None:
        a, b = ([row[name] for row in rows] for rows in (rows_a, rows_b))
        known = [v for v in (*a, *b) if v is not None]
        limits = ends(name, known, max(baseline.samples, new.samples)) if known else None
        return apart(a, b, limits[1] - limits[0] if limits else None)

    return {
        "baseline": {"model": baseline.model, "hash": baseline.key, "samples": baseline.samples},
        "new": {"model": new.model, "hash": new.key, "samples": new.samples},
        "settings": settings_that_differ(baseline, new),
        "problems": len(rows_a),
        "confidence": confidence,
        "pass": by_k(solved(baseline, rows_a, ks), solved(new, rows_b, ks), [1.0] * len(ks)),
        "distinct": by_k(distinct(baseline, rows_a), distinct(new, rows_b), list(map(float, ks))),
        "measures": {name: measure(name) for name in COMPARED},
        "speedup": speedups(
            solved(baseline, rows_a, np.arange(1, baseline.samples + 1).tolist()),
            solved(new, rows_b, np.arange(1, new.samples + 1).tolist()),
            **settings,
        ),
    }
