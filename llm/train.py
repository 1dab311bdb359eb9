"""Train a language model from one strict configuration file, and resume it after a kill.

``Training`` is the whole configuration: a frozen dataclass, read from YAML by :func:`load`, hashed
into the name of the run's folder.  :func:`fit` runs it through TRL (``engines/trl.py``): the same
path for 0.1 M parameters on one core and for 7B on eight GPUs.  ``llm/engines/_plan.py`` says
beforehand, offline, what it would take.

A run's folder ``<output>/<name>-<hash>`` holds ``checkpoint-N/`` while it runs and at the end
``final/`` (model and tokenizer), ``log.parquet`` (step, name, value) and ``run.json``;
``<output>/<name>`` then points to it.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diffsmooth import records
from diffsmooth.llm import small
from diffsmooth.llm.engines import _strict
from diffsmooth.llm.engines._adaptive import Adaptive
from diffsmooth.llm.engines._resume import latest_checkpoint
from diffsmooth.llm.small import Pretraining, SmallModel
from diffsmooth.llm.tasks.base import Task
from diffsmooth.llm.tasks.countdown_data import Generator

if TYPE_CHECKING:
    from diffsmooth.theory.rules import Rule

ConfigError = _strict.ConfigError
#: ``progress(what, done, of)``.
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters instead of full fine-tuning (``peft``)."""

    rank: int = 32
    alpha: int = 64
    dropout: float = 0.0
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"


@dataclass(frozen=True)
class Model:
    """Either ``path`` (hub name or folder) or ``small`` (made here and pre-trained here)."""

    path: str | None = None
    small: SmallModel | None = None
    pretraining: Pretraining = field(default_factory=Pretraining)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attention: str | None = None
    lora: Lora | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.small is None):
            raise ValueError("give exactly one of path (hub name or folder) and small (made here)")


@dataclass(frozen=True)
class Data:
    """The task and its training problems (see ``llm/tasks/registry.py`` for the names).

    ``problems``: how many to draw (CountDown without ``data``), else how many the data must hold,
    if it is given.
    """

    task: str = "countdown"
    data: str | None = None
    problems: int | None = None
    style: Literal["tags", "bare"] = "tags"
    form: Literal["ac", "written"] = "ac"
    generator: Generator = field(default_factory=Generator)
    seed: int = 0


@dataclass(frozen=True)
class RuleChoice:
    """A rule by its name with its parameters; ``gamma: adaptive`` lets C5 set g_correct."""

    name: str = "grpo"
    parameters: dict[str, Any] = field(default_factory=dict)
    gamma: Literal["fixed", "adaptive"] = "fixed"
    adaptive: Adaptive = field(default_factory=Adaptive)
    base: Literal["engine", "rule"] = "engine"
    clip_cov: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.clip_cov <= 1.0:
            raise ValueError(f"clip_cov is {self.clip_cov}; it must lie in [0, 1]")
        self.build()

    def build(self) -> Rule | None:
        """The rule; ``None`` for plain GRPO as the engine computes it.  Raises ``ValueError``."""
        from diffsmooth.theory.rules import rule

        built = rule(self.name, **self.parameters)
        return None if self.name == "grpo" and self.base == "engine" else built


@dataclass(frozen=True)
class Optimisation:
    """One step of the *generation* loop: ``prompts`` prompts, ``group`` answers to each.

    ``updates`` optimiser steps are made with these answers (1: on-policy); ``micro_batch`` answers
    go through a device at once.  Give ``steps`` (optimiser steps) or ``epochs``.
    """

    steps: int | None = None
    epochs: float | None = None
    prompts: int = 16
    group: int = 16
    updates: int = 1
    micro_batch: int = 256
    learning_rate: float = 3e-4
    schedule: str = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    beta: float = 0.0
    epsilon: float = 0.2
    epsilon_high: float | None = None
    loss: Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = "group"

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of steps and epochs")
        for name in ("prompts", "group", "updates", "micro_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be >= 1")
        if self.group < 2:
            raise ValueError("group is 1; a group needs at least 2 answers")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be > 0")

    def accumulation(self, processes: int) -> int:
        """Gradient accumulation steps.  Raises ``ValueError`` where the numbers do not divide."""
        answers = self.prompts * self.group
        share = processes * self.updates * self.micro_batch
        if answers % share:
            raise ValueError(
                f"prompts x group = {answers} answers do not divide by processes x updates x "
                f"micro_batch = {processes} x {self.updates} x {self.micro_batch}"
            )
        return answers // share


