"""The table of E1: limits, curvatures, and the polynomials written out."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import sympy

from diffsmooth.theory.rules import REWARD_ONLY
from diffsmooth.theory.rules.baselines import GRPO, PKPO, MaxRL
from diffsmooth.theory.utilities import (
    bernstein,
    coefficients,
    limit,
    power_basis,
    table,
)

GRID = np.linspace(0.05, 0.95, 19)


@pytest.mark.parametrize("name", sorted(REWARD_ONLY))
def test_a_limit_is_the_integral_of_its_derivative(name: str) -> None:
    """Gauss-Legendre on [c, c + 1/20]: u' is analytic there."""
    found = limit(name, 4)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    for c in (0.05, 0.4, 0.9):
        at = c + (nodes + 1) / 40
        integral = float(weights @ found.derivative(at)) / 40
        rise = float(found.value(c + 0.05) - found.value(c))
        assert rise == pytest.approx(integral, rel=1e-12)
    if name != "maxrl":
        assert float(found.value(0.0)) == 0.0


def test_the_table_has_every_rule_and_tends_to_the_limits() -> None:
    rows = table(GRID, 100, k=3)
    assert [r.name for r in rows] == list(REWARD_ONLY)
    for row in rows:
        assert row.formula
        assert row.derivative.shape == row.curvature.shape == GRID.shape
        inner = slice(2, -2)
        expected = row.limit.derivative(GRID)[inner]
        assert np.allclose(row.derivative[inner], expected, rtol=20 / 100, atol=0)


def test_what_the_table_says_about_curvature() -> None:
    """Solved prompts count less the more curved u is; GRPO's u is convex above C = 1/2."""
    rows = {r.name: r for r in table(GRID, 16, k=4)}
    for flat in ("vanilla", "dr-grpo", "rloo", "psr", "nsr", "w-reinforce"):
        assert np.max(np.abs(rows[flat].curvature)) < 1e-12
    assert np.all(rows["grpo"].curvature[GRID < 0.49] > 0)
    assert np.all(rows["grpo"].curvature[GRID > 0.51] < 0)
    for concave in ("maxrl", "f-grpo", "pkpo"):
        assert np.all(rows[concave].curvature > 0)
    # pass@4: -u''/u' = 3/(1 - C) for every G.
    assert np.allclose(rows["pkpo"].curvature, 3 / (1 - GRID), rtol=1e-11)
    assert np.allclose(rows["pkpo"].utility, 1 - (1 - GRID) ** 4, rtol=1e-12)


def test_polynomials_written_out() -> None:
    """Exact coefficients; MaxRL in groups of G has u' = (1 - (1-C)^{G-1})/C: towards log C."""
    c = sympy.Symbol("C")
    for rule, size in ((MaxRL(eps=0), 4), (PKPO(3), 5), (GRPO(eps=0), 4)):
        exact = coefficients(rule, size, exact=True)
        polynomial = sum(a * c**m for m, a in enumerate(power_basis(exact)))
        for at in (Fraction(1, 7), Fraction(2, 3)):
            value = sympy.Rational(at.numerator, at.denominator)
            assert sympy.simplify(polynomial.subs(c, value) - bernstein(exact, value)) == 0
    # PKPO with k = 3: 3 (1 - C)^2, whatever G.
    assert power_basis(coefficients(PKPO(3), 5, exact=True)) == [3, -6, 3, 0, 0]
    for size in (2, 4, 7):
        found = power_basis(coefficients(MaxRL(eps=0), size, exact=True))
        expected = sympy.Poly(sympy.expand(sympy.cancel((1 - (1 - c) ** (size - 1)) / c)), c)
        assert found == [*reversed(expected.all_coeffs()), 0]


BAD: list[tuple[str, Callable[[], object]]] = [
    ("k", lambda: table(0.5, 4, k=5)),
    ("k", lambda: table(0.5, 4, k=0)),
    ("C", lambda: table([0.5, 1.5], 8)),
    ("coefficients", lambda: power_basis([])),
]


@pytest.mark.parametrize(("name", "call"), BAD)
def test_errors_name_their_argument(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}:"):
        call()
