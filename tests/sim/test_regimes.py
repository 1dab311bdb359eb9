"""Regimes: stated laws hold, seeds stack, ids resolve, CountDown is enumerated truly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from diffsmooth.llm.tasks.countdown_solver import multiplicity
from diffsmooth.llm.tasks.expression import evaluate, parse
from diffsmooth.llm.tasks.puzzle import Puzzle
from diffsmooth.sim.measures import success
from diffsmooth.sim.regimes import REGIMES, identities, regime
from diffsmooth.sim.regimes.bandit import Bandit
from diffsmooth.sim.regimes.countdown import CountDown, solved
from diffsmooth.sim.regimes.expressions import expressions
from diffsmooth.sim.regimes.laws import surviving
from diffsmooth.sim.regimes.noisy import Noisy
from diffsmooth.sim.regimes.strategies import Strategies


def test_the_map_has_its_cells():
    assert len(REGIMES) == 7
    assert len(identities()) >= 300
    assert len(set(map(repr, (regime(i) for i in identities())))) == len(identities())


@pytest.mark.parametrize("name", REGIMES)
def test_seeds_are_independent_of_their_number(name):
    alone = regime(name).environment(range(2, 3))
    among = regime(name).environment(range(4))
    np.testing.assert_array_equal(alone.base[0], among.base[2])
    np.testing.assert_array_equal(alone.correct[0], among.correct[2])
    np.testing.assert_array_equal(alone.test_correct[0], among.test_correct[2])
    assert not np.array_equal(among.base[0], among.base[1])


@pytest.mark.parametrize("identity", [f"{name}/0" for name in REGIMES])
def test_base_policies_are_laws_with_both_kinds(identity):
    e = regime(identity).environment(range(3))
    np.testing.assert_allclose(np.exp(e.base).sum(-1), 1.0, atol=1e-12)
    assert np.all(e.test_correct.any(-1))
    if not isinstance(regime(identity), Strategies):
        assert np.all(e.correct | ~e.test_correct)


@pytest.mark.parametrize("name", ["bandit", "multiplicity", "tree", "countdown", "noisy"])
def test_base_correctness_is_as_stated(name):
    stated = {"correctness": 0.3, "spread": 0.0}
    kind = Noisy(bandit=Bandit(**stated)) if name == "noisy" else REGIMES[name](**stated)
    e = kind.environment(range(3))
    np.testing.assert_allclose(success(e, np.exp(e.base)[None]), 0.3, atol=1e-12)


@pytest.mark.parametrize("wrong", ["bandid", "bandit/72", "bandit/x", "bandit/-1"])
def test_unknown_ids_are_refused(wrong):
    with pytest.raises(ValueError, match="bandit"):
        regime(wrong)


def test_classes_survive_as_wholes():
    rng = np.random.default_rng(0)
    correct = np.array([[True, True, True, False]])
    classes = np.array([[0, 0, 1, 2]])
    seen = {tuple(surviving(rng, correct, classes, 0.3)[0]) for _ in range(200)}
    assert seen == {(True, True, False, False), (False, False, True, False), (True,) * 3 + (False,)}


@pytest.mark.parametrize(("count", "trees", "classes"), [(1, 1, 1), (2, 8, 6), (3, 192, 68)])
def test_expressions_are_complete(count, trees, classes):
    found = expressions(count)
    assert len(found) == trees
    assert len({e.key for e in found}) == classes
    texts = [e.text((2, 3, 5)[:count]) for e in found]
    assert len(set(texts)) == trees


def test_four_numbers_give_the_known_number_of_classes():
    assert len({e.key for e in expressions(4)}) == 1170  # OEIS A140606


@pytest.mark.parametrize("seed", range(5))
def test_countdown_agrees_with_the_task_s_solver(seed):
    rng = np.random.default_rng(seed)
    numbers, target = CountDown()._instance(rng)
    hits = solved(numbers, target)
    found = expressions(len(numbers))
    assert len({e.key for e, hit in zip(found, hits, strict=True) if hit}) == multiplicity(
        Puzzle(numbers, target), "ac"
    )
    for e, hit in list(zip(found, hits, strict=True))[::7]:
        tree = parse(e.text(numbers)).tree
        assert (evaluate(tree) == target) == hit


def test_bands_of_multiplicity_hold():
    e = CountDown(few=2, many=3, prompts=6).environment(range(1))
    for prompt in range(6):
        assert 2 <= len(set(e.classes[0, prompt][e.correct[0, prompt]])) <= 3


def test_fixed_and_fresh_verifiers():
    fixed = Noisy(0.3, 0.3, True).environment(range(4))
    fresh = Noisy(0.3, 0.3, False).environment(range(4))
    assert set(np.unique(fixed.verified)) == {0.0, 1.0}
    assert set(np.unique(fresh.verified)) == {0.3, 0.7}
    assert (fixed.verified.astype(bool) != fixed.correct).mean() > 0.1
    clean = Noisy(0.0, 0.0).environment(range(2))
    np.testing.assert_array_equal(clean.verified.astype(bool), clean.correct)


def test_a_noisy_bandit_s_streams_are_keyed_by_flat_parameters():
    """The key of a cell's random numbers: another text would be other problems."""
    assert repr(Noisy(0.05, 0.1, False, Bandit(correctness=0.5))) == (
        "Noisy(false_positive=0.05, false_negative=0.1, fixed=False, correctness=0.5, "
        "solutions=8, incorrect=16, skew=1.0, prompts=8, spread=0.5, survive=0.5)"
    )
    parameters = {f.name for f in dataclasses.fields(Bandit)}
    assert all(f"{name}=" in repr(Noisy()) for name in parameters)
    clean = Noisy(0.0, 0.0).draw(np.random.default_rng(0))
    plain = Bandit().draw(np.random.default_rng(0))
    np.testing.assert_array_equal(clean.base, plain.base)


def test_bad_parameters_are_named():
    with pytest.raises(ValueError, match="solutions"):
        Bandit(solutions=0)
    with pytest.raises(ValueError, match="p: must lie strictly"):
        Bandit(correctness=1.0)
