"""The adaptive strength holds H(q) still, groups of G included; C5 in the simulator."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from diffsmooth.sim.dynamics import exact
from diffsmooth.sim.dynamics.adaptive import critical_strengths, literal_works
from diffsmooth.sim.measures import correct_law
from diffsmooth.sim.paths import Laboratory
from diffsmooth.sim.predictions import entropy_speeds
from diffsmooth.sim.regimes import Training, regime
from diffsmooth.sim.regimes.bandit import Bandit
from diffsmooth.theory.critical import critical_strength
from diffsmooth.theory.diversity import shannon
from diffsmooth.theory.policy import Policy
from diffsmooth.theory.rules import GRPO, Reinforce, rule

ONE = Bandit(prompts=1)


def entropy_speed(environment, update_rule, group_size):
    """dH(q)/dt at the start of the flow, by a central difference."""
    field = exact.expected_gradient(environment, [update_rule], group_size)
    start = environment.model.start(1)
    h = 1e-5
    ahead, behind = start + h * field(start), start - h * field(start)
    value = [
        shannon(correct_law(environment, environment.model.log_probs(x)))[0, 0, 0]
        for x in (ahead, behind)
    ]
    return (value[0] - value[1]) / (2 * h)


@pytest.mark.parametrize("base", ["grpo", "vanilla", "maxrl"])
@pytest.mark.parametrize("size", [2, 8, 64])
def test_at_the_critical_strength_entropy_stands_still(base, size):
    e = ONE.environment(range(1))
    pushes = rule(base)
    strength = critical_strengths(e.base, e.correct, pushes, size)[0, 0]
    at = entropy_speed(e, rule("centred", g_correct=strength, base=pushes), size)
    below = entropy_speed(e, rule("centred", g_correct=0.5 * strength, base=pushes), size)
    above = entropy_speed(e, rule("centred", g_correct=2 * strength, base=pushes), size)
    assert abs(at) < 1e-8
    assert below < -1e-4 < 1e-4 < above


def test_without_a_group_it_is_the_theory_s():
    e = ONE.environment(range(1))
    got = critical_strengths(e.base, e.correct, Reinforce(), None)
    expected = critical_strength(Policy(e.base, e.correct), form="centred")
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_groups_of_one_cannot_be_centred():
    e = ONE.environment(range(1))
    strength = critical_strengths(e.base, e.correct, GRPO(), 1)
    assert np.all(strength > 1e6) or np.all(np.isinf(strength))


def test_literal_smoothing_can_speed_the_collapse_up():
    """theory.md C5: where the bracket is not positive no literal strength helps."""
    found = {True: 0, False: 0}
    for seed, correctness in product(range(10), (0.1, 0.6, 0.9)):
        cell = Bandit(prompts=1, correctness=correctness, skew=2.0)
        e = cell.environment(range(seed, seed + 1))
        works = bool(literal_works(e.base, e.correct)[0, 0])
        found[works] += 1
        literal = rule("eq6", g_correct=1.0, g_incorrect=0.0, base="vanilla")
        slower = entropy_speed(e, literal, None) > entropy_speed(e, rule("vanilla"), None)
        assert slower == works
    assert found[True]
    assert found[False]


def test_adaptive_keeps_diversity_in_training():
    laboratory = Laboratory(Bandit(prompts=4), range(4), training=Training(40, checkpoints=5))
    entropy = laboratory.run("adaptive", [0.0, 1.0]).measures["entropy"].mean(-1)
    assert entropy[-1, 0] < 0.6 * entropy[0, 0]
    assert entropy[-1, 1] > 0.8 * entropy[0, 1]


def test_the_speeds_that_predict_are_those_of_the_flow():
    """C5 term by term, groups of 8, against a central difference of the exact flow."""
    e = ONE.environment(range(1))
    speeds = entropy_speeds(e, 8)
    plain = entropy_speed(e, rule("grpo"), 8)
    centred = entropy_speed(e, rule("centred", g_correct=0.7), 8) - plain
    literal = entropy_speed(e, rule("eq6", g_correct=0.7, g_incorrect=0.0), 8) - plain
    assert speeds["grpo"] == pytest.approx(plain, abs=1e-9)
    assert 0.7 * speeds["centred"] == pytest.approx(centred, abs=1e-9)
    assert 0.7 * speeds["literal"] == pytest.approx(literal, abs=1e-9)
    critical = critical_strengths(e.base, e.correct, GRPO(), 8)[0, 0]
    assert speeds["adaptive"] == pytest.approx(min(critical, 2.0) * speeds["centred"])


def test_clipping_turns_the_sign_of_literal_smoothing():
    """theory.md C5 names no strength that helps here, and in one epoch literal smoothing speeds
    the collapse up.  In two epochs it does not: the rare correct answers that it pushes most are
    those that the second epoch clips.
    """
    gap = {}
    for epochs, steps in ((1, 8), (2, 4)):
        training = Training(steps, epochs=epochs, checkpoints=2)
        laboratory = Laboratory(regime("bandit/27"), range(32), training=training)
        literal, plain = (
            laboratory.run(name, [strength]).measures["entropy"][-1, 0]
            for name, strength in (("literal", 0.2), ("grpo", 1.0))
        )
        difference = literal - plain
        gap[epochs] = difference.mean(), difference.std(ddof=1) / 32**0.5
    (one, error), (two, other) = gap[1], gap[2]
    assert one < -4 * error
    assert two - one > 4 * np.hypot(error, other)
