"""Flows against 40-digit quadrature, against each other, and where float64 has to be coaxed."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory import diversity, flows, gradients
from diffsmooth.theory.optima import tempered
from diffsmooth.theory.policy import Policy
from tests.strategies import policies

few = settings(max_examples=15)
MASK = np.array([True, True, True, False, False])


def normal_policy(shape: tuple[int, ...] = (5,), seed: int = 0, scale: float = 1.0) -> Policy:
    return Policy.from_logits(np.random.default_rng(seed).normal(size=shape) * scale, MASK)


def time_of(policy: Policy, later: Policy) -> mpmath.mpf:
    """The time that the flow takes from ``policy`` to ``later``, with 40 digits, by quadrature.

    Along the orbit 1/w_i = 1/b_i - c on S, 1/b_j + d on F, with the sum of log w conserved, and
    dt = W/(1-C) dc.  ``later`` enters by one number, the log-odds of two correct trajectories.
    """
    with mpmath.workdps(40):
        b = [mpmath.exp(mpmath.mpf(float(v))) for v in policy.log_probs]
        right = [u for u, c in zip(b, policy.correct, strict=True) if c]
        wrong = [u for u, c in zip(b, policy.correct, strict=True) if not c]
        top = max(right)
        other = min(right)
        odds = mpmath.exp(mpmath.mpf(float(np.ptp(later.log_probs[policy.correct]))))
        # (1/other - c)/(1/top - c) = odds, with c = (1 - z)/top; z keeps its digits near 0.
        z_end = (top / other - 1) / (odds - 1)

        def shift(z: mpmath.mpf) -> mpmath.mpf:
            c = (1 - z) / top
            need = -mpmath.fsum(mpmath.log(1 - c * u) for u in right if u != top)
            need -= mpmath.log(z) * right.count(top)

            # Concave and increasing in d: Newton's method from 0 rises monotonically to the root.
            d = mpmath.mpf(0)
            for _ in range(200):
                short = need - mpmath.fsum(mpmath.log1p(d * u) for u in wrong)
                step = short / mpmath.fsum(u / (1 + d * u) for u in wrong)
                d += step
                if abs(step) <= mpmath.mpf(10) ** -35 * d:
                    return d
            raise AssertionError("no root")

        def speed(s: mpmath.mpf) -> mpmath.mpf:
            z = mpmath.exp(-s)
            c, d = (1 - z) / top, shift(z) if s else mpmath.mpf(0)
            in_s = mpmath.fsum(u / (1 - c * u) for u in right if u != top)
            in_s += right.count(top) * top / z
            in_f = mpmath.fsum(u / (1 + d * u) for u in wrong)
            return (in_s + in_f) ** 2 / in_f * z / top  # dc = z ds / top

        end = -mpmath.log(z_end)
        return mpmath.quad(speed, mpmath.linspace(0, end, 2 + int(end)), maxdegree=5)


@pytest.mark.parametrize("time", [0.5, 1e3])
def test_the_clock_of_the_exact_flow(time: float) -> None:
    policy = Policy.from_logits([0.0, -0.7, 0.3, -0.2], [True, True, False, False])
    later = flows.softmax_pg_flow(policy, time)
    assert float(time_of(policy, later)) == pytest.approx(time, rel=1e-10)


@pytest.mark.parametrize("time", [1e-9, 1.0, 1e3, 1e12, 1e300])
@pytest.mark.parametrize(
    "logits",
    [
        [0.0, 0.0, 0.0, 0.0, 0.0],  # ties: q stays uniform
        [0.0, -1e-9, -1.0, 0.0, 0.0],  # nearly a tie
        [-690.0, -691.0, -690.0, 0.0, -1.0],  # no correct answer in sight
        [0.0, -690.0, -1.0, -690.0, -650.0],  # solved
        [0.0, -1.0, -2.0, 0.0, -690.0],
    ],
)
def test_the_orbit_at_any_time(logits: list[float], time: float) -> None:
    policy = Policy.from_logits(logits, MASK)
    later = flows.softmax_pg_flow(policy, time)
    assert later.log_C >= policy.log_C - 1e-12
    # The likelier of two correct trajectories gains on the other, of two incorrect ones it loses.
    for part, sign in ((MASK, 1.0), (~MASK, -1.0)):
        before, after = policy.log_probs[part], later.log_probs[part]
        gained = (after[:, None] - after) - (before[:, None] - before)
        likelier = before[:, None] > before
        assert np.all(sign * gained[likelier] >= -1e-11)
        equal = before[:, None] == before
        assert np.all(np.abs(gained[equal]) <= 1e-11)


@few
@given(policies(max_size=5, least_log=-12.0), st.floats(1e-3, 30.0))
def test_the_closed_form_is_the_flow(policy: Policy, time: float) -> None:
    """smoothing_flow without smoothing integrates every logit; the orbit has one number."""
    orbit = flows.softmax_pg_flow(policy, time)
    plain = flows.smoothing_flow(policy, time, 0.0)
    # Errors of the logits grow at most by the flow's Lipschitz constant, below 1 here.
    assert np.max(np.abs(orbit.log_probs - plain.log_probs)) <= 1e-9


@few
@given(policies(max_size=5, least_log=-12.0), st.floats(0.1, 1e4), st.floats(0.1, 1e4))
def test_the_flow_is_a_semigroup(policy: Policy, first: float, second: float) -> None:
    at_once = flows.softmax_pg_flow(policy, first + second)
    in_two = flows.softmax_pg_flow(flows.softmax_pg_flow(policy, first), second)
    assert np.max(np.abs(at_once.log_probs - in_two.log_probs)) <= 1e-9


def test_complete_collapse() -> None:
    policy = normal_policy()
    late = flows.softmax_pg_flow(policy, 1e12)
    assert late.log_1mC < -25
    assert diversity.shannon(late.log_q) < 1e-6
    winner = np.argmax(np.where(MASK, policy.log_probs, -np.inf))
    assert np.argmax(late.log_q) == winner
    assert diversity.majorises(late.log_q, policy.log_q)
    assert diversity.majorises(policy.log_f, late.log_f)


def test_a_step_is_the_flow_to_first_order() -> None:
    policy = normal_policy()
    small = 1e-5
    step = Policy.from_logits(flows.softmax_pg_step(policy.log_probs, MASK, small), MASK)
    assert np.max(np.abs(step.log_probs - flows.softmax_pg_flow(policy, small).log_probs)) < 1e-10
    moved = flows.softmax_pg_step(policy.log_probs, MASK, 0.5) - policy.log_probs
    pi = np.exp(policy.log_probs)
    assert moved == pytest.approx(0.5 * pi * (MASK - float(policy.C)), rel=1e-12)


def test_many_times_are_one_after_the_other() -> None:
    policy, times = normal_policy((2, 5)), [0.0, 0.5, 0.5, 20.0]
    for flow in (
        flows.softmax_pg_flow,
        lambda policy, t: flows.smoothing_flow(policy, t, 0.4, 0.1),
    ):
        path = flow(policy, times)
        assert path.log_probs.shape == (4, 2, 5)
        for at, time in enumerate(times):
            assert np.max(np.abs(path.log_probs[at] - flow(policy, time).log_probs)) < 1e-9
    assert flows.softmax_pg_flow(policy, []).log_probs.shape == (0, 2, 5)


def test_another_clock_runs_on_the_same_orbit() -> None:
    policy = normal_policy()
    twice = flows.softmax_pg_flow(policy, 3.0, clock=lambda c: 2.0 + 0 * c)
    assert np.max(np.abs(twice.log_probs - flows.softmax_pg_flow(policy, 6.0).log_probs)) < 1e-11

    def speed(c: np.ndarray) -> np.ndarray:
        return 1 / (0.1 + c)

    orbit = flows.softmax_pg_flow(policy, 3.0, clock=speed)
    slow = flows.smoothing_flow(policy, 3.0, 0.0, clock=speed)
    assert np.max(np.abs(orbit.log_probs - slow.log_probs)) < 1e-9


def test_rows_of_a_batch_do_not_disturb_each_other() -> None:
    policy = normal_policy((40, 5), scale=4.0)
    together = flows.softmax_pg_flow(policy, 1e4)
    for row in (0, 7, 39):
        alone = flows.softmax_pg_flow(Policy(policy.log_probs[row], MASK), 1e4)
        assert np.max(np.abs(alone.log_probs - together.log_probs[row])) < 1e-9
    deep = Policy(policy.log_probs.reshape(2, 20, 5), MASK)
    assert flows.softmax_pg_flow(deep, 1.0).log_probs.shape == (2, 20, 5)


def test_many_trajectories() -> None:
    rng = np.random.default_rng(1)
    policy = Policy.from_logits(rng.normal(size=10**5), np.arange(10**5) % 3 == 0)
    later = flows.softmax_pg_flow(policy, 1e3)
    assert later.C > policy.C
    # All 1/w_i grow apart by one number on each side, up to the common factor of w.
    inverse, start = np.exp(-later.log_probs), np.exp(-policy.log_probs)
    for part in (policy.correct, ~policy.correct):
        design = np.stack([start[part], np.ones(part.sum())], axis=1)
        fitted = design @ np.linalg.lstsq(design, inverse[part], rcond=None)[0]
        assert np.max(np.abs(fitted / inverse[part] - 1)) < 1e-8


@few
@given(
    policies(max_size=5, least_log=-12.0),
    st.floats(0.0, 1.0),
    st.floats(0.0, 0.5),
    st.floats(0.0, 2.0),
    st.booleans(),
)
def test_natural_gradient_in_closed_form(
    policy: Policy, g_p: float, g_n: float, time: float, centred: bool
) -> None:
    ours = flows.natural_gradient_flow(policy, g_p, g_n, time, centred=centred)
    slow = natural_ode(policy, time, g_p, g_n, centred)
    growth = np.exp(g_n * time) * (1 + g_n * time)
    assert np.max(np.abs(ours.log_probs - slow.log_probs)) <= 1e-9 * growth**2
    same = flows.smoothing_flow(policy, time, g_p, g_n, centred=centred, geometry="natural")
    assert np.array_equal(same.log_probs, ours.log_probs)
    q = tempered(policy.log_q, np.exp(-g_p * time))
    right = policy.correct
    assert np.max(np.abs(ours.log_q[right] - q[right])) <= 1e-12 * (1 + np.max(-q[right]))


def natural_ode(policy: Policy, time: float, g_p: float, g_n: float, centred: bool) -> Policy:
    """log pi' = A - E A for every trajectory, by an explicit solver: no closed form enters."""
    from scipy.integrate import solve_ivp

    def speed(_: float, y: np.ndarray) -> np.ndarray:
        now = Policy.from_logits(y, policy.correct)
        return gradients.smoothing_advantage(now, g_p, g_n, centred=centred)

    solved = solve_ivp(
        speed, (0.0, time), policy.log_probs, method="DOP853", rtol=1e-12, atol=1e-12
    )
    assert solved.success
    return Policy.from_logits(solved.y[:, -1], policy.correct)


