"""B8's gap for other measures: the solver against a general optimiser, the bracket against both."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import minimize

from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._b8_gap import Measure, bracket, cheapest

BASE = (Fraction(3, 5), Fraction(3, 10), Fraction(1, 20), Fraction(1, 20))


@pytest.mark.parametrize("k", [2, 8])
def test_the_optimum_agrees_with_slsqp(k: int) -> None:
    measure, log_base = Measure(k), np.log([float(x) for x in BASE])
    q_a = np.exp(tab.tempered(log_base, 0.4))
    target = float(measure.phi(q_a).sum())
    found = cheapest(log_base, measure, target, 0.4)
    rival = minimize(
        lambda q: float(q @ (np.log(q) - log_base)),
        q_a,
        bounds=[(1e-9, 1)] * 4,
        constraints=[
            {"type": "eq", "fun": lambda q: q.sum() - 1},
            {"type": "ineq", "fun": lambda q: measure.phi(q).sum() - target},
        ],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.divergence == pytest.approx(float(rival.fun), abs=1e-7)
    assert found.mu > 0
    low, high, spent = bracket(BASE, Fraction(2, 5), measure)
    gap = float(spent) - found.divergence
    assert float(low) <= gap + 1e-9
    assert gap - 1e-9 <= float(high)


def test_two_values_leave_no_gap() -> None:
    """Where b takes two values only, its temperings are all the symmetric laws: no gap."""
    low, high, _ = bracket(
        (Fraction(9, 10), Fraction(1, 20), Fraction(1, 20)), Fraction(1, 2), Measure(2)
    )
    assert float(high) < 1e-9
    assert float(low) > -1e-9


def test_simpson_is_distinct_in_two_up_to_a_constant() -> None:
    q = np.array([0.5, 0.3, 0.2])
    assert float(Measure(2).phi(q).sum()) == pytest.approx(2 - float(q @ q))


def test_an_infeasible_diversity_is_an_error() -> None:
    with pytest.raises((ArithmeticError, np.linalg.LinAlgError)):
        cheapest(np.log([0.5, 0.3, 0.2]), Measure(2), 1.9, 0.5)
