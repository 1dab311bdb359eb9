"""Diversity measures: known values, many digits, Schur-concavity, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory import diversity
from diffsmooth.theory.policy import log_normalise
from tests.strategies import log_laws

EPS = float(np.finfo(np.float64).eps)
few = settings(max_examples=30)

MEASURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shannon": diversity.shannon,
    "renyi 0": lambda q: diversity.renyi(q, 0),
    "renyi 1/2": lambda q: diversity.renyi(q, 0.5),
    "renyi 1": lambda q: diversity.renyi(q, 1),
    "renyi 3": lambda q: diversity.renyi(q, 3),
    "renyi inf": lambda q: diversity.renyi(q, np.inf),
    "simpson": diversity.simpson,
    "effective number": diversity.effective_number,
    "minus variance": diversity.neg_variance,
    "distinct in 4": lambda q: diversity.distinct_in_k(q, 4),
}
every = pytest.mark.parametrize("name", MEASURES)


def by_definition(name: str, law: np.ndarray) -> mpmath.mpf:
    """The textbook formula with 700 digits (1e-300 squared is a number there)."""
    with mpmath.workdps(700):
        q = [mpmath.exp(mpmath.mpf(float(v))) for v in law if v > -np.inf]
        total = mpmath.fsum(q)
        q = [x / total for x in q] + [mpmath.mpf(0)] * int(np.sum(law == -np.inf))
        some = [x for x in q if x > 0]
        powers = {a: mpmath.fsum(x**a for x in some) for a in (mpmath.mpf("0.5"), 2, 3)}
        return {
            "shannon": lambda: -mpmath.fsum(x * mpmath.log(x) for x in some),
            "renyi 0": lambda: mpmath.log(len(some)),
            "renyi 1/2": lambda: 2 * mpmath.log(powers[mpmath.mpf("0.5")]),
            "renyi 1": lambda: -mpmath.fsum(x * mpmath.log(x) for x in some),
            "renyi 3": lambda: -mpmath.log(powers[3]) / 2,
            "renyi inf": lambda: -mpmath.log(max(q)),
            "simpson": lambda: 1 - powers[2],
            "effective number": lambda: 1 / powers[2],
            "minus variance": lambda: (
                -mpmath.fsum((x - mpmath.mpf(1) / len(q)) ** 2 for x in q) / len(q)
            ),
            "distinct in 4": lambda: mpmath.fsum(1 - (1 - x) ** 4 for x in q),
        }[name]()


@every
@few
@given(law=log_laws(1, 6, empty=True))
def test_against_many_digits(name: str, law: np.ndarray) -> None:
    exact = float(by_definition(name, law))
    # A log-prob of size L is stored to L eps: probabilities and logs carry that relative error,
    # weighted by the probability, so that L e^-L and H, not L, bound the error of a sum.
    slack = 64 * EPS * (1 + abs(exact)) * law.size
    if name == "renyi 1/2":
        slack *= 1 + float(np.max(-law[law > -np.inf]))
    assert abs(float(MEASURES[name](law)) - exact) <= slack


@pytest.mark.parametrize("size", [1, 2, 5])
def test_uniform_laws(size: int) -> None:
    law = np.full(size, -np.log(size))
    for name in ("shannon", "renyi 0", "renyi 1/2", "renyi 1", "renyi 3", "renyi inf"):
        assert MEASURES[name](law) == pytest.approx(np.log(size), abs=4 * EPS)
    assert diversity.effective_number(law) == pytest.approx(size, rel=4 * EPS)
    assert diversity.simpson(law) == pytest.approx(1 - 1 / size, abs=4 * EPS)
    assert diversity.neg_variance(law) == pytest.approx(0, abs=EPS**2 * 16)
    assert diversity.distinct_in_k(law, 1) == pytest.approx(1, rel=4 * EPS)
    assert diversity.distinct_in_k(law, 0) == 0
    assert diversity.distinct_in_k(law, 10**9) == pytest.approx(size, rel=4 * EPS)


def test_next_to_a_point_mass_no_digit_is_lost() -> None:
    law = log_normalise([0.0, -100.0])
    rare = float(np.exp(-100.0))
    assert diversity.shannon(law) == pytest.approx(101 * rare, rel=1e-12)
    assert diversity.simpson(law) == pytest.approx(2 * rare, rel=1e-12)
    assert diversity.distinct_in_k(law, 3) == pytest.approx(1 + 3 * rare, rel=1e-15)
    assert diversity.renyi(law, np.inf) == pytest.approx(rare, rel=1e-12)


@pytest.mark.parametrize("step", [1e-2, 1e-5, 1e-9, 1e-12, -1e-9, -1e-5])
def test_renyi_next_to_order_one(step: float) -> None:
    """H_alpha = H - (alpha - 1) Var(log q)/2 + O((alpha-1)^2), to all digits."""
    law = log_normalise([0.0, -1.0, -3.0])
    q = np.exp(law)
    spread = float(np.sum(q * law**2) - np.sum(q * law) ** 2)
    order = 1.0 + step
    expected = float(diversity.shannon(law)) - (order - 1.0) * spread / 2
    assert diversity.renyi(law, order) == pytest.approx(expected, abs=step**2 + 8 * EPS)


def test_small_variance_next_to_the_uniform_law() -> None:
    law = log_normalise(np.array([1e-9, -1e-9, 0.0]))
    assert diversity.neg_variance(law) == pytest.approx(-2e-18 / 27, rel=1e-6)


@every
@few
@given(law=log_laws(2, 6), a=st.floats(0.0, 1.0), data=st.data())
def test_a_transfer_to_the_poorer_raises_diversity(
    name: str, law: np.ndarray, a: float, data: st.DataObject
) -> None:
    """Schur-concavity: averaging two entries (a T-transform) never lowers a measure."""
    i, j = data.draw(st.permutations(range(law.size)))[:2]
    q = np.exp(law)
    mixed = q.copy()
    mixed[i], mixed[j] = (1 - a / 2) * q[i] + a / 2 * q[j], (1 - a / 2) * q[j] + a / 2 * q[i]
    with np.errstate(divide="ignore"):
        flatter = log_normalise(np.log(mixed))
    before, after = MEASURES[name](law), MEASURES[name](flatter)
    assert after >= before - 64 * EPS * law.size * (1 + abs(before))
    assert diversity.majorises(law, flatter)


def test_majorisation() -> None:
    with np.errstate(divide="ignore"):
        peaked, flat = np.log([0.0, 0.9, 0.1]), np.log([0.3, 0.4, 0.3])
    assert diversity.majorises(peaked, flat)
    assert not diversity.majorises(flat, peaked)
    assert diversity.majorises(flat, flat[::-1], slack=0.0)
    # Neither majorises the other: .6 > .5 but .8 < .9.
    p, q = np.log([0.6, 0.2, 0.2]), np.log([0.5, 0.4, 0.1])
    assert diversity.majorises(np.stack([p, q]), np.stack([q, p])).tolist() == [False, False]


def test_a_batch_is_its_rows() -> None:
    laws = log_normalise(np.random.default_rng(0).normal(size=(2, 3, 5)))
    for measure in MEASURES.values():
        assert measure(laws).shape == (2, 3)
        assert measure(laws)[1, 2] == measure(laws[1, 2])


@every
@pytest.mark.parametrize(
    "law",
    [0.0, [], [np.nan, 0.0], [0.1, -3.0], np.log([0.5, 0.4]), [-np.inf, -np.inf], "abc"],
    ids=["scalar", "empty", "nan", "above 0", "mass .9", "no mass", "text"],
)
def test_what_is_no_law(name: str, law: object) -> None:
    with pytest.raises(ValueError, match=r"^log_q:"):
        MEASURES[name](law)  # type: ignore[arg-type]


def test_errors_name_their_argument() -> None:
    law = np.log([0.5, 0.5])
    with pytest.raises(ValueError, match=r"^alpha:"):
        diversity.renyi(law, -1.0)
    with pytest.raises(ValueError, match=r"^alpha:"):
        diversity.renyi(law, np.nan)
    with pytest.raises(ValueError, match=r"^k:"):
        diversity.distinct_in_k(law, -1)
    with pytest.raises(TypeError, match=r"^k:"):
        diversity.distinct_in_k(law, 2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^log_p:"):
        diversity.majorises([0.5], law)
    with pytest.raises(ValueError, match=r"^log_q:"):
        diversity.majorises(law, np.log([0.5, 0.25, 0.25]))
    with pytest.raises(ValueError, match=r"^slack:"):
        diversity.majorises(law, law, slack=-1.0)
