"""The scale script's own code, shrunk; a shrunk row never passes for a measured one."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scale" / "run.py"


@pytest.fixture(scope="module")
def script() -> Any:
    if not SCRIPT.is_file():
        pytest.skip("benchmarks are not part of an installed package")
    spec = importlib.util.spec_from_file_location("scale_run", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scale_run"] = module
    spec.loader.exec_module(module)
    return module


def test_dry_run_takes_whole_steps_with_and_without_the_rule(
    script: Any, tmp_path: Path, capsys: Any
) -> None:
    name = "Qwen/Qwen2.5-7B"
    assert script.main(["--dry-run", "--models", name, "--out", str(tmp_path)]) == 0
    row = json.loads((tmp_path / "scale.json").read_text())[0]
    assert row["model"] == name
    assert row["shrunk"]
    assert row["pairs"] == 3
    phases = [row[k] for k in row if k.startswith("seconds: ")]
    assert len(phases) == 5
    assert all(x > 0 for x in phases)
    assert "not measured" in script.table([row])
    assert script.table([row]) == script.table([])


def test_the_readme_shows_what_was_measured_and_nothing_else(script: Any, tmp_path: Path) -> None:
    text = script.README.read_text()
    path = tmp_path / "README.md"
    path.write_text(text)
    script.write_readme([], path)
    assert path.read_text().count("not measured") == 27
    assert path.read_text().partition(script.BEGIN)[0] == text.partition(script.BEGIN)[0]
    keys = ("step_seconds", "tokens_per_second", "peak_gib", "direct", "direct_low", "direct_high")
    seconds = ("generation", "loss and gradient", "optimiser", "rule and its logs")
    row = {
        "model": "Qwen/Qwen2.5-3B", "device": "X", "shrunk": False,
        **dict.fromkeys(keys, 0.25), **{f"seconds: {k}": 0.5 for k in seconds},
    }  # fmt: skip
    script.write_readme([row], path)
    assert "| Qwen/Qwen2.5-3B | X | 0.25 |" in path.read_text()
    assert path.read_text().count("not measured") == 18
