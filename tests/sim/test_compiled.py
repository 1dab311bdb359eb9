"""Compiled kernels against the plain NumPy dynamics; skipped where numba is missing."""

from __future__ import annotations

import numpy as np
import pytest

from diffsmooth.sim import kernels
from diffsmooth.sim.dynamics import compiled, exact
from diffsmooth.sim.dynamics.device import exact_steps_on
from diffsmooth.sim.dynamics.draws import Randomness, Sampler
from diffsmooth.sim.dynamics.expected import NoClosedFormError
from diffsmooth.sim.environment import Environment
from diffsmooth.sim.paths import Laboratory
from diffsmooth.sim.policies import Tabular, softmax
from diffsmooth.sim.regimes import Training, regime
from diffsmooth.sim.regimes.bandit import Bandit
from diffsmooth.theory.rules import rule

pytestmark = pytest.mark.skipif(not kernels.available(), reason="needs the extra 'fast' (numba)")

RULES = {
    "vanilla": rule("vanilla"),
    "grpo": rule("grpo"),
    "w-reinforce": rule("w-reinforce"),
    "entropy-bonus": rule("entropy-bonus", g=0.2),
    "eq6": rule("eq6", g_correct=0.3, g_incorrect=0.1),
    "centred": rule("centred", g_correct=0.5, g_incorrect=0.2, base="maxrl"),
}


@pytest.mark.parametrize(
    ("name", "size"), [*((name, 8) for name in RULES), ("vanilla", None), ("w-reinforce", None)]
)
def test_steps_are_those_of_numpy(name, size):
    e = Bandit(solutions=5, incorrect=8, prompts=7).environment(range(3))
    start = e.model.start(1)
    expected = exact.steps(exact.expected_gradient(e, [RULES[name]], size), start, 20, 0.7)
    got = start.reshape(1, -1, start.shape[-1]).copy()
    verified = e.verified.reshape(-1, start.shape[-1])
    compiled.exact_steps(got, verified, [RULES[name]], rates=[0.7], count=20, group_size=size)
    np.testing.assert_allclose(got.reshape(start.shape), expected, rtol=0, atol=1e-11)


def test_fresh_noise_is_known():
    e = Bandit(solutions=3, incorrect=4, prompts=2).environment(range(1))
    noisy = np.where(e.correct, 0.8, 0.1)
    object.__setattr__(e, "verified", noisy)
    r = RULES["eq6"]
    expected = exact.steps(exact.expected_gradient(e, [r], 8), e.model.start(1), 10, 0.5)
    got = e.model.start(1).reshape(1, 2, -1).copy()
    compiled.exact_steps(got, noisy[0], [r], rates=[0.5], count=10, group_size=8)
    np.testing.assert_allclose(got.reshape(expected.shape), expected, atol=1e-12)


def test_threads_change_no_byte():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((1, 300, 37))
    verified = (rng.random((300, 37)) < 0.3) * 1.0
    runs = []
    for threads in (1, 3):
        out = logits.copy()
        compiled.exact_steps(
            out, verified, [RULES["centred"]], rates=[0.5], count=9, group_size=8, threads=threads
        )
        runs.append(out.tobytes())
    assert runs[0] == runs[1]


def test_one_correct_set_for_all():
    logits = np.random.default_rng(0).standard_normal((1, 20, 9))
    shared = (np.arange(9) < 3)[None] * 1.0
    a, b = logits.copy(), logits.copy()
    given = {"rates": [0.5], "count": 5, "group_size": 8}
    compiled.exact_steps(a, shared, [RULES["grpo"]], **given)
    compiled.exact_steps(b, np.repeat(shared, 20, 0), [RULES["grpo"]], **given)
    np.testing.assert_array_equal(a, b)


def test_the_exponential_spans_its_range():
    """Policies of 700 nats: weights as small as exp(-700) come out right."""
    logits = np.array([[[0.0, -700.0, -1e-9, -350.0]]])
    out = logits.copy()
    compiled.exact_steps(
        out, np.array([[1.0, 1, 0, 0]]), [RULES["vanilla"]], rates=[1.0], count=1, group_size=None
    )
    weight = np.exp(logits[0, 0])
    pi = weight / weight.sum()
    moved = pi * (np.array([1.0, 1, 0, 0]) - pi[:2].sum())
    np.testing.assert_allclose(out[0, 0, [0, 2]] - logits[0, 0, [0, 2]], moved[[0, 2]], rtol=1e-9)