def test_natural_gradient_without_smoothing_only_moves_the_logit() -> None:
    policy = Policy.from_logits([-690.0, 0.0, -1.0, 0.0, -690.0], MASK)
    for moved in (
        flows.natural_gradient_flow(policy, 0.0, 0.0, 3.0),
        flows.natural_gradient_flow(policy, 0.7, 0.0, 3.0, centred=True),
    ):
        assert float(moved.logit_C - policy.logit_C) == pytest.approx(3.0, abs=1e-11)


def test_time_zero_is_where_one_starts() -> None:
    policy = normal_policy()
    for still in (
        flows.softmax_pg_flow(policy, 0.0),
        flows.smoothing_flow(policy, 0.0, 1.0, 1.0),
        flows.natural_gradient_flow(policy, 1.0, 1.0, 0.0),
    ):
        assert still.log_probs == pytest.approx(policy.log_probs, rel=1e-14)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("standardised", [False, True])
def test_smoothing_flow_follows_its_gradient(centred: bool, standardised: bool) -> None:
    policy, h = normal_policy(), 1e-4
    after = flows.smoothing_flow(policy, h, 0.6, 0.3, centred=centred, standardised=standardised)
    slope = gradients.smoothing_gradient(
        policy, 0.6, 0.3, centred=centred, standardised=standardised
    )
    pi = np.exp(policy.log_probs)
    # d log pi = theta' - E theta'; the remainder is h^2 times second derivatives of order 1.
    expected = slope - np.sum(pi * slope)
    assert np.max(np.abs((after.log_probs - policy.log_probs) / h - expected)) < 20 * h


