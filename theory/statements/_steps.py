"""A proof in steps: run one after the other, the weakest verdict is the verdict of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from diffsmooth.theory.verify.core import Outcome, Verdict

_STRENGTH: dict[Verdict, int] = {"refuted": 0, "undecided": 1, "holds": 2, "proved": 3}


def together(*steps: Callable[[], Outcome]) -> Outcome:
    """Run the steps in order and stop at the first that is refuted.

    The residual is that of the step which came closest to failing, where margins are reported.
    Raises ValueError without a step: nothing would be checked.
    """
    if not steps:
        raise ValueError("together: no step was given; nothing would be checked")
    outcomes: list[Outcome] = []
    for step in steps:
        outcome = step()
        if outcome.verdict == "refuted":
            return outcome
        outcomes.append(outcome)
    weakest = min(outcomes, key=lambda o: _STRENGTH[o.verdict])
    return Outcome(
        weakest.verdict,
        "; ".join(o.detail for o in outcomes),
        residual=_smallest([o.residual for o in outcomes if o.residual is not None]),
        counterexample=weakest.counterexample,
    )


def _smallest(residuals: Sequence[float]) -> float | None:
    return min(residuals, key=abs) if residuals else None


def identities(steps: Mapping[str, Any], detail: str) -> Outcome:
    """Named sympy expressions that must all reduce to 0, each over its own symbols."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    def one(name: str, expr: Any) -> Outcome:
        free = sorted(sp.sympify(expr).free_symbols, key=str)
        return symbolic.zero({name: expr}, free, detail)

    whole = together(*(partial(one, name, expr) for name, expr in steps.items()))
    if whole.verdict != "proved":
        return whole
    return Outcome("proved", f"{detail}: {len(steps)} identities reduce to 0", 0.0)


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
            lambda instance: rows[instance], [{"instance": shown} for shown in rows], name
        )

    names = list(found[0][1])
    whole = together(*(partial(one, name) for name in names))
    if whole.verdict != "holds":
        return whole
    return Outcome(
        "holds", f"{detail}: {len(names)} identities on {len(found)} exact instances", 0.0
    )
