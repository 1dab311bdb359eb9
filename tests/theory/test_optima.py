"""Closed-form optima: better than any other policy, and equal to each other where B4-C4 say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory import optima
from diffsmooth.theory.diversity import shannon
from diffsmooth.theory.policy import Policy, kl
from tests.strategies import log_laws, policies, seeds

EPS = float(np.finfo(np.float64).eps)
few = settings(max_examples=30)
betas = st.floats(0.05, 20.0)
strengths = st.floats(0.0, 2.0)


def gap(a: Policy, b: Policy) -> float:
    return float(np.max(np.abs(a.log_probs - b.log_probs)))


def slack(*policies_: Policy) -> float:
    return 64 * EPS * (1 + max(float(np.max(np.abs(p.log_probs))) for p in policies_))


@few
@given(policies(), betas, seeds)
def test_gibbs_beats_every_other_policy(base: Policy, beta: float, seed: int) -> None:
    """E rho - beta KL(pi||b) = beta log Z - beta KL(pi||optimum), for any pi."""
    rng = np.random.default_rng(seed)
    reward = rng.normal(size=base.log_probs.shape)
    best = optima.gibbs(base, reward, beta)
    other = Policy.from_logits(base.log_probs + rng.normal(size=reward.shape), base.correct)

    def value(policy: Policy) -> float:
        return float(np.sum(np.exp(policy.log_probs) * reward) - beta * kl(policy, base))

    loss = value(best) - value(other)
    assert loss == pytest.approx(beta * float(kl(other, best)), abs=beta * slack(base, best) * 100)


@few
@given(policies(), betas)
def test_vanilla_moves_the_logit_only(base: Policy, beta: float) -> None:
    policy = optima.vanilla(base, beta)
    bound = slack(base, policy)
    assert np.max(np.abs(policy.log_q[base.correct] - base.log_q[base.correct])) <= bound
    assert np.max(np.abs(policy.log_f[~base.correct] - base.log_f[~base.correct])) <= bound
    assert float(policy.logit_C - base.logit_C) == pytest.approx(1 / beta, abs=bound)


@few
@given(policies(), betas, st.floats(-0.04, 2.0))
def test_the_two_entropy_families_are_one(base: Policy, beta: float, g: float) -> None:
    """(beta, g) in the self form is (beta + g, g) in the base form; B4."""
    one = optima.entropy_bonus(base, beta, g)
    two = optima.entropy_bonus(base, beta + g, g, "base")
    # (beta b + r)/(beta + g) against (1 - g/(beta + g)) b + r/(beta + g): factors up to 25.
    assert gap(one, two) <= 8 * slack(base, one) * (1 + beta / (beta + g))


@few
@given(policies(), betas, strengths, strengths)
def test_smoothing_tempers_each_part(base: Policy, beta: float, g_p: float, g_n: float) -> None:
    literal = optima.smoothing(base, beta, g_p, g_n)
    # The literal optimum is Gibbs' for the reward r - g_p log b on S, + g_n log b on F.
    term = np.where(base.correct, 1 - g_p * base.log_probs, g_n * base.log_probs)
    direct = optima.gibbs(base, term, beta)
    assert gap(literal, direct) <= slack(base, literal) * (1 + (g_p + g_n) / beta)
    centred = optima.smoothing(base, beta, g_p, g_n, centred=True, logit_C=0.25)
    assert float(centred.logit_C) == pytest.approx(0.25, abs=slack(centred))
    wide = slack(base, literal, centred) * (1 + (g_p + g_n) / beta)
    assert np.max(np.abs(literal.log_q[base.correct] - centred.log_q[base.correct])) <= wide
    assert np.max(np.abs(literal.log_f[~base.correct] - centred.log_f[~base.correct])) <= wide
    default = optima.smoothing(base, beta, g_p, g_n, centred=True)
    assert float(default.logit_C - base.logit_C) == pytest.approx(1 / beta, abs=wide)


@few
@given(policies(least_log=-30.0), st.floats(0.5, 5.0), st.floats(0.0, 0.4), st.integers(0, 4))
def test_iteration_multiplies_exponents(base: Policy, beta: float, g: float, steps: int) -> None:
    policy = optima.iterated(base, beta, g, steps=steps)
    expected = optima.tempered(base.log_q, (1 - g / beta) ** steps)
    assert np.max(np.abs(policy.log_q[base.correct] - expected[base.correct])) <= 32 * (
        steps + 1
    ) * slack(base)


@few
@given(log_laws(1, 6, empty=True), st.floats(0.0, 3.0))
def test_tempering(law: np.ndarray, a: float) -> None:
    there = law > -np.inf
    out = optima.tempered(law, a)
    assert np.array_equal(out > -np.inf, there)
    # Log-odds are multiplied by a; the rest is normalisation.
    ratio = (out[there] - out[there][0]) - a * (law[there] - law[there][0])
    assert np.max(np.abs(ratio)) <= 16 * EPS * (1 + a) * (1 + np.max(-law[there]))
    entropy = optima.entropy_for_temperature(law, a)
    assert entropy == pytest.approx(float(shannon(out)), rel=1e-11, abs=1e-300)


@few
@given(log_laws(2, 6, least_log=-20.0), st.floats(0.05, 4.0))
def test_temperature_of_an_entropy_and_back(law: np.ndarray, a: float) -> None:
    entropy = float(optima.entropy_for_temperature(law, a))
    found = optima.temperature_for_entropy(law, entropy)
    assert found >= 0
    # dH/da = -a Var may be 0 (uniform law): compare entropies, which is what was asked for.
    again = float(optima.entropy_for_temperature(law, found))
    assert again == pytest.approx(entropy, abs=64 * EPS * law.size * (1 + float(np.max(-law))))


def test_temperatures_at_the_ends() -> None:
    law = np.log([0.5, 0.3, 0.2])
    assert optima.temperature_for_entropy(law, float(np.log(3.0))) == 0.0
    assert optima.temperature_for_entropy(np.log([0.5, 0.5]), float(np.log(2.0))) in (0.0, 1.0)
    assert optima.temperature_for_entropy(law, float(shannon(law))) == pytest.approx(1.0, rel=1e-12)
    assert optima.tempered(law, 0.0) == pytest.approx([-np.log(3.0)] * 3)
    # A law with probabilities of 1e-300 reaches an entropy of 1e-100.
    steep = np.array([0.0, -690.0])
    a = optima.temperature_for_entropy(steep, 1e-100)
    assert optima.entropy_for_temperature(steep, a) == pytest.approx(1e-100, rel=1e-9)


def test_base_probabilities_of_1e_300() -> None:
    base = Policy.from_logits([-690.0, 0.0, -1.0], [True, True, False])
    flat = optima.smoothing(base, 0.5, 0.5)
    assert flat.log_q[0] == pytest.approx(-np.log(2.0), rel=1e-13)
    sharp = optima.smoothing(base, 1e-3, 0.5)
    assert np.all(np.isfinite(sharp.log_probs))
    # Exponent 1 - 500: the rare trajectory wins by e^{499 * 690}.
    assert sharp.log_q[1] == pytest.approx(-499 * 690.0, rel=1e-12)


def test_batches() -> None:
    rng = np.random.default_rng(0)
    base = Policy.from_logits(rng.normal(size=(3, 4)), [True, False, True, False])
    for policy in (
        optima.vanilla(base, 0.5),
        optima.entropy_bonus(base, 0.5, 0.2),
        optima.smoothing(base, 0.5, 0.2, 0.1),
        optima.smoothing(base, 0.5, 0.2, centred=True, logit_C=[0.0, 1.0, 2.0]),
        optima.iterated(base, 0.5, 0.2, steps=2),
    ):
        assert policy.log_probs.shape == (3, 4)
    assert optima.tempered(base.log_q, [0.0, 1.0, 2.0]).shape == (3, 4)
    assert optima.entropy_for_temperature(base.log_q, [0.0, 1.0, 2.0]).shape == (3,)


BASE = Policy(np.log([0.25] * 4), [True, True, False, False])
LAW = np.log([0.7, 0.3])
BAD: list[tuple[str, Callable[[], object]]] = [
    ("beta", lambda: optima.vanilla(BASE, 0.0)),
    ("beta", lambda: optima.gibbs(BASE, np.zeros(4), np.nan)),
    ("reward", lambda: optima.gibbs(BASE, [np.inf, 0.0, 0.0, 0.0], 1.0)),
    ("reward", lambda: optima.gibbs(BASE, np.zeros(3), 1.0)),
    ("1/beta", lambda: optima.vanilla(BASE, 1e-310)),
    ("beta", lambda: optima.entropy_bonus(BASE, -1.0, 0.1)),
    ("beta \\+ g", lambda: optima.entropy_bonus(BASE, 1.0, -1.0)),
    ("g", lambda: optima.entropy_bonus(BASE, 1.0, np.nan)),
    ("form", lambda: optima.entropy_bonus(BASE, 1.0, 0.1, "other")),  # type: ignore[arg-type]
    ("g/beta", lambda: optima.entropy_bonus(BASE, 1e-5, 1e305, "base")),
    ("g_correct", lambda: optima.smoothing(BASE, 1.0, -0.1)),
    ("g_incorrect", lambda: optima.smoothing(BASE, 1.0, 0.1, np.inf)),
    ("1/beta", lambda: optima.smoothing(BASE, 1e-310, 0.0)),
    ("logit_C", lambda: optima.smoothing(BASE, 1.0, 0.1, logit_C=0.0)),
    ("logit_C", lambda: optima.smoothing(BASE, 1.0, 0.1, centred=True, logit_C=np.nan)),
    ("steps", lambda: optima.iterated(BASE, 1.0, 0.1, steps=-1)),
    ("log_p", lambda: optima.tempered([np.nan, 0.0], 1.0)),
    ("log_p", lambda: optima.tempered([-np.inf, -np.inf], 1.0)),
    ("log_p", lambda: optima.entropy_for_temperature(0.0, 1.0)),
    ("a", lambda: optima.tempered(LAW, np.inf)),
    ("a", lambda: optima.tempered(np.stack([LAW] * 3), [1.0, 2.0])),
    ("entropy", lambda: optima.temperature_for_entropy(np.log([[0.5, 0.5]]), [0.6, 0.6])),
    ("entropy", lambda: optima.temperature_for_entropy(LAW, 0.7)),
    ("entropy", lambda: optima.temperature_for_entropy(LAW, -0.1)),
    ("entropy", lambda: optima.temperature_for_entropy(LAW, np.nan)),
    ("entropy", lambda: optima.temperature_for_entropy([0.0, -1e-13], 0.01)),
]


@pytest.mark.parametrize(("name", "call"), BAD)
def test_errors_name_their_argument(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}:"):
        call()


def test_what_is_no_policy() -> None:
    for call in (
        lambda x: optima.gibbs(x, [0.0], 1.0),
        lambda x: optima.vanilla(x, 1.0),
        lambda x: optima.entropy_bonus(x, 1.0, 0.1),
        lambda x: optima.smoothing(x, 1.0, 0.1),
        lambda x: optima.iterated(x, 1.0, 0.1, steps=0),
    ):
        with pytest.raises(TypeError, match=r"^base:"):
            call([0.5, 0.5])
    with pytest.raises(TypeError, match=r"^steps:"):
        optima.iterated(BASE, 1.0, 0.1, steps=1.5)  # type: ignore[arg-type]