@dataclass(frozen=True)
class Generation:
    """How answers are drawn; ``small``: the lean sampler of ``llm/small.py`` (CPU)."""

    engine: Literal["small", "transformers", "vllm-colocate", "vllm-server"] = "transformers"
    max_prompt_length: int = 512
    max_completion_length: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    vllm_memory: float = 0.3
    vllm_tensor_parallel: int = 1

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; it must be > 0")
        if self.max_completion_length < 1 or self.max_prompt_length < 1:
            raise ValueError("max_prompt_length and max_completion_length must be >= 1")


@dataclass(frozen=True)
class Checkpoints:
    """A checkpoint ``every`` so many optimiser steps (0: none); ``keep`` the newest."""

    every: int = 0
    keep: int = 2


@dataclass(frozen=True)
class Hardware:
    """``processes`` ranks; more than one starts ``accelerate launch`` with the file ``accelerate``
    (a name in ``configs/accelerate`` or a path).

    ``precision`` is that of the arithmetic (autocast); the weights keep ``model.dtype``, and with
    learning rates of 1e-6 that must be float32: a bfloat16 weight would not move.
    """

    device: Literal["cpu", "cuda"] = "cuda"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    processes: int = 1
    accelerate: str | None = None
    gradient_checkpointing: bool = True
    memory_gib: float = 80.0


@dataclass(frozen=True)
class Training:
    """A whole run.  ``trl`` holds any further field of ``trl.GRPOConfig`` by its own name."""

    name: str
    model: Model
    data: Data = field(default_factory=Data)
    rule: RuleChoice = field(default_factory=RuleChoice)
    optimisation: Optimisation = field(default_factory=lambda: Optimisation(steps=300))
    generation: Generation = field(default_factory=Generation)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    hardware: Hardware = field(default_factory=Hardware)
    trl: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    output: str = "runs"

    def __post_init__(self) -> None:
        self.optimisation.accumulation(self.hardware.processes)
        reserved = sorted(set(self.trl) & _RESERVED)
        if reserved:
            raise ValueError(f"trl.{reserved[0]}: is set by a key of its own, not under trl")
        if (
            self.generation.engine == "small"
            and self.model.small is None
            and not _is_folder(self.model.path)
        ):
            raise ValueError("generation.engine: small needs model.small or a model folder")

    @property
    def folder(self) -> Path:
        """Where the run lives: the hash is of all that can change the result."""
        what = dataclasses.replace(self, output="", name="", checkpoints=Checkpoints())
        return Path(self.output) / f"{self.name}-{records.config_hash(what, 10)}"


#: Fields of ``GRPOConfig`` that :class:`Training` sets from its own keys.
_RESERVED = frozenset(
    {
        "output_dir", "seed", "max_steps", "num_train_epochs", "num_generations", "beta", "epsilon",
        "epsilon_high", "loss_type", "scale_rewards", "learning_rate", "lr_scheduler_type",
        "warmup_steps", "weight_decay", "max_grad_norm", "per_device_train_batch_size",
        "gradient_accumulation_steps", "steps_per_generation", "generation_batch_size",
        "max_completion_length", "temperature", "top_p", "use_vllm", "vllm_mode",
        "vllm_gpu_memory_utilization", "vllm_tensor_parallel_size", "use_cpu", "bf16", "fp16",
        "gradient_checkpointing", "save_strategy", "save_steps", "save_total_limit",
    }
)  # fmt: skip


