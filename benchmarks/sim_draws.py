"""Sampling groups and scattering their gradients: the compiled draws against plain NumPy."""

from __future__ import annotations

import json
import time

import numpy as np

from diffsmooth.sim.dynamics.compiled import draw_compiled
from diffsmooth.sim.dynamics.draws import draw_plainly

COPIES, SEEDS, PROMPTS, ROUNDS = 5, 32, 8, 9


def rng_choice(probabilities: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """What one writes first: one call of ``Generator.choice`` per prompt."""
    rows = probabilities.reshape(-1, probabilities.shape[-1])
    drawn = [rng.choice(len(row), size=size, p=row) for row in rows]
    return np.stack(drawn).reshape(*probabilities.shape[:-1], size)


def main() -> None:
    rng = np.random.default_rng(0)
    table = []
    for answers, group in ((24, 8), (192, 8), (128, 64)):
        p = rng.dirichlet(np.ones(answers), size=(COPIES, SEEDS, PROMPTS))
        u = rng.random((SEEDS, PROMPTS, group))
        assert np.array_equal(draw_compiled(p, u), draw_plainly(p, u))
        contestants = {
            "compiled": lambda p=p, u=u: draw_compiled(p, u),
            "NumPy, vectorised": lambda p=p, u=u: draw_plainly(p, u),
            "Generator.choice": lambda p=p, g=group: rng_choice(p, rng, g),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(ROUNDS):
            for name, f in contestants.items():
                start = time.perf_counter()
                f()
                seconds[name].append(time.perf_counter() - start)
        fastest = {name: min(v) for name, v in seconds.items()}
        table.append(
            {
                "answers": answers,
                "group": group,
                **{f"{k} [ms]": 1e3 * v for k, v in fastest.items()},
                "NumPy / compiled": fastest["NumPy, vectorised"] / fastest["compiled"],
                "choice / compiled": fastest["Generator.choice"] / fastest["compiled"],
            }
        )
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
