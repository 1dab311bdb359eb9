"""The two helpers of C1-C8: formal moments and exactly weighted groups."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory.rules import Reinforce
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._weighted import WeightedPolicy, weighted_policies

X, Y, X2, Y2, G = sp.symbols("x y x_2 y_2 g")


def _numbers(
    law: Law, points: list[tuple[int, int]], weights: list[int]
) -> dict[sp.Symbol, sp.Expr]:
    """The values of the moment symbols up to degree 4 under one concrete law."""
    total = sum(weights)
    return {
        law.mean(X**i * Y**j): sum(
            sp.Rational(w, total) * a**i * b**j for w, (a, b) in zip(weights, points, strict=True)
        )
        for i in range(5)
        for j in range(5)
        if i or j
    }


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(1, 5)), min_size=1, max_size=4
    )
)
def test_moments_are_expectations_under_every_concrete_law(
    rows: list[tuple[int, int, int]],
) -> None:
    law = Law("q", (X, Y))
    points, weights = [(a, b) for a, b, _ in rows], [w for *_, w in rows]
    values = _numbers(law, points, weights)
    total = sum(weights)
    expr = (X - 2 * Y) ** 2 + G * X * Y - 3
    direct = sum(
        sp.Rational(w, total) * expr.subs({X: a, Y: b})
        for w, (a, b) in zip(weights, points, strict=True)
    )
    assert sp.expand(law.mean(expr).subs(values) - direct) == 0
    pair = (X - X2) * (Y - Y2) * X2
    both = sum(
        sp.Rational(w * v, total**2) * pair.subs({X: a, Y: b, X2: c, Y2: d})
        for w, (a, b) in zip(weights, points, strict=True)
        for v, (c, d) in zip(weights, points, strict=True)
    )
    assert law.pair((X2, Y2), pair).subs(values) - both == 0


def test_moments_refuse_what_is_no_polynomial() -> None:
    with pytest.raises(sp.PolynomialError):
        Law("q", (X,)).mean(sp.log(X))


def test_laws_of_two_names_do_not_mix() -> None:
    assert Law("q", (X,)).mean(X) != Law("f", (X,)).mean(X)


@given(weighted_policies())
def test_group_average_is_the_exact_policy_gradient(weighted: WeightedPolicy) -> None:
    """For A = r the average over the group is grad C = pi (r - C)."""
    pi, r = weighted.probs, weighted.correct.astype(float)
    found = weighted.gradient(Reinforce()(weighted.batch()))
    np.testing.assert_allclose(found, pi * (r - pi @ r), atol=1e-15)


def test_token_batch_says_the_same_as_the_sequence_batch() -> None:
    weighted = WeightedPolicy((1, 2, 3), 2, lengths=(1, 4, 2))
    sequence, tokens = weighted.batch(), weighted.batch(tokens=True)
    np.testing.assert_allclose(tokens.sequence_logps, sequence.sequence_logps, rtol=1e-15)
    np.testing.assert_array_equal(tokens.token_counts, sequence.token_counts)
    with pytest.raises(ValueError, match="lengths"):
        WeightedPolicy((1, 2), 1).batch(tokens=True)


def test_weighted_policy_reads_well() -> None:
    assert str(WeightedPolicy((1, 2), 1, classes=(0, 1))) == (
        "pi = (1/3, 2/3), first 1 correct, classes (0, 1)"
    )
