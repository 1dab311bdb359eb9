"""The same cells on an existing Ray cluster (extra ``ray``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from diffsmooth.sim.cells import Cell


def run_on_ray(
    cells: Sequence[Cell], write: Callable[[Cell, Mapping[str, Any]], None]
) -> Iterator[None]:
    """Run the cells as Ray tasks; yields once per finished cell, whose tables ``write`` has kept.

    The address comes from RAY_ADDRESS; without it a local cluster is started.  Workers return their
    tables and the caller writes them, so that no shared disk is needed.  A worker that dies loses
    its cell only, which is run again: cells depend on nothing but themselves, so no byte changes.

    Raises ImportError naming the extra where Ray is missing.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ImportError("--engine ray needs: pip install 'diffsmooth[ray]'") from error
    from diffsmooth.sim.cells import run_cell

    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False)
    try:
        remote = ray.remote(max_retries=-1, num_cpus=1)(run_cell)
        waiting = {remote.remote(cell): cell for cell in cells}
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            cell = waiting.pop(ready[0])
            write(cell, ray.get(ready[0]))
            yield
    finally:
        if started:
            ray.shutdown()
