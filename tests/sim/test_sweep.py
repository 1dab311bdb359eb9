"""Sweeps: serial, parallel, killed and resumed runs give the same bytes; the atlas end to end."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from diffsmooth import records
from diffsmooth.sim import report, sweep
from diffsmooth.sim.atlas import load, standings
from diffsmooth.sim.cells import Cell, run_cell
from diffsmooth.sim.findings import write_findings
from diffsmooth.sim.measures import KS
from diffsmooth.sim.paths import Laboratory
from diffsmooth.sim.regimes import REGIMES, Training, regime
from diffsmooth.sim.remedies import REMEDIES

FEW = ("grpo", "centred", "entropy-bonus", "entropy-penalty", "literal")
CELLS = [Cell("maze/0", FEW, 4), Cell("bandit/0", FEW, 4), Cell("noisy/1", FEW, 4)]


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    out = tmp_path_factory.mktemp("serial")
    sweep.run_cells(CELLS, out)
    return out


def digest(out: Path) -> dict[str, str]:
    files = sorted((out / "cells").iterdir())
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_what_is_kept_of_a_path(serial):
    cell = CELLS[1]
    paths, runs = load(serial, cell, "frontier"), load(serial, cell, "runs")
    for key in (regime(cell.regime).primary, "class_entropy"):
        assert np.all(paths[f"{key}:low"] <= paths[key])
        assert np.all(paths[key] <= paths[f"{key}:high"])
    last = paths["step"] == paths["step"].max()
    for key in ("pass@16", "test_pass@256", "entropy"):
        seeds = runs[f"final:{key}"].reshape(-1, cell.seeds)
        np.testing.assert_allclose(paths[key][last], seeds.mean(axis=1), rtol=1e-5)
    for where in ("", "test_"):
        curve = np.stack([paths[f"{where}pass@{k}"] for k in KS])
        assert np.all(np.diff(curve, axis=0) >= 0)


def test_parallel_equals_serial(serial, tmp_path):
    sweep.run_cells(CELLS, tmp_path, jobs=2)
    assert digest(tmp_path) == digest(serial)


def test_a_killed_run_goes_on(serial, tmp_path, monkeypatch):
    def killed(cell):
        if cell is CELLS[1]:
            raise KeyboardInterrupt
        return run_cell(cell)

    monkeypatch.setattr(sweep, "run_cell", killed)
    with pytest.raises(KeyboardInterrupt):
        sweep.run_cells(CELLS, tmp_path)
    ran = []

    def counted(cell):
        ran.append(cell.regime)
        return run_cell(cell)

    monkeypatch.setattr(sweep, "run_cell", counted)
    sweep.run_cells(CELLS, tmp_path)
    assert ran == ["bandit/0", "noisy/1"]
    assert digest(tmp_path) == digest(serial)


def test_a_half_written_cell_is_run_again(serial, tmp_path):
    sweep.run_cells(CELLS[:1], tmp_path)
    sweep.path(tmp_path, CELLS[0], "runs").unlink()
    assert not sweep.finished(tmp_path, CELLS[0])
    sweep.run_cells(CELLS[:1], tmp_path)
    assert digest(tmp_path).items() <= digest(serial).items()


def test_cells_differ_by_what_was_run():
    a, b = CELLS[0], dataclasses.replace(CELLS[0], seeds=5)
    assert sweep.path(Path(), a, "runs") != sweep.path(Path(), b, "runs")


def test_standings_tune_on_even_and_compare_on_odd_seeds():
    """A strength that is best on the even seeds only must not be judged by them."""
    seeds = np.tile(np.arange(8), 3)
    strength = np.repeat([1.0, 0.1, 0.2], 8)
    name = np.array(["grpo"] * 8 + ["centred"] * 16)
    value = np.where(name == "grpo", 0.5, np.where(strength == 0.1, 0.6, 0.4))
    lucky = (name == "centred") & (strength == 0.2) & (seeds % 2 == 0)
    value = np.where(lucky, 0.9, value)
    runs = {"remedy": name, "strength": strength, "seed": seeds, "at pass@1:x": value}
    table = standings(runs, "x", "pass@1")
    assert [s.remedy for s in table] == ["grpo", "centred"]
    assert table[1].strength == 0.2
    assert table[1].difference.value == pytest.approx(-0.1)
    assert table[1].difference.below


def test_every_number_of_a_standing_is_about_the_same_seeds():
    """A remedy that arrives on the easy seeds only must not look better than one that always does.

    ``easy`` is below GRPO on every seed where it arrives; its plain mean there is the largest.
    """
    seeds = np.tile(np.arange(40), 3)
    name = np.repeat(["grpo", "easy", "slow"], 40)
    hard = seeds % 20 == 1  # two of the twenty odd seeds
    grpo = np.where(hard, 0.1, 0.8)
    value = np.where(name == "easy", np.where(hard, np.nan, 0.79), grpo)
    value = np.where(name == "slow", grpo - 0.05, value)
    runs = {"remedy": name, "strength": np.ones(120), "seed": seeds, "at pass@1:x": value}
    table = {s.remedy: s for s in standings(runs, "x", "pass@1")}
    assert list(table) == ["grpo", "easy", "slow"]
    # Two lost seeds count, with the floor where the table has no final value.
    assert (table["easy"].seeds, table["easy"].reached) == (20, 0.9)
    assert (table["slow"].seeds, table["slow"].reached) == (20, 1.0)
    assert table["easy"].difference.value == pytest.approx(-0.01 * 0.9 - 0.1 * 0.1)
    for s in table.values():
        assert s.difference.value == pytest.approx(s.value - s.reference, abs=1e-12)
    assert table["slow"].margin is None


def _rows(name, values):
    n = len(values)
    return {
        "remedy": np.full(n, name),
        "strength": np.ones(n),
        "seed": np.arange(n, dtype=np.int32),
        "at pass@1:m": np.asarray(values, dtype=float),
    }


def test_missing_the_level_is_a_loss_that_is_counted():
    base = 0.5 + 0.01 * np.arange(8)
    some = base + 0.3
    some[[1, 3]] = np.nan
    tables = [_rows("grpo", base), _rows("kl", some), _rows("eq6", np.full(8, np.nan))]
    for final, share in ((None, 0.0), (0.9, 0.75), (0.1, 0.75), (0.9, 0.999)):
        runs = {k: np.concatenate([t[k] for t in tables]) for k in tables[0]}
        if final is not None:  # what a remedy ended with never beats the level it did not reach
            runs["final:m"] = np.full(24, final)
            runs["at pass@1:pass@1"] = np.where(np.isnan(runs["at pass@1:m"]), np.nan, 0.8)
            runs["final:pass@1"] = np.full(24, 0.8 * share)
        table = standings(runs, "m", "pass@1")
        assert table[0].remedy == "grpo"
        assert {s.remedy for s in table} == {"grpo", "kl", "eq6"}
        never = next(s for s in table if s.remedy == "eq6")
        assert (never.reached, never.keeps_up) == (0.0, False)
        assert never.difference.value < 0
        assert never.difference.value == pytest.approx(
            float((np.minimum(final or 0.0, base[1::2]) * share - base[1::2]).mean())
        )
        assert never.improvement < 0.5
        kl = next(s for s in table if s.remedy == "kl")
        assert (kl.seeds, kl.reached, kl.keeps_up) == (4, 0.5, False)
        assert kl.difference.value < 0.15  # two seeds of +.3 and two lost ones
        assert table[0].reached == 1


def test_a_stored_cell_is_not_read_back_after_a_change(serial, monkeypatch):
    cell = CELLS[1]
    assert sweep.finished(serial, cell)
    with monkeypatch.context() as m:
        changed = dataclasses.make_dataclass(
            "Bandit", [("survive", float, 1.0)], bases=(REGIMES["bandit"],), frozen=True
        )
        m.setitem(REGIMES, "bandit", changed)
        assert not sweep.finished(serial, cell)
    for field, value in (("strengths", (0.1, 0.3)), ("make", REMEDIES["eq6"].make)):
        with monkeypatch.context() as m:
            m.setitem(
                REMEDIES, "centred", dataclasses.replace(REMEDIES["centred"], **{field: value})
            )
            assert not sweep.finished(serial, cell)
    with monkeypatch.context() as m:
        m.setattr("diffsmooth.sim.formulas.version", lambda: "other")
        assert not sweep.finished(serial, cell)
    assert sweep.finished(serial, cell)


def test_formulas_ignore_docstrings_and_comments_only():
    from diffsmooth.sim.formulas import outline, sources

    assert (
        outline('"""a"""\nx = 1') == outline('"""b"""\n# c\nx  =  1') != outline('"""a"""\nx = 2')
    )
    named = set(sources())
    assert {"sim/measures.py", "sim/dynamics/sampled.py", "theory/rules/baselines.py"} <= named
    assert "sim/charts.py" not in named


@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize("every", [1, 3, 6, 11, 100])
def test_subsets_keep_the_range_of_every_parameter(name, every):
    from diffsmooth.sim.design import design, parameters, subset
    from diffsmooth.sim.regimes import identities

    whole = [parameters(regime(c)) for c in identities((name,))]
    for chosen in (subset((name,), every), design((name,), 8)):
        assert len(set(chosen)) == len(chosen)
        part = [parameters(regime(c)) for c in chosen]
        for key in whole[0]:
            if key != "survive" or every is None:
                for end in (min, max):
                    assert end(p[key] for p in part) == end(p[key] for p in whole)


def test_where_every_solution_survives_the_test_is_the_training():
    for place in ("bandit", "tree", "noisy/30"):
        laboratory = Laboratory(
            regime(f"{place}:survive=1"), range(2), training=Training(6, checkpoints=3)
        )
        measures = laboratory.run("centred").measures
        for k in KS:
            np.testing.assert_array_equal(measures[f"test_pass@{k}"], measures[f"pass@{k}"])


def test_fifteen_trials_for_everyone():
    assert {len(set(h.trials)) for h in REMEDIES.values()} == {15}


def test_the_atlas_end_to_end(tmp_path):
    page = report.make_atlas(
        tmp_path, regimes=("maze", "bandit"), remedies=FEW, seeds=4, cells=8, jobs=1
    )
    text = page.read_text()
    assert "the theory names the winner" in text
    assert "http" not in text
    shares = records.read_table(tmp_path / "shares.parquet").to_pylist()
    assert {r["question"] for r in shares} >= {"B9", "C5", "E3"}
    for row in shares:
        assert 0 <= row["low"] <= row["share"] <= row["high"] <= 1
    assert list((tmp_path / "figures").glob("*.png"))
    before = page.read_bytes()
    report.make_atlas(tmp_path, regimes=("maze", "bandit"), remedies=FEW, seeds=4, cells=8, jobs=1)
    assert page.read_bytes() == before
    findings = write_findings(tmp_path, tmp_path / "docs" / "atlas.md").read_text()
    rows = [
        r
        for r in records.read_table(tmp_path / "summary.parquet").to_pylist()
        if r["match"] == "pass@1"
        and r["remedy"] == "centred"
        and r["link"] != "control"
        and r["regime"] == "maze"
    ]
    above, below = sum(r["better"] for r in rows), sum(r["worse"] for r in rows)
    assert f"| centred | within | {above} | {below} | {len(rows) - above - below} |" in findings
    assert (tmp_path / "docs" / "figures" / "atlas-theory.png").is_file()
    assert (tmp_path / "docs" / "figures" / "atlas-survive.png").is_file()
    assert "diffsmooth atlas --regimes maze bandit --remedies" in findings
    # What the test is stands in the first lines; where nothing is voided nothing is to be won.
    first = findings[: findings.index("Made by")]
    for link in ("voided solutions** (bandit)", "same problems** (maze)", "control** (bandit)"):
        assert link in first
    control = [
        r
        for r in records.read_table(tmp_path / "summary.parquet").to_pylist()
        if r["link"] == "control" and r["match"] == "pass@1"
    ]
    assert {r["survive"] for r in control} == {1.0}
    assert max(abs(r["difference"]) for r in control if r["keeps_up"]) < 0.01
    assert not any(r["better"] for r in control)
    with pytest.raises(FileNotFoundError, match="run diffsmooth atlas"):
        write_findings(tmp_path / "nowhere", tmp_path / "atlas.md")


def test_missing_cells_are_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="maze/0 has not been run"):
        load(tmp_path, CELLS[0], "runs")


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="jobs"):
        sweep.run_cells(CELLS, tmp_path, jobs=0)
    with pytest.raises(ValueError, match="engine"):
        sweep.run_cells(CELLS, tmp_path, engine="slurm")
    with pytest.raises(ValueError, match="seeds"):
        Cell("maze/0", FEW, 2)
    with pytest.raises(ValueError, match="unknown remedy"):
        Cell("maze/0", ("grop",), 4)


@pytest.mark.parametrize("name", REGIMES)
def test_every_remedy_runs_in_every_regime(name):
    laboratory = Laboratory(regime(name), range(2), training=Training(4, checkpoints=2))
    for remedy in REMEDIES:
        paths = laboratory.run(remedy)
        for key, value in paths.measures.items():
            assert value.shape == (2, 5, 2)
            assert np.all(np.isfinite(value)), (remedy, key)
        start = paths.measures["pass@1"][0]
        np.testing.assert_array_equal(start, np.broadcast_to(start[:1], start.shape))
