"""Exact dynamics of 4096 policies x 128 answers: ratios within one run.

    python benchmarks/sim_exact.py [--out table.json]

JAX is measured where it can be imported (it is no dependency).  Times are CPU-contention-prone;
the ratio of medians of interleaved rounds is what counts, with the spread over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from diffsmooth.sim.dynamics import compiled
from diffsmooth.theory.rules import rule

POLICIES, ANSWERS, CORRECT, RATE, G = 4096, 128, 32, 0.5, 0.3
STEPS, ROUNDS = 20, 15


def plain(theta: np.ndarray, reward: np.ndarray) -> np.ndarray:
    """One step of centred smoothing on vanilla, as one would write it in NumPy."""
    shifted = theta - theta.max(-1, keepdims=True)
    weight = np.exp(shifted)
    total = weight.sum(-1, keepdims=True)
    pi = weight / total
    log_pi = shifted - np.log(total)
    success = (pi * reward).sum(-1, keepdims=True)
    centre = (pi * reward * log_pi).sum(-1, keepdims=True) / success
    advantage = reward * (1.0 - G * (log_pi - centre))
    return theta + RATE * pi * (advantage - (pi * advantage).sum(-1, keepdims=True))


def jax_step() -> Callable[[np.ndarray, np.ndarray], object] | None:
    """STEPS steps of the same under one JAX jit, or None without JAX."""
    try:
        import jax
    except ModuleNotFoundError:
        return None
    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    def step(_: int, state: tuple[object, object]) -> tuple[object, object]:
        theta, reward = state
        shifted = theta - theta.max(-1, keepdims=True)
        weight = jnp.exp(shifted)
        total = weight.sum(-1, keepdims=True)
        pi = weight / total
        log_pi = shifted - jnp.log(total)
        success = (pi * reward).sum(-1, keepdims=True)
        centre = (pi * reward * log_pi).sum(-1, keepdims=True) / success
        advantage = reward * (1.0 - G * (log_pi - centre))
        moved = theta + RATE * pi * (advantage - (pi * advantage).sum(-1, keepdims=True))
        return moved, reward

    many = jax.jit(lambda t, r: jax.lax.fori_loop(0, STEPS, step, (t, r))[0])
    return lambda t, r: many(t, r).block_until_ready()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--threads", type=int, default=2)
    options = arguments.parse_args()
    rng = np.random.default_rng(0)
    theta = rng.standard_normal((POLICIES, ANSWERS))
    reward = np.zeros((POLICIES, ANSWERS))
    reward[:, :CORRECT] = 1.0
    smoothed = rule("centred", g_correct=G, base="vanilla")
    buffer, halves = theta.copy(), np.array_split(np.arange(POLICIES), options.threads)
    pool = ThreadPoolExecutor(options.threads)

    def kernel() -> np.ndarray:
        out = theta[None].copy()
        compiled.exact_steps(
            out,
            reward,
            [smoothed],
            rates=[RATE],
            count=STEPS,
            group_size=None,
            threads=options.threads,
        )
        return out[0]

    def numpy_steps() -> np.ndarray:
        out = theta
        for _ in range(STEPS):
            out = plain(out, reward)
        return out

    def bare_exp() -> None:
        def part(rows: np.ndarray) -> None:
            a, b = int(rows[0]), int(rows[-1]) + 1
            for _ in range(STEPS):
                np.exp(theta[a:b], out=buffer[a:b])

        list(pool.map(part, halves))

    contestants: dict[str, Callable[[], object]] = {
        "kernel": kernel,
        "plain NumPy": numpy_steps,
        "bare exponential": bare_exp,
    }
    compiled_jax = jax_step()
    if compiled_jax is not None:
        contestants["JAX jit"] = lambda: compiled_jax(theta, reward)
    gap = float(np.abs(kernel() - numpy_steps()).max())
    for f in contestants.values():
        f()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, f in contestants.items():
            start = time.perf_counter()
            f()
            seconds[name].append((time.perf_counter() - start) / STEPS)
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, threads {options.threads}",
        "largest difference to NumPy": gap,
        "milliseconds a step, median": {k: 1e3 * float(np.median(v)) for k, v in seconds.items()},
        "milliseconds a step, smallest": {k: 1e3 * min(v) for k, v in seconds.items()},
        "ratio to the kernel, per round: quartiles": {
            name: [
                float(q)
                for q in np.quantile(np.array(v) / np.array(seconds["kernel"]), (0.25, 0.5, 0.75))
            ]
            for name, v in seconds.items()
        },
        "ratio of smallest times to the kernel": {
            name: min(v) / min(seconds["kernel"]) for name, v in seconds.items()
        },
    }
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
