"""A study runs what is missing, keeps what is done, and draws from its files only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trl")

from diffsmooth import records
from diffsmooth.llm import study
from diffsmooth.llm.configuration import Data, Optimisation, RuleChoice
from diffsmooth.llm.small import Pretraining, SmallModel

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

TINY = study.Study(
    arms=(
        study.Arm("GRPO", RuleChoice("grpo")),
        study.Arm("centred", RuleChoice("centred", {"g_correct": 0.5})),
    ),
    seeds=(0, 1),
    steps=4,
    measurement=study.Measurement(problems=5, samples=64, every=2),
    model=SmallModel(hidden=16, layers=1, heads=2, intermediate=24, positions=32),
    pretraining=Pretraining(steps=60, batch=32, warmup=5, learning_rate=1e-2),
    optimisation=Optimisation(steps=4, prompts=2, group=8, micro_batch=16),
    data=Data(style="bare", problems=8),
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    study.run_study(TINY, out, processes=1)
    return out


def test_every_run_leaves_its_file_and_its_sidecar(done: Path) -> None:
    runs = TINY.runs(done)
    assert len({study.run_path(r, done) for r in runs}) == 4
    for run in runs:
        path = study.run_path(run, done)
        table = records.read_table(path).to_pylist()
        assert {r["step"] for r in table} == {0, 2, 4}
        assert len(table) == 3 * 5
        assert all(r["distinct"] <= r["written"] <= r["correct"] <= 64 for r in table)
        note = records.read_json(path.with_suffix(".json"))
        assert note["seed"] == run.training.seed


def test_a_run_is_keyed_by_what_it_depends_on_and_not_by_where_it_lies(tmp_path: Path) -> None:
    a = [study.run_path(r, tmp_path).name for r in TINY.runs(tmp_path / "a")]
    b = [study.run_path(r, tmp_path).name for r in TINY.runs(tmp_path / "b")]
    assert a == b
    other = replace(TINY, steps=6)
    assert not set(a) & {study.run_path(r, tmp_path).name for r in other.runs(tmp_path)}


def test_only_what_is_missing_is_run_and_the_result_is_the_same(
    done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = study.run_path(TINY.runs(done)[2], done)
    before, summary = victim.read_bytes(), (done / "summary.parquet").read_bytes()
    victim.unlink()
    ran: list[str] = []
    execute = study.execute

    def spy(run: study.Run, out: Path) -> Path:
        ran.append(run.training.name)
        return execute(run, out)

    monkeypatch.setattr(study, "execute", spy)
    study.run_study(TINY, done, processes=1)
    assert ran == [TINY.runs(done)[2].training.name]
    assert victim.read_bytes() == before
    assert (done / "summary.parquet").read_bytes() == summary


def test_measuring_does_not_change_the_training(done: Path, tmp_path: Path) -> None:
    """The same run measured less often ends with the same numbers."""
    rarely = replace(TINY, seeds=(1,), measurement=replace(TINY.measurement, every=4))
    (tmp_path / "base").mkdir()
    study.run_study(rarely, tmp_path / "base", processes=1)
    often = {
        (r["arm"], r["problem"]): r["correct"]
        for r in study.results(TINY, done).to_pylist()
        if r["step"] == 4 and r["seed"] == 1
    }
    found = {
        (r["arm"], r["problem"]): r["correct"]
        for r in study.results(rarely, tmp_path / "base").to_pylist()
        if r["step"] == 4
    }
    assert found == often


def test_the_summary_is_the_mean_over_problems(done: Path) -> None:
    rows = study.results(TINY, done).to_pylist()
    entry = records.read_table(done / "summary.parquet").to_pylist()[-1]
    mine = [
        r for r in rows
        if (r["arm"], r["seed"], r["step"]) == (entry["arm"], entry["seed"], entry["step"])
    ]  # fmt: skip
    assert entry["pass@1"] == pytest.approx(np.mean([r["correct"] / 64 for r in mine]))
    assert entry["pass@64"] == pytest.approx(np.mean([r["correct"] > 0 for r in mine]))
    assert entry["distinct"] == pytest.approx(np.mean([r["distinct"] for r in mine]))


def test_the_table_gives_the_spread_over_seeds(done: Path) -> None:
    summary = records.read_table(done / "summary.parquet").to_pylist()
    table = study.final_table(done)
    assert [row["arm"] for row in table] == ["GRPO", "centred"]
    for row in table:
        last = [r["pass@4"] for r in summary if r["arm"] == row["arm"] and r["step"] == 4]
        assert row["seeds"] == 2
        assert row["pass@4"] == pytest.approx((np.mean(last), min(last), max(last)))


def test_the_figure_is_drawn_from_the_summary_alone(done: Path, tmp_path: Path) -> None:
    (tmp_path / "summary.parquet").write_bytes((done / "summary.parquet").read_bytes())
    for name in ("study.svg", "study.png"):
        first = study.figure(tmp_path, tmp_path / name).read_bytes()
        assert first == study.figure(tmp_path, tmp_path / name).read_bytes()
        assert len(first) > 5_000


@pytest.mark.parametrize(
    ("bad", "message"),
    [({"arms": ()}, "arms"), ({"seeds": (1, 1)}, "seeds"), ({"seeds": ()}, "seeds")],
)
def test_bad_studies_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **bad)
