"""Checks, before any training starts, that the upstream trainer still has what is overridden.

An override of a method that upstream has renamed would never be called: the run would be plain
GRPO under another name.  So a missing hook is a hard error that names the version.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

#: Methods of ``GRPOTrainer`` and the parameters by which they are called or overridden.
TRL_HOOKS: Mapping[str, tuple[str, ...]] = {
    "_calculate_rewards": ("inputs", "prompts", "completions", "completion_ids_list"),
    "_generate_and_score_completions": ("inputs",),
    "_get_per_token_logps_and_entropies": (
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
        "batch_size",
    ),
    "_get_train_sampler": (),
    "_save_rng_state": ("output_dir",),
    "_load_rng_state": ("checkpoint",),
}


class UpstreamChangedError(RuntimeError):
    """The installed trainer lacks a method (or a parameter of it) that the rule is plugged into."""


def require(package: str, extra: str) -> ModuleType:
    """Import ``package`` or raise ``ImportError`` that says which extra installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{package} cannot be imported ({error}); "
            f"install it with: pip install 'diffsmooth[{extra}]'"
        ) from error


def installed(package: str) -> str:
    """Installed version of ``package``, or ``"unknown"``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def check_hooks(
    trainer: type, hooks: Mapping[str, tuple[str, ...]] = TRL_HOOKS, package: str = "trl"
) -> None:
    """Raise :class:`UpstreamChangedError` unless ``trainer`` has every hook with its parameters.

    ``trainer`` is the upstream class (not the one that overrides).  All faults are listed at once.
    """
    faults = []
    for name, parameters in hooks.items():
        method = getattr(trainer, name, None)
        if not callable(method):
            faults.append(f"method {name} is missing")
            continue
        known = inspect.signature(method).parameters
        # A catch-all accepts any of them.
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values()):
            continue
        missing = [p for p in parameters if p not in known]
        if missing:
            faults.append(f"method {name} has no parameter {', '.join(missing)}")
    if faults:
        raise UpstreamChangedError(
            f"{package} {installed(package)}: {trainer.__name__} has changed "
            f"({'; '.join(faults)}); "
            "the rule would silently not be applied. "
            f"Use a supported version of {package}."
        )
