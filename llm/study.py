"""A study: the same small model trained by several rules from several seeds, measured alike.

Every run leaves one Parquet file, keyed by the hash of its whole configuration (rows: step and
problem, with the number of samples, of correct ones and of distinct correct ones).  A run whose
file exists is not run again, so a killed study goes on where it was.  Tables and figures
(``_study_tables.py``) are made from these files only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffsmooth import records
from diffsmooth.llm._study_measure import Measurement, measure, watcher
from diffsmooth.llm._study_tables import (
    KS,
    figure,
    final_table,
    spread,
    summarise,
)
from diffsmooth.llm.configuration import (
    Checkpoints,
    Data,
    Generation,
    Hardware,
    Model,
    Optimisation,
    RuleChoice,
    Training,
)
from diffsmooth.llm.small import Pretraining, SmallModel

__all__ = [
    "KS",
    "Arm",
    "Measurement",
    "Run",
    "Study",
    "demo_study",
    "execute",
    "figure",
    "final_table",
    "measure",
    "results",
    "run_demo_study",
    "run_path",
    "run_study",
    "spread",
    "summarise",
    "write_summary",
]


@dataclass(frozen=True)
class Arm:
    """One rule of a study and its name in tables and figures.

    ``learning_rate_factor`` multiplies the study's: the strength of a rule that has none.
    """

    name: str
    rule: RuleChoice
    learning_rate_factor: float = 1.0

    def __post_init__(self) -> None:
        if not self.learning_rate_factor > 0:
            raise ValueError(f"learning_rate_factor is {self.learning_rate_factor}; it must be > 0")


@dataclass(frozen=True)
class Run:
    """One run of a study: all that its result depends on."""

    arm: Arm
    training: Training
    measurement: Measurement


@dataclass(frozen=True)
class Study:
    """``arms`` x ``seeds`` runs from one pre-trained model; seeds are shared by the arms."""

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 300
    measurement: Measurement = field(default_factory=Measurement)
    model: SmallModel = field(default_factory=SmallModel)
    pretraining: Pretraining = field(default_factory=Pretraining)
    optimisation: Optimisation = field(default_factory=lambda: Optimisation(steps=300))
    data: Data = field(default_factory=lambda: Data(style="bare", problems=1000))

    def __post_init__(self) -> None:
        names = [a.name for a in self.arms]
        if not names or len(set(names)) != len(names):
            raise ValueError("Study.arms must be non-empty, with different names")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError("Study.seeds must be non-empty and different")

    def runs(self, out: Path) -> list[Run]:
        """All runs, seed by seed, so that a study cut short has whole seeds."""
        return [Run(arm, self._training(arm, seed, out), self.measurement)
                for seed in self.seeds for arm in self.arms]  # fmt: skip

    def _training(self, arm: Arm, seed: int, out: Path) -> Training:
        return Training(
            name=f"{arm.name}-{seed}",
            model=Model(small=self.model, pretraining=self.pretraining),
            data=self.data,
            rule=arm.rule,
            optimisation=replace(
                self.optimisation,
                steps=self.steps,
                epochs=None,
                learning_rate=self.optimisation.learning_rate * arm.learning_rate_factor,
            ),
            generation=Generation(engine="small", max_completion_length=16),
            checkpoints=Checkpoints(every=0),
            hardware=Hardware(device="cpu", gradient_checkpointing=False),
            seed=seed,
            output=str(out),
        )


def demo_study(steps: int = 300, seeds: Sequence[int] = (0, 1, 2)) -> Study:
    """The study of the demo: GRPO and centred smoothing at three strengths a factor 3 apart."""

    def centred(g: float) -> Arm:
        return Arm(f"centred g={g:g}", RuleChoice("centred", {"g_correct": g}))

    return Study(
        arms=(Arm("GRPO", RuleChoice("grpo")), centred(0.1), centred(0.3), centred(1.0)),
        seeds=tuple(seeds),
        steps=steps,
        optimisation=Optimisation(steps=steps),
    )


def run_demo_study(
    out: Path,
    *,
    steps: int = 300,
    seeds: Sequence[int] = (0, 1, 2),
    processes: int = 2,
    again: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Run :func:`demo_study` into ``out``; returns the summary's Parquet file."""
    return run_study(demo_study(steps, seeds), out, processes, again, progress)


def run_path(run: Run, out: Path) -> Path:
    """The Parquet file of a run; the key leaves out where the study lies."""
    where_free = records.canonical(run) | {"training": run.training.canonical_run()}
    return out / f"run-{records.config_hash(where_free)}.parquet"


def run_study(
    study: Study,
    out: Path,
    processes: int = 2,
    again: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Run what is missing, ``processes`` at a time; returns ``out/summary.parquet``.

    ``progress(what, done, of)`` is called as runs begin or end.  Raises what a run raises.
    """
    out.mkdir(parents=True, exist_ok=True)
    runs = study.runs(out)
    missing = [r for r in runs if again or not records.done(run_path(r, out))]
    total = len(runs) + 1
    if missing:
        from diffsmooth.llm.train import base_model, quiet

        if progress is not None:
            progress("pre-training the base model", len(runs) - len(missing), total)
        quiet()
        base_model(runs[0].training)
    done = len(runs) - len(missing)
    for run in _each(missing, out, processes):
        done += 1
        if progress is not None:
            progress(f"{run.arm.name}, seed {run.training.seed}", done, total)
    return write_summary(study, out)


def _each(runs: Sequence[Run], out: Path, processes: int) -> Any:
    """Yield the runs as they end."""
    if processes <= 1 or len(runs) <= 1:
        for run in runs:
            execute(run, out)
            yield run
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    # One thread a process: two runs then take two cores and do not wait for one another.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            jobs = {pool.submit(execute, run, out): run for run in runs}
            try:
                for job in as_completed(jobs):
                    job.result()
                    yield jobs[job]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = before


def execute(run: Run, out: Path) -> Path:
    """One run from the pre-trained model to its Parquet file (also the entry of a worker)."""
    import pyarrow as pa
    import torch

    from diffsmooth.llm.train import log_table, quiet, trainer

    torch.set_num_threads(1)
    quiet()
    path = run_path(run, out)
    rows: list[dict[str, Any]] = []
    callback = watcher(run.training, run.measurement, rows)
    engine = trainer(run.training, out / "work", [callback])
    engine.train()
    common = {"arm": run.arm.name, "seed": run.training.seed}
    records.write_table(
        path.with_name(path.name.replace("run-", "log-")), log_table(engine.state.log_history)
    )
    records.write_json(path.with_suffix(".json"), records.sidecar(run, seed=run.training.seed))
    # Last, because its existence means that the run is done.
    return records.write_table(path, pa.Table.from_pylist([{**common, **row} for row in rows]))


def results(study: Study, out: Path) -> Any:
    """All rows of the study's runs that are done, as one Arrow table."""
    import pyarrow as pa

    tables = [
        records.read_table(path)
        for run in study.runs(out)
        if records.done(path := run_path(run, out))
    ]
    if not tables:
        raise FileNotFoundError(f"{out} holds no finished run of this study")
    return pa.concat_tables(tables)


def write_summary(study: Study, out: Path) -> Path:
    """``summary.parquet`` (one row per arm, seed, step) with its sidecar."""
    import pyarrow as pa

    rows = summarise(results(study, out))
    order = {arm.name: i for i, arm in enumerate(study.arms)}
    rows.sort(key=lambda r: (order[r["arm"]], r["seed"], r["step"]))
    records.write_json(out / "summary.json", records.sidecar(study))
    return records.write_table(out / "summary.parquet", pa.Table.from_pylist(rows))
