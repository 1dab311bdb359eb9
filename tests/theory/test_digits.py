"""Where float64 used to lose digits: beside a rounded C, in differences of logs, in stiff flows."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory import classes, flows, gradients
from diffsmooth.theory.clocks import Clock
from diffsmooth.theory.policy import Policy
from diffsmooth.theory.rules import REWARD_ONLY, rule
from diffsmooth.theory.utilities import bernstein, clock, limit

S4 = np.array([True, True, False, False])
S5 = np.array([True, True, True, False, False])
P4 = Policy.from_probs([0.2, 0.1, 0.4, 0.3], S4)
P5 = Policy.from_probs([0.2, 0.1, 0.05, 0.35, 0.3], S5)


@pytest.mark.parametrize(
    ("t", "right"), [(500, -11.8377312969204), (1000, -13.2319274048928), (2000, -14.6222672803416)]
)
def test_grpo_runs_on_when_nearly_solved(t: float, right: float) -> None:
    """By quadrature along the orbit in mpmath."""
    later = flows.softmax_pg_flow(P4, t, clock=limit("grpo").derivative)
    assert float(later.log_1mC) == pytest.approx(right, rel=1e-14, abs=0)


@settings(max_examples=15)
@given(st.floats(-300.0, 300.0), st.integers(1, 20), st.integers(1, 20), st.floats(-2.0, 60.0))
def test_grpo_on_equal_answers_in_closed_form(
    logit: float, right: int, wrong: int, decades: float
) -> None:
    """sinh(z/2) grows by (1/M + 1/N) t/4."""
    mask, t = np.arange(right + wrong) < right, 10.0**decades
    laws = (np.full(mask.size, -np.log(float(size))) for size in (right, wrong))
    before = Policy.from_parts(logit, *laws, mask)
    after = flows.softmax_pg_flow(before, t, clock=limit("grpo").derivative)
    with mpmath.workdps(400):
        ends = [mpmath.mpf(float(p.logit_C)) for p in (before, after)]
        start = mpmath.sinh(ends[0] / 2) + (mpmath.mpf(1) / right + mpmath.mpf(1) / wrong) * t / 4
        end = 2 * mpmath.asinh(start)
        # A rounding of the start, where the way from there is steep.
        moved = abs(ends[0]) * mpmath.cosh(ends[0] / 2) / mpmath.cosh(end / 2)
        assert abs(ends[1] - end) <= 1e-12 * abs(end) + 1e-15 * (1 + moved)


@pytest.mark.parametrize("name", ["pass-at-k", "pkpo", "maxrl", "f-grpo", "grpo"])
@pytest.mark.parametrize("start", [1e-6, 0.5])
def test_every_clock_runs_from_one_end_to_the_other(name: str, start: float) -> None:
    policy = Policy.from_probs([start, 1 - start], [True, False])
    for at in (limit(name).derivative, clock(REWARD_ONLY[name](), 9)):
        path = flows.softmax_pg_flow(policy, [1e-3, 1.0, 1e3, 1e9], clock=at)
        assert np.all(np.diff(path.logit_C) > 0)
        assert float(path.logit_C[0]) > float(policy.logit_C)


def test_a_clock_gets_both_logs() -> None:
    seen: list[tuple[float, float]] = []

    def speed(log_c: np.ndarray, log_1mc: np.ndarray) -> np.ndarray:
        seen.append((float(np.max(log_c)), float(np.min(log_1mc))))
        return np.zeros_like(log_c)

    later = flows.softmax_pg_flow(P4, 1e30, clock=Clock(speed))
    assert later.log_probs == pytest.approx(
        flows.softmax_pg_flow(P4, 1e30).log_probs, rel=1e-13, abs=0
    )
    assert max(a for a, _ in seen) > -1e-25  # C is 1 in float64
    assert min(b for _, b in seen) < -50
    with pytest.raises(ValueError, match=r"^clock: .*Clock"):
        flows.softmax_pg_flow(P4, 1e4, clock=lambda c: (c * (1 - c)) ** -0.5)
    with pytest.raises(ValueError, match=r"^rule: "):
        clock(rule("pass-at-k", k=4), 4)  # k = G pays nothing


@pytest.mark.parametrize(
    ("found", "right"),
    [
        (lambda: limit("pass-at-k", 8).derivative(1e-12), 353553.390592832),
        (lambda: limit("pass-at-k", 8).derivative(1e-17), 111803398.874989),
        (lambda: limit("pass-at-k", 8).derivative(np.array([1e-17]))[0], 111803398.874989),
        (lambda: limit("pass-at-k", 64).derivative(1 - 1e-8), 1.00000015576755e-248),
        (lambda: limit("grpo").value(np.nextafter(1, 0)), 3.14159263251636898),
        (lambda: limit("pass-at-k", 64).value(0.5), 0.0490873852050645617),
        (lambda: limit("pass-at-k", 2).value(1 - 1e-8), 1.57079631679489657),
        (lambda: classes.harmonic_share_bias(0.9, 100), 1.10989142113257e-102),
        (lambda: classes.harmonic_share_bias(0.5, 200), 6.19235709683449e-63),
        (lambda: classes.log_share_bias(0.3, 10**6), 1.16666750926139e-6),
    ],
)
def test_known_values(found: Callable[[], float], right: float) -> None:
    # Through logs as large as 571: half an ulp of that.
    assert float(found()) == pytest.approx(right, rel=2e-13, abs=0)


def test_limits_are_exact_on_exact_numbers() -> None:
    third, fraction = sympy.Rational(1, 3), Fraction(1, 3)
    expected = {
        "vanilla": (sympy.Integer(1), third),
        "w-reinforce": (sympy.Rational(11, 10), sympy.Rational(11, 30)),
        "grpo": (3 / sympy.sqrt(2), 2 * sympy.asin(1 / sympy.sqrt(3))),
        "maxrl": (sympy.Integer(3), -sympy.log(3)),
        "pkpo": (3 * sympy.Rational(4, 9), sympy.Rational(19, 27)),
    }
    for name, (slope, value) in expected.items():
        for at in (third, fraction):
            assert sympy.simplify(limit(name, 3).derivative(at) - slope) == 0
            assert sympy.simplify(limit(name, 3).value(at) - value) == 0
        assert not sympy.sympify(limit(name, 3).derivative(third)).atoms(sympy.Float)
    for call in (limit("grpo").derivative, limit("grpo").value):
        for bad in (-0.1, 1.5, np.nan, [0.5, 2.0], sympy.Rational(3, 2)):
            with pytest.raises(ValueError, match=r"^C: "):
                call(bad)
    assert limit("grpo").derivative(0.0) == np.inf


@pytest.mark.parametrize(
    ("t", "g", "right"), [(100.0, 1000.0, 4.2706672188451), (1000.0, 100.0, 6.7052605937587)]
)
def test_stiff_flows_are_followed(t: float, g: float, right: float) -> None:
    """LSODA and Radau agree to 1e-11."""
    later = flows.smoothing_flow(P5, t, g, centred=True)
    assert float(later.logit_C) == pytest.approx(right, rel=1e-11, abs=0)
    assert np.ptp(later.log_q[S5]) < 1e-2 / g


def test_uniform_laws_do_not_feel_centred_smoothing() -> None:
    """Equal answers: at any strength the flow is that of the reward alone, in closed form."""
    even = Policy.from_probs([0.1, 0.1, 0.1, 0.35, 0.35], S5)
    for g in (1.0, 1e4, 1e9):
        stiff = flows.smoothing_flow(even, 50.0, g, centred=True)
        plain = flows.softmax_pg_flow(even, 50.0)
        assert stiff.log_probs == pytest.approx(plain.log_probs, rel=1e-13, abs=0)


@pytest.mark.parametrize("g", [0.3, 10.0, 1e3, 1e9])
def test_the_natural_flow_in_closed_form(g: float) -> None:
    for t in (1e-3, 10.0, 1e6):
        later = flows.smoothing_flow(P5, t, g, centred=True, geometry="natural")
        assert float(later.logit_C) == pytest.approx(float(P5.logit_C) + t, rel=1e-14, abs=0)
        right = np.exp(-g * t) * P5.log_q[S5]
        right = right - np.log(np.sum(np.exp(right)))
        assert later.log_q[S5] == pytest.approx(right, rel=1e-13, abs=0)


def test_a_flow_that_ends_says_so() -> None:
    """Standardised, the natural flow reaches C = 1 in finite time."""
    with pytest.raises(ValueError, match=r"^t: .* could not be followed"):
        flows.smoothing_flow(P5, 10.0, 0.0, standardised=True, geometry="natural")


@pytest.mark.parametrize("g", [0.0, 1.0, 1e6, 1e9])
def test_centred_smoothing_leaves_the_wrong_answers_alone(g: float) -> None:
    """The centred term has mean 0 under q: on F there is the reward's gradient and nothing else."""
    for probs in ([0.5, 0.2, 0.1, 0.15, 0.05], [1e-9, 2e-9, 0.3, 0.7 - 4e-9, 1e-9]):
        policy = Policy.from_probs(probs, S5)
        found = gradients.smoothing_gradient(policy, g, centred=True)
        plain = gradients.expected_gradient(policy)
        assert found[~S5] == pytest.approx(plain[~S5], rel=1e-15, abs=0)


