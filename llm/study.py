"""A study: the same small model trained by several rules from several seeds, measured alike.

Every run leaves one Parquet file, keyed by the hash of its whole configuration (rows: step and
problem, with the number of samples, of correct ones and of distinct correct ones).  A run whose
file exists is not run again, so a killed study goes on where it was.  Tables and figures are made
from these files only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsmooth import records
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

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KS = (1, 4, 16, 64)


@dataclass(frozen=True)
class Arm:
    """One rule of a study and its name in tables and figures."""

    name: str
    rule: RuleChoice


@dataclass(frozen=True)
class Measurement:
    """``samples`` answers to each of ``problems`` held-out problems, every ``every`` steps."""

    problems: int = 100
    samples: int = 64
    every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.problems, self.samples, self.every) < 1:
            raise ValueError("Measurement: problems, samples and every must be >= 1")


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
            optimisation=replace(self.optimisation, steps=self.steps, epochs=None),
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
    where_free = replace(run, training=replace(run.training, output="", name=""))
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
    watcher = _watcher(run, rows)
    engine = trainer(run.training, out / "work", [watcher])
    engine.train()
    common = {"arm": run.arm.name, "seed": run.training.seed}
    records.write_table(
        path.with_name(path.name.replace("run-", "log-")), log_table(engine.state.log_history)
    )
    records.write_json(path.with_suffix(".json"), records.sidecar(run, seed=run.training.seed))
    # Last, because its existence means that the run is done.
    return records.write_table(path, pa.Table.from_pylist([{**common, **row} for row in rows]))


def _watcher(run: Run, rows: list[dict[str, Any]]) -> Any:
    """A trainer callback that measures the policy before the first step and every so many."""
    from transformers import TrainerCallback

    from diffsmooth.llm.tasks.countdown import CountDown

    m, data = run.measurement, run.training.data
    task = CountDown(
        data.generator.distinct("test", m.problems, m.seed), style=data.style, form=data.form
    )

    class _Watcher(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            self._measure(state.global_step, kw)

        def on_step_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            if state.global_step % m.every == 0 or state.global_step == state.max_steps:
                self._measure(state.global_step, kw)

        @staticmethod
        def _measure(step: int, kw: dict[str, Any]) -> None:
            counts = measure(
                kw["model"], kw["processing_class"], task, generation=run.training.generation,
                samples=m.samples, seed=(m.seed, run.training.seed, step),
            )  # fmt: skip
            rows.extend({"step": step, **row} for row in counts)

    return _Watcher()


def measure(
    model: Any, tok: Any, task: Any, *, generation: Generation, samples: int, seed: Sequence[int]
) -> list[dict[str, Any]]:
    """Sample every problem of ``task`` and count: one row a problem.

    ``correct`` of ``samples``, ``distinct`` classes among the correct ones (the task's canonical
    form), ``written`` distinct strings among them.  Uses a generator of its own: training does
    not notice.
    """
    import numpy as np
    import torch

    from diffsmooth.llm import small

    number = int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0] >> 1)
    problems = task.problems()
    drawn = small.sample(
        model,
        tok([p.prompt for p in problems])["input_ids"],
        max_new_tokens=generation.max_completion_length,
        eos=tok.eos_token_id,
        pad=tok.pad_token_id,
        temperature=generation.temperature,
        generator=torch.Generator().manual_seed(number),
        repeat=samples,
    )
    texts = tok.batch_decode(drawn.ids, skip_special_tokens=True)
    pairs = [(p, texts[i * samples + j]) for i, p in enumerate(problems) for j in range(samples)]
    verdicts = task.verify_many(pairs)
    rows = []
    for i, problem in enumerate(problems):
        right = [j for j in range(i * samples, (i + 1) * samples) if verdicts[j].correct]
        rows.append(
            {
                "problem": problem.id,
                "samples": samples,
                "correct": len(right),
                "distinct": len({verdicts[j].canonical for j in right}),
                "written": len({texts[j] for j in right}),
            }
        )
    return rows


# -- from files to tables and figures ---------------------------------------------------------


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


def summarise(table: Any) -> list[dict[str, Any]]:
    """One row per arm, seed and step: ``pass@k``, ``distinct`` and ``written`` in all samples,
    means over problems; ``distinct`` counts solvable and unsolved problems alike."""
    import numpy as np

    from diffsmooth.theory.passk import pass_at_k

    columns = {name: np.asarray(table[name].to_pylist()) for name in table.column_names}
    out = []
    keys = sorted(
        set(zip(columns["arm"], columns["seed"], columns["step"], strict=True)),
        key=lambda k: (str(k[0]), int(k[1]), int(k[2])),
    )
    for arm, seed, step in keys:
        rows = (columns["arm"] == arm) & (columns["seed"] == seed) & (columns["step"] == step)
        n, c = columns["samples"][rows], columns["correct"][rows]
        entry: dict[str, Any] = {"arm": str(arm), "seed": int(seed), "step": int(step)}
        for k in KS:
            if k <= int(n.min()):
                entry[f"pass@{k}"] = float(np.mean(pass_at_k(n, c, k)))
        entry["distinct"] = float(columns["distinct"][rows].mean())
        entry["written"] = float(columns["written"][rows].mean())
        out.append(entry)
    return out


def write_summary(study: Study, out: Path) -> Path:
    """``summary.parquet`` (one row per arm, seed, step) with its sidecar."""
    import pyarrow as pa

    rows = summarise(results(study, out))
    order = {arm.name: i for i, arm in enumerate(study.arms)}
    rows.sort(key=lambda r: (order[r["arm"]], r["seed"], r["step"]))
    records.write_json(out / "summary.json", records.sidecar(study))
    return records.write_table(out / "summary.parquet", pa.Table.from_pylist(rows))


def spread(
    rows: Sequence[dict[str, Any]], arm: str, measure_name: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps (S,) and values (seeds, S) of one measure of one arm."""
    import numpy as np

    mine = [r for r in rows if r["arm"] == arm]
    seeds = sorted({r["seed"] for r in mine})
    steps = sorted({r["step"] for r in mine})
    found = {(r["seed"], r["step"]): r[measure_name] for r in mine}
    values = [[found.get((seed, step), np.nan) for step in steps] for seed in seeds]
    return np.asarray(steps), np.asarray(values, dtype=np.float64)


