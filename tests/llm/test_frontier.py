"""The fair study: the same budget for every remedy, the frontier, one table, one figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffsmooth import records
from diffsmooth.llm import frontier, study


def test_every_remedy_has_three_settings_and_they_are_different_runs(tmp_path: Path) -> None:
    found = frontier.remedies()
    assert [len(r.arms) for r in found] == [3] * 11
    made = frontier.frontier_study(8, (0,))
    paths = {study.run_path(r, tmp_path) for r in made.runs(tmp_path)}
    assert len(paths) == 33
    rates = {
        r.arm.name: r.training.optimisation.learning_rate
        for r in made.runs(tmp_path)
        if r.arm.name.startswith("GRPO ")
    }
    base = rates["GRPO lr x1"]
    assert rates == {
        "GRPO lr x0.5": 0.5 * base, "GRPO lr x1": base, "GRPO lr x2": 2.0 * base
    }  # fmt: skip


def test_the_frontier_is_the_best_point_with_as_much_pass_at_1() -> None:
    base_pass1, base_kept = np.array([0.1, 0.3, 0.2]), np.array([0.9, 0.5, 0.4])
    got = frontier.above_frontier(
        np.array([0.05, 0.2, 0.25, 0.4]), np.array([0.8, 0.7, 0.5, 0.6]), base_pass1, base_kept
    )
    # .9 from the first point; .5 from the second, twice; nothing reaches .4: the highest, .5.
    np.testing.assert_allclose(got, [-0.1, 0.2, 0.0, 0.1])


def _write(out: Path, made: study.Study) -> None:
    """Runs with known counts: centred keeps more, at the same pass@1 as GRPO."""
    import pyarrow as pa

    for run in made.runs(out):
        kept = run.arm.name.startswith("centred")
        rows = [
            {
                "arm": run.arm.name, "seed": run.training.seed, "step": step,
                "problem": f"p{i}", "samples": 64,
                # The same total: concentrated on half of the problems, or spread over all.
                "correct": 16 if kept else 32 * (i % 2), "distinct": 2 if kept else i % 2,
                "written": 3 if kept else i % 2,
            }
            for step in (0, 8) for i in range(20)
        ]  # fmt: skip
        records.write_table(study.run_path(run, out), pa.Table.from_pylist(rows))


def test_table_and_figure_from_files_alone(tmp_path: Path) -> None:
    made = frontier.frontier_study(8, (0, 1, 2))
    _write(tmp_path, made)
    rows = {r["arm"]: r for r in frontier.table(made, tmp_path)}
    assert len(rows) == 33
    mine = rows["centred g_correct=0.3"]
    assert mine["pass@1"][0] == pytest.approx(0.25)
    assert mine["pass@1 - GRPO"][0] == pytest.approx(0.0)
    assert mine["pass@64 - GRPO"][0] == pytest.approx(0.5)
    assert mine["distinct - GRPO"][0] == pytest.approx(1.5)
    assert mine["distinct - GRPO's frontier"][0] == pytest.approx(1.5)
    value, low, high = mine["pass@64 - GRPO"]
    # Seeds are alike, so only problems vary: Student's interval of 20 shares of 0 and 1.
    reach = 2.093024 * 0.5 / 19**0.5
    assert (low, high) == pytest.approx((value - reach, value + reach))
    assert rows["GRPO lr x1"]["pass@64 - GRPO"] == (0.0, 0.0, 0.0)
    parquet, text = frontier.write(made, tmp_path)
    assert len(records.read_table(parquet).to_pylist()) == 33 * 8
    assert "| centred g_correct=0.3 |" in text.read_text()
    picture = frontier.figure(made, tmp_path, tmp_path / "f.png").read_bytes()
    assert picture == frontier.figure(made, tmp_path, tmp_path / "f.png").read_bytes()
    assert len(picture) > 5_000


def test_no_interval_from_two_seeds_and_none_of_no_width(tmp_path: Path) -> None:
    made = frontier.frontier_study(8, (0, 1))
    _write(tmp_path, made)
    rows = frontier.table(made, tmp_path)
    assert all(np.isnan(r["pass@1"][1:]).all() for r in rows)
    assert "no intervals from less than 3 seeds" in frontier.markdown(rows)
    assert frontier.figure(made, tmp_path, tmp_path / "f.png").stat().st_size > 5_000
    # An arm without one correct answer in three seeds: not the interval 0 to 0.
    made = frontier.frontier_study(8, (0, 1, 2))
    _write(tmp_path, made)
    for run in made.runs(tmp_path):
        if run.arm.name == "eq6 g=0.3":
            path = study.run_path(run, tmp_path)
            found = records.read_table(path).to_pylist()
            import pyarrow as pa

            dead = [r | {"correct": 0, "distinct": 0, "written": 0} for r in found]
            records.write_table(path, pa.Table.from_pylist(dead))
    row = next(r for r in frontier.table(made, tmp_path) if r["arm"] == "eq6 g=0.3")
    assert row["pass@1"] == pytest.approx((0.0, 0.0, 1 - 0.025 ** (1 / 3)))
    assert row["distinct"][2] > 0.0


def test_only_seeds_that_every_arm_has_are_compared(tmp_path: Path) -> None:
    made = frontier.frontier_study(8, (0, 1))
    _write(tmp_path, made)
    study.run_path(made.runs(tmp_path)[-1], tmp_path).unlink()
    assert frontier.cube(made, tmp_path).seeds == (0,)
    with pytest.raises(FileNotFoundError, match="no finished run"):
        frontier.cube(replace(made, seeds=(5,)), tmp_path)
