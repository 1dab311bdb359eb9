"""Replay: its gradient, and where the flow with and without smoothing comes to rest (E5)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from diffsmooth.theory.memory import replay_gradient, replay_limit, replay_log_odds
from diffsmooth.theory.policy import Policy

CORRECT = np.array([True] * 4 + [False] * 3)
BANK = np.array([True, True, False, False, False, False, False])


def flow(lam: float, g: float, t: float, seed: int) -> np.ndarray:
    """Probabilities after the flow of E5, integrated as it is written there."""

    def speed(_: float, theta: np.ndarray) -> np.ndarray:
        log_pi = theta - np.logaddexp.reduce(theta)
        pi = np.exp(log_pi)
        c = pi[CORRECT].sum()
        log_q = np.where(CORRECT, log_pi - np.log(c), 0.0)
        q = np.where(CORRECT, pi / c, 0.0)
        smooth = np.where(CORRECT, -g * pi * (log_q - q @ log_q), 0.0)
        return pi * (CORRECT - c) + lam * (BANK / BANK.sum() - pi) + smooth

    start = np.random.default_rng(seed).normal(size=7)
    found = solve_ivp(speed, (0, t), start, method="LSODA", rtol=1e-10, atol=1e-10)
    theta = found.y[:, -1]
    return np.exp(theta - np.logaddexp.reduce(theta))


@pytest.mark.parametrize("seed", range(3))
def test_alone_it_extinguishes_what_it_has_not_seen(seed: int) -> None:
    pi = flow(0.1, 0.0, 2e4, seed)
    np.testing.assert_allclose(pi[:2], 0.5, atol=2e-3)
    assert pi[2:].max() < 2e-3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("lam", "g"), [(0.05, 0.05), (0.05, 0.2), (0.1, 0.05)])
def test_with_smoothing_the_unseen_survive_at_the_theorems_odds(
    seed: int, lam: float, g: float
) -> None:
    pi = flow(lam, g, 3e5, seed)
    log_x, log_y = replay_limit(lam / g, 2, 2)
    np.testing.assert_allclose(pi[:2], np.exp(log_x), atol=2e-3)
    np.testing.assert_allclose(pi[2:4], np.exp(log_y), atol=2e-3)
    assert pi[4:].max() < 1e-3


def test_the_odds_at_both_ends() -> None:
    # k e^-r small: odds -> e^-r; nothing unseen has no effect.
    assert float(replay_log_odds(700.0, 3, 5)) == pytest.approx(-700.0, rel=1e-15)
    assert float(replay_log_odds(1e-12, 1, 1)) == pytest.approx(-2e-12, rel=1e-9)
    assert replay_limit(0.5, 4, 0) == (-float(np.log(4)), -np.inf)
    # More unseen answers are rarer each; more smoothing keeps them nearer.
    odds = replay_log_odds([0.1, 1.0], [[2], [2]], [[2], [6]])
    assert (np.diff(odds, axis=0) < 0).all()
    assert (np.diff(odds, axis=1) < 0).all()


def test_bad_input_is_named() -> None:
    policy = Policy.from_logits(np.zeros(7), CORRECT)
    for bank, said in (
        (BANK.astype(int), "must be bool"),
        (BANK[:3], "shape"),
        (np.zeros(7, bool), "at least one"),
        (~CORRECT, "not correct"),
    ):
        with pytest.raises(ValueError, match=said):
            replay_gradient(policy, bank)
    for arguments in ((0.0, 1, 1), (np.nan, 1, 1), (1.0, 0, 1), (1.0, 1, -1)):
        with pytest.raises(ValueError, match="must be"):
            replay_log_odds(*arguments)
