"""Policies in log-space against 60-digit arithmetic, and every error by the name it gives."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory.policy import (
    Policy,
    as_policy,
    check_mass,
    kl,
    kl_binary,
    kl_decomposition,
    log1mexp,
    log_normalise,
    logsumexp,
    relative_entropy,
)
from tests.strategies import log_laws, policies

EPS = float(np.finfo(np.float64).eps)
few = settings(max_examples=30)
MASK = np.array([True, True, False])


def precise(x: np.ndarray) -> list[mpmath.mpf]:
    """The numbers as mpmath's; call within ``mpmath.workdps``."""
    return [mpmath.mpf(float(v)) for v in x]


def test_rare_trajectories_keep_their_digits() -> None:
    policy = Policy.from_logits([-690.0, 0.0, 0.0], [True, True, False])
    assert policy.log_probs[0] == pytest.approx(-690.0 - np.log(2.0), rel=1e-15)
    assert policy.log_q[0] == pytest.approx(-690.0, rel=1e-15)
    # log(1 - 1e-300) is -1e-300, not 0.
    assert policy.log_q[1] == pytest.approx(-np.exp(-690.0), rel=1e-12)
    assert policy.log_q[2] == -np.inf


def test_probabilities_of_1e_300() -> None:
    policy = Policy.from_probs([1e-300, 0.5, 0.5], [True, False, False])
    assert pytest.approx(1e-300, rel=1e-12) == policy.C
    assert policy.logit_C == pytest.approx(np.log(1e-300), rel=1e-14)
    assert policy.log_1mC == pytest.approx(-1e-300, rel=1e-12)


@pytest.mark.parametrize("logit", [500.0, -500.0, 1e5, -1e5, 0.0])
def test_from_parts_at_the_ends(logit: float) -> None:
    log_q, log_f = np.log([0.25, 0.75, 1.0]), np.log([1.0, 1.0, 1.0])
    policy = Policy.from_parts(logit, log_q, log_f, MASK)
    assert policy.logit_C == pytest.approx(logit, rel=1e-15)
    assert np.allclose(policy.log_q[:2], log_q[:2], rtol=1e-11, atol=0)
    assert policy.log_f[2] == 0.0


def test_logits_of_any_size() -> None:
    """A shift of all logits, however large, leaves a normalised policy."""
    for shift in (0.0, 1e5, -1e10):
        policy = Policy.from_logits(np.array([0.0, 2.0, 1.0]) + shift, MASK)
        assert logsumexp(policy.log_probs) == pytest.approx(0.0, abs=4 * EPS)


@few
@given(policies())
def test_masses_against_many_digits(policy: Policy) -> None:
    with mpmath.workdps(400):
        probs = [mpmath.exp(v) for v in precise(policy.log_probs)]
        right = mpmath.fsum(p for p, c in zip(probs, policy.correct, strict=True) if c)
        # The stored policy misses mass 1 by rounding; C is the share.
        share = right / mpmath.fsum(probs)
        slack = 8 * EPS * (policy.log_probs.size + float(np.max(-policy.log_probs)))
        for ours, exact in ((policy.log_C, share), (policy.log_1mC, 1 - share)):
            reference = mpmath.log(exact)
            assert abs(mpmath.mpf(float(ours)) - reference) <= slack * min(1, abs(reference)) * 8


@few
@given(policies())
def test_parts_and_back(policy: Policy) -> None:
    again = Policy.from_parts(policy.logit_C, policy.log_q, policy.log_f, policy.correct)
    size = np.max(np.abs(policy.log_probs))
    assert np.allclose(again.log_probs, policy.log_probs, rtol=0, atol=8 * EPS * (1 + size))
    for law in (policy.log_q, policy.log_f):
        check_mass("law", law)
    assert np.array_equal(policy.log_q > -np.inf, policy.correct)
    assert np.array_equal(policy.log_f > -np.inf, ~policy.correct)


@few
@given(policies(batch=3))
def test_a_batch_is_its_rows(policy: Policy) -> None:
    for row in range(3):
        alone = Policy(policy.log_probs[row], policy.correct[row])
        for name in ("log_C", "log_1mC", "log_q", "log_f", "C", "logit_C"):
            assert np.array_equal(getattr(alone, name), getattr(policy, name)[row])
    assert policy.log_C.shape == (3,)


