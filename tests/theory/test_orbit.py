"""The exact flow where it has a closed form, along other clocks, at many times, at every scale."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory.flows import smoothing_flow, softmax_pg_flow
from diffsmooth.theory.gradients import grpo_clock, reward_only_gradient, smoothing_gradient
from diffsmooth.theory.policy import Policy
from diffsmooth.theory.rules import REWARD_ONLY, GroupBatch
from diffsmooth.theory.utilities import utility_derivative
from tests.strategies import policies

EPS = float(np.finfo(np.float64).eps)
mild = policies(2, 6, least_log=-8.0)


def tied(logit: float, right: int, wrong: int) -> Policy:
    """q uniform on ``right`` correct, f uniform on ``wrong`` incorrect trajectories."""
    mask = np.arange(right + wrong) < right
    laws = (np.full(right + wrong, -np.log(float(size))) for size in (right, wrong))
    return Policy.from_parts(logit, *laws, mask)


def check_time(before: Policy, after: Policy, t: float, right: int, wrong: int) -> None:
    """Ties keep q and f: z = logit C has z' = k C(1-C), k = 1/M + 1/N.

    So e^z - e^-z + 2 z grows by k t.  What may be off: k t by the quadrature's 1e-11, and both z by
    rounding, 64 eps each of their size.
    """
    with mpmath.workdps(400):
        k = mpmath.mpf(1) / right + mpmath.mpf(1) / wrong
        ends = [mpmath.mpf(float(p.logit_C)) for p in (before, after)]
        grown = [mpmath.exp(z) - mpmath.exp(-z) + 2 * z for z in ends]
        slopes = [mpmath.exp(z) + mpmath.exp(-z) + 2 for z in ends]
        rounding = sum(s * 64 * EPS * (1 + abs(z)) for s, z in zip(slopes, ends, strict=True))
        target = k * mpmath.mpf(t)
        assert abs(grown[1] - grown[0] - target) <= 1e-11 * target + rounding


@settings(max_examples=60)
@given(st.floats(-690.0, 690.0), st.integers(1, 40), st.integers(1, 40), st.floats(-10.0, 303.0))
def test_tied_policies_have_a_closed_form(
    logit: float, right: int, wrong: int, decades: float
) -> None:
    before, t = tied(logit, right, wrong), 10.0**decades
    check_time(before, softmax_pg_flow(before, t), t, right, wrong)


def test_a_million_trajectories() -> None:
    before = tied(-2.0, 400_000, 600_000)
    check_time(before, softmax_pg_flow(before, 3e6), 3e6, 400_000, 600_000)


def test_through_the_blow_up_of_a_policy_with_c_of_1e_300() -> None:
    """One correct answer of probability 1e-300: nothing happens until t is near 2e300/3."""
    before = Policy.from_probs([1e-300, 0.5, 0.5], np.array([True, False, False]))
    times = np.array([1.0, 1e299, 6e299, 7e299, 1e303])
    path = softmax_pg_flow(before, times)
    for row, t in enumerate(times):
        check_time(before, Policy(path.log_probs[row], before.correct), t, 1, 2)
    assert path.log_C[2] < -600
    assert path.log_1mC[3] < -600


@settings(max_examples=20)
@given(mild, st.sampled_from(sorted(REWARD_ONLY)), st.integers(8, 12), st.floats(0.1, 20.0))
def test_every_reward_only_rule_has_its_own_clock_on_the_orbit(
    policy: Policy, name: str, size: int, t: float
) -> None:
    rule = REWARD_ONLY[name]()
    # pass@k with k = G pays 0 to every group: a clock that stands still.
    size += name == "pass-at-k"

    def clock(c: np.ndarray) -> np.ndarray:
        return np.asarray(utility_derivative(rule, c, size))

    along = softmax_pg_flow(policy, t, clock=clock)
    slow = smoothing_flow(policy, t, 0.0, clock=clock)
    # u' is at most 8 here; the logits' flow has Lipschitz constant about that, but contracts late.
    assert np.max(np.abs(along.log_probs - slow.log_probs)) <= 1e-9


def test_batches_with_different_correct_sets_at_the_longest_times() -> None:
    """Where incorrect answers fall by more than 745 nats, a row is what it is alone."""
    masks = np.array([[True, True, True, False], [False, True, True, True]])
    logits = np.where(masks, -700.0, 0.0)
    batch = softmax_pg_flow(Policy.from_logits(logits, masks), 1e307).log_probs
    for row, (start, mask) in enumerate(zip(logits, masks, strict=True)):
        alone = softmax_pg_flow(Policy.from_logits(start, mask), 1e307).log_probs
        assert np.max(np.abs(batch[row] - alone)) <= 1e-9
        fallen = alone - alone.mean() + start.mean() - start
        assert np.max(np.abs(fallen[mask] - fallen[mask][0])) <= 1e-9  # ties stay ties
        assert fallen[~mask][0] < -745


def test_the_standardised_clock_has_a_closed_form() -> None:
    """G -> inf of GRPO, 1/sqrt(C(1-C)): 2 sinh(z/2) grows by k t / 2."""
    before = tied(-8.0, 3, 2)

    def clock(c: np.ndarray) -> np.ndarray:
        return np.asarray((c * (1 - c)) ** -0.5)

    for t in (0.3, 7.0, 90.0):
        after = softmax_pg_flow(before, t, clock=clock)
        grown = 2 * np.sinh(after.logit_C / 2) - 2 * np.sinh(before.logit_C / 2)
        assert float(grown) == pytest.approx((1 / 3 + 1 / 2) * t / 2, rel=1e-9)


def test_grpo_runs_along_the_orbit_of_vanilla() -> None:
    """1/w moves by one number on S and by another on F (A3, A6), and to the base policy's mode."""
    policy = Policy.from_logits([0.3, 0.2, -1.0, 0.5, 0.0], np.arange(5) < 3)

    def clock(c: np.ndarray) -> np.ndarray:
        return np.asarray(grpo_clock(c, 8))

    later, late = (softmax_pg_flow(policy, t, clock=clock) for t in (20.0, 1e8))
    start = policy.log_probs
    now = later.log_probs - later.log_probs.mean() + start.mean()  # the sum of logits is conserved
    moved = np.exp(-now) - np.exp(-start)
    assert np.ptp(moved[:3]) < 1e-12
    assert np.ptp(moved[3:]) < 1e-12
    assert moved[0] < -1
    assert moved[3] > 1
    assert late.log_1mC < -15
    assert late.log_q[0] > 0.01 * later.log_q[0]