def _is_folder(path: str | None) -> bool:
    return path is not None and (Path(path) / "config.json").is_file()


def load(path: Path | str) -> Training:
    """The configuration in a YAML file.

    Raises ``FileNotFoundError``, or :class:`ConfigError` naming file and key: unknown keys (with
    the nearest known one), values of a wrong type, contradictions.
    """
    file = Path(path)
    try:
        config = _strict.build(Training, _merged(file, ()))
        check_trl(config.trl)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    return config


def _merged(file: Path, behind: tuple[Path, ...]) -> dict[str, Any]:
    """The mapping in a YAML file over that of the file it ``extends`` (a path beside it).

    Mappings are merged key by key; ``parameters`` and ``trl`` are replaced whole, because another
    rule has other parameters.
    """
    import yaml

    if not file.is_file():
        raise FileNotFoundError(f"no configuration file {file}")
    if file.resolve() in behind:
        raise ConfigError("extends: the files extend one another")
    try:
        data: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{file.name}: must be a mapping of keys")
    mine: dict[str, Any] = dict(data)
    parent = mine.pop("extends", None)
    if parent is None:
        return mine
    if not isinstance(parent, str):
        raise ConfigError(f"extends: must be a path, got {parent!r}")
    below = _merged(file.parent / parent, (*behind, file.resolve()))
    return _over(below, mine)


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and key not in ("parameters", "trl"):
            out[key] = _over(old, value)
        else:
            out[key] = value
    return out


def check_trl(extra: dict[str, Any]) -> None:
    """Raise :class:`ConfigError` for a name that ``trl.GRPOConfig`` does not have."""
    if not extra:
        return
    from diffsmooth.llm.engines._hooks import require

    known = [f.name for f in dataclasses.fields(require("trl", "trl").GRPOConfig)]
    for name in extra:
        if name not in known:
            near = _strict.nearest(name, known)
            hint = near if near.startswith("did") else "not a field of GRPOConfig"
            raise ConfigError(f"trl.{name}: unknown key; {hint}")


# -- the pieces of a run ----------------------------------------------------------------------


def training_task(data: Data) -> Task:
    """The task with its training problems."""
    from diffsmooth.llm.tasks.registry import load_task

    if data.task == "countdown" and data.data is None and data.problems is None:
        raise ConfigError("data.problems: how many CountDown problems to draw is missing")
    task = load_task(
        data.task,
        data.data,
        split="train",
        limit=data.problems,
        style=data.style,
        form=data.form,
        generator=data.generator,
        seed=data.seed,
    )
    found = len(task.problems())
    if data.problems is not None and found != data.problems:
        raise ConfigError(f"data.problems: is {data.problems}, but the data hold {found}")
    return task


def base_model(config: Training, progress: Progress | None = None) -> Path:
    """Folder of the small model after supervised pre-training; made once, found by its hash."""
    assert config.model.small is not None
    what = {
        "model": records.canonical(config.model.small),
        "pretraining": records.canonical(config.model.pretraining),
        "generator": records.canonical(config.data.generator),
    }
    folder = Path(config.output) / f"base-{records.config_hash(what, 10)}"
    if (folder / "config.json").is_file():
        return folder

    def report(step: int, loss: float) -> None:
        if progress is not None:
            progress("pre-training", step, config.model.pretraining.steps)

    return small.pretrain_countdown(
        folder, config.model.small, config.model.pretraining, config.data.generator, report
    )


