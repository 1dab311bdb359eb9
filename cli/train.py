"""``diffsmooth train``: fine-tune a language model from a strict configuration file.

Exit code 0 when the run is done (or the dry run is sound), 2 on bad input.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from diffsmooth.llm.configuration import Training


@dataclass(frozen=True)
class Train:
    """Train with any rule, through TRL; a killed run goes on where it was.

    Shipped configurations are named by their path in configs/, e.g. small/centred.
    """

    config: tyro.conf.Positional[str]
    """YAML file, or the name of a shipped configuration."""

    dry_run: bool = False
    """Check and resolve everything, count tokens, estimate memory; offline, no training."""

    again: bool = False
    """Run even if the results exist."""


def run(config: Train) -> int:
    """Train as configured; returns the exit code.

    Raises ``ValueError`` (one line, naming file and key) on a configuration that cannot be used.
    """
    from diffsmooth.llm.configuration import find, load

    path = find(config.config)
    training = load(path)
    if config.dry_run:
        return _dry_run(training, path)
    return _train(training, path, config.again)


def _dry_run(training: Training, path: Path) -> int:
    import yaml

    from diffsmooth import records
    from diffsmooth.llm._plan import lines, plan

    found = lines(training, plan(training, path))
    print(yaml.safe_dump(_plain(records.canonical(training)), sort_keys=False).rstrip())
    print("---")
    for name, text in found:
        print(f"{name}: {text}")
    return 0


def _plain(value: object) -> object:
    """Without the type names that the hash needs and a reader does not."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k != "type"}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _train(training: Training, path: Path, again: bool) -> int:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from diffsmooth.llm.launch import RanksFailedError, run
    from diffsmooth.llm.tasks._rows import left_out_lines
    from diffsmooth.records import read_json

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
    row = bar.add_task("loading", total=None)

    def report(what: str, step: int, of: int | None) -> None:
        bar.start()  # once there is something to show: what is refused before takes one line
        bar.update(row, description=what, completed=step, total=of)

    try:
        folder = run(training, path, again=again, progress=report)
    except RanksFailedError as error:
        return error.status
    finally:
        if bar.live.is_started:
            bar.stop()
    if int(os.environ.get("RANK") or 0) == 0:  # once, not by every rank
        for line in left_out_lines(read_json(folder / "run.json").get("left_out", [])):
            print(line)
        print(f"results in {folder}")
    return 0
