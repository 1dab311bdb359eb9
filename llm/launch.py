"""A run from its configuration file: found, checked, started on as many ranks as it asks for."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from diffsmooth import records
from diffsmooth.llm.configuration import find, load

if TYPE_CHECKING:
    from diffsmooth.llm.configuration import Training
    from diffsmooth.llm.train import Progress


class RanksFailedError(RuntimeError):
    """The ranks of a run ended with an error; ``status`` is the launcher's."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the ranks ended with status {status}")
        self.status = status


def train(
    config: str | PathLike[str], *, again: bool = False, progress: Progress | None = None
) -> Path:
    """Train as a YAML file (or a shipped configuration) says; returns the folder of the run.

    A run of several ranks is started through accelerate's launcher.  Raises FileNotFoundError or
    ConfigError that name file and key; RanksFailedError where the ranks fail.
    """
    path = find(os.fspath(config))
    training = load(path)
    return run(training, path, again=again, progress=progress)


def run(
    training: Training, path: Path, *, again: bool = False, progress: Progress | None = None
) -> Path:
    """Train what was read from ``path``; returns the folder of the run."""
    from diffsmooth.llm.train import fit, launched

    if launched(training) and int(os.environ.get("WORLD_SIZE") or 1) == 1:
        return _launch(training, path, again)
    return fit(training, again=again, progress=progress)


def _launch(training: Training, path: Path, again: bool) -> Path:
    from diffsmooth.llm.train import launch_command, prepare

    if again or not records.done(training.folder / "run.json"):
        prepare(training)  # what cannot be run is said here, in one line, and not by every rank
    command = launch_command(training, path, again)
    print(shlex.join(command), file=sys.stderr)
    with subprocess.Popen(command) as ranks:
        try:
            status = ranks.wait()
        except BaseException:
            ranks.terminate()  # not killed: the launcher ends its ranks first
            raise
    if status:
        raise RanksFailedError(status)
    return training.folder
