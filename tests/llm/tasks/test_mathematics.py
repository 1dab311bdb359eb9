"""Mathematics: box extraction, local data files, math-verify behind a hard timeout."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.llm.tasks._boxed import MAX_CHARS, MAX_TAIL, boxed
from diffsmooth.llm.tasks.base import NO_ANSWER, Task, Verdict
from diffsmooth.llm.tasks.math_data import SOURCES, MathRows, load_math
from diffsmooth.llm.tasks.math_pool import MathPool
from diffsmooth.llm.tasks.mathematics import Mathematics
from diffsmooth.llm.tasks.registry import load_task


@pytest.fixture(scope="module")
def pool() -> Iterator[MathPool]:
    with MathPool(workers=1, timeout=20.0) as pool:
        yield pool


@pytest.mark.parametrize(
    "text, content",
    [
        (r"so \boxed{7}.", "7"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1\}}", r"\{1\}"),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"\fbox{3}", "3"),
        (r"\boxed{}", None),
        ("no box", None),
        (r"\boxed{1}" + " " * MAX_TAIL, None),
        (r"\boxed{" + "1" * (MAX_CHARS + 1) + "}", None),
    ],
)
def test_boxed(text: str, content: str | None) -> None:
    assert boxed(text) == content


@settings(deadline=None)
@given(st.text(alphabet=list("\\{}boxedf1 ")))
def test_boxed_never_raises_and_is_balanced(text: str) -> None:
    content = boxed(text)
    if content is not None:
        plain = content.replace("\\\\", "").replace("\\{", "").replace("\\}", "")
        assert plain.count("{") == plain.count("}")


def test_boxed_is_linear_in_hostile_texts() -> None:
    assert boxed("\\boxed{" * 100_000) is None
    assert boxed("{" * 10**6 + "\\boxed{1}") == "1"


ROWS: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "math500": ({"problem": "1+1?", "solution": r"\boxed{2}", "answer": "2"}, ("1+1?", "2")),
    "math": ({"problem": "1/2?", "solution": r"is \boxed{\frac12}."}, ("1/2?", r"\frac12")),
    "math-train": ({"problem": "1/3?", "solution": r"\boxed{\frac13}"}, ("1/3?", r"\frac13")),
    "dapo-train": ({"prompt": "p", "solution": "34"}, ("p", "34")),
    "aime24": ({"problem": "p", "answer": "025"}, ("p", "025")),
    "aime25": ({"problem": "p", "answer": "70"}, ("p", "70")),
    "amc23": ({"question": "q", "answer": 27.0}, ("q", "27.0")),
    "olympiadbench": ({"question": "q", "final_answer": ["$1$", "$2$"]}, ("q", "1, 2")),
    "gsm8k": ({"question": "q", "answer": "work\n#### 1,234"}, ("q", "1234")),
    "file": ({"problem": "p", "answer": "x"}, ("p", "x")),
}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("name", [*SOURCES, "file"])
def test_local_copy_of_every_source(tmp_path: Path, name: str, suffix: str) -> None:
    row, expected = ROWS[name]
    path = tmp_path / f"copy{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert load_math(name, path) == MathRows((expected,))


def test_hub_route_reads_every_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[tuple[str, str | None, str]] = []

    def fake(hub: str, config: str | None, split: str) -> list[dict[str, Any]]:
        asked.append((hub, config, split))
        return [ROWS["math"][0]]

    monkeypatch.setattr(datasets, "load_dataset", fake)
    assert len(load_math("math").pairs) == 7
    assert {a[::2] for a in asked} == {("EleutherAI/hendrycks_math", "test")}
    assert len({a[1] for a in asked}) == 7


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"problem": "p"}\n')
    with pytest.raises(ValueError, match=r"bad\.jsonl.*no column 'answer'"):
        load_math("file", path)
    path.write_text('{"question": "p", "answer": "7"}\n')
    with pytest.raises(ValueError, match=r"has no row with an answer.*no '####'"):
        load_math("gsm8k", path)
    with pytest.raises(ValueError, match="allowed: file, math500"):
        load_math("algebra")
    with pytest.raises(FileNotFoundError):
        load_math("file", tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    "gold, answer, correct",
    [
        ("25", "025", True),
        ("27.0", "27", True),
        (r"\frac{1}{2}", "0.5", True),
        ("1, 2", "2,1", True),
        ("x^2+1", "1+x^2", True),
        ("70000", r"70{,}000", True),
        (r"\sqrt{2}", "1.4", False),
        ("2", "", False),
        ("2", "3", False),
        ("2", "\\frac{", False),
        ("2", "}{\x00\ud800", False),
    ],
)
def test_comparison(pool: MathPool, gold: str, answer: str, correct: bool) -> None:
    assert (pool.compare([(gold, answer)]) == ["correct"]) == correct


def test_task_verdicts(pool: MathPool) -> None:
    task = Mathematics("file", [("1/2?", "0.5"), ("2?", "2")], pool)
    assert isinstance(task, Task)
    half, two = task.problems()
    texts = [(half, r"\boxed{\frac12}"), (two, r"\boxed{ 5 }"), (two, "2"), (two, r"\boxed{2}")]
    right, wrong, none, two_right = task.verify_many(texts)
    assert right == Verdict(1.0, True, "0.5")
    assert wrong == Verdict(0.0, False, "5")
    assert none == NO_ANSWER
    assert two_right.correct
    assert "\\boxed" in half.prompt


#: Stands for math-verify: hangs, dies or answers, as the answer text says.
FAKE = """
import json, os, sys, time
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    answer = json.loads(line)["answer"]
    if answer == "hang":
        time.sleep(1000)
    if answer == "die":
        os._exit(3)
    error = "boom" if answer == "raise" else None
    print(json.dumps({"correct": answer == "2", "error": error}), flush=True)
