"""Expected updates against the sum over all groups, and against the theory's gradients."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from diffsmooth.sim.dynamics.expected import (
    NoClosedFormError,
    Population,
    expected_advantage,
    kept_share,
)
from diffsmooth.sim.paths import closed_remedies, plain_rule
from diffsmooth.sim.remedies import remedy_named
from diffsmooth.theory.gradients import smoothing_gradient
from diffsmooth.theory.policy import Policy
from diffsmooth.theory.rules import GroupBatch, Smoothed, SmoothingTerm, rule

LAW = np.array([0.35, 0.2, 0.3, 0.15])


def over_all_groups(r, verified, lengths, size):
    """Gradient in the logits, summed over every group of ``size`` answers and every verdict."""
    total = np.zeros(len(LAW))
    outcomes = [(i, v) for i in range(len(LAW)) for v in (True, False)]
    for group in product(outcomes, repeat=size):
        ids = np.array([i for i, _ in group])
        verdict = np.array([v for _, v in group])
        chance = np.prod([verified[i] if v else 1 - verified[i] for i, v in group])
        weight = chance * np.prod(LAW[ids])
        if weight == 0:
            continue
        batch = GroupBatch(
            reward=verdict.astype(float),
            correct=verdict,
            group=np.zeros(size, dtype=int),
            logps=np.log(LAW[ids]),
            lengths=lengths[ids],
            ref_logps=np.log(LAW[::-1][ids]),
        )
        for i, a in zip(ids, r(batch), strict=True):
            total += weight * a / size * ((np.arange(len(LAW)) == i) - LAW)
    return total


CASES = {name: plain_rule(remedy_named(name).updates()[-2]) for name in closed_remedies()}
CASES |= {
    "drop": Smoothed(rule("grpo"), SmoothingTerm(0.3, 0.2, one_kind="drop")),
    "drop centred": Smoothed(
        rule("grpo"), SmoothingTerm(0.3, 0.2, centring="correct", one_kind="drop")
    ),
    "kl-reward, linear base": rule("kl-reward", beta=0.3, base="dr-grpo"),
    "reward, vanilla": rule("reward", g_correct=0.3, g_incorrect=0.1, base="vanilla"),
}


@pytest.mark.parametrize("verified", [(1.0, 1.0, 0.0, 0.0), (0.9, 0.7, 0.2, 0.0)])
@pytest.mark.parametrize("name", CASES)
def test_expectation_is_the_sum_over_groups(name, verified):
    size = 4 if name in ("pass-at-k", "pkpo", "two-part") else 3
    if name in ("pass-at-k", "pkpo"):
        r = rule(name, k=3)
    elif name == "two-part":
        r = rule("two-part", base=rule("pass-at-k", k=3), g_correct=0.2)
    else:
        r = CASES[name]
    if size == 4 and verified[0] < 1:
        size = 3
    chance, lengths = np.array(verified), np.array([1, 3, 2, 5])
    population = Population(np.log(LAW), chance, lengths, np.log(LAW[::-1]))
    advantage = expected_advantage(r, population, size)
    weight = LAW * advantage
    gradient = weight - weight.sum() * LAW
    np.testing.assert_allclose(gradient, over_all_groups(r, chance, lengths, size), atol=1e-12)


@pytest.mark.parametrize("centred", [False, True])
def test_large_groups_give_the_theory_s_gradient(centred):
    correct = np.array([True, True, False, False])
    term = SmoothingTerm(0.4, 0.1, centring="correct" if centred else "none")
    population = Population(np.log(LAW), correct * 1.0, np.ones(4, dtype=np.int64), np.log(LAW))
    advantage = expected_advantage(Smoothed(rule("vanilla"), term), population, None)
    weight = LAW * advantage
    expected = smoothing_gradient(Policy(np.log(LAW), correct), 0.4, 0.1, centred=centred)
    np.testing.assert_allclose(weight - weight.sum() * LAW, expected, atol=1e-14)


def test_padding_changes_nothing():
    padded = np.concatenate([np.log(LAW), [-np.inf]])
    chance = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    population = Population(padded, chance, np.ones(5, dtype=np.int64), padded)
    plain = Population(np.log(LAW), chance[:4], np.ones(4, dtype=np.int64), np.log(LAW))
    r = rule("eq6", g_correct=0.3, g_incorrect=0.3)
    np.testing.assert_allclose(
        expected_advantage(r, population, 8)[:4], expected_advantage(r, plain, 8)
    )


def test_a_group_of_one_correct_answer_is_not_centred_away_from_itself():
    assert kept_share(np.array([0.3]), 1) == pytest.approx(0.0, abs=1e-15)
    assert kept_share(np.array([1.0]), 8) == pytest.approx(7 / 8)


@pytest.mark.parametrize(
    "name", ["kl", "unlikeliness", "ucpo", "mara", "quotient", "token", "simko"]
)
def test_no_closed_form_is_said(name):
    population = Population(
        np.log(LAW), np.array([1.0, 1, 0, 0]), np.ones(4, dtype=np.int64), np.log(LAW)
    )
    with pytest.raises(NoClosedFormError, match="sampled"):
        expected_advantage(plain_rule(remedy_named(name).updates()[-1]), population, 8)
