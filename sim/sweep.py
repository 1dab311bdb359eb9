"""Many cells, one by one: written as they finish, resumed where they stopped, in any number of
processes, with the same bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from diffsmooth import records
from diffsmooth.sim.cells import Cell, run_cell

if TYPE_CHECKING:
    import pyarrow as pa

Engine = Literal["local", "ray"]
TABLES = ("frontier", "theory", "runs")  # ``runs`` is written last: its presence means done
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def path(out: Path, cell: Cell, table: str) -> Path:
    """Where a table of a cell lies: named by the hash of all that decides its numbers."""
    return out / "cells" / f"{records.config_hash(cell.key())}.{table}.parquet"


def finished(out: Path, cell: Cell) -> bool:
    """Has the cell been run?"""
    return records.done(path(out, cell, TABLES[-1]))


def compute(out: Path, cell: Cell) -> None:
    """Run one cell and write what it gives, unless it is there."""
    if not finished(out, cell):
        write(out, cell, run_cell(cell))


def write(out: Path, cell: Cell, tables: Mapping[str, pa.Table]) -> None:
    """Write the tables of a cell and its sidecar."""
    records.write_json(
        path(out, cell, "sidecar").with_suffix(".json"), records.sidecar(cell.key(), 0)
    )
    for name in TABLES:
        records.write_table(path(out, cell, name), tables[name])


def run_cells(
    cells: Sequence[Cell],
    out: Path,
    *,
    jobs: int = 1,
    engine: Engine = "local",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Run the cells that are not there yet, ``jobs`` at a time; ``progress(done, total)``.

    Raises ValueError on jobs < 1 or an unknown engine.
    """
    if jobs < 1:
        raise ValueError(f"jobs: must be at least 1, got {jobs}")
    if engine not in get_args(Engine):
        raise ValueError(f"engine: must be one of {', '.join(get_args(Engine))}; got {engine!r}")
    todo = [c for c in cells if not finished(out, c)]
    done = len(cells) - len(todo)
    report = progress or (lambda _done, _total: None)
    report(done, len(cells))
    for _ in _run(todo, out, jobs, engine):
        done += 1
        report(done, len(cells))


def _run(todo: Sequence[Cell], out: Path, jobs: int, engine: Engine) -> Iterator[None]:
    if not todo:
        return
    if engine == "ray":
        from diffsmooth.sim.cluster import run_on_ray

        yield from run_on_ray(todo, partial(write, out))
    elif jobs == 1:
        for cell in todo:
            compute(out, cell)
            yield
    else:
        import multiprocessing

        with _one_thread(), multiprocessing.get_context("spawn").Pool(jobs) as pool:
            yield from pool.imap_unordered(partial(compute, out), todo)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Workers started inside use one thread each: processes are the parallelism here."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
