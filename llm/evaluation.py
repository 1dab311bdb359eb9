"""What an evaluation is: its settings, and the key of everything that can change a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from diffsmooth.llm.samplers import Sampling
from diffsmooth.llm.tasks.base import Problem
from diffsmooth.llm.tasks.countdown import Style
from diffsmooth.llm.tasks.countdown_data import Generator
from diffsmooth.llm.tasks.normal_form import Form
from diffsmooth.llm.tasks.splits import Split
from diffsmooth.records import canonical

Backend = Literal["transformers", "vllm", "server"]


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate, on what, and how."""

    model: str = ""
    """Folder or hub name of a model or of an adapter; under a server, the name it serves."""

    adapter: str | None = None
    """Folder or hub name of an adapter (peft) to put on the model."""

    task: str = "countdown"
    """countdown, colouring, file, own.py:f, or math500, math, aime24, aime25, amc23,
    olympiadbench, gsm8k."""

    data: str | None = None
    """Local data file (.jsonl, .json, .csv, .parquet); "public" is CountDown's public data set."""

    limit: int | None = None
    """Only the first problems; for generated problems the number drawn (64)."""

    split: Split = "test"
    """Split of generated problems and of public CountDown."""

    style: Style = "tags"
    """CountDown, colouring: answers in <answer> tags after a chat prompt, or bare (small
    models)."""

    form: Form = "ac"
    """CountDown: normal form that tells answers apart."""

    generator: Generator = field(default_factory=Generator)
    """CountDown: law of generated problems."""

    problem_seed: int = 0
    """CountDown, colouring: seed of generated problems."""

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
    """Bootstrap draws of the problems, for speed-ups."""

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


def sampled(known: Mapping[str, Any]) -> dict[str, Any]:
    """What of an :func:`identity` can change a sample: all but who judges it, and how."""
    files = known["files"]
    return {
        **{name: value for name, value in known.items() if name not in ("task", "form")},
        "files": {name: value for name, value in files.items() if name != "judge"},
    }


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
