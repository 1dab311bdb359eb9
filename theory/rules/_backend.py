"""One array interface for NumPy, torch and sympy, so that the rule is written once.

NumPy and torch come through :mod:`array_api_compat`; sympy expressions come as NumPy arrays of
dtype ``object``.  Only what the array API lacks (sums over groups) is written per library here.
Neither torch nor sympy is imported: the caller who passes their objects already has.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import array_api_compat.numpy
import numpy as np

Array = Any


def is_symbolic(x: Array) -> bool:
    """True for a NumPy array of Python objects (sympy expressions, Fractions)."""
    return isinstance(x, np.ndarray) and x.dtype == object


def namespace(*arrays: Array) -> Any:
    """The array-API namespace that the given arrays share (None is skipped).

    Raises TypeError if they belong to different libraries or to none of NumPy and torch.
    """
    given = [a for a in arrays if a is not None]
    torches = sum(is_torch(a) for a in given)
    numpy = sum(isinstance(a, (np.ndarray, np.generic)) for a in given)
    if torches + numpy != len(given) or (torches and numpy):
        kinds = sorted({type(a).__name__ for a in given})
        raise TypeError(f"all arrays must belong to one library (NumPy, torch); got {kinds}")
    if torches:
        import array_api_compat.torch as torch_namespace

        return torch_namespace
    if any(is_symbolic(a) for a in given):
        return _SYMBOLIC
    return array_api_compat.numpy


def is_torch(x: Array) -> bool:
    """True for a torch tensor (torch is not imported: whoever passes one has)."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


class cached:
    """``functools.cached_property`` without its lock, which torch.compile cannot trace."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        value = self.function(instance)
        if not compiling():
            instance.__dict__[self.name] = value
        return value


def compiling() -> bool:
    """True inside ``torch.compile``, where checks of values are left out: they break the graph."""
    torch = sys.modules.get("torch")
    return bool(torch is not None and torch.compiler.is_compiling())


def working(xp: Any, x: Array) -> Array:
    """``x`` in the precision the rule computes in: half precisions are raised to float32.

    A sum of 500 token log-probs in bfloat16 would keep two digits.
    """
    if is_symbolic(x):
        return x
    if not xp.isdtype(x.dtype, "real floating"):
        return xp.astype(x, xp.float64)
    if xp.finfo(x.dtype).bits == 16:
        return xp.astype(x, xp.float32)
    return x


def segment_sum(xp: Any, x: Array, labels: Array, size: int) -> Array:
    """Sum of the rows of ``x`` (B, ...) by label (B,) in [0, size): shape (size, ...)."""
    if is_torch(x):
        return x.new_zeros((size, *x.shape[1:])).index_add(0, labels, x)
    if x.ndim == 1 and x.dtype == np.float64:
        # The same additions in the same order as add.at, several times faster.
        return np.bincount(labels, weights=x, minlength=size)
    out = np.zeros((size, *x.shape[1:]), dtype=x.dtype)
    np.add.at(out, labels, x)
    return out


def segment_max(xp: Any, x: Array, labels: Array, size: int) -> Array:
    """Maximum of ``x`` (B,) by label; labels without a row get -inf."""
    if is_torch(x):
        start = x.new_full((size,), -float("inf"))
        return start.scatter_reduce(0, labels, x, reduce="amax")
    if is_symbolic(x):
        raise TypeError("this rule orders log-probs, which symbolic expressions do not allow")
    out = np.full(size, -np.inf, dtype=x.dtype)
    np.maximum.at(out, labels, x)
    return out


def divide(xp: Any, numerator: Array, denominator: Array) -> Array:
    """``numerator / denominator``, and 0 where the denominator is 0 (safe under autograd)."""
    if xp is _SYMBOLIC:
        return _elementwise(lambda a, b: a * 0 if b == 0 else a / b, 2)(numerator, denominator)
    zero = denominator == 0
    safe = xp.where(zero, xp.ones_like(denominator), denominator)
    return xp.where(zero, xp.zeros_like(safe), numerator / safe)


def sqrt(xp: Any, x: Array) -> Array:
    """Square root with derivative 0 at 0, so that a constant group does not turn gradients NaN."""
    if xp is _SYMBOLIC:
        return xp.sqrt(x)
    positive = x > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, x, xp.ones_like(x))), xp.zeros_like(x))


def check_fraction(name: str, value: float) -> None:
    """Raise ValueError, naming ``name``, unless 0 <= value <= 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: must lie in [0, 1], got {value}")


def _elementwise(f: Any, nargs: int) -> Any:
    def apply(*args: Array) -> Array:
        return np.asarray(np.frompyfunc(f, nargs, 1)(*args), dtype=object)

    return apply


class _Symbolic:
    """The few names of the array API that the rules use, over arrays of sympy expressions."""

    int64 = np.int64
    float64 = np.float64

    @staticmethod
    def _call(name: str, x: Array) -> Array:
        sympy = sys.modules.get("sympy")
        if sympy is None:
            raise TypeError("arrays of dtype object must hold sympy expressions")
        function = getattr(sympy, name)
        return _elementwise(function, 1)(x)

    def sqrt(self, x: Array) -> Array:
        return self._call("sqrt", x)

    def log(self, x: Array) -> Array:
        return self._call("log", x)

    def exp(self, x: Array) -> Array:
        return self._call("exp", x)

    def expm1(self, x: Array) -> Array:
        return self.exp(x) - 1

    @staticmethod
    def astype(x: Array, dtype: Any) -> Array:
        # Booleans and counts become exact integers, never rounded floats.
        if np.dtype(dtype).hasobject and not x.dtype.hasobject:
            sympy = sys.modules["sympy"]
            return _elementwise(lambda v: sympy.Integer(int(v)), 1)(x)
        return x.astype(dtype)

    @staticmethod
    def zeros_like(x: Array, dtype: Any = None) -> Array:
        return np.zeros(x.shape, dtype=x.dtype if dtype is None else dtype)

    @staticmethod
    def ones_like(x: Array, dtype: Any = None) -> Array:
        return np.ones(x.shape, dtype=x.dtype if dtype is None else dtype)

    @staticmethod
    def sum(x: Array, axis: int | None = None) -> Array:
        return np.sum(x, axis=axis)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


_SYMBOLIC = _Symbolic()
