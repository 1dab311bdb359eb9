"""The collapse and its remedies on 64 prompts, in under a minute: what ``diffsmooth demo`` shows.

Sixty-four prompts of the ``bandit`` regime, with a spread of base correctness.  At test time only
one correct answer in four still passes, so that pass@k sees more than correctness (theory.md D2).
Each remedy follows the flow of its exact expected update; vanilla is laid over the closed form A3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffsmooth import records
from diffsmooth.sim.dynamics.exact import expected_gradient, flow
from diffsmooth.sim.environment import Environment
from diffsmooth.sim.measures import KS, measure
from diffsmooth.sim.policies import Float
from diffsmooth.sim.regimes.bandit import Bandit

if TYPE_CHECKING:
    import pyarrow as pa

    from diffsmooth.theory.rules import Rule

#: name -> label in the figure
LABELS = {
    "vanilla": "vanilla policy gradient",
    "entropy": "entropy bonus",
    "eq6": "smoothing, Eq. 6",
    "centred": "smoothing, centred",
}


@dataclass(frozen=True)
class DemoRun:
    """What the demonstration runs; the defaults are what the report shows.

    ``time`` is the flow's time, cut into ``points`` parts of ``substeps`` Runge-Kutta steps.
    """

    regime: Bandit = field(
        default_factory=lambda: Bandit(
            solutions=12,
            incorrect=24,
            skew=1.0,
            correctness=0.15,
            prompts=64,
            spread=1.0,
            survive=0.25,
        )
    )
    entropy: float = 0.1
    eq6: float = 0.2
    centred: float = 0.5
    time: float = 240.0
    points: int = 40
    substeps: int = 5
    seed: int = 0


def demo_rules(config: DemoRun) -> dict[str, Rule]:
    """The four rules, on one base: the reward as it is, the clock of theory.md A3."""
    from diffsmooth.theory.rules import rule

    return {
        "vanilla": rule("vanilla"),
        "entropy": rule("entropy-bonus", g=config.entropy, base="vanilla"),
        "eq6": rule("eq6", g_correct=config.eq6, g_incorrect=config.eq6, base="vanilla"),
        "centred": rule("centred", g_correct=config.centred, base="vanilla"),
    }


def run_demo(out: Path, config: DemoRun | None = None) -> Path:
    """Run the four remedies, write ``out/collapse.parquet`` with its sidecar; returns its path.

    Returns at once if the same configuration has been run into ``out`` before.
    """
    config = config or DemoRun()
    table, side = out / "collapse.parquet", out / "collapse.json"
    described = records.sidecar(config, config.seed)
    if (
        records.done(table)
        and records.done(side)
        and records.read_json(side)["hash"] == described["hash"]
    ):
        return table
    environment = config.regime.environment(range(config.seed, config.seed + 1))
    rules = demo_rules(config)
    # Large groups: the expected update is then that of theory.md, without the group's noise.
    update = expected_gradient(environment, list(rules.values()), group_size=None)
    parameters = environment.model.start(len(rules))
    times = np.linspace(0.0, config.time, config.points + 1)
    rows = [_rows(environment, list(rules), 0.0, environment.model.log_probs(parameters))]
    for before, after in pairwise(times):
        parameters = flow(update, parameters, after - before, config.substeps)
        log_probs = environment.model.log_probs(parameters)
        rows.append(_rows(environment, list(rules), float(after), log_probs))
    closed = [closed_form(environment, float(t)) for t in times]
    rows += [_rows(environment, ["A3"], float(t), c) for t, c in zip(times, closed, strict=True)]
    gap = float(np.abs(environment.model.log_probs(parameters)[0] - closed[-1][0]).max())
    records.write_table(table, _table([row for part in rows for row in part]))
    records.write_json(side, {**described, "largest_log_prob_gap_to_A3": gap})
    return table


def closed_form(environment: Environment, time: float) -> Float:
    """(1, 1, P, K) log-probs of vanilla at ``time`` by theory.md A3."""
    from diffsmooth.theory import flows
    from diffsmooth.theory.policy import Policy

    law = flows.softmax_pg_flow(Policy(environment.base[0], environment.correct[0]), time)
    return np.asarray(law.log_probs)[None, None]


def figure(out: Path) -> Path:
    """Draw ``out/collapse.png`` from ``out/collapse.parquet`` alone; returns its path.

    Raises FileNotFoundError if the run has not been made.
    """
    from diffsmooth.sim import figures

    table = out / "collapse.parquet"
    if not records.done(table):
        raise FileNotFoundError(f"{table}: run run_demo({str(out)!r}) first")
    return figures.collapse(records.read_table(table), LABELS, out / "collapse.png")


def _rows(
    environment: Environment, names: list[str], time: float, log_probs: Float
) -> list[dict[str, object]]:
    values = measure(environment, log_probs)
    return [
        {"method": name, "time": time, "measure": key, "value": float(value[copy, 0])}
        for copy, name in enumerate(names)
        for key, value in values.items()
    ]


def _table(rows: list[dict[str, object]]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist(rows)


__all__ = ["KS", "LABELS", "DemoRun", "demo_rules", "figure", "run_demo"]
