"""``diffsmooth train``: fine-tune a language model from a strict configuration file.

Exit code 0 when the run is done (or the dry run is sound), 2 on bad input.
"""

from __future__ import annotations

import os
import sys
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
    from diffsmooth.llm.configuration import load

    path = find(config.config)
    training = load(path)
    if config.dry_run:
        return _dry_run(training, path)
    if training.hardware.processes > 1 and "WORLD_SIZE" not in os.environ:
        return _launch(training, path)
    return _train(training, config.again)


def find(name: str) -> Path:
    """The file called ``name``, else the shipped configuration of that name.

    Raises ``FileNotFoundError`` that names the nearest shipped one, then all.
    """
    from difflib import get_close_matches
    from importlib.resources import files

    shipped = Path(str(files("diffsmooth.configs")))
    for path in (Path(name), shipped / name, shipped / f"{name}.yaml"):
        if path.is_file():
            return path
    known = sorted(
        str(p.relative_to(shipped).with_suffix(""))
        for p in shipped.rglob("*.yaml")
        if p.parent.name != "accelerate"
    )
    asked = name.removesuffix(".yaml").removesuffix(".yml")
    near = get_close_matches(asked, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise FileNotFoundError(f"no configuration {name!r}; {hint}shipped: {', '.join(known)}")


def _dry_run(training: Training, path: Path) -> int:
    import yaml

    from diffsmooth import records
    from diffsmooth.llm.engines._plan import lines, plan

    print(yaml.safe_dump(_plain(records.canonical(training)), sort_keys=False).rstrip())
    print("---")
    for name, text in lines(training, plan(training, path)):
        print(f"{name}: {text}")
    return 0


def _plain(value: object) -> object:
    """Without the type names that the hash needs and a reader does not."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k != "type"}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _launch(training: Training, path: Path) -> int:
    import shlex
    import subprocess

    from diffsmooth.llm.train import launch_command

    command = launch_command(training, path)
    print(shlex.join(command), file=sys.stderr)
    return subprocess.run(command, check=False).returncode


def _train(training: Training, again: bool) -> int:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from diffsmooth.llm.tasks._rows import left_out_lines
    from diffsmooth.llm.train import fit
    from diffsmooth.records import read_json

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        row = bar.add_task("loading", total=None)

        def report(what: str, step: int, of: int | None) -> None:
            bar.update(row, description=what, completed=step, total=of)

        folder = fit(training, again=again, progress=report)
    for line in left_out_lines(read_json(folder / "run.json").get("left_out", [])):
        print(line)
    print(f"results in {folder}")
    return 0
