"""Exact dynamics against the theory's closed forms; sampled ones against exact expectations."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from diffsmooth.sim.cells import twin
from diffsmooth.sim.dynamics import exact, natural
from diffsmooth.sim.dynamics.draws import Randomness, draw
from diffsmooth.sim.dynamics.sampled import Trainer
from diffsmooth.sim.paths import Laboratory, closed_remedies
from diffsmooth.sim.regimes import Training, regime
from diffsmooth.sim.regimes.bandit import Bandit
from diffsmooth.sim.remedies import REMEDIES, Update, remedy_named
from diffsmooth.theory import flows, optima
from diffsmooth.theory.policy import Policy
from diffsmooth.theory.rules import ClipBounds, rule

SMALL = Bandit(solutions=3, incorrect=4, prompts=2)


def policy(environment):
    return Policy(environment.base[0], environment.correct[0])


def test_a_discrete_step_is_the_theory_s():
    e = SMALL.environment(range(1))
    field = exact.expected_gradient(e, [rule("vanilla")], 8)
    got = exact.steps(field, e.model.start(1), 1, 0.7)[0, 0]
    expected = flows.softmax_pg_step(e.base[0], e.correct[0], 0.7)
    np.testing.assert_allclose(got, expected, atol=1e-14)


def test_the_flow_is_a3():
    e = SMALL.environment(range(1))
    field = exact.expected_gradient(e, [rule("vanilla")], None)
    got = e.model.log_probs(exact.flow(field, e.model.start(1), 30.0, 400))[0, 0]
    expected = flows.softmax_pg_flow(policy(e), 30.0).log_probs
    np.testing.assert_allclose(got, expected, atol=1e-8)


@pytest.mark.parametrize("centred", [True, False])
def test_the_flow_of_smoothing_is_the_theory_s(centred):
    e = SMALL.environment(range(1))
    name = "centred" if centred else "eq6"
    smoothed = rule(name, g_correct=0.3, g_incorrect=0.0, base="vanilla")
    field = exact.expected_gradient(e, [smoothed], None)
    got = e.model.log_probs(exact.flow(field, e.model.start(1), 5.0, 200))[0, 0]
    expected = flows.smoothing_flow(policy(e), 5.0, 0.3, centred=centred).log_probs
    np.testing.assert_allclose(got, expected, atol=1e-7)


def test_the_natural_gradient_is_c3():
    e = SMALL.environment(range(1))
    field = natural.natural_gradient(e, [rule("centred", g_correct=0.3, base="vanilla")], None)
    got = e.model.log_probs(exact.flow(field, e.model.start(1), 2.0, 100))[0, 0]
    expected = flows.natural_gradient_flow(policy(e), 0.3, 0.0, 2.0, centred=True).log_probs
    np.testing.assert_allclose(got, expected, atol=1e-8)


def test_best_responses_are_the_optima():
    e = SMALL.environment(range(1))
    rules = [rule("vanilla"), rule("entropy-bonus", g=0.1, base="vanilla")]
    got = natural.best_response(e, rules, None, 1 / 0.5)[:, 0]
    np.testing.assert_allclose(got[0], optima.vanilla(policy(e), 0.5).log_probs, atol=1e-12)
    expected = optima.entropy_bonus(policy(e), 0.5, 0.1, form="base").log_probs
    np.testing.assert_allclose(got[1], expected, atol=1e-12)


def test_geometries_need_a_softmax_a_prompt():
    e = regime("tree").environment(range(1))
    with pytest.raises(ValueError, match="Tree"):
        natural.natural_gradient(e, [rule("vanilla")], None)


def one_step(environment, update, size, uniforms):
    seeds, prompts = environment.seeds, int(environment.train.sum())
    length = environment.model.mask.shape[1]
    noise = np.random.default_rng(5).random((seeds, 1, prompts, size))
    tokens = np.zeros((seeds, 1, prompts, size, length))
    trainer = Trainer(environment, [update], group_size=size, epochs=1, rate=1.0)
    start = trainer.parameters.copy()
    trainer.run(1, Randomness(uniforms, noise, tokens), lambda *_: None, 1)
    return trainer.parameters - start


@pytest.mark.parametrize(
    ("where", "name"),
    [("bandit", name) for name in closed_remedies()]
    + list(product(("strategies", "tree", "noisy/50"), ("grpo", "eq6", "centred"))),
)
def test_sampled_means_are_the_expectation(where, name):
    """Along 3 directions, within 4 standard errors, on 2000 groups a prompt."""
    one = regime(where).environment(range(1))
    repeats, size = 2000, 8
    many = stacked(one, repeats)
    update = remedy_named(name).updates()[-2]
    uniforms = np.random.default_rng(7).random((repeats, 1, int(one.train.sum()), size))
    moved = one_step(many, update, size, uniforms)[0].reshape(repeats, -1)
    field = exact.expected_gradient(one, [update.rule], size)
    expected = update.rate * field(one.model.start(1))[0, 0].reshape(-1)
    # Dense directions: a rare answer alone is too rarely drawn for its mean to be Gaussian.
    directions = np.random.default_rng(8).standard_normal((moved.shape[1], 3))
    sample, centre = moved @ directions, expected @ directions
    error = sample.std(0) / np.sqrt(repeats)
    assert np.all(np.abs(sample.mean(0) - centre) <= 4 * error)
    assert np.all(4 * error < np.abs(expected).sum())  # the test has power


def stacked(one, repeats):
    from diffsmooth.sim.regimes.base import stack

    return stack([one] * repeats)


def test_equal_policies_draw_equal_answers():
    """Paired randomness: GRPO at strength 1 inside two different remedies' runs is identical."""
    laboratory = Laboratory(SMALL, range(3), training=Training(8, checkpoints=3))
    plain = laboratory.run("grpo", [1.0]).measures
    for name in ("centred", "entropy-bonus", "clip-higher", "clip-cov", "kl-cov", "adaptive"):
        same = laboratory.run(name, [REMEDIES[name].neutral]).measures
        for key, value in plain.items():
            np.testing.assert_array_equal(same[key], value, err_msg=f"{name} {key}")


