"""Replay of verified answers in the simulator."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from diffsmooth.sim.dynamics.memory import Memory
from diffsmooth.sim.paths import Laboratory, plain_rule
from diffsmooth.sim.regimes import Training, regime
from diffsmooth.sim.remedies import REMEDIES, Update
from diffsmooth.theory.rules import rule


@pytest.mark.parametrize("name", ["bandit", "tree", "strategies"])
def test_its_gradient_is_that_of_the_mean_log_prob_of_the_bank(name: str) -> None:
    environment = regime(name).environment(range(2))
    model = environment.model
    rng = np.random.default_rng(0)
    strengths = np.array([0.3, 0.7])
    memory = Memory(environment, strengths)
    memory.bank = (rng.random(memory.bank.shape) < 0.3) & environment.correct
    parameters = model.start(2)
    if name == "strategies":
        parameters = parameters + 0.1 * rng.normal(size=parameters.shape)

    def objective(x: np.ndarray) -> float:
        log_probs = model.log_probs(x)
        size = np.maximum(memory.bank.sum(-1), 1)
        each = np.where(memory.bank, log_probs / model.mask.sum(1), 0.0).sum(-1) / size
        return float((strengths[:, None, None] * each).sum())

    gradient = model.gradient(np.exp(model.local(parameters)), memory.table())
    flat = np.flatnonzero(np.isfinite(parameters.reshape(-1)))
    for at in rng.choice(flat, 12, replace=False):
        step = np.zeros(parameters.size)
        step[at] = 1e-6
        step = step.reshape(parameters.shape)
        slope = (objective(parameters + step) - objective(parameters - step)) / 2e-6
        assert gradient.reshape(-1)[at] == pytest.approx(slope, abs=1e-8)


def test_the_bank_keeps_what_was_accepted_once() -> None:
    training = Training(steps=2, checkpoints=2)
    laboratory = Laboratory(regime("bandit"), range(2), "sampled", training)
    environment = laboratory.environment
    memory = Memory(environment, np.array([0.1]))
    assert not memory.table().any()
    from diffsmooth.sim.dynamics.draws import Sampler

    sampler = Sampler(environment, 1, training.group_size)
    local = environment.base_local[None]
    law = np.exp(environment.base)[None]
    assert laboratory.randomness is not None
    seen = np.zeros_like(memory.bank)
    for step in range(2):
        rows = sampler(local, law, laboratory.randomness, step)
        memory.add(rows)
        for _, s, q, g in np.ndindex(rows.answers.shape):
            if rows.accepted[0, s, q, g]:
                seen[0, s, rows.prompt[s, q, g], rows.answers[0, s, q, g]] = True
        np.testing.assert_array_equal(memory.bank, seen)
    assert not (memory.bank & ~environment.correct).any()
    assert memory.bank.any()


def test_replay_0_is_the_rule_alone() -> None:
    laboratory = Laboratory(regime("bandit"), range(3), "sampled", Training(steps=8, checkpoints=2))
    plain = laboratory.tune("grpo", [(1.0, 1.0)])
    remedy = dataclasses.replace(
        REMEDIES["replay"], make=lambda s: Update(rule("grpo"), replay=0 * s), name="zero"
    )
    REMEDIES["zero"] = remedy
    try:
        found = laboratory.tune("zero", [(0.1, 1.0)])
    finally:
        del REMEDIES["zero"]
    for key, value in plain.measures.items():
        np.testing.assert_array_equal(found.measures[key], value)


def test_a_seed_depends_on_itself_alone_and_strengths_run_side_by_side() -> None:
    training = Training(steps=8, checkpoints=2)
    many = Laboratory(regime("tree"), range(4), "sampled", training)
    one = Laboratory(regime("tree"), range(2, 3), "sampled", training)
    trials = [(0.1, 1.0), (1.0, 1.0)]
    for name in ("replay", "three-levers", "unit-replay"):
        pairs = trials if name != "unit-replay" else [(0.5, 1.0), (1.0, 1.0)]
        a, b = many.tune(name, pairs), one.tune(name, pairs)
        alone = one.tune(name, pairs[1:])
        for key in ("entropy", "pass@1"):
            np.testing.assert_array_equal(a.measures[key][..., 2], b.measures[key][..., 0])
            np.testing.assert_array_equal(b.measures[key][:, 1], alone.measures[key][:, 0])


def test_it_keeps_what_vanilla_loses_and_loses_what_it_has_not_seen() -> None:
    """E5 on samples: the bank's answers level, all others fade."""
    laboratory = Laboratory(
        regime("bandit"), range(4), "sampled", Training(steps=512, checkpoints=2)
    )
    plain = laboratory.tune("vanilla", [(2.0, 1.0)])
    kept = laboratory.tune("replay", [(0.3, 1.0)])
    assert kept.measures["entropy"][-1].mean() > plain.measures["entropy"][-1].mean() + 0.5


def test_it_has_no_closed_form_and_no_negative_strength() -> None:
    with pytest.raises(ValueError, match="replay"):
        plain_rule(Update(rule("grpo"), replay=0.1))
    with pytest.raises(ValueError, match="replay: must be at least 0"):
        Update(rule("grpo"), replay=-0.1)
