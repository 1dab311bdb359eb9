"""The front door: light, typed, each function one call into one floor."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import diffsmooth as ds
from diffsmooth.theory.rules import GroupBatch, rule

ROOT = Path(__file__).parents[2]
GROUP = {
    "reward": [1.0, 1.0, 0.0, 0.0],
    "correct": [True, True, False, False],
    "group": [7, 7, 7, 7],
    "logps": [-1.0, -3.0, -2.0, -2.0],
}


def test_the_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, diffsmooth\n"
        "heavy = {'numpy', 'scipy', 'torch', 'sympy', 'matplotlib', 'pyarrow', 'transformers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_floors_are_there_when_they_are_named() -> None:
    assert ds.theory.__name__ == "diffsmooth.theory"
    assert {"theory", "sim", "llm", "verify"} <= set(dir(ds))
    with pytest.raises(AttributeError, match="no attribute 'atlass'"):
        _ = ds.atlass


def test_advantages_are_the_rules_in_the_type_that_came() -> None:
    batch = GroupBatch(**{k: np.asarray(v) for k, v in GROUP.items()})
    expected = rule("centred", g_correct=0.1)(batch)
    lists = ds.advantages("centred", **GROUP, g_correct=0.1)
    assert isinstance(lists, np.ndarray)
    np.testing.assert_array_equal(lists, expected)
    np.testing.assert_array_equal(ds.advantages(rule("centred", g_correct=0.1), **GROUP), expected)
    tensors = {k: torch.tensor(v) for k, v in GROUP.items()}
    tensors["logps"] = tensors["logps"].double()
    tensors["reward"] = tensors["reward"].double()
    found = ds.advantages("centred", **tensors, g_correct=0.1)
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("centered", {}, "did you mean 'centred'"),
        ("centred", {"strength": 1.0}, "strength"),
        (rule("grpo"), {"eps": 1.0}, "a Rule has its own"),
        ("centred", {"logps": None}, "logps"),
        ("grpo", {"correct": [1, 1, 0, 0]}, "correct"),
    ],
)
def test_bad_input_is_named(name: str, given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ds.advantages(name, **{**GROUP, **given})


def test_a_report_of_the_theory_shows_itself(tmp_path: Path) -> None:
    report = ds.verify("A5")
    assert report
    assert report.green
    assert report["A5"].green
    assert "A5 holds" in repr(report)
    assert report._repr_html_().startswith("<iframe")
    assert "<!doctype html>" in report.save(tmp_path / "a5.html").read_text()
    with pytest.raises(KeyError, match="A6 was not checked"):
        report["A6"]
    with pytest.raises(ValueError, match="no statement 'Z9'"):
        ds.verify("Z9")


def test_a_simulation_is_a_result(tmp_path: Path) -> None:
    found = ds.simulate("bandit", remedies=["grpo", "centred"], seeds=4, survive=1, solutions=2)
    assert found.cell.regime == "bandit:solutions=2,survive=1"
    assert set(found.table["remedy"]) == {"grpo", "centred"}
    assert found.compare(at="kl")["at"].tolist() == ["kl", "kl"]
    with pytest.raises(ValueError, match="pass@1, kl, steps, frontier"):
        found.compare(at="pass@2")
    assert "centred" in repr(found)
    assert "<table>" in found._repr_html_()
    assert len(found.plot(tmp_path / "f.png").axes) == 4
    assert (tmp_path / "f.png").stat().st_size > 1000
    kept = ds.simulate(
        "bandit", remedies=["grpo", "centred"], seeds=4, survive=1, solutions=2, out=tmp_path
    )
    for name in found.runs.column_names:
        np.testing.assert_array_equal(kept.runs[name].to_numpy(), found.runs[name].to_numpy())
    with pytest.raises(ValueError, match="no parameter 'solution'; did you mean 'solutions'"):
        ds.simulate("bandit", seeds=4, solution=2)
    with pytest.raises(ValueError, match=r"survive must lie in \(0, 1\]"):
        ds.simulate("bandit", seeds=4, survive=0)
    with pytest.raises(ValueError, match="solutions is a whole number"):
        ds.simulate("bandit", seeds=4, solutions=2.5)


def test_the_api_page_is_that_of_the_docstrings() -> None:
    place = ROOT / "docs" / "make_api.py"
    spec = importlib.util.spec_from_file_location("make_api", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "api.md").read_text(encoding="utf-8") == module.page(), (
        "docs/api.md is old: python docs/make_api.py"
    )


def test_the_table_of_rules_has_every_name() -> None:
    from diffsmooth.sim.remedies import REMEDIES
    from diffsmooth.theory.rules import NAMES

    table = ds.rules()
    assert set(table["name"]) == set(NAMES) | set(REMEDIES)
    assert len(set(table["name"])) == len(table)
    rows = {row["name"]: row for row in table}
    assert rows["grpo"]["reads"] == ["rewards"]
    assert rows["kl"]["reads"] == ["rewards", "log-probs", "reference log-probs", "tokens"]
    assert rows["replay"]["lever"].endswith("memory")
    assert all(row["formula"] and row["citation"] for row in table)
    assert "<table>" in table._repr_html_()