@pytest.mark.parametrize("name", REMEDIES)
def test_twins_do_the_same(name):
    """What the map runs once for two remedies is the same for both."""
    laboratory = Laboratory(SMALL, range(3), training=Training(8, checkpoints=3))
    other = twin(laboratory, name)
    if other == name:
        assert name not in ("psr", "token", "spread", "mean")
        return
    assert remedy_named(name).strengths == remedy_named(other).strengths
    mine, theirs = laboratory.run(name).measures, laboratory.run(other).measures
    for key, value in mine.items():
        np.testing.assert_allclose(value, theirs[key], rtol=1e-9, atol=1e-12)


def test_clipping_bounds_the_move():
    """With many epochs a clipped ratio stops near 1 + high; a wider interval lets it go further."""
    e = SMALL.environment(range(4))
    uniforms = np.random.default_rng(3).random((4, 1, 2, 8))
    noise = np.random.default_rng(4).random((4, 1, 2, 8))
    blank = Randomness(uniforms, noise, np.zeros((4, 1, 2, 8, 1)))
    largest = []
    for high in (0.2, 1.0):
        # Positive updates only: pushing wrong answers down would raise the others past the bound.
        update = Update(rule("psr"), clip=ClipBounds(0.2, high))
        trainer = Trainer(e, [update], group_size=8, epochs=200, rate=0.02)
        trainer.run(1, blank, lambda *_: None, 1)
        moved = e.model.log_probs(trainer.parameters)[0] - e.base
        drawn = draw(np.exp(e.base)[None], uniforms[:, 0])[0]
        right = np.take_along_axis(e.correct, drawn, -1)
        ratio = np.exp(np.take_along_axis(moved, drawn, -1))
        largest.append(ratio[right].max())
    assert largest[0] < 1.25
    assert largest[1] > 1.3


def test_prompts_that_are_not_trained_only_move_through_shared_weights():
    e = regime("strategies").environment(range(2))
    update = remedy_named("grpo").updates()[2]
    uniforms = np.random.default_rng(3).random((2, 1, int(e.train.sum()), 8))
    moved = one_step(e, update, 8, uniforms)
    assert moved.shape[-1] == e.model.features
    assert np.abs(moved).max() > 0


@pytest.mark.parametrize("dynamics", ["sampled", "exact", "flow", "natural", "response"])
def test_two_runs_with_one_seed_are_identical(dynamics):
    def bytes_of():
        laboratory = Laboratory(SMALL, range(2), dynamics, Training(8, checkpoints=3))
        measures = laboratory.run("centred").measures
        return b"".join(measures[k].tobytes() for k in sorted(measures))

    assert bytes_of() == bytes_of()


def test_a_seed_does_not_depend_on_how_many_are_asked_for():
    few = Laboratory(SMALL, range(2), training=Training(8, checkpoints=3)).run("eq6").measures
    many = Laboratory(SMALL, range(5), training=Training(8, checkpoints=3)).run("eq6").measures
    np.testing.assert_allclose(few["pass@1"], many["pass@1"][:, :, :2], rtol=1e-12)


def test_groups_too_small_are_refused():
    laboratory = Laboratory(SMALL, range(2), training=Training(8, group_size=4, checkpoints=3))
    with pytest.raises(ValueError, match="pass-at-k: needs groups of at least 8"):
        laboratory.run("pass-at-k")