def final_table(out: Path) -> list[dict[str, Any]]:
    """The last step of every arm: for each measure the mean over seeds and (lowest, highest)."""
    rows = records.read_table(out / "summary.parquet").to_pylist()
    names = [name for name in rows[0] if name not in ("arm", "seed", "step")]
    table = []
    for arm in dict.fromkeys(r["arm"] for r in rows):
        entry: dict[str, Any] = {"arm": arm}
        for name in names:
            steps, values = spread(rows, arm, name)
            last = values[:, -1]
            entry["step"], entry["seeds"] = int(steps[-1]), len(last)
            entry[name] = (float(last.mean()), float(last.min()), float(last.max()))
        table.append(entry)
    return table


def figure(out: Path, path: Path | None = None) -> Path:
    """Draw ``summary.parquet``: each measure against steps, mean and range over seeds."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = records.read_table(out / "summary.parquet").to_pylist()
    arms = list(dict.fromkeys(r["arm"] for r in rows))
    panels = [
        *(name for k in KS if (name := f"pass@{k}") in rows[0]),
        "distinct", "written",
    ]  # fmt: skip
    titles = {
        "distinct": "distinct correct solutions in all samples",
        "written": "distinct correct strings in all samples",
    }
    picture = Figure(figsize=(11.0, 6.0), layout="constrained")
    axes = picture.subplots(2, (len(panels) + 1) // 2).ravel()
    colours = mpl.colormaps["viridis"]
    for axis, name in zip(axes, panels, strict=False):
        for i, arm in enumerate(arms):
            steps, values = spread(rows, arm, name)
            colour = "black" if i == 0 else colours(0.15 + 0.7 * i / max(1, len(arms) - 1))
            # Dashes tell the arms apart in black and white too.
            dashes = ("-", "--", "-.", ":")[i % 4]
            axis.plot(steps, values.mean(axis=0), dashes, color=colour, label=arm, lw=1.8)
            axis.fill_between(
                steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, lw=0
            )
        axis.set_title(titles.get(name, name), fontsize=10)
        axis.set_xlabel("optimiser step")
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    axes[0].legend(fontsize=8, frameon=False)
    target = path or out / "study.svg"
    import io

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "diffsmooth"}):
        picture.savefig(buffer, format=target.suffix.removeprefix("."), metadata={"Date": None})
    return records.write_bytes(target, buffer.getvalue())
