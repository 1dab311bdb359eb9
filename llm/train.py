"""Train a language model from one strict configuration, and resume it after a kill.

:func:`fit` runs a :class:`~diffsmooth.llm.configuration.Training` through TRL (``engines/trl.py``):
the same path for 0.1 M parameters on one core and for 7B on eight GPUs.  ``_plan.py`` says
beforehand, offline, what it would take.  What cannot be run as it is written is refused before a
model is made or loaded: too few problems for one step, prompts that are too long, options that the
engine does not read, fewer ranks than asked for.

A run's folder ``<output>/<name>-<hash>`` holds ``checkpoint-N/`` while it runs and at the end
``final/`` (model and tokenizer), ``log.parquet`` (step, name, value) and ``run.json``;
``<output>/<name>`` then points to it.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffsmooth import records
from diffsmooth.llm import small
from diffsmooth.llm.configuration import (
    ConfigError,
    Data,
    Lora,
    Training,
    accelerate_file,
    check_options,
    load,
)
from diffsmooth.llm.engines._resume import latest_checkpoint
from diffsmooth.llm.samplers import check_model
from diffsmooth.llm.tasks.base import Task, left_out

#: ``progress(what, done, of)``.
Progress = Callable[[str, int, int | None], None]


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
    folder = config.root / f"base-{records.config_hash(what, 10)}"
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
        checkpointing_name(): h.gradient_checkpointing,
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
        given = config.trl.get("model_init_kwargs") or {}
        settings["model_init_kwargs"] = {**kwargs, **given}
    extra = {k: v for k, v in config.trl.items() if k != "model_init_kwargs"}
    try:
        return GRPOConfig(**{**settings, **extra})
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"optimisation, generation, hardware or trl: GRPOConfig refuses them: {error}"
        ) from error


def checkpointing_name() -> str:
    """transformers 5.23 renamed the field; the old name still works there, with a warning."""
    from trl import GRPOConfig

    new = "activation_checkpointing"
    return (
        new if new in {f.name for f in dataclasses.fields(GRPOConfig)} else "gradient_checkpointing"
    )


def trainer(
    config: Training,
    folder: Path,
    callbacks: Sequence[Any] = (),
    progress: Progress | None = None,
) -> Any:
    """The ready trainer (``SmoothedGRPOTrainer``) of a configuration.

    Everything is checked before a model is made or loaded.  Raises :class:`ConfigError`.
    """
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is marked experimental
    from datasets import Dataset

    from diffsmooth.llm.engines._hooks import require
    from diffsmooth.llm.engines.trl import VerifierReward, smoothed

    upstream = require("trl", "trl").GRPOTrainer
    args = grpo_config(config, folder)
    check_ranks(config, args.world_size)
    task, tokenizer, rows = prepare(config)
    if progress is not None:
        progress("loading", 0, None)
    made_here = config.model.small is not None
    model: Any = config.model.source
    if made_here:
        # By the first rank alone: transformers writes no weights on the others.
        with args.main_process_first(local=False, desc="base model"):
            model = base_model(config, progress)
    kwargs: dict[str, Any] = {"processing_class": tokenizer}
    if made_here or config.generation.engine == "small":
        model, _ = small.load(model, dtype=config.model.dtype, attention=config.model.attention)
        args.model_init_kwargs = None  # the model is loaded, as they say
    if config.generation.engine == "small":
        kwargs["rollout_func"] = small.rollout
    if config.model.lora is not None:
        kwargs["peft_config"] = lora_config(config.model.lora)
    choice = config.rule
    made = smoothed(upstream)(
        model,
        reward_funcs=VerifierReward(task),
        args=args,
        train_dataset=Dataset.from_list(rows),
        callbacks=list(callbacks),
        rule=choice.build(),
        gamma=choice.adaptive if choice.gamma == "adaptive" else None,
        base=choice.base,
        clip_cov=choice.clip_cov,
        kl_cov=choice.kl_cov,
        simko=choice.simko,
        **kwargs,
    )
    from transformers import PrinterCallback

    made.remove_callback(PrinterCallback)  # progress is ours to show; the log is kept in full
    if made_here:  # TRL's model card would link to a base model "None" on a hub
        made.create_model_card = lambda *_, **__: None
    return made


def prepare(config: Training) -> tuple[Task, Any, list[dict[str, Any]]]:
    """(task, tokenizer, rows of the training data), without the model's weights.

    Raises :class:`ConfigError` (or ``ValueError`` from the data) for what cannot be trained.
    """
    from diffsmooth.llm._prompts import training_rows

    check_options(config)
    if config.model.source is not None:
        check_model(config.model.source, "model.path")
    task = training_task(config.data)
    problems = task.problems()
    config.check_problems(len(problems))
    tokenizer = _tokenizer(config)
    return task, tokenizer, training_rows(config, problems, tokenizer)


def _tokenizer(config: Training) -> Any:
    """The tokenizer of the model, padded and cut as the trainer would load it."""
    if config.model.small is not None:
        return small.tokenizer(config.model.small.characters)
    from transformers import AutoTokenizer

    local = {"local_files_only": True} if config.generation.engine == "small" else {}
    revision = (config.trl.get("model_init_kwargs") or {}).get("revision")
    if revision is not None:
        local["revision"] = revision
    if config.trl.get("trust_remote_code"):
        local["trust_remote_code"] = True
    return AutoTokenizer.from_pretrained(
        config.model.source, padding_side="left", truncation_side="left", **local
    )


def check_ranks(config: Training, found: int) -> None:
    """Raise :class:`ConfigError` unless as many ranks run as ``hardware.processes`` asks for."""
    asked = config.hardware.processes
    if found != asked:
        raise ConfigError(
            f"hardware.processes: is {asked}, but {found} rank{'s' if found != 1 else ''} of this "
            "run started; `diffsmooth train FILE` starts them all"
        )


def lora_config(lora: Lora) -> Any:
    """``peft.LoraConfig`` of the adapters."""
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
    quiet()
    extra = list(callbacks)
    if progress is not None:
        extra.append(progress_callback(progress))
    with one_thread(config):
        run = _ready(config, folder, extra, progress)
        folder.mkdir(parents=True, exist_ok=True)
        ranks = count_ranks(run.accelerator)
        check_ranks(config, ranks)
        checkpoint = None if again else latest_checkpoint(folder)
        run.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if run.state.global_step == 0:
        raise ConfigError(
            f"no step was made with {len(run.train_dataset)} problems and optimisation.prompts = "
            f"{config.optimisation.prompts}; a run without a step is no result"
        )
    run.save_model(str(folder / "final"))
    if run.accelerator.is_main_process:
        if run.processing_class is not None:
            run.processing_class.save_pretrained(folder / "final")
        records.write_table(folder / "log.parquet", log_table(run.state.log_history))
        unused = [str(row) for row in left_out(run.reward_funcs[0].task)]
        records.write_json(
            folder / "run.json",
            records.sidecar(
                config,
                seed=config.seed,
                steps=run.state.global_step,
                ranks=ranks,
                left_out=unused,
            ),
        )
        link(folder, config.name)
    return folder


def count_ranks(accelerator: Any) -> int:
    """How many processes take part: each of them adds 1 (not what anybody was told)."""
    import torch

    return int(accelerator.gather(torch.ones(1, device=accelerator.device)).sum())


@contextmanager
def one_thread(config: Training) -> Iterator[None]:
    """A model made here, on CPU: one thread of torch.

    Sums over several threads end in other bits, so that the result would hang on the machine's
    cores, and for 0.1 M parameters they cost more than they save.
    """
    import torch

    before = torch.get_num_threads()
    if config.model.small is not None and config.hardware.device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ready(
    config: Training, folder: Path, callbacks: Sequence[Any], progress: Progress | None
) -> Any:
    """The trainer; where a hub does not give the model, the message says what was asked for."""
    try:
        return trainer(config, folder, callbacks, progress)
    except OSError as error:
        name = config.model.source
        if name is None or Path(name).exists():
            raise
        line = " ".join(str(error).split())
        raise ConfigError(
            f"model.path: no folder {name!r} here, and as a hub name: {line}"
        ) from error


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
    import warnings

    import transformers

    # TRL asks transformers for a name that it has renamed; nobody who trains can mend that.
    warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    import datasets

    datasets.disable_progress_bars()


def launched(config: Training) -> bool:
    """Whether a run is started through ``accelerate launch``: several ranks, or a file for it."""
    return config.hardware.processes > 1 or config.hardware.accelerate is not None


def launch_command(config: Training, path: Path, again: bool = False) -> list[str]:
    """The command that starts all ranks of a run (one process: this very module)."""
    module = ["-m", "diffsmooth.llm.train", str(path), *(["--again"] if again else [])]
    if not launched(config):
        return [sys.executable, *module]
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    if config.hardware.accelerate is not None:
        command += ["--config_file", str(accelerate_file(config.hardware.accelerate))]
    else:
        # Its name for "several processes of one machine": with --cpu, or where it sees no GPU, it
        # starts one process whatever their number.  Which device is used is hardware.device's.
        command += ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"]
        command += ["--dynamo_backend", "no", "--main_process_port", "0"]
    return [*command, "--num_processes", str(config.hardware.processes), *module]


def main(argv: Sequence[str] | None = None) -> int:
    """One rank of a run: ``python -m diffsmooth.llm.train CONFIG.yaml [--again]``.

    Returns 0, or 2 with one line where the configuration or its data cannot be used.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    again = "--again" in arguments
    files = [a for a in arguments if a != "--again"]
    if len(files) != 1:
        print("usage: python -m diffsmooth.llm.train CONFIG.yaml [--again]", file=sys.stderr)
        return 2
    first = os.environ.get("RANK", "0") == "0"
    shown = 0.0

    def report(what: str, step: int, of: int | None) -> None:
        nonlocal shown
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            steps = "" if of is None else f": {step} of {of}"
            print(f"{what}{steps}", file=sys.stderr, flush=True)

    try:
        folder = fit(load(files[0]), again=again, progress=report if first else None)
    except (ValueError, TypeError, FileNotFoundError, ImportError) as error:
        if os.environ.get("DIFFSMOOTH_TRACEBACK"):
            raise
        if first:
            line = " ".join(str(error).split())
            print(f"diffsmooth: train: {line}", file=sys.stderr)
        return 2
    if first:
        print(f"results in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
