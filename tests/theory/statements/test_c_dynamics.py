"""What C1-C8 say, against slow simulations that share no formula with them."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory.statements import (
    c3_exponential_equalisation,
    c4_iteration,
    c5_critical_strength,
    c6_length,
    c8_classes,
    c9_three_thresholds,
)
from diffsmooth.theory.verify.core import Budget

mpl.use("Agg")
LOGITS = st.lists(st.floats(-2, 2), min_size=5, max_size=5).map(np.array)


def _softmax(z: np.ndarray) -> np.ndarray:
    w = np.exp(z - z.max())
    return w / w.sum()


def _entropy(p: np.ndarray) -> float:
    return float(-(p * np.log(p)).sum())


def _step(z: np.ndarray, g: float, centred: bool, dt: float) -> np.ndarray:
    """One Euler step of theta' = pi (A - E A), three correct trajectories first."""
    pi = _softmax(z)
    c = pi[:3].sum()
    surprisal = -np.log(pi[:3])
    if centred:
        surprisal = surprisal - (pi[:3] / c) @ surprisal
    a = np.concatenate([1 + g * surprisal, np.zeros(2)])
    return z + dt * pi * (a - pi @ a)


def _thresholds(z: np.ndarray) -> tuple[float, float]:
    """(g*, g*(H - log C)) from C5's formula."""
    pi = _softmax(z)
    c = pi[:3].sum()
    q = pi[:3] / c
    ell = np.log(q) + _entropy(q)
    star = (1 - c) * float(q @ (q * ell)) / float(q @ (q * ell**2))
    return star, star * (_entropy(q) - math.log(c))


def _rises(z: np.ndarray, g: float, centred: bool) -> bool:
    dt = 1e-5
    q = _softmax(z)[:3]
    after = _softmax(_step(z, g, centred, dt))[:3]
    return _entropy(after / after.sum()) > _entropy(q / q.sum())


@settings(max_examples=60)
@given(LOGITS)
def test_c5_euler_steps_change_side_at_the_thresholds(z: np.ndarray) -> None:
    if np.ptp(z[:3]) < 0.1:
        return  # q nearly uniform: dH is below the step's own error
    star, load = _thresholds(z)
    assert not _rises(z, 0.98 * star, centred=True)
    assert _rises(z, 1.02 * star, centred=True)
    if load < 0.9:
        literal = star / (1 - load)
        assert not _rises(z, 0.98 * literal, centred=False)
        assert _rises(z, 1.02 * literal, centred=False)
    elif load > 1.1:
        assert not any(_rises(z, g, centred=False) for g in (0.0, 0.3, 1.0, 3.0, 10.0, 100.0))


@settings(max_examples=40)
@given(LOGITS)
def test_c5_correctness_rises_at_the_critical_strength(z: np.ndarray) -> None:
    if np.ptp(z[:3]) < 0.1:
        return
    star, _ = _thresholds(z)
    assert _softmax(_step(z, star, True, 1e-6))[:3].sum() > _softmax(z)[:3].sum()


def test_c4_no_one_shot_strength_reaches_two_steps_with_a_sharpened_incorrect_part() -> None:
    """The instance of C4: every one-shot policy with the same q and f has more correctness."""
    p = 0.01
    b = np.concatenate([p * np.array([1, 2]) / 3, (1 - p) * np.array([2.0] + [1.0] * 15) / 17])
    pi = b
    for _ in range(2):
        weights = np.concatenate([pi[:2] * math.e, pi[2:] ** 2])
        pi = weights / weights.sum()
    best = math.inf
    for inverse_beta in np.geomspace(1e-6, 50, 200):
        weights = np.concatenate([b[:2] * np.exp(inverse_beta), b[2:] ** 4])
        one_shot = weights / weights.sum()
        np.testing.assert_allclose(one_shot[2:] / one_shot[2], pi[2:] / pi[2], rtol=1e-12)
        best = min(best, one_shot[:2].sum())
    assert best > pi[:2].sum() + 0.01


def test_c4_library_free_twin_of_an_iteration() -> None:
    """Four literal steps equal one with the strengths that C4 gives."""
    base, beta, g, steps = np.array([1.0, 0.2, -0.5, 0.3, 0.0]), 2.0, 0.8, 4
    log_b = np.log(_softmax(base))
    final = c4_iteration._iterate(base, 3, beta=beta, g_p=g, g_n=0.0, steps=steps)
    a = (1 - g / beta) ** steps
    d = (final[0] - a * log_b[0]) - (final[3] - log_b[3])
    new_beta, new_g = 1 / d, (1 - a) / d
    twin = log_b + np.concatenate([(1 - new_g * log_b[:3]) / new_beta, np.zeros(2)])
    np.testing.assert_allclose(twin - np.logaddexp.reduce(twin), final, atol=1e-13)
    assert new_g <= g


def test_c6_mirror_steps_converge_to_the_fixed_point() -> None:
    """q <- q exp(-eta log(pi)/L), correctness held at C: the masses become e^(-lambda L)."""
    lengths, c = np.array([1.0, 2.0, 4.0, 4.0]), 0.7
    q = np.full(4, 0.25)
    for _ in range(4000):
        q = q * np.exp(-0.1 * np.log(c * q) / lengths)
        q = q / q.sum()
    rate = -np.log(c * q) / lengths
    np.testing.assert_allclose(rate, rate[0], rtol=1e-10)
    assert rate[0] > 0
    assert np.exp(-c6_length.CLAIM.mean(lengths) * rate[0]).sum() == pytest.approx(c, rel=1e-9)


def test_c8_bias_of_the_share_by_drawing_groups() -> None:
    rng = np.random.default_rng(0)
    n, q, draws = 6, 0.2, 400_000
    share = (1 + rng.binomial(n - 1, q, size=draws)) / n
    found, error = np.log(share).mean() - math.log(q), np.log(share).std() / math.sqrt(draws)
    exact = float(c8_classes.log_share(q, n, math.log)) - math.log(q)
    assert abs(found - exact) < 5 * error
    low, high = c8_classes.CLAIM.lower(q, n), c8_classes.CLAIM.upper(q, n)
    assert math.log(low) < exact < math.log(high)
    assert abs(share.mean() - c8_classes.CLAIM.share(q, n)) < 5 * share.std() / math.sqrt(draws)


def test_c5_frequency_reports_an_interval_for_every_ensemble() -> None:
    outcome = c5_critical_strength._frequency(c5_critical_strength.CLAIM, Budget())
    assert outcome.verdict == "holds"
    assert outcome.detail.count("[") == outcome.detail.count("|S|=") == 5


@pytest.mark.parametrize(
    "module",
    [c3_exponential_equalisation, c5_critical_strength, c6_length, c8_classes, c9_three_thresholds],
)
def test_figures_label_their_axes_and_tell_lines_apart_without_colour(module) -> None:
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    try:
        module.STATEMENT.figure(ax)
        figure.canvas.draw()
        assert ax.get_xlabel()
        assert ax.get_ylabel()
        looks = {(x.get_linestyle(), x.get_marker(), x.get_linewidth()) for x in ax.lines}
        assert len(ax.lines) <= 1 or len(looks) > 1
        assert ax.lines or ax.collections
    finally:
        plt.close(figure)
