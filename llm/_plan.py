"""What a training run would take, worked out offline: tokens, memory, the command."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffsmooth.llm.configuration import ConfigError, Lora, Training
from diffsmooth.llm.engines._architectures import count, lookup
from diffsmooth.llm.samplers import check_model
from diffsmooth.llm.train import launch_command, lora_config

GIB = float(1 << 30)
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Plan:
    """All figures are upper bounds or estimates, and say which; ``None`` where not known offline.

    Memory is per device in GiB.
    """

    parameters: int | None
    trainable: int | None
    accumulation: int
    answers_per_generation: int
    tokens_per_generation: int
    generations: int | None
    tokens: int | None
    memory: dict[str, float] | None
    command: str

    @property
    def total_memory(self) -> float | None:
        return None if self.memory is None else sum(self.memory.values())


def plan(config: Training, path: Path) -> Plan:
    """Work out a :class:`Plan` without asking any hub and without loading any data."""
    o, g, h = config.optimisation, config.generation, config.hardware
    answers = o.prompts * o.group
    per_generation = answers * (g.max_prompt_length + g.max_completion_length)
    generations = _generations(config)
    shape = _shape(config)
    parameters = None if shape is None else _count(config, shape)
    trainable = parameters
    if parameters is not None and config.model.lora is not None:
        trainable = lora_parameters(shape, config.model.lora)
    return Plan(
        parameters=parameters,
        trainable=trainable,
        accumulation=o.accumulation(h.processes),
        answers_per_generation=answers,
        tokens_per_generation=per_generation,
        generations=generations,
        tokens=None if generations is None else generations * per_generation,
        memory=None
        if shape is None or parameters is None or trainable is None
        else memory(config, shape, parameters, trainable),
        command=shlex.join(launch_command(config, path)),
    )


def _shape(config: Training) -> Any | None:
    if config.model.small is not None:
        from diffsmooth.llm.small import shape_of

        return shape_of(config.model.small)
    assert config.model.source is not None
    check_model(config.model.source, "model.path")
    try:
        return lookup(config.model.source)
    except ValueError as error:
        raise ConfigError(f"model.path: {error}") from error


def _count(config: Training, shape: Any) -> int:
    try:
        return count(shape)
    except (ValueError, KeyError, ImportError) as error:
        line = " ".join(str(error).split())
        raise ConfigError(
            f"model.path: {config.model.path!r} is no causal language model that transformers can "
            f"build: {line}"
        ) from error


def _generations(config: Training) -> int | None:
    """Generations of the whole run; by epochs only where the number of problems is known."""
    o = config.optimisation
    # Optimiser steps with the answers of one generation.
    used: int = o.updates * config.trl.get("num_iterations", 1)
    if o.steps is not None:
        return -(-o.steps // used)
    assert o.epochs is not None
    if config.data.problems is None:
        return None
    # A part of an epoch counts as the trainer counts it: up to the next whole step.
    return -(-math.ceil(o.epochs * (config.data.problems // o.prompts) * used) // used)


def lora_parameters(shape: Any, lora: Lora) -> int:
    """Parameters of the adapters, counted where peft puts them on the model (without weights).

    Raises :class:`ConfigError` for targets that the model does not have.
    """
    import warnings

    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers whose weights lie the other way round
        model = AutoModelForCausalLM.from_config(shape)
        try:
            adapted = get_peft_model(model, lora_config(lora))
        except ValueError as error:
            line = " ".join(str(error).split())
            raise ConfigError(f"model.lora.targets: {line}") from error
    return sum(int(p.numel()) for p in adapted.parameters() if p.requires_grad)


def memory(config: Training, shape: Any, parameters: int, trainable: int) -> dict[str, float]:
    """Estimate per device, in GiB, by part.

    Weights, gradients and Adam's two moments in ``model.dtype``, divided over the ranks where the
    accelerate file shards them; activations kept by gradient checkpointing (one hidden state a
    layer and token) and the largest block recomputed; vLLM's share of the device where it lives
    there too.  Buffers and fragmentation are not counted: leave a tenth free.
    """
    o, g, h = config.optimisation, config.generation, config.hardware
    size = _BYTES[config.model.dtype]
    sharded = h.accelerate is not None and any(
        word in h.accelerate for word in ("fsdp", "zero3", "zero2")
    )
    ranks = h.processes if sharded else 1
    weights = ranks if h.accelerate is None or "zero2" not in h.accelerate else 1
    tokens = o.micro_batch * (g.max_prompt_length + g.max_completion_length)
    width = 2 if h.precision != "float32" else 4
    kept = shape.num_hidden_layers if h.gradient_checkpointing else 0
    inner = getattr(shape, "intermediate_size", None) or 4 * shape.hidden_size
    block = 16 * shape.hidden_size + 4 * inner
    blocks = 1 if h.gradient_checkpointing else shape.num_hidden_layers
    parts = {
        "weights": parameters * size / weights / GIB,
        "gradients": trainable * size / ranks / GIB,
        "optimiser": 2 * trainable * size / ranks / GIB,
        "activations": tokens * width * (kept * shape.hidden_size + blocks * block) / GIB,
    }
    if o.beta > 0:
        parts["reference model"] = parameters * size / weights / GIB
    if g.engine == "vllm-colocate":
        parts["vLLM"] = g.vllm_memory * h.memory_gib
    return parts


def lines(config: Training, found: Plan) -> list[tuple[str, str]]:
    """(name, text) of everything worth showing in a dry run, besides the resolved configuration."""

    def number(value: int | None) -> str:
        return "not known offline" if value is None else f"{value:,}"

    rows = [
        ("parameters", number(found.parameters)),
        ("trainable", number(found.trainable)),
        ("answers a generation", number(found.answers_per_generation)),
        ("gradient accumulation", number(found.accumulation)),
        ("tokens a generation, at most", number(found.tokens_per_generation)),
        ("generations", number(found.generations)),
        ("tokens in all, at most", number(found.tokens)),
    ]
    if found.memory is None or found.total_memory is None:
        rows.append(("memory a device", "not known offline (unknown model)"))
    else:
        parts = ", ".join(f"{name} {value:.3g}" for name, value in found.memory.items())
        total = f"{found.total_memory:.3g} GiB estimated ({parts})"
        if config.hardware.device == "cuda" and found.total_memory > config.hardware.memory_gib:
            total += f"; more than the {config.hardware.memory_gib:g} GiB there are"
        rows.append(("memory a device", total))
    rows.append(("results in", str(config.folder)))
    rows.append(("command", found.command))
    return rows
