"""A remedy, a regime and a task of the user's own: one file each, seen everywhere."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import diffsmooth as ds
from diffsmooth import cli
from diffsmooth.sim.cells import Cell
from diffsmooth.sim.regimes.bandit import Bandit
from diffsmooth.sim.remedies import REMEDIES
from diffsmooth.theory.rules import DrGRPO, GroupBatch, Rule, rule

REMEDY = '''
from dataclasses import dataclass
from typing import ClassVar

from diffsmooth.theory.rules import DrGRPO, Rule


@dataclass(frozen=True)
class Toy(Rule):
    """The more of the group is right, the less it counts."""

    power: float = 1.0
    base: Rule = DrGRPO()

    part: ClassVar = "across"
    citation: ClassVar = "a toy"
    formula: ClassVar = "(1 - m)^power A"
    parameter: ClassVar = "power"
    strengths: ClassVar = (0, 0.5, 1, 2, 4)
    neutral: ClassVar = 0.0

    def __call__(self, batch):
        right = batch.groups.sum(batch.correct_as_number)
        share = right / batch.groups.sum(batch.correct_as_number * 0 + 1)
        return self.base(batch) * (1 - share) ** self.power
'''

REGIME = """
from dataclasses import dataclass
from typing import ClassVar

from diffsmooth.sim.regimes.bandit import Bandit


@dataclass(frozen=True)
class Pair(Bandit):
    solutions: int = 2
    prompts: int = 3

    name: ClassVar = "pair"
    question: ClassVar = "what becomes of two answers?"
"""


@pytest.fixture
def remedy(tmp_path: Path) -> str:
    (tmp_path / "toy.py").write_text(REMEDY)
    return f"{tmp_path / 'toy.py'}:Toy"


@pytest.fixture
def place(tmp_path: Path) -> str:
    (tmp_path / "pair.py").write_text(REGIME)
    return f"{tmp_path / 'pair.py'}:Pair"


def test_a_remedy_is_one_file(
    remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group = ([1.0, 0, 0, 0], [True, False, False, False], [0] * 4)
    np.testing.assert_allclose(
        ds.advantages(remedy, *group, power=1), 0.75 * np.array([0.75, *[-0.25] * 3])
    )
    row = next(r for r in ds.rules(remedy) if r["name"] == remedy)
    assert row["is"] == ["rule", "remedy"]
    assert row["strengths"] == [0, 0.5, 1, 2, 4]
    run = ds.simulate("bandit", remedies=["grpo", "dr-grpo", remedy], seeds=4)
    assert set(run.table["remedy"]) == {"grpo", "dr-grpo", remedy}
    # Its neutral strength is its base: where both are tried alike they are one.
    runs = run.runs.to_pylist()
    own = [r["final:pass@1"] for r in runs if r["remedy"] == remedy and r["strength"] == 0]
    assert own
    # The map, in a worker process of its own.
    out = tmp_path / "atlas"
    words = ["--regimes", "bandit", "--remedies", "grpo", remedy, "--seeds", "4", "--cells", "2"]
    assert cli.main(["atlas", *words, "--jobs", "2", "--out", str(out)]) == 0, (
        capsys.readouterr().err
    )
    from diffsmooth.records import read_table

    assert remedy in read_table(out / "summary.parquet")["remedy"].to_pylist()


def test_a_training_file_takes_it(remedy: str, tmp_path: Path) -> None:
    from diffsmooth.llm.configuration import load

    yaml = tmp_path / "toy.yaml"
    yaml.write_text(
        f"name: toy\nmodel: {{small: {{}}}}\ndata: {{task: countdown, style: bare}}\n"
        f"rule: {{name: '{remedy}', parameters: {{power: 2}}}}\n"
        "generation: {engine: small}\n"
    )
    assert load(yaml).rule.build() == rule(remedy, power=2)
    yaml.write_text(yaml.read_text().replace("power", "powers"))
    with pytest.raises(ValueError, match="did you mean 'power'"):
        load(yaml)


def test_its_file_is_part_of_the_cells_key(remedy: str, tmp_path: Path) -> None:
    before = Cell("bandit", ("grpo", remedy), 4).key()
    (tmp_path / "toy.py").write_text(REMEDY.replace("** self.power", "** (2 * self.power)"))
    assert Cell("bandit", ("grpo", remedy), 4).key() != before


def test_a_regime_is_one_file_or_an_object(
    place: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    by_file = ds.simulate(place, remedies=["grpo"], seeds=4, survive=0.75)
    assert by_file.cell.regime == f"{place}:survive=0.75"
    words = ["simulate", f"{place}:survive=0.75", "--remedies", "grpo", "--seeds", "4"]
    assert cli.main([*words, "--out", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    with pytest.raises(ValueError, match="no parameter 'survives'; did you mean 'survive'"):
        ds.simulate(f"{place}:survives=1", seeds=4)
    by_object = ds.simulate(Bandit(solutions=2, survive=1.0), remedies=["grpo"], seeds=4)
    assert by_object.cell.regime == "bandit:solutions=2,survive=1"


@dataclasses.dataclass(frozen=True)
class Halved(Rule):
    part = "across"
    citation = "a toy"
    formula = "A/2"

    def __call__(self, batch: GroupBatch) -> np.ndarray:
        return DrGRPO()(batch) / 2


def test_a_remedy_may_be_an_object() -> None:
    try:
        run = ds.simulate("bandit", remedies=["grpo", Halved()], seeds=4)
        assert "Halved" in run.table["remedy"]
    finally:
        REMEDIES.pop("Halved", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class Toy: pass", "must be a Rule or a class of rules"),
        ("x = 1", "has no remedy 'Toy'"),
        ("1 +", "line 1: no Python"),
        ("\n1 / 0", "line 2: ZeroDivisionError"),
        (REMEDY.replace("(0, 0.5, 1, 2, 4)", "(1, 2)"), "strengths must be 5 numbers"),
    ],
)
def test_a_faulty_file_is_said_in_one_line(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy.py").write_text(text)
    spec = f"{tmp_path / 'toy.py'}:Toy"
    assert cli.main(["simulate", "bandit", "--remedies", spec, "--seeds", "4"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_task_is_one_file(tmp_path: Path) -> None:
    from diffsmooth.llm.tasks.registry import load_task

    (tmp_path / "reverse.py").write_text(
        "def judge(row, text):\n    return text == row['word'][::-1]\n"
    )
    (tmp_path / "words.jsonl").write_text(json.dumps({"prompt": "?", "word": "abc"}) + "\n")
    task = load_task(f"{tmp_path / 'reverse.py'}:judge", str(tmp_path / "words.jsonl"))
    problem = task.problems()[0]
    assert task.verify(problem, "cba").correct
    assert not task.verify(problem, "abc").correct


def test_a_statement_is_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from diffsmooth.theory.statements import template

    assert template.__file__ is not None
    file = tmp_path / "x1.py"
    text = Path(template.__file__).read_text()
    file.write_text(text.replace('id="T0"', 'id="X1"'))
    report = ds.verify(str(file))
    assert report.green
    assert [s.id for s in report.run.statements] == ["X1"]
    # In a worker process, and beside a shipped one.
    assert cli.main(["verify", str(file), "A5", "--jobs", "2"]) == 0
    assert "2 of 2 hold" in capsys.readouterr().out
    file.write_text("STATEMENT = 1")
    assert cli.main(["verify", str(file)]) == 2
    assert "does not export STATEMENT" in capsys.readouterr().err
