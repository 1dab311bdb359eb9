"""A user's own task: what a judge may return, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from diffsmooth.llm.tasks.base import Task, Verdict
from diffsmooth.llm.tasks.countdown import CountDown
from diffsmooth.llm.tasks.own import OwnTask, load_function, to_verdict
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
    ],
)
def test_results_of_a_judge(result: Any, verdict: Verdict) -> None:
    assert to_verdict(result) == verdict


@pytest.mark.parametrize("result", [None, "yes", (1.0, 2), (1.0, "a", "b")])
def test_other_types_are_refused(result: Any) -> None:
    with pytest.raises(TypeError, match="the judge returned"):
        to_verdict(result)


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan")])
def test_scores_outside_the_range_are_refused(score: float) -> None:
    with pytest.raises(ValueError, match="allowed: 0 to 1"):
        to_verdict(score)


def test_what_a_judge_raises_is_not_swallowed() -> None:
    def broken(row: Any, text: str) -> bool:
        raise RuntimeError("judge is broken")

    task = OwnTask("t", [{"prompt": "p"}], broken)
    with pytest.raises(RuntimeError, match="judge is broken"):
        task.verify(task.problems()[0], "x")


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
