"""Formal logarithms: an exact field of entropies, against floats and against known identities."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory.statements import _logs
from diffsmooth.theory.statements._steps import identities, rational_identities, together
from diffsmooth.theory.verify import exact
from diffsmooth.theory.verify.core import Outcome

laws = st.lists(st.integers(1, 60), min_size=1, max_size=6).map(_logs.normalised)


@given(st.fractions(min_value="1/500", max_value=500), st.fractions("1/500", 500))
@settings(max_examples=50, deadline=None)
def test_log_is_a_homomorphism_and_injective(x: Fraction, y: Fraction) -> None:
    assert (_logs.log(x * y) - _logs.log(x) - _logs.log(y)).size() == 0
    assert ((_logs.log(x) - _logs.log(y)).size() == 0) == (x == y)
    assert (_logs.log(x) - _logs.log(y)).sign() == (x > y) - (x < y)


@given(laws, st.data())
@settings(max_examples=50, deadline=None)
def test_divergence_is_what_floats_say_and_positive(
    law: list[Fraction], data: st.DataObject
) -> None:
    other = data.draw(st.lists(st.integers(1, 60), min_size=len(law), max_size=len(law)))
    base = _logs.normalised(other)
    p, b = np.array(law, dtype=float), np.array(base, dtype=float)
    exact = _logs.divergence(law, base)
    assert float(exact) == pytest.approx(float(p @ np.log(p / b)), abs=1e-13)
    assert exact.sign() == int(law != base)
    assert float(_logs.entropy(law)) == pytest.approx(float(-p @ np.log(p)), abs=1e-13)


def test_a_rational_constant_is_not_a_logarithm() -> None:
    """1 and log 3 - 1/10 are close; the sign is still decided, and equality is not claimed."""
    close = _logs.log(Fraction(2718281828459045, 10**15)) - 1
    assert close.sign() == -1
    assert close.size() > 0


def test_log_of_a_non_positive_number_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        _logs.log(0)


def test_together_says_the_weakest_and_stops_at_a_refutation() -> None:
    def never() -> Outcome:
        raise AssertionError("a step after a refutation ran")

    def proved() -> Outcome:
        return exact.polynomial_identity(lambda x: x - x, ["x"], "a")

    def holds() -> Outcome:
        return exact.inequality(lambda x: x, [{"x": Fraction(1, 2)}], "b")

    def refuted() -> Outcome:
        return exact.inequality(lambda x: -x, [{"x": Fraction(1, 3)}], "c")

    whole = together(proved, holds)
    assert (whole.verdict, whole.residual) == ("holds", 0.0)
    assert whole.detail == f"{proved().detail}; {holds().detail}"
    failed = together(holds, refuted, never)
    assert failed.verdict == "refuted"
    assert failed.detail == refuted().detail
    assert failed.counterexample == "at x = 1/3 the value is -1/3"
    with pytest.raises(ValueError, match="no step"):
        together()


def test_identities_and_rational_identities_name_the_one_that_fails() -> None:
    import sympy as sp

    x = sp.Symbol("x", positive=True)
    found = identities({"right": x - x, "wrong": x - 1}, "steps")
    assert found.verdict == "refuted"
    assert "wrong" in found.detail
    rows = [{"n": 1}, {"n": 2}]
    result = rational_identities(
        lambda n: {"even": Fraction(0), "odd": Fraction(n % 2)}, rows, "parity"
    )
    assert result.verdict == "refuted"
    assert "odd" in result.detail
    with pytest.raises(ValueError, match="no instance"):
        rational_identities(lambda n: {"x": Fraction(0)}, [], "none")
