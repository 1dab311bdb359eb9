"""Train a language model from one strict configuration, and resume it after a kill.

:func:`fit` runs a :class:`~diffsmooth.llm.configuration.Training` through TRL (``engines/trl.py``):
the same path for 0.1 M parameters on one core and for 7B on eight GPUs.  ``engines/_plan.py`` says
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
        settings["model_init_kwargs"] = kwargs
    return GRPOConfig(**{**settings, **config.trl})


def checkpointing_name() -> str:
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
        kl_cov=choice.kl_cov,
        simko=choice.simko,
        **kwargs,
    )
    from transformers import PrinterCallback

    made.remove_callback(PrinterCallback)  # progress is ours to show; the log is kept in full
    if made_here:  # TRL's model card would link to a base model "None" on a hub
        made.create_model_card = lambda *_, **__: None
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
    if config.model.path is not None:
        check_model(config.model.path, "model.path")
    folder.mkdir(parents=True, exist_ok=True)
    quiet()
    extra = list(callbacks)
    if progress is not None:
        extra.append(progress_callback(progress))
    with one_thread(config):
        if config.model.small is not None:
            base_model(config, progress)
        run = _ready(config, folder, extra)
        checkpoint = None if again else latest_checkpoint(folder)
        run.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    run.save_model(str(folder / "final"))
    if run.accelerator.is_main_process:
        if run.processing_class is not None:
            run.processing_class.save_pretrained(folder / "final")
        records.write_table(folder / "log.parquet", log_table(run.state.log_history))
        unused = [str(row) for row in left_out(run.reward_funcs[0].task)]
        records.write_json(
            folder / "run.json",
            records.sidecar(config, seed=config.seed, steps=run.state.global_step, left_out=unused),
        )
        link(folder, config.name)
    return folder


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


def _ready(config: Training, folder: Path, callbacks: Sequence[Any]) -> Any:
    """The trainer; where a hub does not give the model, the message says what was asked for."""
    try:
        return trainer(config, folder, callbacks)
    except OSError as error:
        name = config.model.path
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