@few
@given(log_laws(empty=True))
def test_logsumexp_against_many_digits(law: np.ndarray) -> None:
    with mpmath.workdps(400):
        total = mpmath.fsum(mpmath.exp(v) for v in precise(law[law > -np.inf]))
        assert abs(mpmath.mpf(float(logsumexp(law))) - mpmath.log(total)) <= 2 * law.size * EPS


def test_logsumexp_of_nothing_and_next_to_one() -> None:
    assert logsumexp([1.0, 2.0], [False, False]) == -np.inf
    assert logsumexp([-np.inf, 0.5]) == 0.5
    assert logsumexp(np.zeros((2, 0))).tolist() == [-np.inf, -np.inf]
    assert logsumexp([0.0, -100.0]) == pytest.approx(np.exp(-100.0), rel=1e-14)
    assert log_normalise([0.0, -100.0])[0] == pytest.approx(-np.exp(-100.0), rel=1e-14)


@few
@given(st.floats(-708.0, 0.0, exclude_max=True))
def test_log1mexp(x: float) -> None:
    with mpmath.workdps(400):
        reference = mpmath.log(1 - mpmath.exp(mpmath.mpf(x)))
        assert abs(mpmath.mpf(float(log1mexp(x))) - reference) <= 4 * EPS * abs(reference)


def test_log1mexp_at_zero_and_above() -> None:
    assert log1mexp(0.0) == -np.inf
    with pytest.raises(ValueError, match=r"^x:"):
        log1mexp(0.1)


@few
@given(log_laws(2, 6), st.data())
def test_relative_entropy_against_many_digits(p: np.ndarray, data: st.DataObject) -> None:
    b = data.draw(log_laws(p.size, p.size))
    with mpmath.workdps(400):
        lp, lb = precise(p), precise(b)
        exact = mpmath.fsum(mpmath.exp(u) * (u - v) for u, v in zip(lp, lb, strict=True))
    # Both laws miss mass 1 by rounding, and so does each product its value.
    slack = 16 * EPS * (p.size + float(np.max(-p * np.exp(p))) + abs(float(exact)))
    assert abs(float(relative_entropy(p, b)) - float(exact)) <= slack
    assert relative_entropy(p, b) >= 0
    assert relative_entropy(p, p) == 0


@pytest.mark.parametrize("step", [1e-3, 1e-6, 1e-10, 1e-13])
def test_relative_entropy_of_nearly_equal_laws(step: float) -> None:
    """KL of step^2 loses nothing: the naive sum p log(p/b) would be rounding noise."""
    b = log_normalise([0.0, -1.0, -2.0])
    p = log_normalise(b + step * np.array([1.0, 0.0, -1.0]))
    with mpmath.workdps(60):
        r = [u - v for u, v in zip(precise(p), precise(b), strict=True)]
        terms = [
            mpmath.exp(u) * (s - 1 + mpmath.exp(-s)) for u, s in zip(precise(p), r, strict=True)
        ]
        assert float(relative_entropy(p, b)) == pytest.approx(float(mpmath.fsum(terms)), rel=1e-13)


def test_relative_entropy_and_empty_entries() -> None:
    half = np.log(0.5)
    assert relative_entropy([half, half, -np.inf], [half, -np.inf, half]) == np.inf
    assert relative_entropy([0.0, -np.inf], [half, half]) == pytest.approx(np.log(2.0), rel=1e-15)
    assert relative_entropy([0.0, -np.inf], [0.0, -np.inf]) == 0.0
    # e^-800 is 0 in float64, but there is mass that b lacks.
    assert relative_entropy([0.0, -800.0], [0.0, -np.inf]) == np.inf


@few
@given(policies(), st.data())
def test_chain_rule(policy: Policy, data: st.DataObject) -> None:
    logits = data.draw(log_laws(policy.log_probs.size, policy.log_probs.size))
    base = Policy.from_logits(logits, policy.correct)
    parts = kl_decomposition(policy, base)
    assert all(p >= 0 for p in parts)
    total = kl(policy, base)
    size = 1 + np.max(np.abs(policy.log_probs)) + np.max(np.abs(base.log_probs))
    assert float(total) == pytest.approx(sum(map(float, parts)), rel=0, abs=32 * EPS * size)
    assert kl_binary(policy, base) == parts[0]