POLICY = normal_policy()
BAD: list[tuple[str, Callable[[], object]]] = [
    ("t", lambda: flows.softmax_pg_flow(POLICY, -1.0)),
    ("t", lambda: flows.softmax_pg_flow(POLICY, np.inf)),
    ("t", lambda: flows.natural_gradient_flow(POLICY, 0.1, 0.1, np.nan)),
    ("t", lambda: flows.smoothing_flow(POLICY, -1.0, 0.1)),
    ("g_correct", lambda: flows.natural_gradient_flow(POLICY, -0.1, 0.0, 1.0)),
    ("g_correct", lambda: flows.smoothing_flow(POLICY, 1.0, np.inf)),
    ("g_incorrect", lambda: flows.natural_gradient_flow(POLICY, 0.1, np.nan, 1.0)),
    ("g_incorrect", lambda: flows.natural_gradient_flow(POLICY, 0.1, 1.0, 1e4)),
    ("g_incorrect", lambda: flows.smoothing_flow(POLICY, 1.0, 0.1, -1.0)),
    ("geometry", lambda: flows.smoothing_flow(POLICY, 1.0, 0.1, geometry="flat")),  # type: ignore[arg-type]
    ("t", lambda: flows.softmax_pg_flow(POLICY, [2.0, 1.0])),
    ("t", lambda: flows.softmax_pg_flow(POLICY, [[1.0]])),
    ("clock", lambda: flows.softmax_pg_flow(POLICY, 1.0, clock=lambda c: -c)),
    ("clock", lambda: flows.softmax_pg_flow(POLICY, 1.0, clock=lambda c: c * np.nan)),
    ("clock", lambda: flows.smoothing_flow(POLICY, 1.0, 0.1, standardised=True, clock=np.sqrt)),
    ("eta", lambda: flows.softmax_pg_step(POLICY.log_probs, MASK, np.nan)),
    ("logits", lambda: flows.softmax_pg_step([np.nan] * 5, MASK, 1.0)),
]


@pytest.mark.parametrize(("name", "call"), BAD)
def test_errors_name_their_argument(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}:"):
        call()


def test_what_is_no_policy() -> None:
    for call in (
        lambda x: flows.softmax_pg_flow(x, 1.0),
        lambda x: flows.natural_gradient_flow(x, 0.1, 0.1, 1.0),
        lambda x: flows.smoothing_flow(x, 1.0, 0.1),
    ):
        with pytest.raises(TypeError, match=r"^policy:"):
            call([0.5, 0.5])
