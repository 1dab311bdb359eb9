"""Evaluate a model on a task: draw, verify, keep every sample, measure.

The folder of a result is named by a hash of everything that can change a sample (model files,
problems, sampling, seed); a folder that is complete is not computed again, one that is not is
taken up at the first missing shard.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diffsmooth.llm.samplers import Sampler, Sampling
from diffsmooth.llm.tasks.base import Problem, Task
from diffsmooth.llm.tasks.countdown import Style
from diffsmooth.llm.tasks.countdown_data import Generator, Split
from diffsmooth.llm.tasks.expression import Form
from diffsmooth.records import canonical, config_hash, done, read_json, sidecar, write_json

if TYPE_CHECKING:
    from diffsmooth.llm._sample_store import SampleStore

Backend = Literal["transformers", "vllm", "server"]

#: ``progress(done, total)`` in problems.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate, on what, and how."""

    model: str = ""
    """Folder or hub name of a model or of an adapter; under a server, the name it serves."""

    adapter: str | None = None
    """Folder or hub name of an adapter (peft) to put on the model."""

    task: str = "countdown"
    """countdown, math500, math, aime24, aime25, amc23, olympiadbench, gsm8k, file, or own.py:f."""

    data: str | None = None
    """Local data file (.jsonl, .json, .parquet); "public" is CountDown's public data set."""

    limit: int | None = None
    """Only the first problems; for generated CountDown the number drawn (64)."""

    split: Split = "test"
    """Split of generated or public CountDown."""

    style: Style = "tags"
    """CountDown: answers in <answer> tags after a chat prompt, or bare (small models)."""

    form: Form = "ac"
    """CountDown: normal form that tells answers apart."""

    generator: Generator = field(default_factory=Generator)
    """CountDown: law of generated problems."""

    problem_seed: int = 0
    """CountDown: seed of generated problems."""

    sampling: Sampling = field(default_factory=Sampling)

    backend: Backend = "transformers"
    """Where samples come from."""

    url: str = "http://127.0.0.1:8000/v1"
    """Server: address of the OpenAI-compatible endpoint."""

    parallel: int = 8
    """Server: problems asked at once."""

    batch: int = 64
    """transformers: samples drawn at once."""

    device: str = "auto"
    """transformers: device."""

    dtype: str = "auto"
    """transformers, vLLM: number format of the weights."""

    gpus: int = 1
    """vLLM: GPUs that share the model."""

    shard: int = 16
    """Problems between two writes; what a killed run may lose."""

    resamples: int = 2000
    """Bootstrap draws of the problems."""

    confidence: float = 0.95
    """Level of the intervals."""

    out: Path = Path("out/evaluate")
    """Folder of results."""

    again: bool = False
    """Draw again even where the result exists."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}; allowed: at least 1")
        if self.shard < 1:
            raise ValueError(f"shard is {self.shard}; allowed: at least 1")
        if self.resamples < 1:
            raise ValueError(f"resamples is {self.resamples}; allowed: at least 1")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}; allowed: between 0 and 1")


#: Fields that change no sample.
_INERT = ("out", "again", "resamples", "confidence", "url", "parallel", "shard", "gpus")


def load(config: Evaluation) -> tuple[Task, list[Problem[Any]]]:
    """The task and the problems that ``config`` names."""
    from diffsmooth.llm.tasks.registry import load_task

    task = load_task(
        config.task,
        config.data,
        split=config.split,
        limit=config.limit,
        style=config.style,
        form=config.form,
        generator=config.generator,
        seed=config.problem_seed,
    )
    problems = list(task.problems()[: config.limit])
    if not problems:
        raise ValueError(f"task {config.task!r} has no problems")
    return task, problems


def make_sampler(config: Evaluation) -> Sampler:
    """The backend that ``config`` names, its model loaded."""
    if not config.model:
        raise ValueError("model is missing: a folder, a hub name, or the name a server serves")
    if config.backend == "server":
        from diffsmooth.llm._sample_server import ServerSampler

        if config.adapter is not None:
            raise ValueError("adapter: a server serves adapters under a model name of their own")
        return ServerSampler(config.model, config.url, parallel=config.parallel)
    if config.backend == "vllm":
        from diffsmooth.llm._sample_vllm import VllmSampler

        return VllmSampler(
            config.model, config.adapter, dtype=config.dtype, tensor_parallel=config.gpus
        )
    from diffsmooth.llm._sample_transformers import TransformersSampler

    return TransformersSampler(
        config.model,
        config.adapter,
        batch=config.batch,
        device=config.device,
        dtype=config.dtype,
    )


def identity(config: Evaluation, problems: Sequence[Problem[Any]]) -> dict[str, Any]:
    """Everything that can change a sample or a verdict, as plain values."""
    values = canonical(config)
    for name in _INERT:
        del values[name]
    asked = hashlib.sha256()
    for problem in problems:
        asked.update(f"{problem.id}\0{problem.prompt}\0{problem.payload}\0".encode())
    values["problems"] = asked.hexdigest()[:16]
    judge = config.task.rpartition(":")[0]
    values["files"] = {
        name: fingerprint(Path(path))
        for name, path in (
            ("model", config.model),
            ("adapter", config.adapter or ""),
            ("judge", judge),
        )
        if path and Path(path).exists()
    }
    return dict(values)


def fingerprint(path: Path) -> str:
    """Hash of a file or of a folder's files.

    Of files above 4 MiB it reads the size and 64 blocks spread evenly, not gigabytes: training
    changes every weight, so a block is enough to tell two checkpoints apart.
    """
    total = hashlib.sha256()
    block, blocks = 1 << 14, 64
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        size = file.stat().st_size
        total.update(f"{file.relative_to(path).as_posix()}\0{size}\0".encode())
        with file.open("rb") as stream:
            if size <= 4 << 20:
                total.update(stream.read())
                continue
            for i in range(blocks):
                stream.seek((size - block) * i // (blocks - 1))
                total.update(stream.read(block))
    return total.hexdigest()[:16]


def evaluate(
    config: Evaluation,
    *,
    task: Task | None = None,
    problems: Sequence[Problem[Any]] | None = None,
    sampler: Sampler | None = None,
    progress: Progress | None = None,
) -> Path:
    """Evaluate as configured; returns the folder with ``summary.json`` and the Parquet files.

    ``task`` with ``problems``, and ``sampler``, replace what ``config`` names, for use from
    Python.  Raises ``ValueError`` on bad input and what the backend raises.
    """
    from diffsmooth.llm._sample_store import SampleStore

    if task is None:
        task, problems = load(config)
    chosen = list(task.problems() if problems is None else problems)
    known = identity(config, chosen)
    folder = config.out / f"{task.name}-{config_hash(known)}"
    if config.again and folder.exists():
        shutil.rmtree(folder)
    # The shard size of a folder is the one it was begun with, so that a resumed run fits.
    size = config.shard
    if done(folder / "begun.json"):
        size = read_json(folder / "begun.json")["shard"]
    else:
        write_json(folder / "begun.json", sidecar(known, config.sampling.seed, shard=size))
    store = SampleStore(folder, chosen, size)
    _draw(config, store, task, sampler, progress)
    for shard in range(len(store.shards)):
        store.measure(shard, task)
    _finish(config, known, store, folder)
    return folder


def _draw(
    config: Evaluation,
    store: SampleStore,
    task: Task,
    sampler: Sampler | None,
    progress: Progress | None,
) -> None:
    """Draw the missing shards; one is verified and written while the next is drawn."""
    missing = store.missing()
    total = sum(map(len, store.shards))
    finished = total - sum(len(store.shards[i]) for i in missing)
    if not missing:
        return
    if progress is not None:
        progress(finished, total)
    drawer = sampler or make_sampler(config)
    with ThreadPoolExecutor(1) as writer:
        pending: Future[None] | None = None
        for shard in missing:
            completions = drawer.sample(store.shards[shard], config.sampling)
            if pending is not None:
                pending.result()
            pending = writer.submit(store.add, shard, completions, task)
            finished += len(store.shards[shard])
            if progress is not None:
                progress(finished, total)
        if pending is not None:
            pending.result()


def _finish(config: Evaluation, known: dict[str, Any], store: SampleStore, folder: Path) -> None:
    from diffsmooth.llm.summary import curve_table, summarise
    from diffsmooth.records import write_table

    table = store.problems()
    write_table(folder / "problems.parquet", table)
    rows = table.to_pylist()
    settings: dict[str, Any] = {
        "resamples": config.resamples,
        "confidence": config.confidence,
        "seed": config.sampling.seed,
    }
    curve = curve_table(rows, **settings)
    write_table(folder / "curve.parquet", curve)
    summary = summarise(rows, curve, **settings)
    write_json(folder / "summary.json", sidecar(known, config.sampling.seed, summary=summary))