def test_a_million_trajectories() -> None:
    rng = np.random.default_rng(0)
    policy = Policy.from_logits(rng.normal(size=10**6) * 3, np.arange(10**6) % 3 == 0)
    assert 0 < policy.C < 1
    assert logsumexp(policy.log_q) == pytest.approx(0.0, abs=1e-12)
    assert kl(policy, policy) == 0.0


def test_what_a_caller_changes_later_is_not_the_policy() -> None:
    values = np.log([0.5, 0.25, 0.25])
    policy = Policy(values, MASK)
    values[0] = 7.0
    assert policy.log_probs[0] == np.log(0.5)
    with pytest.raises(ValueError, match="read-only"):
        policy.log_probs[0] = 0.0
    assert repr(policy) == "Policy(shape=(3,), C=0.75)"


THIRD = np.log([1 / 3] * 3)
GOOD = Policy(THIRD, MASK)
BAD: list[tuple[str, Callable[[], object]]] = [
    ("log_probs", lambda: Policy(0.0, MASK)),
    ("log_probs", lambda: Policy([0.0], [True])),
    ("log_probs", lambda: Policy(["a", "b"], [True, False])),
    ("log_probs", lambda: Policy([np.nan, 0.0, 0.0], MASK)),
    ("log_probs", lambda: Policy([-np.inf, np.log(0.5), np.log(0.5)], MASK)),
    ("log_probs", lambda: Policy(np.log([0.5, 0.3, 0.1]), MASK)),
    ("log_probs", lambda: Policy([800.0, 1.0, 1.0], MASK)),
    ("correct", lambda: Policy(THIRD, [1, 1, 0])),
    ("correct", lambda: Policy(THIRD, [True, False])),
    ("correct", lambda: Policy(THIRD, [True] * 3)),
    ("correct", lambda: Policy(THIRD, [False] * 3)),
    ("logits", lambda: Policy.from_logits([np.inf, 0.0, 0.0], MASK)),
    ("logits", lambda: Policy.from_logits(1.0, MASK)),
    ("logits", lambda: Policy.from_logits([1e308, -1e308, 0.0], MASK)),
    ("probs", lambda: Policy.from_probs([0.0, 0.5, 0.5], MASK)),
    ("probs", lambda: Policy.from_probs([0.5, 0.5, 0.5], MASK)),
    ("probs", lambda: Policy.from_probs(0.5, MASK)),
    ("logit_C", lambda: Policy.from_parts(np.inf, THIRD, THIRD, MASK)),
    ("log_q", lambda: Policy.from_parts(0.0, THIRD, np.zeros(3), MASK)),
    ("log_q", lambda: Policy.from_parts(0.0, [-np.inf, 0.0, 0.0], np.zeros(3), MASK)),
    ("log_q", lambda: Policy.from_parts(0.0, THIRD[:2], np.zeros(3), MASK)),
    ("log_f", lambda: Policy.from_parts(0.0, np.log([0.5, 0.5, 1.0]), THIRD, MASK)),
    ("log_f", lambda: Policy.from_parts(0.0, np.log([0.5, 0.5, 1.0]), [0.0, 0.0, np.nan], MASK)),
    ("correct", lambda: Policy.from_parts(0.0, THIRD, THIRD, [1, 1, 0])),
    ("correct", lambda: Policy.from_parts(0.0, THIRD, THIRD, [True] * 3)),
    ("log_p", lambda: relative_entropy([np.nan], [0.0])),
    ("log_b", lambda: relative_entropy([0.0], [np.nan])),
    ("log_b", lambda: relative_entropy(THIRD, [0.0, 0.0])),
    ("base", lambda: kl(GOOD, Policy(np.log([0.25] * 4), [True, False, False, True]))),
    ("base", lambda: kl_decomposition(GOOD, Policy(THIRD, ~MASK))),
]


@pytest.mark.parametrize(("name", "call"), BAD)
def test_errors_name_their_argument(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}:"):
        call()


def test_what_is_no_policy() -> None:
    with pytest.raises(TypeError, match=r"^policy:"):
        as_policy([0.5, 0.5])
    with pytest.raises(TypeError, match=r"^base:"):
        kl(GOOD, THIRD)  # type: ignore[arg-type]
