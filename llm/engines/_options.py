"""What may stand under ``rule.parameters`` and ``trl``: the mappings that are handed on by name.

A value of a wrong kind would fail late (or, as ``True`` for a number, never), and an option that
the chosen engine does not read would change nothing: both are refused when the file is read.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from diffsmooth.llm.engines._strict import ConfigError, nearest, number

#: Fields of ``GRPOConfig`` that a run sets from keys of its own, and those keys.
RESERVED: dict[str, str] = {
    "output_dir": "output",
    "resume_from_checkpoint": "the run's folder (a killed run goes on by itself)",
    "seed": "seed",
    **{name: f"optimisation.{name}" for name in (
        "beta", "epsilon", "epsilon_high", "scale_rewards", "learning_rate", "warmup_steps",
        "weight_decay", "max_grad_norm",
    )},
    "max_steps": "optimisation.steps",
    "num_train_epochs": "optimisation.epochs",
    "num_generations": "optimisation.group",
    "loss_type": "optimisation.loss",
    "lr_scheduler_type": "optimisation.schedule",
    "per_device_train_batch_size": "optimisation.micro_batch",
    "gradient_accumulation_steps": "optimisation.prompts, group, updates and micro_batch",
    "steps_per_generation": "optimisation.updates",
    "generation_batch_size": "optimisation.prompts and group",
    **{name: f"generation.{name}" for name in (
        "max_completion_length", "max_prompt_length", "temperature", "top_p",
    )},
    "use_vllm": "generation.engine",
    "vllm_mode": "generation.engine",
    "vllm_gpu_memory_utilization": "generation.vllm_memory",
    "vllm_tensor_parallel_size": "generation.vllm_tensor_parallel",
    "use_cpu": "hardware.device",
    "bf16": "hardware.precision",
    "fp16": "hardware.precision",
    "gradient_checkpointing": "hardware.gradient_checkpointing",
    "activation_checkpointing": "hardware.gradient_checkpointing",
    "save_strategy": "checkpoints.every",
    "save_steps": "checkpoints.every",
    "save_total_limit": "checkpoints.keep",
}  # fmt: skip

_VLLM = ("vllm-colocate", "vllm-server")

#: Options of generation and loading that only some engines read; all others are read by each.
READ_BY: dict[str, tuple[str, ...]] = {
    "cache_implementation": ("transformers",),
    "use_transformers_continuous_batching": ("transformers",),
    "transformers_continuous_batching_config": ("transformers",),
    "use_transformers_paged": ("transformers",),
    "generation_kwargs": ("transformers", *_VLLM),
    "ds3_gather_for_generation": ("transformers", *_VLLM),
    "model_init_kwargs": ("transformers", *_VLLM),
    "trust_remote_code": ("transformers", *_VLLM),
    "vllm_model_impl": ("vllm-colocate",),
    "vllm_enable_sleep_mode": ("vllm-colocate",),
    "vllm_max_model_length": ("vllm-colocate",),
    "vllm_group_port": ("vllm-server",),
    # No run of ours has tools, or an evaluation beside the training.
    "max_tool_calling_iterations": (),
    "num_generations_eval": (),
}

#: Names inside ``generation_kwargs`` and ``model_init_kwargs`` that have a key of their own.
_INNER: dict[str, dict[str, str]] = {
    "generation_kwargs": {
        "temperature": "generation.temperature",
        "top_p": "generation.top_p",
        "top_k": "trl.top_k",
        "min_p": "trl.min_p",
        "repetition_penalty": "trl.repetition_penalty",
        **dict.fromkeys(
            ("max_new_tokens", "max_tokens", "max_length"), "generation.max_completion_length"
        ),
        **dict.fromkeys(("n", "num_return_sequences"), "optimisation.group"),
    },
    "model_init_kwargs": {
        "dtype": "model.dtype",
        "torch_dtype": "model.dtype",
        "attn_implementation": "model.attention",
    },
}


def engines_that_read(option: str) -> tuple[str, ...] | None:
    """Engines in which an option of ``GRPOConfig`` has an effect; ``None``: in every one."""
    if option in READ_BY:
        return READ_BY[option]
    if option.startswith("vllm_server_"):
        return ("vllm-server",)
    return _VLLM if option.startswith("vllm_") else None


def check_rule(name: str, parameters: Mapping[str, Any]) -> None:
    """Raise :class:`ConfigError` for a parameter of a wrong kind; names are checked by the rule."""
    from diffsmooth.theory.rules import Rule, Smoothed, rule

    try:
        plain = rule(name)
    except ValueError:
        return  # an unknown rule, or one without defaults: what builds it will say so
    for key, value in parameters.items():
        owner: Any = plain
        if isinstance(plain, Smoothed) and key not in ("base", "entry"):
            owner = plain.term
        kind = get_type_hints(type(owner)).get(key)
        if kind is None:
            continue
        what = None
        if kind is Any or kind is float:
            what = None if number(value) else "a finite number"
        elif kind in (int, bool, str):
            what = None if type(value) is kind else _named(kind)
        elif isinstance(kind, type) and issubclass(kind, Rule):
            what = None if isinstance(value, (str, Rule)) else "the name of a rule"
        elif get_origin(kind) is Literal and value not in get_args(kind):
            what = f"one of {', '.join(map(str, get_args(kind)))}"
        if what is not None:
            raise ConfigError(f"parameters.{key}: must be {what}, got {value!r}")


def check_trl(extra: Mapping[str, Any], engine: str, made_here: bool) -> None:
    """Raise :class:`ConfigError` for what ``GRPOConfig`` lacks, cannot take or would not read.

    ``engine`` is ``generation.engine``; ``made_here``: the model is no folder or hub name.
    """
    if not extra:
        return
    for name in extra:
        if name in RESERVED:
            raise ConfigError(f"trl.{name}: is set by a key of its own: {RESERVED[name]}")
    from diffsmooth.llm.engines._hooks import require

    kinds = {f.name: f.type for f in dataclasses.fields(require("trl", "trl").GRPOConfig)}
    for name, value in extra.items():
        if name not in kinds:
            near = nearest(name, list(kinds))
            hint = near if near.startswith("did") else "not a field of GRPOConfig"
            raise ConfigError(f"trl.{name}: unknown key; {hint}")
        if not fits(kinds[name], value):
            raise ConfigError(f"trl.{name}: must be {_named(kinds[name])}, got {value!r}")
        readers = engines_that_read(name)
        if readers is not None and engine not in readers:
            allowed = f"engines that do: {', '.join(readers)}" if readers else "no engine does"
            raise ConfigError(f"trl.{name}: generation.engine {engine} does not read it; {allowed}")
        if made_here and name in ("model_init_kwargs", "trust_remote_code"):
            raise ConfigError(f"trl.{name}: has no effect on a model that is made here")
        for inner, key in _INNER.get(name, {}).items():
            if isinstance(value, Mapping) and inner in value:
                raise ConfigError(f"trl.{name}.{inner}: is set by a key of its own: {key}")
    _check_ranges(extra)


def _check_ranges(extra: Mapping[str, Any]) -> None:
    """The options of sampling, in the ranges in which they mean something."""
    top_k, min_p = extra.get("top_k"), extra.get("min_p")
    penalty = extra.get("repetition_penalty")
    if top_k is not None and top_k < 0:
        raise ConfigError(f"trl.top_k: is {top_k}; it must be >= 0 (0: all tokens)")
    if min_p is not None and not 0 <= min_p <= 1:
        raise ConfigError(f"trl.min_p: is {min_p}; it must be >= 0 and <= 1")
    if penalty is not None and not penalty > 0:
        raise ConfigError(f"trl.repetition_penalty: is {penalty}; it must be > 0 (1: none)")


def fits(kind: Any, value: Any) -> bool:
    """Whether ``value`` is of the annotated ``kind``; kinds that a file cannot say pass."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return any(fits(k, value) for k in get_args(kind))
    if origin is Literal:
        return any(value == a and type(value) is type(a) for a in get_args(kind))
    if origin is list:
        return isinstance(value, list) and all(fits(get_args(kind)[0], v) for v in value)
    if origin is dict or kind is dict:
        return isinstance(value, Mapping)
    if kind is type(None):
        return value is None
    if kind is float:
        return number(value)
    if kind in (int, str, bool):
        return type(value) is kind
    # Enumerations and objects of other libraries stand beside ``str`` in a union.
    return not isinstance(kind, type)


def _named(kind: Any) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        parts = [k for k in get_args(kind) if k in (int, str, bool, float, dict, type(None))
                 or get_origin(k) is not None]  # fmt: skip
        return " or ".join(_named(k) for k in parts)
    names = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text",
             dict: "a mapping", type(None): "null"}  # fmt: skip
    if get_origin(kind) is dict:
        return "a mapping"
    if get_origin(kind) is list:
        return f"a list of {', '.join(map(_named, get_args(kind)))}"
    return names.get(kind, str(kind))
