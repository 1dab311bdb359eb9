"""Imports point down only, without a circle: the contracts in pyproject.toml, by import-linter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("cli", "configs", "llm", "records", "sim", "theory")


def lint(place: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on a package laid out as it is installed (it does not follow links)."""
    package = place / "diffsmooth"
    shutil.copytree(ROOT / "diffsmooth", package)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)
    return check(place)


def check(place: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_contracts_are_kept_and_a_breach_is_seen(tmp_path: Path) -> None:
    found = lint(tmp_path)
    assert found.returncode == 0, found.stdout
    assert "2 kept, 0 broken" in found.stdout
    upwards = tmp_path / "diffsmooth" / "theory" / "diversity.py"
    upwards.write_text(upwards.read_text() + "\nimport diffsmooth.sim.cells  # noqa\n")
    assert check(tmp_path).returncode != 0


def test_a_circle_is_seen(tmp_path: Path) -> None:
    lint(tmp_path)
    low = tmp_path / "diffsmooth" / "sim" / "policies.py"
    low.write_text(low.read_text() + "\nimport diffsmooth.sim.cells  # noqa\n")
    assert "No cycles are allowed in diffsmooth.sim" in check(tmp_path).stdout
