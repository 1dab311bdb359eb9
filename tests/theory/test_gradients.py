"""Expected gradients against automatic differentiation in torch, float64."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory import gradients
from diffsmooth.theory.policy import Policy
from diffsmooth.theory.rules import GroupBatch, rule
from tests.strategies import policies

EPS = float(np.finfo(np.float64).eps)
few = settings(max_examples=30)
modest = policies(max_size=6, least_log=-30.0)
strengths = st.floats(0.0, 2.0)


def differentiated(policy: Policy, objective: Callable[..., torch.Tensor]) -> np.ndarray:
    """Gradient in the logits of ``objective(log pi, correct)``."""
    theta = torch.tensor(policy.log_probs, dtype=torch.float64, requires_grad=True)
    objective(torch.log_softmax(theta, -1), torch.tensor(policy.correct)).backward()
    assert theta.grad is not None
    return theta.grad.numpy()


def close(ours: np.ndarray, theirs: np.ndarray, scale: float = 1.0) -> bool:
    return bool(np.max(np.abs(ours - theirs)) <= 128 * EPS * scale)


@few
@given(modest)
def test_correctness(policy: Policy) -> None:
    slope = gradients.expected_gradient(policy)
    assert close(slope, differentiated(policy, lambda log_pi, s: torch.exp(log_pi[s]).sum()))
    assert abs(float(np.sum(slope))) <= 8 * EPS


@few
@given(modest, st.data())
def test_constant_advantages(policy: Policy, data: st.DataObject) -> None:
    size = policy.log_probs.size
    a = np.array(data.draw(st.lists(st.floats(-5, 5), min_size=size, max_size=size)))
    weight = torch.tensor(np.exp(policy.log_probs) * a)
    theirs = differentiated(policy, lambda log_pi, _: (weight * log_pi).sum())
    assert close(gradients.advantage_gradient(policy, a), theirs, 10.0)


@few
@given(modest, strengths, strengths)
def test_literal_smoothing_is_the_gradient_of_c1(policy: Policy, g_p: float, g_n: float) -> None:
    """(1 + g_p + g_n) C + g_p H_S - g_n H_F, H_X = -sum over X of pi log pi; theory.md C1."""

    def objective(log_pi: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        surprise = -torch.exp(log_pi) * log_pi
        right = torch.exp(log_pi[s]).sum()
        return (1 + g_p + g_n) * right + g_p * surprise[s].sum() - g_n * surprise[~s].sum()

    ours = gradients.smoothing_gradient(policy, g_p, g_n)
    assert close(ours, differentiated(policy, objective), 40.0)


@few
@given(modest, strengths)
def test_centred_smoothing_is_grad_c_plus_c_grad_entropy(policy: Policy, g: float) -> None:
    """grad C + g C grad H(q), the C in front held constant; theory.md E2."""
    mass = float(policy.C)

    def objective(log_pi: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        log_q = torch.log_softmax(log_pi[s], -1)
        return torch.exp(log_pi[s]).sum() - g * mass * (torch.exp(log_q) * log_q).sum()

    ours = gradients.smoothing_gradient(policy, g, centred=True)
    assert close(ours, differentiated(policy, objective), 40.0)


@few
@given(modest, strengths, strengths, st.booleans())
def test_standardised_divides_the_reward_only(
    policy: Policy, g_p: float, g_n: float, centred: bool
) -> None:
    plain, scaled = (
        gradients.smoothing_gradient(policy, g_p, g_n, centred=centred, standardised=s)
        for s in (False, True)
    )
    deviation = float(np.exp(0.5 * (policy.log_C + policy.log_1mC)))
    reward = gradients.expected_gradient(policy)
    expected = plain - reward + reward / deviation
    assert np.max(np.abs(scaled - expected)) <= 64 * EPS * (30 + 1 / deviation)


@few
@given(modest, strengths, st.booleans())
def test_a_clock_multiplies_the_reward_only(policy: Policy, g: float, centred: bool) -> None:
    plain, fast = (
        gradients.smoothing_gradient(policy, g, centred=centred, clock=clock)
        for clock in (None, lambda c: 3.0 + 0 * c)
    )
    assert close(fast - plain, 2 * gradients.expected_gradient(policy), 40.0)


@pytest.mark.parametrize("name", ["vanilla", "grpo", "rloo", "maxrl"])
def test_reward_only_rules_by_enumerating_groups(name: str) -> None:
    """The mean over all 3^3 groups of three answers, each weighed by its probability."""
    policy, size = Policy(np.log([0.5, 0.2, 0.3]), [True, True, False]), 3
    pi = np.exp(policy.log_probs)
    total = np.zeros(3)
    for answers in np.ndindex(3, 3, 3):
        right = policy.correct[list(answers)]
        batch = GroupBatch(
            reward=right.astype(float), correct=right, group=np.zeros(size, dtype=np.int64)
        )
        score = np.eye(3)[list(answers)] - pi
        total += np.prod(pi[list(answers)]) * (rule(name)(batch) @ score) / size
    ours = gradients.reward_only_gradient(policy, rule(name), size)
    assert ours == pytest.approx(total, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("logit", [-690.0, 690.0])
def test_next_to_solved_and_to_hopeless(logit: float) -> None:
    mask = np.array([True, True, False])
    policy = Policy.from_parts(logit, np.log([0.5, 0.5, 1.0]), np.zeros(3), mask)
    slope = gradients.expected_gradient(policy)
    rare = np.exp(-690.0)
    assert slope == pytest.approx(np.array([0.5, 0.5, -1.0]) * rare, rel=1e-12)
    scaled = gradients.smoothing_gradient(policy, 0.0, standardised=True)
    assert scaled == pytest.approx(np.array([0.5, 0.5, -1.0]) * rare**0.5, rel=1e-12)


@pytest.mark.parametrize("size", [2, 3, 8])
@pytest.mark.parametrize("c", [0.01, 0.5, 0.9])
def test_grpo_clock_is_the_mean_over_groups(size: int, c: float) -> None:
    mean = sum(
        comb(size, k) * c**k * (1 - c) ** (size - k) * (k * (size - k)) ** 0.5
        for k in range(size + 1)
    )
    expected = mean / size / (c * (1 - c))
    assert gradients.grpo_clock(c, size) == pytest.approx(expected, rel=1e-13)


def test_grpo_clock_of_large_groups_and_at_the_ends() -> None:
    assert gradients.grpo_clock(0.3, 512) == pytest.approx((0.3 * 0.7) ** -0.5, rel=1e-2)
    # k = 1 of G: sqrt(G - 1) at C = 0, by symmetry at C = 1 too.
    assert gradients.grpo_clock(np.array([0.0, 1.0]), 5) == pytest.approx([2.0, 2.0])
    assert gradients.grpo_clock(0.5, 1) == 0.0


POLICY = Policy(np.log([0.25] * 4), [True, True, False, False])
BAD: list[tuple[str, Callable[[], object]]] = [
    ("advantage", lambda: gradients.advantage_gradient(POLICY, [np.nan] * 4)),
    ("advantage", lambda: gradients.advantage_gradient(POLICY, [1.0] * 3)),
    ("g_correct", lambda: gradients.smoothing_gradient(POLICY, -1.0)),
    ("g_incorrect", lambda: gradients.smoothing_gradient(POLICY, 1.0, np.inf)),
    ("group_size", lambda: gradients.grpo_clock(0.5, 0)),
    ("clock", lambda: gradients.smoothing_gradient(POLICY, 1.0, standardised=True, clock=np.sqrt)),
    ("C", lambda: gradients.grpo_clock(1.5, 4)),
    ("C", lambda: gradients.grpo_clock(np.nan, 4)),
]


@pytest.mark.parametrize(("name", "call"), BAD)
def test_errors_name_their_argument(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}:"):
        call()


def test_what_is_no_policy() -> None:
    for function in (
        gradients.expected_gradient,
        lambda x: gradients.advantage_gradient(x, [1.0]),
        lambda x: gradients.smoothing_gradient(x, 1.0),
    ):
        with pytest.raises(TypeError, match=r"^policy:"):
            function([0.5, 0.5])  # type: ignore[operator]
