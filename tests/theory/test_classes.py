"""Classes of answers: masses, equalisation, and the exact bias of what a group's share tells."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import comb, log

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffsmooth.theory.classes import (
    class_log_masses,
    equalised,
    expected_log_share,
    harmonic_share,
    harmonic_share_bias,
    log_share_bias,
)
from diffsmooth.theory.diversity import majorises, shannon
from diffsmooth.theory.flows import natural_gradient_flow
from diffsmooth.theory.optima import tempered
from diffsmooth.theory.policy import Policy
from tests.strategies import log_laws

EPS = float(np.finfo(np.float64).eps)


@st.composite
def classed(draw: st.DrawFn, empty: bool = False) -> tuple[np.ndarray, np.ndarray]:
    law = draw(log_laws(2, 8, empty=empty))
    ids = draw(st.lists(st.integers(0, 3), min_size=law.size, max_size=law.size))
    return law, np.array(ids)


@given(classed(empty=True))
def test_masses_against_a_loop(instance: tuple[np.ndarray, np.ndarray]) -> None:
    law, ids = instance
    found = class_log_masses(law, ids, 5)
    assert found.shape == (5,)
    for label in range(5):
        part = law[(ids == label) & (law > -np.inf)]
        if not part.size:
            assert found[label] == -np.inf
            continue
        with mpmath.workdps(400):
            exact = mpmath.log(mpmath.fsum(mpmath.exp(mpmath.mpf(float(v))) for v in part))
        assert abs(mpmath.mpf(float(found[label])) - exact) <= 8 * EPS * (1 + abs(exact))


def test_masses_of_a_batch_and_of_many_classes() -> None:
    rng = np.random.default_rng(1)
    laws = np.log(rng.dirichlet(np.ones(1000), size=(2, 3)))
    ids = rng.integers(0, 400, size=1000)
    found = class_log_masses(laws, ids, 400)
    assert found.shape == (2, 3, 400)
    direct = np.stack([np.exp(laws)[..., ids == c].sum(-1) for c in range(400)], axis=-1)
    assert np.allclose(np.exp(found), direct, rtol=1e-12, atol=0)


@given(classed(), st.floats(0.0, 1.5))
def test_equalising_tempers_the_classes_and_leaves_their_inside(
    instance: tuple[np.ndarray, np.ndarray], a: float
) -> None:
    law, ids = instance
    out = equalised(law, ids, a)
    before, after = class_log_masses(law, ids), class_log_masses(out, ids)
    size = 64 * EPS * (1 + np.max(np.abs(law)))
    there = before > -np.inf
    assert np.allclose(after[there], tempered(before, a)[there], rtol=0, atol=size)
    inside = (law - before[ids], out - after[ids])
    assert np.allclose(*inside, rtol=0, atol=size)
    if a <= 1:  # normalised: where a class is as rare as e^-700 its masses keep |log| eps only
        assert majorises(tempered(before, 1.0), tempered(after, 1.0))
        assert shannon(tempered(after, 1.0)) >= shannon(tempered(before, 1.0)) - size


def test_equalising_is_the_natural_flow_of_the_lumped_policy() -> None:
    """Lump S into its classes: C3 on the lumped policy is `equalised` with a = e^{-g t}."""
    law, ids = np.log([0.1, 0.2, 0.3, 0.4]), np.array([0, 1, 1, 2])
    masses = class_log_masses(law, ids)
    mask = np.array([True, True, True, False])
    lumped = Policy.from_parts(
        0.3, np.append(masses, -np.inf), np.array([-np.inf, -np.inf, -np.inf, 0.0]), mask
    )
    later = natural_gradient_flow(lumped, 0.7, 0.0, 1.3, centred=True)
    found = class_log_masses(equalised(law, ids, np.exp(-0.7 * 1.3)), ids)
    assert np.allclose(found, later.log_q[:3], rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("q", [0.05, 0.3, 0.7, 1.0])
def test_expected_shares_by_enumerating_groups(q: float, n: int) -> None:
    """All 2^(n-1) groups in which the first answer is of the class."""
    total = harmonic = 0.0
    for others in product([True, False], repeat=n - 1):
        chance = np.prod([q if same else 1 - q for same in others])
        count = 1 + sum(others)
        total += chance * log(count / n)
        harmonic += chance * float(harmonic_share(count, n))
    assert float(expected_log_share(q, n)) == pytest.approx(total, rel=0, abs=1e-14)
    assert float(log_share_bias(q, n)) == pytest.approx(total - log(q), rel=0, abs=1e-14)
    assert float(harmonic_share_bias(q, n)) == pytest.approx(harmonic - log(q), rel=0, abs=1e-14)


@given(st.floats(0.01, 1.0), st.integers(1, 80))
def test_the_harmonic_share_is_all_but_unbiased(q: float, n: int) -> None:
    with mpmath.workdps(60):
        head = mpmath.fsum((1 - mpmath.mpf(q)) ** i / i for i in range(1, n))
        tail = -mpmath.log(mpmath.mpf(q)) - head
    found = float(harmonic_share_bias(q, n))
    # Binomial weights by gammaln: relative errors of a few n eps log n; H and log q are below 10.
    slack = 64 * n * EPS * (1 + log(n)) * 10
    assert found == pytest.approx(float(tail), rel=0, abs=slack)
    assert found <= (1 - q) ** n / (n * q) + slack
    assert -slack <= found <= float(log_share_bias(q, n)) + slack


@given(st.floats(1e-4, 1.0), st.integers(1, 200))
def test_the_share_overrates_rare_classes(q: float, n: int) -> None:
    bias = float(log_share_bias(q, n))
    # Jensen: E (1 + j)/n = q + (1 - q)/n.
    slack = 64 * n * EPS * (1 + log(n)) * 10
    assert -slack <= bias <= log((q + (1 - q) / n) / q) + slack
    assert float(log_share_bias(q, 1)) == pytest.approx(-log(q), rel=1e-15)


def test_large_groups_do_not_overflow() -> None:
    assert comb(5000, 2500) > 10**300  # why the weights are logs
    values = log_share_bias([0.5, 0.01], 5000)
    assert np.allclose(values, [0.5 / (2 * 5000 * 0.5), 0.99 / (2 * 5000 * 0.01)], rtol=0.05)


BAD: list[tuple[str, Callable[[], object]]] = [
    ("classes", lambda: class_log_masses([0.0], [0.0])),
    ("classes", lambda: class_log_masses([0.0], [-1])),
    ("classes", lambda: class_log_masses([0.0], [3], 3)),
    ("classes", lambda: class_log_masses(np.log([0.5, 0.5]), [0])),
    ("log_q", lambda: class_log_masses([np.nan], [0])),
    ("a", lambda: equalised([0.0], np.array([0]), np.inf)),
    ("q", lambda: log_share_bias(0.0, 3)),
    ("q", lambda: log_share_bias([0.5, 1.5], 3)),
    ("n", lambda: log_share_bias(0.5, 0)),
    ("count", lambda: harmonic_share(0, 3)),
    ("count", lambda: harmonic_share([1, 4], 3)),
    ("count", lambda: harmonic_share(1.0, 3)),
]


@pytest.mark.parametrize(("name", "call"), BAD)
def test_errors_name_their_argument(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}:"):
        call()
