"""``diffsmooth evaluate``: sample a model and measure it, or compare two evaluations.

Exit code 0 when the result is written, 2 on bad input or where the model cannot be reached.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from diffsmooth.llm.evaluation import Evaluation
from diffsmooth.llm.tasks._rows import left_out_lines

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Evaluate:
    """Sample a model on a task: pass@k for every k and diversity, with intervals over problems.

    Every sample is kept; a killed run goes on where it was when the same command is given.
    With --compare nothing is sampled: two finished evaluations are compared, problem by problem.
    """

    evaluation: Annotated[Evaluation, tyro.conf.OmitArgPrefixes] = field(default_factory=Evaluation)

    compare: tuple[Path, Path] | None = None
    """Folders of two evaluations of the same problems: the baseline, then the new one.
    A folder given as --out will do where it holds one evaluation."""


def run(config: Evaluate) -> int:
    """Evaluate or compare as configured and print the result; returns the exit code."""
    from rich.console import Console

    from diffsmooth.llm._sample_server import ServerError
    from diffsmooth.llm.tasks.own import JudgeError

    console = Console(highlight=False)
    console.width = max(console.width, 100)  # a narrower table would lose names and digits
    try:
        if config.compare is not None:
            _compare(config, config.compare, console)
        else:
            _evaluate(config.evaluation, console)
    except (ServerError, JudgeError, FileNotFoundError) as error:
        return _fail(str(error))
    except OSError as error:  # transformers says OSError for an unknown model
        return _fail(_where(config.evaluation) + str(error))
    return 0


def _fail(message: str) -> int:
    print(f"diffsmooth evaluate: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _where(config: Evaluation) -> str:
    """What a hub's message does not say: that the name is no folder here."""
    if config.backend == "server" or not config.model or Path(config.model).exists():
        return ""
    return f"no folder {config.model!r} here, and as a hub name: "


def _evaluate(config: Evaluation, console: Console) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from diffsmooth.llm.evaluate import evaluate
    from diffsmooth.records import read_json

    with Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        row = bar.add_task("loading", total=None)

        def advance(finished: int, total: int) -> None:
            bar.update(row, description="problems", completed=finished, total=total)

        folder = evaluate(config, progress=advance)
    _print_summary(read_json(folder / "summary.json")["summary"], console)
    print(f"results in {folder}")


def _compare(config: Evaluate, folders: tuple[Path, Path], console: Console) -> None:
    from diffsmooth.llm.compare import compare, load_run
    from diffsmooth.records import config_hash, sidecar, write_json

    settings = config.evaluation
    baseline, new = map(load_run, folders)
    how: dict[str, Any] = {
        "resamples": settings.resamples,
        "confidence": settings.confidence,
        "seed": settings.sampling.seed,
    }
    result = compare(baseline, new, **how)
    known = {"baseline": baseline.key, "new": new.key, **how}
    path = settings.out / f"compare-{config_hash(known)}.json"
    write_json(path, sidecar(known, settings.sampling.seed, comparison=result))
    _print_comparison(result, console)
    print(f"results in {path}")


def _table(*columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i == 0 else "right")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _print_summary(summary: dict[str, Any], console: Console) -> None:
    level = f"{summary['confidence']:.0%}"
    console.print(f"{summary['problems']} problems, {summary['samples']} samples each")
    for line in left_out_lines(summary.get("left_out", [])):
        console.print(line, markup=False, soft_wrap=True)
    table = _table("k", "pass@k", level, "distinct correct in k", level)
    for row in summary["curve"]:
        table.add_row(
            str(row["k"]),
            _number(row["pass"]),
            f"{_number(row['pass_low'])} to {_number(row['pass_high'])}",
            _number(row["distinct"]),
            f"{_number(row['distinct_low'])} to {_number(row['distinct_high'])}",
        )
    console.print(table)
    table = _table("measure", "mean", level, "problems")
    for name, found in summary["measures"].items():
        if found is not None:
            span = f"{_number(found['low'])} to {_number(found['high'])}"
            table.add_row(name, _number(found["mean"]), span, str(found["problems"]))
    console.print(table)


def _print_settings(settings: dict[str, dict[str, Any]], console: Console) -> None:
    """Each setting in which the runs differ, with both values: not the model's doing."""
    if not settings:
        return
    console.print("the runs differ in more than the model, so the differences below are of all:")
    from rich.text import Text

    table = _table("setting", "baseline", "new")
    for name, values in settings.items():
        table.add_row(*map(Text, (name, repr(values["baseline"]), repr(values["new"]))))
    console.print(table)


def _print_comparison(result: dict[str, Any], console: Console) -> None:
    level = f"{result['confidence']:.0%}"
    console.print(
        f"baseline {result['baseline']['model']} against new {result['new']['model']}, "
        f"{result['problems']} problems"
    )
    _print_settings(result["settings"], console)
    table = _table("", "baseline", "new", "difference", level, "P(new above)")
    rows = [(f"pass@{r['k']}", r) for r in result["pass"]]
    rows += [(f"distinct in {r['k']}", r) for r in result["distinct"]]
    rows += [(name, r) for name, r in result["measures"].items() if r is not None]
    for name, r in rows:
        span = f"{_number(r['low'])} to {_number(r['high'])}"
        values = (r["baseline"], r["new"], r["difference"])
        table.add_row(name, *map(_number, values), span, _number(r["improvement"]))
    console.print(table)
    table = _table("to reach", "level", "baseline needs", "new needs", "speed-up", level)
    for r in result["speedup"]:
        bound = "" if r["bound"] == "=" else r["bound"] + " "
        table.add_row(
            f"{r['level_of']} pass@{r['k']}",
            *map(_number, (r["level"], r["baseline_samples"], r["new_samples"])),
            bound + _number(r["speedup"]),
            f"{_number(r['low'])} to {_number(r['high'])}",
        )
    console.print(table)
