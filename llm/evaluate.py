"""Evaluate a model on a task: draw, verify, keep every sample, measure.

The folder of a result is named by a hash of everything that can change a sample (model files,
problems, sampling, seed) or its grade; a folder that is complete is not computed again, one that
is not is taken up at the first missing shard.  Samples are kept before they are judged: a judge
that raises loses none, and the mended judge is given the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsmooth.llm.evaluation import Evaluation, identity, sampled
from diffsmooth.llm.samplers import Sampler, Sampling, check_model
from diffsmooth.llm.tasks.base import Problem, Task, left_out
from diffsmooth.records import config_hash, done, read_json, sidecar, write_json

if TYPE_CHECKING:
    from diffsmooth.llm._sample_store import SampleStore

#: ``progress(done, total)`` in problems.
Progress = Callable[[int, int], None]


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


def check(config: Evaluation) -> None:
    """Raise ``ValueError`` for a model or an adapter that cannot be meant."""
    if not config.model:
        raise ValueError("model is missing: a folder, a hub name, or the name a server serves")
    if config.backend == "server":
        return  # the name is the server's own
    check_model(config.model)
    if config.adapter is not None:
        check_model(config.adapter, "adapter")


def make_sampler(config: Evaluation) -> Sampler:
    """The backend that ``config`` names, its model loaded."""
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

    if sampler is None:
        check(config)
    if task is None:
        task, problems = load(config)
    chosen = list(task.problems() if problems is None else problems)
    if config.sampling.system is not None and any(problem.raw for problem in chosen):
        raise ValueError("--system: bare prompts are given as they are, without a system message")
    known = identity(config, chosen)
    folder = config.out / f"{task.name}-{config_hash(known)}"
    if config.again and folder.exists():
        shutil.rmtree(folder)
    # The shard size of a folder is the one it was begun with, so that a resumed run fits.
    begun = folder / "begun.json"
    size: int = read_json(begun)["shard"] if done(begun) else config.shard
    others = [] if done(begun) or config.again else _same_samples(config.out, known)
    if others:
        size = others[0][1]
    store = SampleStore(folder, chosen, size)

    def begin() -> None:
        # Not before there is something to keep: bad input leaves no folder beside the results.
        if not done(begun):
            write_json(begun, sidecar(known, config.sampling.seed, shard=size))

    for other, its_size in others:
        if its_size == size:
            begin()
            store.adopt(SampleStore(other, chosen, size))
    for shard in sorted(set(range(len(store.shards))) - set(store.missing())):
        store.judge(shard, task)  # drawn before, and stopped by its judge or by a kill
    if store.missing():
        drawer = sampler or make_sampler(config)
        _draw(store, task, config.sampling, drawer, progress, begin=begin)
    _finish(config, known, store, task)
    return folder


def _same_samples(out: Path, known: dict[str, Any]) -> list[tuple[Path, int]]:
    """Folders beside ours, and their shard sizes, whose samples would be ours.

    They judged them otherwise: where a judge raised and was mended, or tells answers apart by
    another form, what was drawn is judged again and not drawn again.
    """
    wanted = sampled(known)
    found = []
    for begun in sorted(out.glob("*/begun.json")):
        try:
            record = read_json(begun)
            if sampled(record["config"]) == wanted and record["config"] != known:
                found.append((begun.parent, int(record["shard"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not ours to read
    return found


def _draw(
    store: SampleStore,
    task: Task,
    sampling: Sampling,
    drawer: Sampler,
    progress: Progress | None,
    *,
    begin: Callable[[], None],
) -> None:
    """Draw the missing shards and keep them; one is judged while the next is drawn."""
    missing = store.missing()
    total = sum(map(len, store.shards))
    finished = total - sum(len(store.shards[i]) for i in missing)
    if progress is not None:
        progress(finished, total)
    with ThreadPoolExecutor(1) as writer:
        pending: Future[None] | None = None
        for shard in missing:
            completions = drawer.sample(store.shards[shard], sampling)
            begin()
            store.keep(shard, completions)  # before the shard before may raise
            if pending is not None:
                pending.result()
            pending = writer.submit(store.judge, shard, task)
            finished += len(store.shards[shard])
            if progress is not None:
                progress(finished, total)
        if pending is not None:
            pending.result()


def _finish(config: Evaluation, known: dict[str, Any], store: SampleStore, task: Task) -> None:
    from diffsmooth.llm.summary import curve_table, summarise
    from diffsmooth.records import write_table

    store.tidy()
    folder = store.folder
    table = store.problems()
    write_table(folder / "problems.parquet", table)
    rows = table.to_pylist()
    curve = curve_table(rows, confidence=config.confidence)
    write_table(folder / "curve.parquet", curve)
    summary = summarise(rows, curve, confidence=config.confidence)
    summary["left_out"] = [str(row) for row in left_out(task)]
    write_json(folder / "summary.json", sidecar(known, config.sampling.seed, summary=summary))
