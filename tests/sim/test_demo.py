"""The demonstration: shown from its table alone, and it shows the collapse and the remedy."""

from __future__ import annotations

import numpy as np
import pytest

from diffsmooth import records
from diffsmooth.cli import main
from diffsmooth.sim.demo import DemoRun, figure, run_demo
from diffsmooth.sim.regimes.bandit import Bandit

TINY = DemoRun(
    regime=Bandit(solutions=4, incorrect=4, prompts=4, correctness=0.3, survive=0.25),
    time=60.0,
    points=6,
    substeps=40,
)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    run_demo(folder, TINY)
    return folder


def last(out, method, measure):
    rows = records.read_table(out / "collapse.parquet").to_pylist()
    mine = [r for r in rows if r["method"] == method and r["measure"] == measure]
    return mine[0]["value"], mine[-1]["value"]


def test_vanilla_is_the_closed_form(out):
    assert records.read_json(out / "collapse.json")["largest_log_prob_gap_to_A3"] < 1e-5


def test_vanilla_collapses_and_smoothing_does_not(out):
    start, end = last(out, "vanilla", "entropy")
    assert end < 0.6 * start
    assert last(out, "centred", "entropy")[1] > 0.95 * start
    assert last(out, "centred", "test_pass@16")[1] > last(out, "vanilla", "test_pass@16")[1]
    assert last(out, "vanilla", "pass@1")[1] > 0.9


def test_the_figure_needs_the_table_only(out, tmp_path):
    (tmp_path / "collapse.parquet").write_bytes((out / "collapse.parquet").read_bytes())
    first = figure(tmp_path).read_bytes()
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert figure(tmp_path).read_bytes() == first
    with pytest.raises(FileNotFoundError):
        figure(tmp_path / "nowhere")


def test_it_is_run_once(out):
    stamp = (out / "collapse.parquet").stat().st_mtime_ns
    run_demo(out, TINY)
    assert (out / "collapse.parquet").stat().st_mtime_ns == stamp


def test_simulate_from_the_command_line(tmp_path, capsys):
    words = ["simulate", "maze/0", "--seeds", "4", "--remedies", "grpo", "maxrl"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    assert "maxrl" in capsys.readouterr().out
    assert (tmp_path / "maze-0-sampled.png").is_file()
    assert main(["simulate", "mase", "--out", str(tmp_path)]) == 2
    assert "did you mean 'maze'" in capsys.readouterr().err


def test_measures_of_the_base_do_not_depend_on_the_method(out):
    starts = [last(out, m, "pass@1")[0] for m in ("vanilla", "eq6", "centred", "A3")]
    np.testing.assert_allclose(starts, starts[0], rtol=1e-12)
