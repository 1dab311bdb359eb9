"""Exact engine: rational arithmetic, no rounding at all.

``identity`` and ``inequality`` evaluate a claim on given instances (they "hold"); a polynomial
that vanishes on a full grid with more points than its degree in every variable is the zero
polynomial, so ``polynomial_identity`` *proves*.

Example::

    >>> from fractions import Fraction
    >>> polynomial_identity(lambda x, y: (x + y) ** 2 - x * x - 2 * x * y - y * y,
    ...                     {"x": 2, "y": 2}, "binomial").verdict
    'proved'
    >>> inequality(lambda x: x * x - x, [{"x": Fraction(1, 2)}], "x^2 > x").verdict
    'refuted'
"""

from __future__ import annotations

import random as pyrandom
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import product
from numbers import Rational
from typing import Any

from diffsmooth.theory.verify.core import Outcome

Instance = Mapping[str, Any]


def identity(f: Callable[..., Any], instances: Iterable[Instance], detail: str) -> Outcome:
    """``f(**instance)`` (a rational number or a sequence of them) must be 0 on every instance.

    Says "holds"; to prove, use ``polynomial_identity``.  The counterexample reported is the one
    that is shortest to write.  Raises ``TypeError`` when ``f`` returns a float.
    """
    return _sample(f, instances, detail, lambda v: v == 0, claim="= 0", size=abs)


def inequality(
    f: Callable[..., Any], instances: Iterable[Instance], detail: str, *, strict: bool = True
) -> Outcome:
    """``f(**instance)`` must be > 0 (``strict``) or >= 0 on every instance; says "holds"."""
    if strict:
        return _sample(f, instances, detail, lambda v: v > 0, claim="> 0", size=None)
    return _sample(f, instances, detail, lambda v: v >= 0, claim=">= 0", size=None)


def polynomial_identity(
    f: Callable[..., Any], degrees: Mapping[str, int], detail: str, *, start: int = 1
) -> Outcome:
    """Prove that a polynomial is identically 0.

    ``degrees[name]`` bounds the degree of ``f`` in that variable: the caller's obligation, to be
    argued beside the call.  The grid is ``start .. start + degree`` in each variable.  Points off
    the grid are evaluated as well, so that a degree declared too low is likely to be caught.

    Raises ``ValueError`` for no variable or a negative degree, ``TypeError`` for a float.
    """
    if not degrees or any(d < 0 for d in degrees.values()):
        raise ValueError(f"exact: degrees must be non-empty and >= 0, got {dict(degrees)}")
    names = list(degrees)
    axes = [[Fraction(start + k) for k in range(degrees[n] + 1)] for n in names]
    points = 0
    for values in product(*axes):
        points += 1
        point = dict(zip(names, values, strict=True))
        if any(v != 0 for v in _values(f, point)):
            return _refuted([point], f, detail, "= 0")
    rng = pyrandom.Random(0)
    for _ in range(4):
        point = {n: Fraction(rng.randint(-40, 40) or 1, rng.randint(2, 23)) for n in names}
        if any(v != 0 for v in _values(f, point)):
            return _refuted([point], f, f"{detail} (a declared degree is too low)", "= 0")
    degree = ", ".join(f"{n}: {d}" for n, d in degrees.items())
    return Outcome(
        "proved", f"{detail}: zero on a grid of {points} points, degrees at most {degree}", 0.0
    )


def _sample(
    f: Callable[..., Any],
    instances: Iterable[Instance],
    detail: str,
    good: Callable[[Any], bool],
    *,
    claim: str,
    size: Callable[[Any], Any] | None,
) -> Outcome:
    count, failing = 0, []
    extreme: Any = None
    for instance in instances:
        count += 1
        values = _values(f, instance)
        if not all(good(v) for v in values):
            failing.append(instance)
        worst = max(map(size, values)) if size else min(values)
        if extreme is None or (worst > extreme if size else worst < extreme):
            extreme = worst
    if count == 0 or extreme is None:
        raise ValueError("exact: no instance was given; nothing would be checked")
    if failing:
        return _refuted(failing, f, detail, claim)
    return Outcome("holds", f"{detail}: {claim} on {count} exact instances", _float(extreme))


def _refuted(
    failing: Sequence[Instance], f: Callable[..., Any], detail: str, claim: str
) -> Outcome:
    smallest = min(failing, key=lambda instance: len(show(instance)))
    values = _values(f, smallest)
    text = ", ".join(map(str, values))
    more = f" ({len(failing)} instances fail)" if len(failing) > 1 else ""
    return Outcome(
        "refuted",
        f"{detail}: must be {claim}{more}",
        residual=_float(max(values, key=abs)),
        counterexample=f"at {show(smallest)} the value is {text}",
    )


def _values(f: Callable[..., Any], instance: Instance) -> list[Any]:
    result = f(**instance)
    values = list(result) if isinstance(result, list | tuple) else [result]
    if not values:
        raise ValueError(f"exact: the claim returned no value at {show(instance)}")
    for v in values:
        if isinstance(v, bool) or not isinstance(v, Rational):
            raise TypeError(
                f"exact: the claim returned {v!r} ({type(v).__name__}) at {show(instance)};"
                " only int and Fraction are exact"
            )
    return values


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def show(value: Any) -> str:
    """Write an instance for people: ``x = 1/2, b = (1/3, 2/3)``."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} = {show(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(show, value)) + ")"
    return str(value)
