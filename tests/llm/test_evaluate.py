"""The evaluation as a whole, on a sampler made here: what is kept, what a kill costs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffsmooth.llm.compare import load_run
from diffsmooth.llm.evaluate import evaluate, load
from diffsmooth.llm.evaluation import Evaluation, fingerprint, identity
from diffsmooth.llm.samplers import Completion, Sampling
from diffsmooth.llm.tasks.base import Problem
from diffsmooth.llm.tasks.countdown_solver import solutions
from diffsmooth.records import read_json, read_table


class Scripted:
    """Writes solutions and rubbish, at random by the problem's seed; counts what it is asked."""

    def __init__(self, skill: float = 0.5, pause: float = 0.0) -> None:
        self.skill, self.pause = skill, pause
        self.asked: list[str] = []

    def sample(
        self, problems: Sequence[Problem[Any]], sampling: Sampling
    ) -> list[list[Completion]]:
        time.sleep(self.pause)
        self.asked += [p.id for p in problems]
        return [self._one(p, sampling) for p in problems]

    def _one(self, problem: Problem[Any], sampling: Sampling) -> list[Completion]:
        rng = random.Random(sampling.seed_of(problem))
        right = solutions(problem.payload, "written")
        texts = [
            rng.choice(right) if rng.random() < self.skill else rng.choice(["1+1", "++", "\ud800"])
            for _ in range(sampling.samples)
        ]
        return [Completion(t, len(t), "stop") for t in texts]


def config(out: Path, **changes: Any) -> Evaluation:
    base = Evaluation(
        model="scripted",
        style="bare",
        limit=10,
        shard=3,
        resamples=100,
        sampling=Sampling(samples=8),
        out=out,
    )
    return replace(base, **changes)


def files(folder: Path) -> dict[str, bytes]:
    """The result files; not the note of how it was begun, not what a kill left half written."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "begun.json" and not p.name.startswith(".")
    }


def test_every_sample_is_kept_and_the_summary_follows_from_it(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    folder = evaluate(config(tmp_path), sampler=Scripted(), progress=lambda *at: seen.append(at))
    assert seen == [(0, 10), (3, 10), (6, 10), (9, 10), (10, 10)]
    rows = [r for f in sorted((folder / "samples").glob("*")) for r in read_table(f).to_pylist()]
    task, problems = load(config(tmp_path))
    assert len(rows) == 80
    assert [r["problem"] for r in rows[::8]] == [p.id for p in problems]
    assert [r["sample"] for r in rows[:8]] == list(range(8))
    by_id = {p.id: p for p in problems}
    for row in rows:
        text = row["text"].replace("\\ud800", "\ud800")
        verdict = task.verify(by_id[row["problem"]], text)
        assert (row["score"], row["correct"], row["canonical"]) == (
            verdict.score,
            verdict.correct,
            verdict.canonical,
        )
    summary = read_json(folder / "summary.json")["summary"]
    share = sum(r["correct"] for r in rows) / 80
    assert summary["curve"][0]["pass"] == pytest.approx(share)
    solved = {r["problem"] for r in rows if r["correct"]}
    assert summary["curve"][-1]["pass"] == pytest.approx(len(solved) / 10)
    right = {(r["problem"], r["canonical"]) for r in rows if r["correct"]}
    assert summary["measures"]["distinct_correct"]["mean"] == pytest.approx(len(right) / 10)
    assert summary["measures"]["finished"]["mean"] == 1.0
    assert read_table(folder / "curve.parquet").num_rows == 8


def test_a_finished_evaluation_is_not_drawn_again(tmp_path: Path) -> None:
    folder = evaluate(config(tmp_path), sampler=Scripted())
    before = files(folder)
    idle = Scripted(skill=0.0)
    assert evaluate(config(tmp_path, shard=5), sampler=idle) == folder
    assert idle.asked == []
    assert files(folder) == before
    narrow = evaluate(config(tmp_path, confidence=0.5), sampler=idle)
    assert narrow == folder
    assert idle.asked == []
    assert read_json(folder / "summary.json")["summary"]["confidence"] == 0.5
    evaluate(config(tmp_path, again=True), sampler=idle)
    assert len(idle.asked) == 10


class Stop(Exception):
    pass


def test_an_interrupted_evaluation_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    whole = evaluate(config(tmp_path / "whole"), sampler=Scripted())

    def stop(finished: int, total: int) -> None:
        if finished >= 6:
            raise Stop

    with pytest.raises(Stop):
        evaluate(config(tmp_path / "cut"), sampler=Scripted(), progress=stop)
    rest = Scripted()
    cut = evaluate(config(tmp_path / "cut"), sampler=rest)
    assert 0 < len(rest.asked) < 10
    assert files(cut) == files(whole)


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_evaluate import Scripted, config, evaluate
evaluate(config(Path({out!r})), sampler=Scripted(pause=0.3))
"""


