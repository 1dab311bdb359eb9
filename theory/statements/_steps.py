"""Proofs in steps that many statements share; ``together`` itself is the checker's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import partial
from typing import Any

from diffsmooth.theory.verify.core import Outcome, together

__all__ = ["identities", "rational_identities", "together"]


def identities(steps: Mapping[str, Any], detail: str) -> Outcome:
    """Named sympy expressions that must all reduce to 0, each over its own symbols."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    def one(name: str, expr: Any) -> Outcome:
        free = sorted(sp.sympify(expr).free_symbols, key=str)
        return symbolic.zero({name: expr}, free, detail)

    whole = together(*(partial(one, name, expr) for name, expr in steps.items()))
    return whole.told(f"{detail}: {len(steps)} identities reduce to 0")


def rational_identities(
    residuals: Callable[..., Mapping[str, Fraction]],
    instances: Iterable[Mapping[str, Any]],
    detail: str,
) -> Outcome:
    """``residuals(**instance)`` names rational numbers that must all be 0, without rounding.

    Each name is judged on its own, so that a refutation says which identity failed.
    """
    from diffsmooth.theory.verify import exact

    found = [(dict(i), residuals(**i)) for i in instances]
    if not found:
        raise ValueError("rational_identities: no instance was given; nothing would be checked")

    def one(name: str) -> Outcome:
        rows = {exact.show(i): values[name] for i, values in found}
        return exact.identity(
            lambda **instance: rows[exact.show(instance)], [i for i, _ in found], name
        )

    names = list(found[0][1])
    whole = together(*(partial(one, name) for name in names))
    return whole.told(f"{detail}: {len(names)} identities on {len(found)} exact instances")
