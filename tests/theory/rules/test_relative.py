"""Smoothing in units of a correct answer's advantage (theory.md C10)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffsmooth.theory.rules import GRPO, GroupBatch, MaxRL, Relative, rule


def batch(
    reward: list[float], logps: list[float], group: list[int] | None = None, **more: object
) -> GroupBatch:
    return GroupBatch(
        reward=np.array(reward),
        correct=np.array(reward) > 0,
        group=np.array(group or [0] * len(reward)),
        logps=np.array(logps, dtype=float),
        **more,
    )


def test_by_hand() -> None:
    # GRPO of (1, 1, 0, 0): +-1.  Log-probs of the correct answers -1 and -3, mean -2.
    found = rule("relative", mu=0.5, eps=0)(batch([1, 1, 0, 0], [-1, -3, -2, -2]))
    np.testing.assert_allclose(found, [1 - 0.5, 1 + 0.5, -1, -1], rtol=1e-15)
    # MaxRL pays a correct answer 3 where one of four is right, 1 where two are.
    found = rule("relative", base=MaxRL(eps=0))(batch([1, 1, 0, 0], [-1, -2, -5, -6]))
    np.testing.assert_allclose(found, [0.5, 1.5, -1, -1], rtol=1e-15)


def test_every_group_has_its_own_unit() -> None:
    reward, logps = [1.0, 1, 0, 0, 1, 1, 1, 0], [-1.0, -3, -2, -2, -1, -3, -2, -9]
    both = batch(reward, logps, [7] * 4 + [3] * 4)
    apart = [batch(reward[s], logps[s]) for s in (slice(4), slice(4, 8))]
    made = Relative(0.7, base=GRPO(eps=0))
    np.testing.assert_array_equal(made(both), np.concatenate([made(b) for b in apart]))


def test_groups_of_one_kind_and_a_single_correct_answer_are_the_bases() -> None:
    for reward in ([1.0, 1, 1], [0.0, 0, 0], [1.0, 0, 0]):
        b = batch(reward, [-1, -2, -4])
        np.testing.assert_array_equal(rule("relative")(b), rule("grpo")(b))


def test_strength_0_is_the_base_bit_for_bit_and_reads_nothing() -> None:
    made = rule("relative", mu=0)
    assert not made.needs_logps
    b = GroupBatch(
        reward=np.array([1.0, 0.3]), correct=np.array([True, False]), group=np.array([0, 0])
    )
    np.testing.assert_array_equal(made(b), rule("grpo")(b))


@given(
    st.lists(st.booleans(), min_size=2, max_size=8),
    st.integers(0, 2**16),
    st.floats(0.01, 5),
    st.floats(0.1, 10),
)
def test_it_redistributes_among_correct_answers_and_scales_with_the_reward(
    right: list[bool], seed: int, mu: float, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    reward = np.array(right, dtype=float)
    b = batch(list(reward), list(-5 * rng.random(len(right))))
    base, made = rule("dr-grpo"), rule("relative", base="dr-grpo", mu=mu)
    change = made(b) - base(b)
    assert abs(change[reward > 0].sum()) < 1e-12 * (1 + mu) * len(right) * 5
    assert not change[reward == 0].any()
    # A reward twice as large doubles the term: the unit is the advantage.
    larger = GroupBatch(reward=scale * b.reward, correct=b.correct, group=b.group, logps=b.logps)
    np.testing.assert_allclose(made(larger), scale * made(b), rtol=1e-10, atol=1e-12)


def test_classes_and_torch() -> None:
    more = {"classes": np.array([0, 0, 1, 2])}
    b = batch([1, 1, 1, 0], [-1, -1, -1, -1], **more)
    made = rule("relative", quotient=True, base="dr-grpo")
    share = np.log(np.array([2 / 3, 2 / 3, 1 / 3]))
    expected = 0.25 * (1 - (share - share.mean()))
    np.testing.assert_allclose(made(b), [*expected, -0.75], rtol=1e-14)
    assert made.needs_classes
    t = GroupBatch(
        **{
            k: torch.as_tensor(getattr(b, k))
            for k in ("reward", "correct", "group", "logps", "classes")
        }
    )
    np.testing.assert_allclose(made(t).numpy(), made(b), rtol=1e-14)


def test_bad_parameters_are_named() -> None:
    with pytest.raises(ValueError, match="mu"):
        Relative(-1.0)
    with pytest.raises(ValueError, match="reduction"):
        Relative(reduction="token")


def test_whole_numbers_for_log_probs_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="logps: must hold floating-point numbers, got int64"):
        GroupBatch(
            reward=np.array([1.0, 0.0]),
            correct=np.array([True, False]),
            group=np.array([0, 0]),
            logps=np.array([-1, -2]),
        )
