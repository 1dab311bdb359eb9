"""What A, D, E and N say, against slow computations that share no formula with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory import diversity, flows, gradients, optima, passk, utilities
from diffsmooth.theory.policy import Policy
from diffsmooth.theory.rules import GRPO, GroupBatch, rule
from diffsmooth.theory.statements import (
    a1_selection_bias,
    a2_reinforcement_bias,
    a3_exact_flow,
    a4_diversity_falls,
    a5_natural_gradient,
    a6_grpo_clock,
    d1_unbiased_pass_at_k,
    d2_spread_over_prompts,
    e1_utility,
    e2_two_remedies,
    e3_two_parts,
    n1_rate_of_collapse,
    n2_sampling_drift,
    n3_verifier_errors,
    n4_finite_groups,
)
from diffsmooth.theory.statements._reward_only import LIMITS
from diffsmooth.theory.statements._softmax import Lumped, bottom_mass_grows, top_mass_grows
from diffsmooth.theory.verify.core import Budget

LOGITS = st.lists(st.floats(-2, 2), min_size=5, max_size=5).map(np.array)
MASK = np.arange(5) < 3


def _softmax(z: np.ndarray) -> np.ndarray:
    w = np.exp(z - z.max())
    return np.asarray(w / w.sum())


def _euler(z: np.ndarray, time: float, steps: int = 4000) -> np.ndarray:
    """theta' = pi (r - C) by Euler's method: global error of order time^2/steps."""
    for _ in range(steps):
        pi = _softmax(z)
        z = z + time / steps * pi * (MASK - pi[MASK].sum())
    return z


@settings(max_examples=15)
@given(LOGITS)
def test_reciprocal_weights_shift_together(logits: np.ndarray) -> None:
    moved = _euler(logits, 2.0)
    shift = np.exp(-logits) - np.exp(-moved)
    # Euler's error in theta is at most (e^t - 1) max|theta''| h/2 with |theta''| <= 1.
    error = (math.exp(2.0) - 1) * 2.0 / 4000 * np.exp(-np.minimum(logits, moved)).max()
    assert np.ptp(shift[MASK]) <= 2 * error
    assert np.ptp(shift[~MASK]) <= 2 * error
    assert shift[0] > -error
    assert shift[4] < error


@pytest.mark.parametrize(("factor", "survives"), [(0.97, True), (1.03, False)])
def test_largest_flattening_step_is_sharp(factor: float, survives: bool) -> None:
    # Two nearly equal incorrect trajectories hold all of F.
    logits, mask = np.array([0.5, 0.01, 0.0]), np.array([True, False, False])
    c = float(_softmax(logits)[0])
    step = factor * float(a2_reinforcement_bias.CLAIM.largest_step(c))
    after = flows.softmax_pg_step(logits, mask, step)
    assert bool(after[1] > after[2]) is survives


def test_selection_bias_peaks_where_claimed() -> None:
    claim = a1_selection_bias.CLAIM
    n = np.arange(1, 400)
    bias = (1 - 0.05) ** n - (1 - 0.2) ** n
    peak = float(claim.peak(0.2, 0.05, math.log))
    assert abs(int(n[bias.argmax()]) - peak) <= 1


@given(LOGITS, st.integers(2, 4))
def test_grpo_gradient_over_all_groups_is_the_clock_times_the_gradient(
    logits: np.ndarray, size: int
) -> None:
    logits, mask = logits[[0, 1, 4]], np.array([True, True, False])
    pi = _softmax(logits)
    c = pi[:2].sum()
    update = np.zeros(3)
    for answers in product(range(3), repeat=size):
        rows = np.array(answers)
        batch = GroupBatch(
            reward=mask[rows].astype(float), correct=mask[rows], group=np.zeros(size, np.int64)
        )
        scores = np.eye(3)[rows] - pi
        update += pi[rows].prod() * (GRPO(eps=0.0)(batch) @ scores) / size
    np.testing.assert_allclose(
        update, gradients.grpo_clock(float(c), size) * pi * (mask - c), atol=1e-12
    )


@pytest.mark.parametrize("size", [2, 3])
def test_grpo_in_groups_of_two_and_three_is_vanilla(size: int) -> None:
    slopes = utilities.coefficients(GRPO(eps=0), size)
    # De Casteljau raises a constant's degree: the polynomial has one value.
    values = [float(utilities.utility_derivative(GRPO(eps=0), c, size)) for c in (0.1, 0.5, 0.8)]
    assert np.ptp(values) < 1e-14 * max(slopes)
    assert values[0] == pytest.approx(math.sqrt(size - 1))


@pytest.mark.parametrize("name", ["grpo", "maxrl", "f-grpo", "pass-at-k", "dr-grpo", "pkpo"])
def test_utilities_converge_to_their_limits(name: str) -> None:
    extra: dict[str, Any] = {"k": 3} if name in ("pkpo", "pass-at-k") else {}
    extra |= {"eps": 0.0} if name in ("grpo", "maxrl", "f-grpo") else {}
    made: Any = rule(name, **extra)
    for c in (0.3, 0.7):
        gaps = [
            abs(float(utilities.utility_derivative(made, c, g)) - float(LIMITS[name](c, 3)))
            for g in (16, 64)
        ]
        # First order in 1/G (or exact, or exponentially close).
        assert gaps[1] <= gaps[0] / 3 + 1e-13


@given(LOGITS, st.floats(0.1, 2.0))
def test_literal_smoothing_is_the_gradient_of_its_objective(logits: np.ndarray, g: float) -> None:
    def objective(z: np.ndarray) -> float:
        pi = _softmax(z)[MASK]
        return float(pi.sum() + g * pi.sum() - g * (pi * np.log(pi)).sum())

    step = 1e-5
    slope = np.array(
        [(objective(logits + step * e) - objective(logits - step * e)) / (2 * step)
         for e in np.eye(5)]
    )  # fmt: skip
    found = gradients.smoothing_gradient(Policy.from_logits(logits, MASK), g, 0.0)
    # Central differences: third derivatives of size O(1 + g) times h^2, and eps/h of rounding.
    np.testing.assert_allclose(found, slope, atol=20 * (1 + g) * (step**2 + 2e-16 / step))


@given(LOGITS)
def test_centred_smoothing_costs_correctness_along_the_softmax_gradient(
    logits: np.ndarray,
) -> None:
    policy = Policy.from_logits(logits, MASK)
    reward = gradients.expected_gradient(policy)
    term = gradients.smoothing_gradient(policy, 1.0, 0.0, centred=True) - reward
    assert float(reward @ term) <= 1e-15


def test_variance_of_the_estimate_is_that_of_all_outcomes() -> None:
    n, k, c = 6, 3, 0.3
    values, chances = [], []
    for outcome in product([False, True], repeat=n):
        hits = [any(s) for s in combinations(outcome, k)]
        values.append(sum(hits) / len(hits))
        chances.append(math.prod(c if x else 1 - c for x in outcome))
    mean = float(np.dot(chances, values))
    assert mean == pytest.approx(float(passk.pass_at_k_exact(c, k)))
    assert float(np.dot(chances, (np.array(values) - mean) ** 2)) == pytest.approx(
        float(passk.pass_at_k_variance(n, c, k))
    )


@pytest.mark.parametrize(("solutions", "within_matters"), [(1, False), (4, True)])
def test_which_part_matters_by_brute_force(solutions: int, within_matters: bool) -> None:
    """Two prompts with C = .3 and .5; all laws as uneven as (.7, .1, .1, .1)."""
    law = np.array([1.0]) if solutions == 1 else np.array([0.7, 0.1, 0.1, 0.1])
    rates = np.array([0.3, 0.5])

    def passed(c: np.ndarray, q: np.ndarray) -> float:
        draws = product(range(solutions), repeat=2)
        hit = 0.0
        for pair in draws:
            for v in range(solutions):
                # both draws correct with these trajectories, or one of them wrong
                hit += float(np.mean(c**2)) * q[pair[0]] * q[pair[1]] * (v in pair) / solutions
        return hit + float(np.mean(2 * c * (1 - c))) / solutions

    now = passed(rates, law)
    across = passed(np.full(2, 0.4), law) - now
    within = passed(rates, np.full(solutions, 1 / solutions)) - now
    assert bool(within > across) is within_matters


@pytest.mark.parametrize(("right", "wrong"), [(1, 1), (3, 2), (2, 4)])
def test_leading_orders_of_collapse(right: int, wrong: int) -> None:
    logits = np.concatenate([np.linspace(1, 0, right), np.linspace(0.5, 0, wrong)])
    base = Policy.from_logits(logits, np.arange(right + wrong) < right)
    errors, lost = [], []
    for t in (1e3, 1e4):
        moved = flows.softmax_pg_flow(base, t)
        fail = float(np.exp(moved.log_1mC))
        errors.append(abs(fail * t * (wrong + 1) / wrong - 1))
        if right > 1:
            rest = float(np.exp(np.asarray(moved.log_q)[1:right]).sum())
            lost.append(rest / fail ** (wrong / (wrong + 1)))
    assert errors[1] < errors[0] < 0.2
    assert errors[1] < 0.05
    if lost:
        assert lost[1] == pytest.approx(lost[0], rel=0.2)


def test_drift_of_simulated_updates() -> None:
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(3)))
    q0, n, eta, runs = np.array([0.6, 0.3, 0.1]), 5, 0.5, 40_000
    moved = (1 - eta) * q0 + eta * rng.multinomial(n, q0, size=runs) / n
    simpson = 1 - (moved**2).sum(axis=1)
    expected = float(n2_sampling_drift.CLAIM.keep(eta, n)) * (1 - float(q0 @ q0))
    assert abs(simpson.mean() - expected) < 5 * simpson.std() / math.sqrt(runs)


def test_smoothing_lifts_a_rare_false_positive_by_the_stated_factor() -> None:
    probs = np.array([0.4, 0.1, 0.001, 0.499])
    accepted = np.array([True, True, True, False])  # the third is a false positive
    policy = Policy(np.log(probs), accepted)
    after = np.exp(optima.smoothing(policy, 1.0, 0.5).log_probs)
    odds = (after[2] / after[0]) / (probs[2] / probs[0])
    assert odds == pytest.approx(math.sqrt(probs[0] / probs[2]))
    assert odds == pytest.approx(n3_verifier_errors.CLAIM.pair(probs[0] / probs[2], 0.5))


def test_lumped_slope_is_the_softmax_gradient() -> None:
    pair = Lumped.pair(True)
    values = dict(zip(pair.symbols, (3, 2, 4, 1), strict=True))
    assert pair.slope(pair.correctness, pair.w_i).subs(values) == pytest.approx(0.3 * 0.1)


@pytest.mark.parametrize("lemma", [top_mass_grows, bottom_mass_grows])
def test_majorisation_lemmas(lemma: Callable[[], Any]) -> None:
    assert lemma().verdict == "proved"


def _scaled(module: Any, name: str, factor: float) -> Callable[..., Any]:
    original = getattr(module, name)
    return lambda *a, **k: factor * np.asarray(original(*a, **k))


def _reversed_flow(policy: Policy, t: float) -> Policy:
    swapped = flows.natural_gradient_flow(policy, 0.0, 0.0, t)
    return Policy(swapped.log_probs, swapped.correct)


#: A seeded error of the library, and a statement whose random method must notice it.
SEEDED: list[tuple[Any, str, Callable[..., Any], Any]] = [
    (gradients, "expected_gradient", _scaled(gradients, "expected_gradient", -1), x)
    for x in (a2_reinforcement_bias, a4_diversity_falls)
]
SEEDED += [
    (flows, "softmax_pg_flow", _reversed_flow, x)
    for x in (a3_exact_flow, a4_diversity_falls, n1_rate_of_collapse)
]
SEEDED += [
    (flows, "softmax_pg_step", lambda z, m, eta: np.asarray(z) - eta * 0.1, a2_reinforcement_bias),
    (
        flows,
        "natural_gradient_flow",
        lambda p, g, h, t, **k: flows.softmax_pg_flow(p, t),
        a5_natural_gradient,
    ),
    (gradients, "grpo_clock", _scaled(gradients, "grpo_clock", 2), a6_grpo_clock),
    (gradients, "grpo_clock", _scaled(gradients, "grpo_clock", 2), n4_finite_groups),
    (passk, "pass_at_k", lambda n, c, k: 1 - (1 - c / n) ** k, d1_unbiased_pass_at_k),
    (
        passk,
        "pass_at_k_variance",
        _scaled(passk, "pass_at_k_variance", 1.01),
        d1_unbiased_pass_at_k,
    ),
    (passk, "pass_at_k_exact", lambda c, k: k * np.asarray(c), d2_spread_over_prompts),
    (passk, "pass_at_k_exact", lambda c, k: k * np.asarray(c), e3_two_parts),
    (utilities, "utility", _scaled(utilities, "utility", -1), e1_utility),
    (utilities, "curvature", _scaled(utilities, "curvature", -1), e1_utility),
    (
        gradients,
        "smoothing_gradient",
        _scaled(gradients, "smoothing_gradient", -1),
        e2_two_remedies,
    ),
    (diversity, "simpson", lambda x: 1 - np.asarray(diversity.renyi(x, 2)), n2_sampling_drift),
    (
        optima,
        "smoothing",
        lambda p, beta, g, *a, **k: optima.vanilla(p, beta),
        n3_verifier_errors,
    ),
]


@pytest.mark.parametrize(
    ("module", "name", "wrong", "statement"),
    SEEDED,
    ids=[f"{s.STATEMENT.id}-{name}" for _, name, _, s in SEEDED],
)
def test_a_seeded_error_of_the_library_turns_the_statement_red(
    module: Any,
    name: str,
    wrong: Callable[..., Any],
    statement: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = next(m for m in statement.STATEMENT.methods if m.name == "random")
    monkeypatch.setattr(module, name, wrong)
    outcome = method.check(statement.CLAIM, Budget(shrink=False))
    assert outcome.verdict == "refuted"
    assert outcome.counterexample


def test_a_large_step_makes_the_incorrect_part_less_even() -> None:
    """The counterexample that A2's correction reports."""
    probs, mask = np.array([0.5, 0.3, 0.2]), np.array([True, False, False])
    after = flows.softmax_pg_step(np.log(probs), mask, 20.0)
    assert after[1] - after[2] == pytest.approx(math.log(1.5) - 1.0)
    assert abs(after[1] - after[2]) > math.log(1.5)
