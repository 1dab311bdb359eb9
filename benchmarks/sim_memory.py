"""Peak memory: of a sweep as its cells go by, and of a million policies of 128 answers in place."""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from diffsmooth.sim.cells import Cell
from diffsmooth.sim.dynamics.compiled import exact_steps
from diffsmooth.sim.regimes import identities
from diffsmooth.sim.sweep import run_cells
from diffsmooth.theory.rules import rule

REMEDIES = ("grpo", "centred", "entropy-bonus")


def peak() -> float:
    """GiB, of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def sweep() -> dict[int, float]:
    """Peak after so many of the cells of `noisy`, all of one size, run one after the other."""
    peaks = {}
    with tempfile.TemporaryDirectory() as out:
        for count, identity in enumerate(identities(("noisy",)), 1):
            run_cells([Cell(identity, REMEDIES)], Path(out))
            if count in (2, 6, 18, 54):
                peaks[count] = round(peak(), 3)
    return peaks


def million() -> dict[str, float]:
    """Ten exact steps of GRPO on 10^6 policies."""
    theta = np.empty((1, 1_000_000, 128))
    rng = np.random.default_rng(0)
    for first in range(0, theta.shape[1], 10_000):
        theta[0, first : first + 10_000] = rng.standard_normal((10_000, 128))
    correct = (np.arange(128) < 32)[None] * 1.0
    start = time.perf_counter()
    exact_steps(theta, correct, [rule("grpo")], rates=[0.5], count=10, group_size=8, threads=2)
    return {"seconds for 10 steps": time.perf_counter() - start, "peak GiB": peak()}


def main() -> None:
    print(json.dumps({"cells: peak GiB": sweep(), "10^6 policies": million()}))


if __name__ == "__main__":
    main()
