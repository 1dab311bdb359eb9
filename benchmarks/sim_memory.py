"""A million policies of 128 answers: peak memory and time of exact steps, in place."""

from __future__ import annotations

import json
import resource
import time

import numpy as np

from diffsmooth.sim.dynamics.compiled import exact_steps
from diffsmooth.theory.rules import rule


def main() -> None:
    theta = np.empty((1, 1_000_000, 128))
    rng = np.random.default_rng(0)
    for first in range(0, theta.shape[1], 10_000):
        theta[0, first : first + 10_000] = rng.standard_normal((10_000, 128))
    correct = (np.arange(128) < 32)[None] * 1.0
    start = time.perf_counter()
    exact_steps(theta, correct, [rule("grpo")], rates=[0.5], count=10, group_size=8, threads=2)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"policies": 10**6, "peak GiB": peak, "seconds for 10 steps": seconds}))


if __name__ == "__main__":
    main()