def test_a_killed_evaluation_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    whole = evaluate(config(tmp_path / "whole"), sampler=Scripted())
    out = tmp_path / "cut"
    script = CHILD.format(here=str(Path(__file__).parent), out=str(out))
    child = subprocess.Popen([sys.executable, "-c", script])
    try:
        deadline = time.monotonic() + 120
        while not list(out.glob("*/samples/00000.parquet")):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert not list(out.glob("*/summary.json"))
    rest = Scripted()
    cut = evaluate(config(out), sampler=rest)
    assert 0 < len(rest.asked) < 10
    assert files(cut) == files(whole)


def test_lost_measures_are_derived_again_without_drawing(tmp_path: Path) -> None:
    folder = evaluate(config(tmp_path), sampler=Scripted())
    before = files(folder)
    (folder / "problems" / "00001.parquet").unlink()
    (folder / "summary.json").unlink()
    idle = Scripted()
    evaluate(config(tmp_path), sampler=idle)
    assert idle.asked == []
    assert files(folder) == before


def test_what_changes_a_sample_changes_the_key_and_nothing_else_does(tmp_path: Path) -> None:
    first = config(tmp_path)
    _, problems = load(first)

    def key(changed: Evaluation) -> dict[str, Any]:
        return identity(changed, load(changed)[1])

    same = [{"out": tmp_path / "x"}, {"confidence": 0.5}, {"shard": 1}, {"parallel": 2}]
    for change in same:
        assert key(replace(first, **change)) == identity(first, problems)  # type: ignore[arg-type]
    other: list[dict[str, Any]] = [
        {"model": "other"},
        {"adapter": "a"},
        {"limit": 9},
        {"form": "written"},
        {"problem_seed": 1},
        {"batch": 2},
        {"sampling": Sampling(samples=8, seed=1)},
        {"sampling": Sampling(samples=8, temperature=0.5)},
    ]
    for change in other:
        assert key(replace(first, **change)) != identity(first, problems)


def test_retrained_weights_have_another_fingerprint(tmp_path: Path) -> None:
    weights = bytearray(os.urandom(6 << 20))
    (tmp_path / "model.safetensors").write_bytes(weights)
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(bytes(b ^ 1 for b in weights))
    assert fingerprint(tmp_path) != before
    (tmp_path / "config.json").write_text("{}")
    assert fingerprint(tmp_path) != before


def test_an_edited_judge_has_another_key(tmp_path: Path) -> None:
    judge, data = tmp_path / "judge.py", tmp_path / "data.jsonl"
    data.write_text('{"prompt": "p"}\n')
    settings = config(tmp_path, task=f"{judge}:f", data=str(data))
    keys = []
    for body in ("True", "False"):
        judge.write_text(f"def f(row, text):\n    return {body}\n")
        keys.append(identity(settings, load(settings)[1]))
    assert keys[0] != keys[1]
    data.write_text('{"prompt": "q"}\n')
    assert identity(settings, load(settings)[1]) != keys[1]


def test_a_task_that_breaks_stops_the_run_and_writes_no_summary(tmp_path: Path) -> None:
    task, problems = load(config(tmp_path))

    class Broken:
        name = "broken"

        def __getattr__(self, attribute: str) -> Any:
            return getattr(task, attribute)

        calls = 0

        def verify_many(self, pairs: Any) -> Any:
            self.calls += 1
            if self.calls == 1:
                raise RuntimeError("judge is broken")
            return task.verify_many(pairs)

    with pytest.raises(RuntimeError, match="judge is broken"):
        evaluate(
            config(tmp_path),
            task=Broken(),  # type: ignore[arg-type]
            problems=problems,
            sampler=Scripted(),
        )
    assert not list(tmp_path.glob("*/summary.json"))


@pytest.mark.parametrize(
    "bad, named",
    [
        ({"limit": 0}, "limit"),
        ({"shard": 0}, "shard"),
        ({"confidence": 1.0}, "confidence"),
        ({"resamples": 0}, "resamples"),
    ],
)
def test_bad_settings_are_named(bad: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=rf"{named} is .*allowed"):
        Evaluation(**bad)


@pytest.mark.parametrize(
    "bad, named",
    [
        ({"samples": 0}, "samples"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": 0.0}, "samples must be 1"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_bad_sampling_is_named(bad: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Sampling(**bad)


def test_a_missing_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="model is missing"):
        evaluate(config(tmp_path, model=""))


def test_an_unfinished_folder_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished evaluation"):
        load_run(tmp_path)
