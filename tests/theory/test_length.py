"""Fixed points of smoothing when answers have lengths; theory.md C6."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory.length import fixed_point
from diffsmooth.theory.policy import logsumexp

EPS = float(np.finfo(np.float64).eps)
POWER = {"sum": 0, "mean": 1, "spread": 2}
lengths = st.lists(st.integers(1, 5000), min_size=1, max_size=8)
shares = st.one_of(st.just(1.0), st.floats(1e-300, 1.0))


@settings(max_examples=60)
@given(lengths, st.sampled_from(sorted(POWER)), shares)
def test_the_term_is_constant_and_the_mass_is_c(
    sizes: list[int], reduction: str, correctness: float
) -> None:
    log_pi, rate = fixed_point(sizes, reduction, correctness)  # type: ignore[arg-type]
    assert rate >= 0
    weights = np.array(sizes, dtype=float) ** POWER[reduction]
    assert log_pi == pytest.approx(-rate * weights, rel=4 * EPS, abs=0)
    # rate is right to a few ulps: so the log mass moves by that times the
    # largest log-prob that counts.
    target = np.log(correctness)
    slack = 32 * EPS * (1 + abs(target) + np.log(len(sizes)))
    assert float(logsumexp(log_pi)) == pytest.approx(target, abs=slack)


def test_who_is_paid() -> None:
    sizes = [1, 2, 4]
    total, _ = fixed_point(sizes)
    assert total == pytest.approx([-np.log(3)] * 3)
    for reduction in ("mean", "spread"):
        log_pi, rate = fixed_point(sizes, reduction)  # type: ignore[arg-type]
        assert rate > 0
        assert np.all(np.diff(log_pi) < 0), "short answers get more"
    # x + x^2 + x^4 = 1 for x = e^{-lambda}.
    _, rate = fixed_point(sizes, "mean")
    x = np.exp(-rate)
    assert x + x**2 + x**4 == pytest.approx(1.0, abs=8 * EPS)


def test_one_answer() -> None:
    log_pi, rate = fixed_point([7], "mean")
    assert (rate, log_pi.tolist()) == (0.0, [0.0])
    log_pi, rate = fixed_point([7], "mean", 0.5)
    assert rate == pytest.approx(np.log(2.0) / 7, rel=4 * EPS)


def test_equal_lengths_are_uniform_whatever_the_reduction() -> None:
    for reduction in POWER:
        log_pi, _ = fixed_point([5, 5, 5, 5], reduction, 0.25)  # type: ignore[arg-type]
        assert log_pi == pytest.approx([np.log(1 / 16)] * 4, rel=8 * EPS)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("lengths", ([],)),
        ("lengths", (7,)),
        ("correctness", ([[1, 2], [3, 4]], "sum", [0.5] * 3)),
        ("lengths", ([0, 1],)),
        ("lengths", ([np.nan, 1],)),
        ("lengths", ([np.inf, 1],)),
        ("lengths", (["long"],)),
        ("reduction", ([1, 2], "token")),
        ("correctness", ([1, 2], "sum", 0.0)),
        ("correctness", ([1, 2], "sum", 1.1)),
        ("correctness", ([1, 2], "sum", np.nan)),
    ],
)
def test_errors_name_their_argument(name: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}:"):
        fixed_point(*arguments)  # type: ignore[arg-type]
