"""Where the compiled kernels come from (extra ``fast``); without numba NumPy does the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any


@lru_cache(maxsize=1)
def available() -> bool:
    """Is numba installed?"""
    return find_spec("numba") is not None


@lru_cache(maxsize=8)
def kernel(name: str) -> Callable[..., Any]:
    """The kernel of that name in ``_numba``.  Raises ImportError without numba."""
    try:
        from diffsmooth.sim import _numba
    except ModuleNotFoundError as error:
        raise ImportError("compiled kernels need: pip install 'diffsmooth[fast]'") from error
    found: Callable[..., Any] = getattr(_numba, name)
    return found
