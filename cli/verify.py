"""``diffsmooth verify``: check the theory.

Exit code 0 iff every selected statement holds by all its methods and every mutant is refuted, 1
otherwise, 2 on bad input.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from diffsmooth.theory.verify.run import Run, StatementResult
    from diffsmooth.theory.verify.shown import Report


@dataclass(frozen=True)
class Verify:
    """Check the statements of the theory, each by several methods, and refute their mutants.

    Exit code 0 iff everything selected holds.
    """

    ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """Statements such as A2, families such as B7, or letters; all of them if none is given."""

    list: bool = False
    """Print the catalogue of the selected statements (Markdown) and run nothing."""

    deep: bool = False
    """Larger budgets and the slow methods (minutes)."""

    json: Path | None = None
    """Write the verdicts to this file."""

    html: Path | None = None
    """Write a page that reads like a short paper to this file."""

    jobs: int = 2
    """Worker processes."""

    seed: int = 0
    """Seed of the random and adversarial methods."""


def run(config: Verify) -> int:
    """Verify as configured and print a table; returns the exit code."""
    if config.list:
        return _list(config)
    problem = _problem(config)
    if problem is not None:
        return _bad_input(problem)
    from rich.console import Console

    from diffsmooth.theory.verify import run as runner
    from diffsmooth.theory.verify.run import UnknownStatementError

    console = Console()
    try:
        # Before a bar is drawn: what is wrong is one line.
        named = [word for word in config.ids if not word.endswith(".py")]
        runner.select(list(runner.discover()), named)
        found = _with_progress(console, config)
    except UnknownStatementError as error:
        return _bad_input(str(error))
    result = found.run
    _print(console, result)
    written = []
    from diffsmooth.theory.verify import report

    if config.json is not None:
        text = json.dumps(report.to_json(result), indent=1, ensure_ascii=False, allow_nan=False)
        config.json.write_text(text + "\n", encoding="utf-8")
        written.append(str(config.json))
    if config.html is not None:
        found.save(config.html)
        written.append(str(config.html))
    held = sum(s.green for s in result.statements)
    where = f"results in {' and '.join(written)}" if written else "keep them by --json or --html"
    print(f"{held} of {len(result.statements)} hold, {result.seconds:.1f} s; {where}")
    return 0 if result.green else 1


def _list(config: Verify) -> int:
    from diffsmooth.theory.verify import catalogue
    from diffsmooth.theory.verify.run import UnknownStatementError

    try:
        print(catalogue.markdown(catalogue.statements(config.ids)), end="")
    except UnknownStatementError as error:
        return _bad_input(str(error))
    return 0


def _problem(config: Verify) -> str | None:
    if config.jobs < 1:
        return f"--jobs is {config.jobs}; must be at least 1"
    if config.seed < 0:
        return f"--seed is {config.seed}; must be at least 0"
    missing = [name for name in ("hypothesis", "flint", "z3") if find_spec(name) is None]
    if missing:
        return f"missing: {', '.join(missing)}; pip install 'diffsmooth[verify]'"
    for option, path in (("--json", config.json), ("--html", config.html)):
        if path is not None and not path.absolute().parent.is_dir():
            return f"{option}: there is no folder {path.parent}"
        if path is not None and path.is_dir():
            return f"{option}: {path} is a folder; give a file"
    return None


def _bad_input(line: str) -> int:
    print(f"diffsmooth verify: {line}", file=sys.stderr)
    return 2


def _with_progress(console: Console, config: Verify) -> Report:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from diffsmooth.theory.verify.shown import check

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        row = bar.add_task("checking", total=None)

        def advance(identity: str, done: int, total: int) -> None:
            bar.update(row, description=f"checked {identity}", completed=done, total=total)

        return check(
            config.ids,
            deep=config.deep,
            seed=config.seed,
            jobs=config.jobs,
            shrink_mutants=config.deep or config.html is not None,
            progress=advance,
        )


def _print(console: Console, result: Run) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("id", "statement", "", "methods", "mutants", "s"):
        table.add_column(name, justify="right" if name == "s" else "left")
    for s in result.statements:
        table.add_row(
            s.id,
            Text(s.statement.title),
            Text("holds", "green") if s.green else Text("FAILS", "bold red"),
            Text(", ".join(f"{m.name} {'error' if m.error else m.verdict}" for m in s.methods)),
            f"{sum(m.refuted for m in s.mutants)}/{len(s.mutants)}",
            f"{s.seconds:.1f}",
        )
    console.print(table)
    for s in result.statements:
        for line in red_lines(s):
            console.print(Text(line, "red"), soft_wrap=True)


def red_lines(result: StatementResult) -> list[str]:
    """Why a statement fails, a line a part, with the counterexample where there is one."""
    lines = [
        f"{result.id} {m.name}{f' [{m.domain}]' if m.domain else ''}: "
        f"{'error' if m.error else m.verdict}: {m.detail}"
        + (f"; counterexample: {m.counterexample}" if m.counterexample else "")
        for m in result.methods
        if not m.green
    ]
    lines += [
        f"{result.id} mutant {m.name!r} is not refuted: {m.detail}"
        for m in result.mutants
        if not m.green
    ]
    if not lines and not result.green:
        lines.append(f"{result.id}: every method is undecided")
    return lines