@pytest.mark.parametrize("where", ["bandit", "multiplicity/15", "strategies", "tree", "noisy/4"])
def test_groups_are_the_same_bits(where, monkeypatch):
    """Fused kernel against NumPy: ids, verdicts, log-probs and places, padding and masks too."""
    e = regime(where).environment(range(3))
    rng = np.random.default_rng(1)
    parameters = e.model.start(2) + rng.standard_normal(e.model.start(2).shape)
    local, law = softmax(e.model.logits(parameters))
    answers = law[..., 0, :] if law.shape[-2] == 1 else np.exp(e.model.answers(local))
    shape = (3, 2, int(e.train.sum()), 8)
    blank = Randomness(rng.random(shape), rng.random(shape), np.zeros((*shape, 1)))
    blank.draws[0, 1, 0, 0] = 0.0
    sampler = Sampler(e, 2, 8)
    fused = sampler(local, answers, blank, 1)
    monkeypatch.setattr(kernels, "available", lambda: False)
    plain = sampler(local, answers, blank, 1)
    for name in ("answers", "accepted", "old", "where"):
        got, expected = getattr(fused, name), getattr(plain, name)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected, err_msg=name)


@pytest.mark.parametrize("fused", [True, False])
def test_what_has_no_probability_is_never_drawn(fused, monkeypatch):
    monkeypatch.setattr(kernels, "available", lambda: fused)
    with np.errstate(divide="ignore"):
        base = np.log(np.array([[[0.5, 0.0, 0.5]]]))
    correct = np.array([[[True, False, False]]])
    one = np.ones(1, dtype=np.bool_)
    e = Environment(
        model=Tabular(base),
        correct=correct,
        test_correct=correct,
        verified=correct * 1.0,
        classes=np.arange(3)[None, None],
        lengths=np.ones(3, dtype=np.int64),
        train=one,
        test=one,
    )
    edges = np.array([[[[0.0, 0.5, np.nextafter(1.0, 0.0), np.nextafter(0.5, 0.0)]]]])
    rows = Sampler(e, 1, 4)(
        base[None][:, :, :, None], np.exp(base)[None], Randomness(edges, edges, edges), 0
    )
    np.testing.assert_array_equal(rows.answers[0, 0, 0], [0, 2, 2, 0])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("size", [1, 2, 6, 8, 9, 12, 97])
def test_softmax_gives_the_same_bytes_with_and_without(size, turned, monkeypatch):
    logits = np.random.default_rng(size).normal(scale=20.0, size=(size, 5, 3, 4, 1))
    logits[1:, 0, 0, 0, 0] = -np.inf
    logits = np.moveaxis(logits, 0, -1)  # rows that do not lie one after the other
    if not turned:
        logits = logits.copy()
    fused = softmax(logits)
    monkeypatch.setattr(kernels, "available", lambda: False)
    for got, expected in zip(fused, softmax(logits), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_what_it_cannot_do_is_refused():
    given = {"rates": [1.0], "count": 1, "group_size": 8}
    with pytest.raises(NoClosedFormError):
        compiled.exact_steps(np.zeros((1, 1, 3)), np.ones((1, 3)), [rule("ucpo")], **given)
    bad = np.array([[[0.0, -np.inf]]])
    with pytest.raises(ValueError, match="finite"):
        compiled.exact_steps(bad, np.ones((1, 2)), [rule("grpo")], **given)


@pytest.mark.parametrize("name", RULES)
def test_torch_gives_the_same_steps(name):
    e = Bandit(solutions=5, incorrect=8, prompts=7).environment(range(1))
    here = e.base.copy()
    given = {"rates": [0.7], "count": 20, "group_size": 8}
    there = exact_steps_on("cpu", here, e.verified[0], [RULES[name]], **given)
    compiled.exact_steps(here, e.verified[0], [RULES[name]], **given)
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-11)


def test_devices_that_are_not_there_are_refused():
    import torch

    given = {"rates": [0.7], "count": 1, "group_size": 8}
    missing = "xyz" if torch.cuda.is_available() else "cuda"
    with pytest.raises(ValueError, match="device: torch"):
        exact_steps_on(missing, np.zeros((1, 1, 3)), np.ones((1, 3)), [rule("grpo")], **given)
    with pytest.raises(ValueError, match="only exact dynamics"):
        Laboratory(Bandit(), range(1), "sampled", device="cpu")


def test_a_laboratory_runs_in_torch():
    short = Training(8, checkpoints=3)
    cell = Bandit(prompts=2)
    plain = Laboratory(cell, range(2), "exact", short).run("eq6").measures["entropy"]
    torch_ = Laboratory(cell, range(2), "exact", short, "cpu").run("eq6").measures["entropy"]
    np.testing.assert_allclose(torch_, plain, atol=1e-11)
