"""Three correct answers on a triangle: where each remedy takes the law of correct answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffsmooth import records
from diffsmooth.sim.demo import DemoRun, demo_rules
from diffsmooth.sim.dynamics.exact import expected_gradient, flow
from diffsmooth.sim.environment import Environment
from diffsmooth.sim.measures import correct_law
from diffsmooth.sim.policies import Tabular

if TYPE_CHECKING:
    from diffsmooth.sim.policies import Float


@dataclass(frozen=True)
class SimplexRun:
    """Base laws of the three correct answers, the mass of the two incorrect ones, and the time."""

    starts: tuple[tuple[float, float, float], ...] = (
        (0.50, 0.30, 0.20),
        (0.25, 0.50, 0.25),
        (0.15, 0.30, 0.55),
        (0.38, 0.36, 0.26),
        (0.70, 0.20, 0.10),
        (0.10, 0.15, 0.75),
    )
    correctness: float = 0.3
    time: float = 120.0
    points: int = 60


def run_simplex(out: Path, config: SimplexRun | None = None) -> Path:
    """Follow the four remedies of the demonstration; writes ``out/simplex.parquet``."""
    import pyarrow as pa

    config = config or SimplexRun()
    table = out / "simplex.parquet"
    environment = _environment(config)
    rules = demo_rules(DemoRun())
    update = expected_gradient(environment, list(rules.values()), None)
    parameters = environment.model.start(len(rules))
    rows = []
    for point in range(config.points + 1):
        law = np.exp(correct_law(environment, environment.model.log_probs(parameters)))
        for copy, name in enumerate(rules):
            for start in range(len(config.starts)):
                a, b, c = (float(x) for x in law[copy, 0, start, :3])
                time = config.time * point / config.points
                rows.append({"method": name, "start": start, "time": time, "a": a, "b": b, "c": c})
        parameters = flow(update, parameters, config.time / config.points, 8)
    records.write_json(out / "simplex.json", records.sidecar(config))
    return records.write_table(table, pa.Table.from_pylist(rows))


def _environment(config: SimplexRun) -> Environment:
    wrong = (1 - config.correctness) * np.array([0.6, 0.4])
    base: Float = np.log(
        np.array([[*(config.correctness * np.array(s)), *wrong] for s in config.starts])
    )
    correct = np.broadcast_to(np.arange(5) < 3, base.shape).copy()
    everyone = np.ones(len(base), dtype=np.bool_)
    return Environment(
        model=Tabular(base[None]),
        correct=correct[None],
        test_correct=correct[None],
        verified=correct[None].astype(np.float64),
        classes=np.broadcast_to(np.arange(5), (1, *base.shape)).copy(),
        lengths=np.ones(5, dtype=np.int64),
        train=everyone,
        test=everyone,
    )
