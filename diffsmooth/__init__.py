"""diffsmooth: diversity collapse in RL fine-tuning, checked, simulated and trained.

Source: *Differential Smoothing Mitigates Sharpening and Improves LLM Reasoning*
(arXiv 2511.19942).  The floors: :mod:`diffsmooth.theory`, :mod:`diffsmooth.sim`,
:mod:`diffsmooth.llm`.  The functions here forward to them and import nothing until they are called,
so ``import diffsmooth`` is instant.
"""

from typing import Any

from diffsmooth._front import (
    advantages,
    atlas,
    compare,
    evaluate,
    rules,
    simulate,
    train,
    verify,
)

__version__ = "0.1.0"

__all__ = [
    "advantages",
    "atlas",
    "compare",
    "evaluate",
    "rules",
    "simulate",
    "train",
    "verify",
]

_FLOORS = ("llm", "records", "sim", "theory")


def __getattr__(name: str) -> Any:
    """``diffsmooth.theory`` and its neighbours, imported when they are first named."""
    if name in _FLOORS:
        import importlib

        return importlib.import_module(f"diffsmooth.{name}")
    raise AttributeError(f"module 'diffsmooth' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_FLOORS])
