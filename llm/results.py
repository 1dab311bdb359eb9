"""Evaluations and comparisons as results that show themselves."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from diffsmooth.llm.evaluation import Evaluation
from diffsmooth.llm.samplers import Sampling
from diffsmooth.records import Table, read_json, read_table


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation, in ``folder``: its curve, its measures, its samples."""

    folder: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What summary.json says: curve, measures, numbers of problems and samples."""
        found: dict[str, Any] = read_json(self.folder / "summary.json")["summary"]
        return found

    @cached_property
    def table(self) -> Table:
        """pass@k and distinct correct answers in k, with intervals over problems."""
        return Table.of(self.summary["curve"])

    @cached_property
    def problems(self) -> Table:
        """A row a problem."""
        return Table(read_table(self.folder / "problems.parquet"))

    def __repr__(self) -> str:
        s = self.summary
        return (
            f"{s['problems']} problems, {s['samples']} samples each, {self.folder}\n{self.table!r}"
        )

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


@dataclass(frozen=True)
class Comparison:
    """Two evaluations, problem by problem: ``result`` as plain data, ``table`` to read."""

    result: dict[str, Any]

    @cached_property
    def table(self) -> Table:
        """A row a measure: both values, the paired difference and its interval."""
        rows = [{"measure": f"pass@{r['k']}", **r} for r in self.result["pass"]]
        rows += [{"measure": f"distinct in {r['k']}", **r} for r in self.result["distinct"]]
        rows += [{"measure": n, **r} for n, r in self.result["measures"].items() if r is not None]
        names = ("measure", "baseline", "new", "difference", "low", "high", "improvement")
        return Table.of([{name: row[name] for name in names} for row in rows])

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


def settings_of(model: str, settings: dict[str, Any]) -> Evaluation:
    """The evaluation with these settings, fields of ``Sampling`` among them.

    Raises ValueError, naming the nearest, on a setting that neither has.
    """
    sampling = {f.name for f in dataclasses.fields(Sampling)}
    own = {f.name for f in dataclasses.fields(Evaluation)} - {"model", "sampling"}
    given = dict(settings)
    base = given.pop("sampling", Sampling())
    for name in given:
        if name not in sampling | own:
            near = get_close_matches(name, sorted(sampling | own), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown setting {name!r}{hint}")
    drawn = {k: v for k, v in given.items() if k in sampling}
    rest = {k: v for k, v in given.items() if k in own}
    if "out" in rest:
        rest["out"] = Path(rest["out"])
    return Evaluation(model=str(model), sampling=dataclasses.replace(base, **drawn), **rest)


def evaluated(model: str, settings: dict[str, Any]) -> Evaluated:
    """Evaluate, or find the finished evaluation."""
    from diffsmooth.llm.evaluate import evaluate

    return Evaluated(Path(evaluate(settings_of(model, settings))))


def compared(
    baseline: str | PathLike[str] | Evaluated,
    new: str | PathLike[str] | Evaluated,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Comparison:
    """Compare two finished evaluations of the same problems."""
    from diffsmooth.llm.compare import compare, load_run

    folders = [
        Path(given.folder if isinstance(given, Evaluated) else given) for given in (baseline, new)
    ]
    a, b = map(load_run, folders)
    return Comparison(compare(a, b, resamples=resamples, confidence=confidence, seed=seed))