def grpo_config(config: Training, folder: Path) -> Any:
    """``trl.GRPOConfig`` of a run."""
    from trl import GRPOConfig

    o, g, h = config.optimisation, config.generation, config.hardware
    accumulation = o.accumulation(h.processes)
    vllm = g.engine.startswith("vllm")
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "seed": config.seed,
        "max_steps": o.steps if o.steps is not None else -1,
        "num_train_epochs": o.epochs if o.epochs is not None else 1.0,
        "num_generations": o.group,
        "beta": o.beta,
        "epsilon": o.epsilon,
        "epsilon_high": o.epsilon_high,
        "loss_type": o.loss,
        "scale_rewards": o.scale_rewards,
        "learning_rate": o.learning_rate,
        "lr_scheduler_type": o.schedule,
        "warmup_steps": o.warmup_steps,
        "weight_decay": o.weight_decay,
        "max_grad_norm": o.max_grad_norm,
        "per_device_train_batch_size": o.micro_batch,
        "gradient_accumulation_steps": accumulation,
        "steps_per_generation": accumulation * o.updates,
        "max_completion_length": g.max_completion_length,
        "temperature": g.temperature,
        "top_p": g.top_p,
        "use_vllm": vllm,
        "use_cpu": h.device == "cpu",
        "bf16": h.precision == "bfloat16",
        "fp16": h.precision == "float16",
        _checkpointing_name(): h.gradient_checkpointing,
        "save_strategy": "steps" if config.checkpoints.every else "no",
        "save_steps": config.checkpoints.every or 500,
        "save_total_limit": config.checkpoints.keep,
        "logging_steps": 10,
        "logging_first_step": True,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": h.device == "cuda",
    }
    if vllm:
        settings["vllm_mode"] = g.engine.removeprefix("vllm-")
        settings["vllm_gpu_memory_utilization"] = g.vllm_memory
        settings["vllm_tensor_parallel_size"] = g.vllm_tensor_parallel
    if config.model.path is not None:
        kwargs: dict[str, Any] = {"dtype": config.model.dtype}
        if config.model.attention is not None:
            kwargs["attn_implementation"] = config.model.attention
        settings["model_init_kwargs"] = kwargs
    return GRPOConfig(**{**settings, **config.trl})


def _checkpointing_name() -> str:
    """transformers 5.23 renamed the field; the old name still works there, with a warning."""
    from trl import GRPOConfig

    new = "activation_checkpointing"
    return (
        new if new in {f.name for f in dataclasses.fields(GRPOConfig)} else "gradient_checkpointing"
    )


def trainer(config: Training, folder: Path, callbacks: Sequence[Any] = ()) -> Any:
    """The ready trainer (``SmoothedGRPOTrainer``) of a configuration."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is marked experimental
    from datasets import Dataset

    from diffsmooth.llm.engines._hooks import require
    from diffsmooth.llm.engines.trl import PROBLEM_COLUMN, VerifierReward, smoothed

    upstream = require("trl", "trl").GRPOTrainer
    task = training_task(config.data)
    rows = [
        {"prompt": p.prompt if p.raw else p.messages(), PROBLEM_COLUMN: p.id}
        for p in task.problems()
    ]
    made_here = config.model.small is not None
    model: Any = base_model(config) if made_here else config.model.path
    kwargs: dict[str, Any] = {}
    if made_here or config.generation.engine == "small":
        model, kwargs["processing_class"] = small.load(model)
    if config.generation.engine == "small":
        kwargs["rollout_func"] = small.rollout
    if config.model.lora is not None:
        kwargs["peft_config"] = _lora(config.model.lora)
    choice = config.rule
    made = smoothed(upstream)(
        model,
        reward_funcs=VerifierReward(task),
        args=grpo_config(config, folder),
        train_dataset=Dataset.from_list(rows),
        callbacks=list(callbacks),
        rule=choice.build(),
        gamma=choice.adaptive if choice.gamma == "adaptive" else None,
        base=choice.base,
        clip_cov=choice.clip_cov,
        **kwargs,
    )
    from transformers import PrinterCallback

    made.remove_callback(PrinterCallback)  # progress is ours to show; the log is kept in full
    return made


def _lora(lora: Lora) -> Any:
    from peft import LoraConfig

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )


def fit(
    config: Training,
    *,
    again: bool = False,
    callbacks: Sequence[Any] = (),
    progress: Progress | None = None,
) -> Path:
    """Run (or go on with, or find done) the training; returns the folder of the run.

    A finished run is not run again unless ``again``.  A run that was killed goes on from its
    newest whole checkpoint; on CPU the result is that of an uninterrupted run, bit for bit.
    """
    folder = config.folder
    if records.done(folder / "run.json") and not again:
        link(folder, config.name)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    quiet()
    extra = list(callbacks)
    if progress is not None:
        extra.append(progress_callback(progress))
    if config.model.small is not None:
        base_model(config, progress)
    run = trainer(config, folder, extra)
    checkpoint = None if again else latest_checkpoint(folder)
    run.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    run.save_model(str(folder / "final"))
    if run.accelerator.is_main_process:
        if run.processing_class is not None:
            run.processing_class.save_pretrained(folder / "final")
        records.write_table(folder / "log.parquet", log_table(run.state.log_history))
        records.write_json(
            folder / "run.json",
            records.sidecar(config, seed=config.seed, steps=run.state.global_step),
        )
        link(folder, config.name)
    return folder


def link(folder: Path, name: str) -> None:
    """``<output>/<name>`` points to the newest finished run of that name: easy to type."""
    short = folder.parent / name
    if short.exists() and not short.is_symlink():
        return  # a folder of somebody's own
    part = folder.parent / f".{name}.{os.getpid()}"
    part.symlink_to(folder.name)
    os.replace(part, short)


def log_table(history: Sequence[dict[str, Any]]) -> Any:
    """The trainer's log in long form: columns ``step``, ``name``, ``value`` (numbers only)."""
    import pyarrow as pa

    rows = sorted(
        (int(entry["step"]), name, float(value))
        for entry in history
        for name, value in entry.items()
        if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool)
    )
    return pa.table(
        {
            "step": pa.array([r[0] for r in rows], pa.int64()),
            "name": pa.array([r[1] for r in rows], pa.string()),
            "value": pa.array([r[2] for r in rows], pa.float64()),
        }
    )