@settings(max_examples=12)
@given(mild, st.lists(st.floats(0.0, 50.0), min_size=1, max_size=4))
def test_many_times_are_many_flows(policy: Policy, times: list[float]) -> None:
    times = sorted(times)
    for flow in (softmax_pg_flow, lambda p, t: smoothing_flow(p, t, 0.4, centred=True)):
        path = flow(policy, times)
        assert path.log_probs.shape == (len(times), policy.log_probs.size)
        alone = [flow(policy, t).log_probs for t in times]
        assert np.max(np.abs(path.log_probs - alone)) <= 1e-10


def test_times_of_a_batch() -> None:
    logits = np.random.default_rng(3).normal(size=(2, 3, 6)) * 3
    mask = np.random.default_rng(4).permuted(np.tile(np.arange(6) < 2, (2, 3, 1)), axis=-1)
    policy = Policy.from_logits(logits, mask)
    path = softmax_pg_flow(policy, [0.0, 10.0])
    assert path.log_probs.shape == (2, 2, 3, 6)
    assert np.allclose(path.log_probs[0], policy.log_probs, rtol=0, atol=1e-14)
    row = softmax_pg_flow(Policy(policy.log_probs[1, 2], mask[1, 2]), 10.0)
    assert np.allclose(path.log_probs[1, 1, 2], row.log_probs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(REWARD_ONLY))
def test_reward_only_gradients_by_enumerating_groups(name: str) -> None:
    """All 4^3 groups of three answers, the rule itself on each, and the score function."""
    policy = Policy.from_logits([0.5, -0.2, 0.1, -1.0], np.array([True, True, False, False]))
    rule = REWARD_ONLY[name](**({"k": 2} if name in ("pass-at-k", "pkpo") else {}))
    pi, size = np.exp(policy.log_probs), 3
    total = np.zeros(4)
    for draw in product(range(4), repeat=size):
        answers = np.array(draw)
        correct = policy.correct[answers]
        batch = GroupBatch(correct.astype(float), correct, np.zeros(size, dtype=np.int64))
        advantage = np.asarray(rule(batch))
        score = np.eye(4)[answers] - pi
        total += np.prod(pi[answers]) * (advantage @ score) / size
    found = reward_only_gradient(policy, rule, size)
    assert np.allclose(found, total, rtol=0, atol=1e-14)


def test_two_part_gradient_is_a_utility_plus_smoothing() -> None:
    """E3: clock(C) grad C + the centred term."""
    policy = Policy.from_logits([0.5, -0.2, 0.1, -1.0], np.array([True, True, False, False]))
    rule = REWARD_ONLY["maxrl"]()
    both = smoothing_gradient(
        policy, 0.3, centred=True, clock=lambda c: np.asarray(utility_derivative(rule, c, 8))
    )
    term = smoothing_gradient(policy, 0.3, centred=True) - smoothing_gradient(policy, 0.0)
    assert np.allclose(both, reward_only_gradient(policy, rule, 8) + term, rtol=0, atol=1e-15)


POLICY = Policy.from_logits([0.5, -0.2, 0.1], np.array([True, True, False]))
BAD: list[tuple[str, Callable[[], object]]] = [
    ("clock", lambda: softmax_pg_flow(POLICY, 1.0, clock=lambda c: -c)),
    ("clock", lambda: softmax_pg_flow(POLICY, 1.0, clock=lambda c: np.log(0 * c))),
    ("clock", lambda: softmax_pg_flow(POLICY, 9.0, clock=lambda c: np.where(c < 0.9, 1.0, 9.0))),
    ("clock", lambda: smoothing_flow(POLICY, 1.0, 0.1, standardised=True, clock=lambda c: c)),
    ("t", lambda: softmax_pg_flow(POLICY, [1.0, 0.5])),
    ("t", lambda: softmax_pg_flow(POLICY, [[1.0]])),
    ("t", lambda: smoothing_flow(POLICY, [0.0, np.inf], 0.1)),
]


@pytest.mark.parametrize(("name", "call"), BAD)
def test_errors_name_their_argument(name: str, call: Callable[[], object]) -> None:
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=rf"^{name}:"):
        call()
