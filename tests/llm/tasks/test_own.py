"""A user's own task: what a judge may return, and what is refused."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffsmooth.llm.tasks.base import Task, Verdict
from diffsmooth.llm.tasks.countdown import CountDown
from diffsmooth.llm.tasks.own import JudgeError, OwnTask, load_function, to_verdict
from diffsmooth.llm.tasks.registry import load_task

DOCUMENT = Path(__file__).parents[3] / "docs" / "own_task.md"


def test_the_documented_example_works(tmp_path: Path) -> None:
    """The code blocks of docs/own_task.md, written to files and loaded as it says."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 32
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (rows,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (tmp_path / "reverse.py").write_text(code, encoding="utf-8")
    (tmp_path / "words.jsonl").write_text(rows, encoding="utf-8")
    task = load_task(f"{tmp_path / 'reverse.py'}:judge", tmp_path / "words.jsonl")
    assert isinstance(task, Task)
    problems = task.problems()
    assert len(problems) == 2
    word = problems[0].payload["word"]
    assert task.verify(problems[0], f"  {word[::-1]}\n").correct
    assert not task.verify(problems[0], word + "!").correct


@pytest.mark.parametrize(
    "result, verdict",
    [
        (True, Verdict(1.0, True)),
        (False, Verdict(0.0, False)),
        (0.5, Verdict(0.5, False)),
        (1, Verdict(1.0, True)),
        ((1.0, "a"), Verdict(1.0, True, "a")),
        (Verdict(0.2, True, "b"), Verdict(0.2, True, "b")),
        (np.True_, Verdict(1.0, True)),
        (np.False_, Verdict(0.0, False)),
        (np.float32(1), Verdict(1.0, True)),
        (np.float64(0.25), Verdict(0.25, False)),
        (np.float16(0.5), Verdict(0.5, False)),
        (np.int64(1), Verdict(1.0, True)),
        (np.uint8(0), Verdict(0.0, False)),
        (np.array(1.0), Verdict(1.0, True)),
        ((np.float32(0.5), "class"), Verdict(0.5, False, "class")),
        ((np.bool_(True), np.str_("class")), Verdict(1.0, True, "class")),
        (Verdict(np.float32(0.5), np.True_, np.str_("b")), Verdict(0.5, True, "b")),  # type: ignore[arg-type]
        (torch.tensor(1.0), Verdict(1.0, True)),
        (Fraction(1, 2), Verdict(0.5, False)),
    ],
)
def test_results_of_a_judge(result: Any, verdict: Verdict) -> None:
    found = to_verdict(result)
    assert found == verdict
    assert (type(found.score), type(found.correct)) == (float, bool)
    assert type(found.canonical) in (str, type(None))


@pytest.mark.parametrize(
    "result",
    [
        None,
        "yes",
        (1.0, 2),
        (1.0, "a", "b"),
        [1.0, "a"],
        np.array([1.0, 0.0]),
        np.str_("yes"),
        1j,
        (np.array([True]), "a"),
        Verdict(1.0, "yes"),  # type: ignore[arg-type]
        Verdict(None, True),  # type: ignore[arg-type]
        Verdict(1.0, True, 3),  # type: ignore[arg-type]
    ],
)
def test_other_types_are_refused(result: Any) -> None:
    with pytest.raises(TypeError, match="the judge returned"):
        to_verdict(result)


NAN = float("nan")


@pytest.mark.parametrize(
    "result",
    [
        1.5,
        -0.1,
        NAN,
        float("inf"),
        2,
        np.float32("nan"),
        np.int64(-1),
        (NAN, "a"),
        Verdict(NAN, True),
    ],
)
def test_scores_outside_the_range_are_refused(result: Any) -> None:
    with pytest.raises(ValueError, match="allowed: 0 to 1"):
        to_verdict(result)
    task = OwnTask("t", [{"prompt": "p", "id": "the id"}], lambda row, text: result)
    with pytest.raises(ValueError, match="problem 'the id': the judge returned the score"):
        task.verify(task.problems()[0], "x")


def test_what_a_judge_raises_is_not_swallowed() -> None:
    def broken(row: Any, text: str) -> bool:
        raise RuntimeError("judge is broken")

    task = OwnTask("t", [{"prompt": "p"}], broken)
    with pytest.raises(JudgeError, match="problem '0': .* RuntimeError: judge is broken") as error:
        task.verify(task.problems()[0], "x")
    assert isinstance(error.value.__cause__, RuntimeError)
    assert "test_own.py, line " in str(error.value)


def test_bad_rows_and_specs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="row 1 has no text column 'prompt'"):
        OwnTask("t", [{"prompt": "p"}, {"question": "q"}], lambda row, text: True)
    with pytest.raises(ValueError, match="'id' twice"):
        OwnTask("t", [{"prompt": "p", "id": 1}, {"prompt": "q", "id": 1}], lambda row, text: True)
    with pytest.raises(ValueError, match=r"allowed: path/to/file\.py:function"):
        load_function("file.py")
    with pytest.raises(FileNotFoundError):
        load_function(f"{tmp_path}/none.py:f")
    (tmp_path / "a.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="no function 'f'"):
        load_function(f"{tmp_path}/a.py:f")
    (tmp_path / "b.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(ValueError, match=r"b\.py, line 2: no Python"):
        load_function(f"{tmp_path}/b.py:f")
    (tmp_path / "c.py").write_text("x = 1\ny = 1 / 0\n")
    with pytest.raises(ValueError, match=r"c\.py, line 2: .*ZeroDivisionError"):
        load_function(f"{tmp_path}/c.py:f")
    with pytest.raises(ValueError, match="needs a data file"):
        load_task(f"{tmp_path}/a.py:f")


def test_countdown_by_name(tmp_path: Path) -> None:
    generated = load_task("countdown", limit=5, style="bare", seed=3)
    assert isinstance(generated, CountDown)
    assert len(generated.problems()) == 5
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"nums": [1, 2], "target": 3}) + "\n")
    (problem,) = load_task("countdown", path).problems()
    assert problem.id == "1-2=3"