def progress_callback(report: Progress) -> Any:
    """A trainer callback that calls ``report`` after every optimiser step."""
    from transformers import TrainerCallback

    class _Progress(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            report("training", state.global_step, state.max_steps)

    return _Progress()


def quiet() -> None:
    """Silence the bars and notices of the libraries; errors and our own progress stay."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    import datasets

    datasets.disable_progress_bars()


def launch_command(config: Training, path: Path) -> list[str]:
    """The command that starts all ranks of a run (one process: this very module)."""
    module = ["-m", "diffsmooth.llm.train", str(path)]
    if config.hardware.processes == 1 and config.hardware.accelerate is None:
        return [sys.executable, *module]
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    if config.hardware.accelerate is not None:
        command += ["--config_file", str(accelerate_file(config.hardware.accelerate))]
    elif config.hardware.device == "cpu":
        command += ["--cpu", "--num_machines", "1", "--mixed_precision", "no"]
        command += ["--dynamo_backend", "no"]
    return [*command, "--num_processes", str(config.hardware.processes), *module]


def accelerate_file(name: str) -> Path:
    """An accelerate configuration by its name in ``configs/accelerate`` or by its path."""
    from importlib.resources import files

    shipped = Path(str(files("diffsmooth.configs"))) / "accelerate"
    for path in (shipped / f"{name}.yaml", Path(name)):
        if path.is_file():
            return path
    known = sorted(p.stem for p in shipped.glob("*.yaml"))
    raise ConfigError(f"hardware.accelerate: no file {name!r}; shipped: {', '.join(known)}")


def main(argv: Sequence[str] | None = None) -> int:
    """One rank of a run: ``python -m diffsmooth.llm.train CONFIG.yaml``."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if len(arguments) != 1:
        print("usage: python -m diffsmooth.llm.train CONFIG.yaml", file=sys.stderr)
        return 2
    first = os.environ.get("RANK", "0") == "0"
    shown = 0.0

    def report(what: str, step: int, of: int | None) -> None:
        nonlocal shown
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            print(f"{what}: {step} of {of}", file=sys.stderr, flush=True)

    folder = fit(load(arguments[0]), progress=report if first else None)
    if first:
        print(f"results in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
