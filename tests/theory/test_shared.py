"""Shared parameters: rates against finite differences, C5 as the case K = I."""

from __future__ import annotations

import numpy as np
import pytest

from diffsmooth.theory import critical
from diffsmooth.theory.diversity import shannon
from diffsmooth.theory.policy import Policy
from diffsmooth.theory.shared import (
    critical_strength,
    diversity_direction,
    entropy_gradient,
    smoothing_rates,
)

CORRECT = np.array([True, True, True, False, False])


def policy(seed: int) -> Policy:
    return Policy.from_logits(np.random.default_rng(seed).normal(size=5), CORRECT)


def test_the_gradient_is_that_of_finite_differences() -> None:
    p = policy(0)
    h = 1e-6
    gradient = entropy_gradient(p)
    for i in range(5):
        step = np.zeros(5)
        step[i] = h
        up, down = (
            float(shannon(Policy.from_logits(p.log_probs + s * step, CORRECT).log_q))
            for s in (1, -1)
        )
        assert (up - down) / (2 * h) == pytest.approx(gradient[i], abs=1e-9)


def test_without_sharing_it_is_the_tables_critical_strength() -> None:
    for seed in range(5):
        p = policy(seed)
        found = critical_strength(p, np.eye(5))
        assert found == pytest.approx(float(critical.critical_strength(p)), rel=1e-10)


def test_rates_of_prompts_that_share_all_or_nothing() -> None:
    p, x = policy(1), np.random.default_rng(2).normal(size=(5, 3))
    own = float((diversity_direction(p, x) ** 2).sum())
    c = float(np.exp(p.log_C))
    np.testing.assert_allclose(smoothing_rates([p, p], [x, x]), 2 * c * own)
    apart = [np.hstack([x, 0 * x]), np.hstack([0 * x, x])]
    np.testing.assert_allclose(smoothing_rates([p, p], apart), c * own)


def test_parameters_that_cannot_move_the_entropy_have_no_threshold() -> None:
    assert np.isnan(critical_strength(policy(0), np.ones((5, 1)) * 0))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"must be \(K, D\) with K = 5"):
        diversity_direction(policy(0), np.ones((4, 2)))
    with pytest.raises(ValueError, match="features: 0 for 1"):
        smoothing_rates([policy(0)], [])
