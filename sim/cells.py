"""One cell of the map: a regime with all remedies, and what is kept of it.

Three tables a cell: ``runs`` (one row per remedy, strength, learning rate and seed: where it
ended, where it was at matched pass@1 and at matched KL, and the area under its frontier),
``frontier`` (the path: means over seeds, with 95 % intervals of the regime's measure and of H(q))
and ``theory`` (what the theorems say of the cell's base policies, seed by seed).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsmooth.records import own
from diffsmooth.sim import formulas
from diffsmooth.sim.intervals import mean_intervals
from diffsmooth.sim.matching import at_level, frontier_area, level
from diffsmooth.sim.measures import KS, collapse_time
from diffsmooth.sim.paths import Dynamics, Laboratory, Paths
from diffsmooth.sim.policies import Float
from diffsmooth.sim.predictions import predictions
from diffsmooth.sim.regimes import regime
from diffsmooth.sim.remedies import REMEDIES, remedy_named

if TYPE_CHECKING:
    import pyarrow as pa

#: The reference that levels are taken from, at its own learning rate.
REFERENCE, REFERENCE_STRENGTH = "grpo", 1.0
FINAL = (
    "pass@1",
    "pass@16",
    "test_pass@1",
    "test_pass@16",
    "test_pass@256",
    "entropy",
    "class_entropy",
    "effective",
    "distinct@16",
    "kl",
    "mode_share",
    "lost",
)
MATCHED = ("pass@1", "test_pass@16", "test_pass@256", "class_entropy", "distinct@16", "kl")
#: Presets of the smoothing rule that differ by their reduction only.
_ONE_TOKEN = ("token", "spread", "mean")
#: Remedies that can be another's twin, see :func:`twin`.
_TWINS = {"psr": "vanilla", **dict.fromkeys(_ONE_TOKEN, "eq6")}
FRONTIER = tuple(
    dict.fromkeys((*(f"{where}pass@{k}" for where in ("", "test_") for k in KS), *FINAL))
)


@dataclass(frozen=True)
class Cell:
    """What is run: a regime's id, the remedies, the number of seeds, the dynamics.

    ``device``: where exact dynamics run in torch; None is NumPy and compiled kernels here.
    """

    regime: str
    remedies: tuple[str, ...] = tuple(REMEDIES)
    seeds: int = 32
    dynamics: Dynamics = "sampled"
    device: str | None = None

    def __post_init__(self) -> None:
        regime(self.regime)
        for name in self.remedies:
            remedy_named(name)
        if len(set(self.remedies)) < len(self.remedies):
            raise ValueError(f"remedies: each once, got {', '.join(self.remedies)}")
        if self.seeds < 4:
            raise ValueError(f"seeds: at least 4 (half tune, half compare), got {self.seeds}")

    def key(self) -> dict[str, Any]:
        """Everything that decides the cell's numbers: its stored tables are named by its hash.

        The regime and its training with all their parameters, every trial of every remedy with
        the update that it stands for, seeds, dynamics, device, and the version of the formulas.
        """
        place = regime(self.regime)
        trials = {}
        stand_ins = (_TWINS[name] for name in self.remedies if name in _TWINS)
        for name in dict.fromkeys((REFERENCE, *self.remedies, *stand_ins)):
            remedy = remedy_named(name)
            trials[name] = [f"{s!r} x{r!r}: {remedy.at(s, r)!r}" for s, r in remedy.trials]
        return {
            "regime": self.regime,
            "parameters": repr(place),
            "training": repr(place.training),
            "primary": place.primary,
            "remedies": list(self.remedies),
            "trials": trials,
            "seeds": self.seeds,
            "dynamics": self.dynamics,
            "device": self.device,
            "formulas": formulas.version(),
            "own": {n: own.fingerprint(n) for n in (*self.remedies, self.regime) if ".py:" in n},
        }


def run_cell(cell: Cell) -> dict[str, pa.Table]:
    """Run every remedy of the cell; the tables by name."""
    import pyarrow as pa

    laboratory = Laboratory(
        regime(cell.regime), range(cell.seeds), cell.dynamics, device=cell.device
    )
    reference = laboratory.tune(REFERENCE)
    goals = {key: level(reference, REFERENCE_STRENGTH, key) for key in ("pass@1", "kl")}
    primary = regime(cell.regime).primary
    bands = dict.fromkeys((primary, "class_entropy"))
    span = _span(reference)
    runs, frontier = [], []
    done = {REFERENCE: reference}
    for name in cell.remedies:
        same = twin(laboratory, name)
        if same not in done:
            done[same] = laboratory.tune(same)
        paths = replace(done[same], remedy=name)
        runs.append(_runs(paths, goals, primary, span))
        frontier.append(_frontier(paths, bands))
    return {
        "runs": pa.concat_tables(runs),
        "frontier": pa.concat_tables(frontier),
        "theory": pa.table(predictions(laboratory.environment, laboratory.training.group_size)),
    }


def twin(laboratory: Laboratory, name: str) -> str:
    """The remedy that does exactly the same here and need not be run twice.

    PSR is vanilla on rewards 0 and 1; sums, means and tokens are one where answers have one token;
    both only while they are tuned over the same trials.
    """
    single = laboratory.environment.model.mask.shape[1] == 1
    if name in _ONE_TOKEN and not (single and np.all(laboratory.environment.lengths == 1)):
        return name
    other = _TWINS.get(name, name)
    return other if remedy_named(other).trials == remedy_named(name).trials else name


def _span(reference: Paths) -> tuple[Float, Float]:
    """(S,) each: the pass@1 that the reference starts from, and its largest."""
    path = reference.measures["pass@1"][:, reference.trial(REFERENCE_STRENGTH)]
    return path[0], path.max(axis=0)


def _runs(
    paths: Paths, goals: dict[str, Float], primary: str, span: tuple[Float, Float]
) -> pa.Table:
    import pyarrow as pa

    strengths, seeds = paths.measures["pass@1"].shape[1:]
    columns = {
        "remedy": np.full(strengths * seeds, paths.remedy),
        "strength": np.repeat(np.array(paths.strengths, dtype=np.float64), seeds),
        "rate": np.repeat(np.array(paths.rates, dtype=np.float64), seeds),
        "seed": np.tile(np.arange(seeds, dtype=np.int32), strengths),
    }

    for key in FINAL:
        columns[f"final:{key}"] = _column(paths.measures[key][-1])
    entropy = paths.measures["entropy"]
    columns["collapse_time"] = _column(collapse_time(paths.steps, entropy))
    columns["early:entropy"] = _column(entropy[1] - entropy[0])
    kept = {key: paths.measures[key] for key in MATCHED}
    for key, goal in goals.items():
        for name, value in at_level(kept, key, goal).items():
            columns[f"at {key}:{name}"] = _column(value)
    # Comparisons that need no level: at equal steps, and over the whole frontier.
    columns[f"at steps:{primary}"] = columns[f"final:{primary}"]
    area = frontier_area(paths.measures["pass@1"], paths.measures[primary], *span)
    columns[f"at frontier:{primary}"] = _column(area)
    return pa.table(columns)


def _frontier(paths: Paths, bands: Iterable[str]) -> pa.Table:
    import pyarrow as pa

    steps, strengths = len(paths.steps), len(paths.strengths)
    columns = {
        "remedy": np.full(steps * strengths, paths.remedy),
        "strength": np.tile(np.array(paths.strengths, dtype=np.float64), steps),
        "rate": np.tile(np.array(paths.rates, dtype=np.float64), steps),
        "step": np.repeat(paths.steps, strengths),
    }
    for key in FRONTIER:
        columns[key] = _column(paths.measures[key].mean(axis=2))
    for key in bands:
        for end, value in zip(("low", "high"), mean_intervals(paths.measures[key]), strict=True):
            columns[f"{key}:{end}"] = _column(value)
    return pa.table(columns)


def _column(value: Float) -> NDArray[np.float32]:
    return value.astype(np.float32).reshape(-1)
