"""The same cells on a local Ray cluster: equal bytes, and a dying worker loses nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffsmooth.sim import sweep
from diffsmooth.sim.cells import Cell

ray = pytest.importorskip("ray", reason="needs the extra 'ray'; make test-verl has it")

pytestmark = [
    pytest.mark.slow,
    # Ray opens sockets and processes that it closes when the interpreter ends.
    pytest.mark.filterwarnings("ignore"),
]

CELLS = [Cell(f"maze/{i}", ("grpo", "maxrl"), 4) for i in range(3)]


@pytest.fixture
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def contents(out: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in (out / "cells").iterdir()}


def test_a_cluster_gives_the_same_bytes(cluster, tmp_path):
    sweep.run_cells(CELLS, tmp_path / "ray", engine="ray")
    sweep.run_cells(CELLS, tmp_path / "here")
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")


def test_a_killed_worker_loses_nothing(cluster, tmp_path, monkeypatch):
    marker = tmp_path / "died"
    from diffsmooth.sim import cells

    plain = cells.run_cell

    def dies_once(cell):
        if cell.regime == "maze/1" and not marker.exists():
            marker.touch()
            os._exit(1)
        return plain(cell)

    monkeypatch.setattr(cells, "run_cell", dies_once)
    sweep.run_cells(CELLS, tmp_path / "ray", engine="ray")
    monkeypatch.undo()
    assert marker.exists()
    sweep.run_cells(CELLS, tmp_path / "here")
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")
