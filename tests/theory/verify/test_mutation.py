"""The mutation runner: what it edits, what it leaves alone, and that it tells killed from not."""

from __future__ import annotations

import ast
import csv
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "benchmarks" / "mutation_theory.py"


@pytest.fixture(scope="module")
def mutation() -> Any:
    spec = importlib.util.spec_from_file_location("mutation_theory", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutation_theory"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["mutation_theory"]


SOURCE = '''
"""A docstring - with + signs."""
TABLE = 3 * 4

def f(x: int = 1 + 1, *, axis=0) -> "a + b":
    """Doc * string."""
    if x < 0:
        raise ValueError("x is " + str(x - 1))
    assert x + 1
    y = -log(x) * 2.5
    y += g(x[0 + 1:], axis=1 - 2, tol=1e-9 * 2)
    return y if y >= x else f"{x - y}"

class K:
    def m(self, p):
        return lambda q: np.exp(p) / q
'''


def test_sites(mutation: Any) -> None:
    found = [(m.function, m.operator, m.before) for m in mutation.mutants_of("f.py", SOURCE)]
    assert found == [
        ("f", "arithmetic", "-log(x) * 2.5"),
        ("f", "dropped minus", "-log(x)"),
        ("f", "dropped function", "log(x)"),
        ("f", "constant", "2.5"),
        ("f", "arithmetic", "y += g(x[0 + 1:], axis=1 - 2, tol=1e-09 * 2)"),
        ("f", "comparison", "y >= x"),
        ("m", "arithmetic", "np.exp(p) / q"),
        ("m", "dropped function", "np.exp(p)"),
    ]


def test_each_mutant_is_one_edit_that_compiles(mutation: Any) -> None:
    original = ast.unparse(ast.parse(SOURCE))
    texts = [mutation.mutate(SOURCE, m.site) for m in mutation.mutants_of("f.py", SOURCE)]
    assert len(set(texts)) == len(texts)
    for text in texts:
        compile(text, "f.py", "exec")
        changed = [
            (a, b) for a, b in zip(original.splitlines(), text.splitlines(), strict=True) if a != b
        ]
        assert len(changed) == 1
    with pytest.raises(IndexError):
        mutation.mutate(SOURCE, len(texts))


TINY = """
from __future__ import annotations


def double(x):
    return x + x


def unused(x):
    return x - 1


def decoration(x):
    return 3 * x


def imported(x):
    return x / 2


def remembered(x):
    return x + 4
"""

CHECK = """
from functools import lru_cache

from diffsmooth.theory.tiny import imported, remembered

AT_IMPORT = imported(6)


@lru_cache
def from_cache() -> int:
    return remembered(3)


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    from diffsmooth.theory.tiny import decoration, double

    decoration(2)
    if from_cache() != 7:
        return exact.identity(lambda x: x, [{"x": from_cache()}], "remembered")
    return exact.identity(lambda x: double(x) - 2 * x, [{"x": Fraction(3, 7)}], "doubling")


def _replaced(claim: Claim, budget: Budget) -> Outcome:
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one small library module and one statement about it."""
    shutil.copytree(ROOT / "diffsmooth", tmp_path / "diffsmooth")
    theory = tmp_path / "theory"
    shutil.copytree(ROOT / "theory" / "verify", theory / "verify")
    (theory / "statements").mkdir()
    for package in (theory, theory / "statements"):
        (package / "__init__.py").write_text("")
    (theory / "tiny.py").write_text(TINY)
    template = (ROOT / "theory" / "statements" / "template.py").read_text(encoding="utf-8")
    head = "def check_exact(claim: Claim, budget: Budget) -> Outcome:\n"
    assert head in template
    text = template.replace(head, CHECK.lstrip())
    head = "    q, assumptions = smt.lumps("
    assert head in text
    text = text.replace(head, f"    assert AT_IMPORT == 3 and from_cache() > 0\n{head}")
    text = text.replace('by=("exact", "smt", "random", "adversarial")', 'by="smt"')
    (theory / "statements" / "t0.py").write_text(text, encoding="utf-8")
    return tmp_path


def test_killed_survived_uncovered_and_resumed(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.csv"
    before = (project / "theory" / "tiny.py").read_bytes()
    command = [sys.executable, str(SCRIPT), "--root", str(project), "--targets", "tiny.py",
               "--out", str(out), "--timeout", "60"]  # fmt: skip
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 1, first.stderr
    with out.open(newline="") as file:
        rows = {(r["function"], r["operator"]): r for r in csv.DictReader(file)}
    assert {k: r["outcome"] for k, r in rows.items()} == {
        ("double", "arithmetic"): "killed",
        ("unused", "arithmetic"): "uncovered",
        ("unused", "constant"): "uncovered",
        ("decoration", "arithmetic"): "survived",
        ("decoration", "constant"): "survived",
        ("imported", "arithmetic"): "killed",
        ("imported", "constant"): "killed",
        ("remembered", "arithmetic"): "killed",
        ("remembered", "constant"): "killed",
    }
    assert rows["double", "arithmetic"]["by"] == "T0 method exact"
    assert "3/7" not in rows["double", "arithmetic"]["before"]
    # Each task is recorded by itself: no cache that another one filled hides a call, and what the
    # import executes counts for every task.
    (recorded,) = json.loads(out.with_suffix(".baseline.json").read_text())
    starts = {f: 1 + TINY[: TINY.index(f"def {f}(")].count("\n") for f in
              ("double", "decoration", "imported", "remembered")}  # fmt: skip
    executed = {
        (task["kind"], task["index"]): {f for f, n in starts.items() if ["tiny.py", n] in
                                        task["called"]}
        for task in recorded["tasks"]
    }  # fmt: skip
    assert executed["method", 1] == set(starts)
    assert executed["method", 2] == executed["mutant", 0] == {"imported", "remembered"}
    assert executed["method", 3] == {"imported"}
    assert len(executed) == 7
    summary = json.loads(out.with_suffix(".json").read_text())
    assert (summary["killed"], summary["mutants"]) == (5, 9)
    assert len(summary["not_killed"]) == 4
    assert (project / "theory" / "tiny.py").read_bytes() == before

    kept = out.read_bytes()
    again = subprocess.run([*command, "--goal", "0.5"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "9 known" in again.stdout
    assert out.read_bytes() == kept

    # A stronger statement: only the survivors are judged anew, and one of them is noticed now.
    statement = project / "theory" / "statements" / "t0.py"
    text = statement.read_text(encoding="utf-8")
    assert "    decoration(2)\n" in text
    statement.write_text(text.replace("    decoration(2)\n", "    assert decoration(2) == 6\n"))
    stronger = subprocess.run([*command, "--again"], capture_output=True, text=True, check=False)
    assert "5 known" in stronger.stdout, stronger.stderr
    summary = json.loads(out.with_suffix(".json").read_text())
    assert (summary["killed"], summary["uncovered"], summary["mutants"]) == (7, 2, 9)


def test_bad_input(tmp_path: Path, mutation: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert mutation.run(mutation.Config(out=tmp_path / "no" / "m.csv")) == 2
    assert mutation.run(mutation.Config(out=tmp_path / "m.csv", targets=("none.py",))) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
