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
    from diffsmooth.theory.critical import critical_strength
    from diffsmooth.theory.flows import (
        natural_gradient_flow,
        smoothing_flow,
        softmax_pg_flow,
        softmax_pg_step,
    )
    from diffsmooth.theory.passk import pass_at_k, pass_at_k_exact
    from diffsmooth.theory.policy import Policy, kl, kl_decomposition

_HOME = {
    "Policy": "policy",
    "critical_strength": "critical",
    "kl": "policy",
    "kl_decomposition": "policy",
    "natural_gradient_flow": "flows",
    "pass_at_k": "passk",
    "pass_at_k_exact": "passk",
    "smoothing_flow": "flows",
    "softmax_pg_flow": "flows",
    "softmax_pg_step": "flows",
}

__all__ = [
    "Policy",
    "critical_strength",
    "kl",
    "kl_decomposition",
    "natural_gradient_flow",
    "pass_at_k",
    "pass_at_k_exact",
    "smoothing_flow",
    "softmax_pg_flow",
    "softmax_pg_step",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
