"""``make test-trl-suite``: TRL's GRPO tests, once plain and once smoothed with strength 0.

    python -m tests.llm.trl_suite.run [FOLDER]

FOLDER holds ``test_grpo_trainer.py`` (the folder ``tests`` of a checkout of TRL); without it the
environment variable ``TRL_TESTS`` and the copy beside the installed package are tried.  TRL's
wheels and source archives carry no tests: then the run is skipped, with the reason.

Tests that fail for the plain trainer as well (no GPU, no network, another version's interface) are
no difference; one whose outcome differs is, and the exit code is then 1.  The suite is run from a
copy, without the hub; random stand-ins take the place of its tiny text models (``models.py``).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

SUITE = "test_grpo_trainer.py"
HERE = Path(__file__).parent

#: nodeid -> (outcome, what was said).
Outcomes = Mapping[str, Sequence[str]]


def find_suite(asked: str | None) -> Path | str:
    """The folder of TRL's tests, or the reason why there is none."""
    given = asked or os.environ.get("TRL_TESTS")
    if given:
        folder = Path(given).expanduser()
        return folder if (folder / SUITE).is_file() else f"{folder} holds no {SUITE}"
    import trl

    package = Path(trl.__file__).parent
    for folder in (package.parent / "tests", package / "tests"):
        if (folder / SUITE).is_file():
            return folder
    return (
        f"trl {trl.__version__} is installed without its tests (wheels and source archives carry "
        f"none): give the folder tests of a checkout of that version, as TRL_TESTS=.../trl/tests"
    )


def run_passes(suite: Path, home: Path, select: Sequence[str] = ()) -> list[Outcomes]:
    """Plain and smoothed, side by side, each in a process of its own; outcomes by test."""
    passes = []
    for which in ("plain", "smoothed"):
        environment = {
            **os.environ,
            "DIFFSMOOTH_TRL_WHICH": which,
            "DIFFSMOOTH_TRL_OUT": str(home / f"{which}.json"),
            "HF_HOME": str(home / "hf"),
            "HF_HUB_OFFLINE": "1",
            "TRL_EXPERIMENTAL_SILENCE": "1",
            "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        }  # fmt: skip
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "plugin_diffsmooth_trl", "-p",
            "no:cacheprovider", "-c", os.devnull, "--rootdir", str(suite.parent), "-W", "ignore",
            "--tb=no", str(suite / SUITE), *select,
        ]  # fmt: skip
        with (home / f"{which}.log").open("w") as file:
            passes.append(
                subprocess.Popen(
                    command, cwd=suite.parent, env=environment, stdout=file, stderr=file
                )
            )
    for process in passes:
        process.wait()
    return [_outcomes(home, which) for which in ("plain", "smoothed")]


def _outcomes(home: Path, which: str) -> Outcomes:
    out = home / f"{which}.json"
    found: Outcomes = json.loads(out.read_text()) if out.is_file() else {}
    if not found:
        said = (home / f"{which}.log").read_text()[-3000:]
        raise RuntimeError(f"the {which} pass ran no test:\n{said}")
    return found


def differences(plain: Outcomes, smoothed: Outcomes) -> list[str]:
    """One line for every test whose outcome (or kind of error) is not the same in both passes."""
    lines = []
    for name in sorted({*plain, *smoothed}):
        a, b = (found.get(name, ("not run", "")) for found in (plain, smoothed))
        if a[0] != b[0] or a[1].partition(":")[0] != b[1].partition(":")[0]:
            lines.append(f"{name}: plain {' '.join(a)} | smoothed {' '.join(b)}")
    return lines


def copy_suite(folder: Path, home: Path) -> Path:
    """The suite as a package of its own (its files import one another relatively)."""
    target = home / "suite" / "tests"
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("__pycache__", "slow", "*.pyc"))
    (target / "__init__.py").touch()
    return target


def main(argv: Sequence[str] | None = None) -> int:
    """0: no difference, or skipped; 1: differences; 2: nothing ran."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    asked = arguments[0] if arguments and not arguments[0].startswith("-") else None
    select = arguments[1:] if asked else arguments
    suite = find_suite(asked)
    if isinstance(suite, str):
        print(f"test-trl-suite: skipped: {suite}")
        return 0
    from tests.llm.trl_suite import models

    with tempfile.TemporaryDirectory(prefix="trl-suite-") as place:
        home = Path(place)
        copied = copy_suite(suite, home)
        made = models.make((copied / SUITE).read_text(encoding="utf-8"), home / "hf")
        print(f"test-trl-suite: {suite}; stand-ins for {', '.join(made) or 'no model'}")
        try:
            plain, smoothed = run_passes(copied, home, select)
        except RuntimeError as error:
            print(f"test-trl-suite: {error}")
            return 2
    counts = Counter(outcome for outcome, _ in plain.values())
    print("plain: " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    reasons = Counter(said[:160] for what, said in plain.values() if what == "failed")
    for reason, number in reasons.most_common():
        print(f"  failed for the plain trainer, {number} x: {reason}")
    found = differences(plain, smoothed)
    for line in found:
        print(f"DIFFERS {line}")
    print(f"smoothed with strength 0: {len(found)} of {len(plain)} tests differ from plain")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
