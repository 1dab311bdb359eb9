"""Kernels of the simulator where digits used to be lost: near C = 0 and 1, and near the base."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffsmooth.sim.dynamics.adaptive import critical_strengths
from diffsmooth.sim.dynamics.expected import kept_share
from diffsmooth.sim.measures import measure
from diffsmooth.sim.regimes import regime
from diffsmooth.theory.critical import critical_strength
from diffsmooth.theory.policy import Policy
from diffsmooth.theory.rules import rule

S5 = np.array([True, True, True, False, False])


@given(
    st.one_of(st.floats(0.0, 1.0), st.floats(0.0, 1e-12), st.sampled_from([1e-17, 1e-300])),
    st.integers(1, 16),
    st.booleans(),
)
def test_the_kept_share_at_both_ends(c: float, size: int, drop: bool) -> None:
    exact, n = Fraction(0), size - 1
    for m in range(size - drop):
        weight = comb(n, m) * Fraction(c) ** m * (1 - Fraction(c)) ** (n - m)
        exact += weight * Fraction(m, m + 1)
    found = float(kept_share(np.array(c), size, drop_one_kind=drop))
    if exact > 1e-300:
        assert abs(Fraction(found) / exact - 1) <= 1e-13
    else:
        assert found <= 1e-299


@pytest.mark.parametrize("gap", [-5.0, -14.0, -34.0, -100.0])
def test_critical_strengths_of_a_rule_whose_push_vanishes(gap: float) -> None:
    """Exact coefficients; u'(C) and the kept share from 1 - C in many digits."""
    from diffsmooth.theory.utilities import coefficients

    pays = rule("pass-at-k", k=4)
    policy = Policy.from_logits([0.0, -1, -2, gap, gap - 1], S5)
    steps = [mpmath.mpf(float(v)) for v in coefficients(pays, 8)]
    with mpmath.workdps(200):
        pi = [mpmath.exp(mpmath.mpf(float(v))) for v in policy.log_probs]
        c, rest = (mpmath.fsum(part) / mpmath.fsum(pi) for part in (pi[:3], pi[3:]))
        weights = [mpmath.binomial(7, m) * c**m * rest ** (7 - m) for m in range(8)]
        push = mpmath.fsum(w * s for w, s in zip(weights, steps, strict=True))
        kept = mpmath.fsum(w * m / (m + 1) for m, w in enumerate(weights))
        right = mpmath.mpf(float(critical_strength(policy))) * push / kept
    found = critical_strengths(policy.log_probs, policy.correct, pays, 8)
    assert float(found) == pytest.approx(float(right), rel=1e-12, abs=0)


@pytest.mark.parametrize("step", [1e-8, 1e-6, 1e-3])
def test_the_divergence_of_a_run_that_has_hardly_moved(step: float) -> None:
    environment = regime("bandit").environment(range(1))
    rng = np.random.default_rng(0)
    moved = environment.base + step * rng.normal(size=environment.base.shape)
    with np.errstate(invalid="ignore"):
        moved = moved - np.log(np.sum(np.exp(moved), axis=-1, keepdims=True))
    found = float(measure(environment, moved[None])["kl"][0, 0])
    per_prompt = []
    with mpmath.workdps(40):
        for prompt in np.flatnonzero(
            environment.train[0] if environment.train.ndim > 1 else environment.train
        ):
            pair = [
                [mpmath.mpf(float(v)) for v in x[0, prompt] if np.isfinite(v)]
                for x in (moved, environment.base)
            ]
            totals = [mpmath.log(mpmath.fsum(mpmath.exp(v) for v in x)) for x in pair]
            per_prompt.append(
                mpmath.fsum(
                    mpmath.exp(a - totals[0]) * (a - totals[0] - b + totals[1])
                    for a, b in zip(*pair, strict=True)
                )
            )
        right = mpmath.fsum(per_prompt) / len(per_prompt)
    assert found == pytest.approx(float(right), rel=1e-12, abs=0)


@pytest.mark.parametrize("place", ["kernel", "torch"])
def test_kernels_keep_the_share_of_a_group_at_a_tiny_correctness(place: str) -> None:
    """A step of a centred rule from C = 1e-15: groups of 8 keep 1 - E[1/k] = 7 C/2 of the term."""
    from diffsmooth.sim import kernels
    from diffsmooth.sim.dynamics import compiled
    from diffsmooth.sim.dynamics.device import exact_steps_on

    strength = rate = 1e15
    made = rule("two-part", base="vanilla", g_correct=strength)
    logits = np.log(np.array([[[7e-16, 3e-16, 0.5, 0.5 - 1e-15]]]))
    verified = np.array([[1.0, 1.0, 0.0, 0.0]])
    if place == "torch":
        moved = exact_steps_on("cpu", logits, verified, [made], rates=[rate], count=1, group_size=8)
    elif not kernels.available():
        pytest.skip("needs numba")
    else:
        moved = logits.copy()
        compiled.exact_steps(moved, verified, [made], rates=[rate], count=1, group_size=8)
    pi = np.exp(logits[0, 0, :2])
    c = pi.sum()
    about = np.log(pi) - (pi * np.log(pi)).sum() / c
    expected = rate * pi * (1 - strength * 3.5 * c * about)
    np.testing.assert_allclose((moved - logits)[0, 0, :2], expected, rtol=1e-12)