def test_a_vanishing_clock_keeps_its_digits_when_nearly_solved() -> None:
    for gap, right in ((-34.0, 1.6583651e-59),):
        policy = Policy.from_logits([0.0, -1, -2, gap, gap - 1], S5)
        found = gradients.reward_only_gradient(policy, rule("pass-at-k", k=4), 8)
        assert float(found[0]) == pytest.approx(right, rel=1e-7, abs=0)
    # u' of pass@k with k = 4 is of order (1-C)^3: C alone can't say it.
    rest = 1e-20
    assert float(bernstein([0.0, 0.0, 1.0][::-1], 1.0, rest)) == pytest.approx(1e-40, abs=0)
    with pytest.raises(ValueError, match=r"^rest: "):
        bernstein([1.0, 2.0], 0.5, 0.4)


@given(st.floats(1e-6, 1 - 1e-6), st.integers(1, 10_000))
@settings(max_examples=50)
def test_the_harmonic_bias_is_positive_and_falls(q: float, n: int) -> None:
    found = float(classes.harmonic_share_bias(q, n))
    later = float(classes.harmonic_share_bias(q, n + 1))
    first = float(np.exp(n * np.log1p(-q))) / n
    # Below 2e-308 float64 has fewer digits to give.
    assert found - later == pytest.approx(first, rel=1e-9, abs=max(4e-16 * found, 1e-307))
    assert found >= later >= 0
