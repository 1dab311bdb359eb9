"""What the statements on optimal policies share: Gibbs' variational principle, term by term.

An objective E_pi[t(log pi, log b)] whose terms are t = T (w - log pi), with a "log-weight" w that
does not depend on pi, is T (log sum e^w - KL(pi||pi*)), pi* = e^w / sum e^w.  So one identity for
each trajectory proves an optimum for any number of them (theory.md B1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np

from diffsmooth.theory.statements import _logs
from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.verify.core import largest


def positivity() -> dict[str, Any]:
    """KL(f||b) = sum b phi(f/b) with phi(t) = (t-1)^2 int_0^1 (1-s)/(1+s(t-1)) ds >= 0.

    The integrand is positive for t > 0, so phi vanishes at t = 1 only: KL = 0 iff f = b.
    """
    import sympy as sp

    t, f, b = sp.symbols("t f b", positive=True)
    s = sp.Symbol("s", nonnegative=True)

    def phi(x: Any) -> Any:
        return x * sp.log(x) - x + 1

    # The antiderivative is checked by differentiating it, so no integrator has to be trusted.
    x = t - 1
    primitive = (t * sp.log(1 + s * x) / x - s) / x
    integral = primitive.subs(s, 1) - primitive.subs(s, 0)
    return {
        "KL term by term (f and b have the same sum)": sp.expand_log(
            f * sp.log(f / b) - (f - b) - b * phi(f / b)
        ),
        "antiderivative": sp.diff(primitive, s) - (1 - s) / (1 + s * x),
        "phi is a square times a positive integral": phi(t) - x**2 * integral,
    }


def term(objective: Any, temperature: Any, log_weight: Any, log_pi: Any) -> Any:
    """objective - T (log-weight - log pi): 0 proves the optimum."""
    return objective - temperature * (log_weight - log_pi)


def policies(base: tab.RationalBase, count: int, seed: int) -> Iterator[list[Fraction]]:
    """Arbitrary rational policies on the trajectories of ``base``."""
    rng = Random(seed)
    for _ in range(count):
        yield _logs.normalised([rng.randint(1, 9) for _ in base.correct + base.incorrect])


def shortfall(
    objective: Callable[[int, _logs.Logs], _logs.Logs],
    optimum: Sequence[Fraction],
    policy: Sequence[Fraction],
) -> _logs.Logs:
    """J(optimum) - J(policy) - KL(policy||optimum): 0 for every policy iff ``optimum`` is it.

    ``objective(i, log pi_i)`` is the objective's term divided by its temperature.
    """

    def value(law: Sequence[Fraction]) -> _logs.Logs:
        return _logs.total(objective(i, _logs.log(x)) * x for i, x in enumerate(law))

    return value(optimum) - value(policy) - _logs.divergence(policy, optimum)


def loss(
    objective: Callable[[tab.Array], tab.Array], optimum: tab.Array, other: tab.Array
) -> float:
    """J(optimum) - J(other) in floats; both are log-laws, ``objective(log pi)`` the terms of J."""
    return float(np.exp(optimum) @ objective(optimum) - np.exp(other) @ objective(other))


def deviation(pairs: Sequence[tuple[Any, Any]]) -> float:
    """The largest difference between the library's arrays and the formulas'."""
    return largest(*(np.abs(np.asarray(x, dtype=np.float64) - np.asarray(y)) for x, y in pairs))


def named(values: Mapping[str, _logs.Logs]) -> dict[str, Fraction]:
    """Sizes of named formal logarithms, each 0 iff the identity holds."""
    return {name: value.size() for name, value in values.items()}
