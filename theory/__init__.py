"""Tabular theory of diversity collapse and its remedies: what is true.

:mod:`~diffsmooth.theory.rules` holds the smoothing rule and its rivals; ``policy``, ``diversity``,
``optima``, ``flows``, ``gradients``, ``utilities``, ``critical``, ``passk``, ``length`` and
``classes`` the closed forms; ``statements`` and ``verify`` the theorems and how they are checked.
Names are loaded on first use: importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffsmooth.theory.classes import (
        class_log_masses,
        equalised,
        harmonic_share,
        log_share_bias,
    )
    from diffsmooth.theory.critical import critical_strength, entropy_rate
    from diffsmooth.theory.diversity import (
        distinct_in_k,
        effective_number,
        majorises,
        neg_variance,
        renyi,
        shannon,
        simpson,
    )
    from diffsmooth.theory.flows import (
        natural_gradient_flow,
        smoothing_flow,
        softmax_pg_flow,
        softmax_pg_step,
    )
    from diffsmooth.theory.gradients import (
        advantage_gradient,
        expected_gradient,
        grpo_clock,
        reward_only_gradient,
        smoothing_gradient,
    )
    from diffsmooth.theory.optima import (
        entropy_bonus,
        entropy_for_temperature,
        entropy_slope,
        gibbs,
        iterated,
        smoothing,
        temperature_for_entropy,
        tempered,
        vanilla,
    )
    from diffsmooth.theory.passk import (
        pass_at_k,
        pass_at_k_exact,
        pass_at_k_variance,
        pass_at_k_variance_estimate,
    )
    from diffsmooth.theory.policy import Policy, kl, kl_binary, kl_decomposition
    from diffsmooth.theory.utilities import curvature, utility, utility_derivative

#: Where each name lives.
_HOME = {
    "Policy": "policy",
    "advantage_gradient": "gradients",
    "class_log_masses": "classes",
    "critical_strength": "critical",
    "curvature": "utilities",
    "distinct_in_k": "diversity",
    "effective_number": "diversity",
    "entropy_bonus": "optima",
    "entropy_for_temperature": "optima",
    "entropy_rate": "critical",
    "entropy_slope": "optima",
    "equalised": "classes",
    "expected_gradient": "gradients",
    "gibbs": "optima",
    "grpo_clock": "gradients",
    "harmonic_share": "classes",
    "iterated": "optima",
    "kl": "policy",
    "kl_binary": "policy",
    "kl_decomposition": "policy",
    "log_share_bias": "classes",
    "majorises": "diversity",
    "natural_gradient_flow": "flows",
    "neg_variance": "diversity",
    "pass_at_k": "passk",
    "pass_at_k_exact": "passk",
    "pass_at_k_variance": "passk",
    "pass_at_k_variance_estimate": "passk",
    "renyi": "diversity",
    "reward_only_gradient": "gradients",
    "shannon": "diversity",
    "simpson": "diversity",
    "smoothing": "optima",
    "smoothing_flow": "flows",
    "smoothing_gradient": "gradients",
    "softmax_pg_flow": "flows",
    "softmax_pg_step": "flows",
    "temperature_for_entropy": "optima",
    "tempered": "optima",
    "utility": "utilities",
    "utility_derivative": "utilities",
    "vanilla": "optima",
}

__all__ = [
    "Policy",
    "advantage_gradient",
    "class_log_masses",
    "critical_strength",
    "curvature",
    "distinct_in_k",
    "effective_number",
    "entropy_bonus",
    "entropy_for_temperature",
    "entropy_rate",
    "entropy_slope",
    "equalised",
    "expected_gradient",
    "gibbs",
    "grpo_clock",
    "harmonic_share",
    "iterated",
    "kl",
    "kl_binary",
    "kl_decomposition",
    "log_share_bias",
    "majorises",
    "natural_gradient_flow",
    "neg_variance",
    "pass_at_k",
    "pass_at_k_exact",
    "pass_at_k_variance",
    "pass_at_k_variance_estimate",
    "renyi",
    "reward_only_gradient",
    "shannon",
    "simpson",
    "smoothing",
    "smoothing_flow",
    "smoothing_gradient",
    "softmax_pg_flow",
    "softmax_pg_step",
    "temperature_for_entropy",
    "tempered",
    "utility",
    "utility_derivative",
    "vanilla",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