"""


def fake_pool(workers: int) -> MathPool:
    return MathPool(workers, timeout=1.5, command=(sys.executable, "-S", "-c", FAKE))


@pytest.mark.parametrize("workers", [1, 3])
def test_hung_and_dead_workers_are_replaced(workers: int) -> None:
    """Every other answer keeps its verdict, and the order is kept."""
    answers = ["2", "hang", "3", "die", "2", "raise", "die", "4", "2", "5"]
    expected = {"2": "correct", "hang": "timeout", "die": "error", "raise": "error"}
    with fake_pool(workers) as pool:
        outcomes = pool.compare([("2", answer) for answer in answers])
        assert outcomes == [expected.get(answer, "wrong") for answer in answers]
        assert pool.compare([("2", "6"), ("2", "2")]) == ["wrong", "correct"]
        assert len(pool._workers) == workers


def test_a_worker_killed_while_idle_costs_no_answer() -> None:
    with fake_pool(1) as pool:
        assert pool.compare([("2", "2")]) == ["correct"]
        process = pool._workers[0].process
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert pool.compare([("3", "2")]) == ["correct"]


def test_threads_share_a_pool() -> None:
    results: list[list[str]] = []
    with fake_pool(2) as pool:
        threads = [
            threading.Thread(
                target=lambda i=i: results.append(pool.compare([(str(i), "2"), (str(i), "3")]))  # type: ignore[misc]
            )
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [["correct", "wrong"]] * 4


def test_processes_end_with_the_pool() -> None:
    with fake_pool(2) as pool:
        pool.compare([("2", "2"), ("2", "3")])
        processes = [worker.process for worker in pool._workers]
    assert len(processes) == 2
    assert all(process.returncode is not None for process in processes)


def test_a_pool_that_cannot_start_says_why() -> None:
    with (
        MathPool(1, command=(sys.executable, "-c", "raise SystemExit(1)")) as pool,
        pytest.raises(RuntimeError, match="did not start.*math-verify"),
    ):
        pool.compare([("1", "1")])


@pytest.mark.parametrize("bad", [{"workers": 0}, {"timeout": 0.0}, {"timeout": float("nan")}])
def test_bad_pools_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="allowed"):
        MathPool(**bad)


def test_a_real_hang_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A root to a huge power keeps sympy busy for ever; the verdict comes all the same."""
    with MathPool(workers=1, timeout=1.0) as pool:
        task = Mathematics("file", [("?", "2")], pool)
        tower = r"\sqrt{2}^{9999^{9}}"
        verdict = task.verify(task.problems()[0], rf"\boxed{{{tower}}}")
        assert not verdict.correct
        assert pool.compare([("2", tower)])[0] in ("timeout", "error")
        assert task.verify(task.problems()[0], r"\boxed{2}").correct


def test_undecided_comparisons_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with fake_pool(1) as pool:
        task = Mathematics("file", [("?", "2")], pool)
        (problem,) = task.problems()
        answers = [(problem, rf"\boxed{{{answer}}}") for answer in ("2", "die", "3")]
        verdicts = task.verify_many(answers)
    assert [v.correct for v in verdicts] == [True, False, False]
    assert "1 of 3 comparisons" in caplog.text


def test_unknown_task_lists_the_known() -> None:
    with pytest.raises(ValueError, match="allowed: countdown, file, math500"):
        load_task("poetry")
