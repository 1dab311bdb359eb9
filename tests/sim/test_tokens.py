"""Token-level remedies on hand-made tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diffsmooth.sim.dynamics.models import log_softmax
from diffsmooth.sim.heuristics.tokens import ClipCov, KLCov, SimKO, TokenBatch
from diffsmooth.sim.paths import Laboratory
from diffsmooth.sim.regimes import Training, regime


def tokens(seed=0, rows=40, length=3, vocabulary=5, nodes=30):
    """Answers that meet at ``nodes`` nodes: several tokens are taken at most of them."""
    rng = np.random.default_rng(seed)
    law = log_softmax(2 * rng.standard_normal((nodes, vocabulary)))
    node = rng.integers(0, nodes, (rows, length))
    taken = rng.integers(0, vocabulary, (rows, length))
    mask = np.arange(length) < rng.integers(1, length + 1, rows)[:, None]
    correct = rng.random(rows) < 0.5
    old = np.where(mask, law[node, taken], 0.0)
    advantage = np.where(mask, np.where(correct, 1.5, -1.0)[:, None], 0.0)
    return TokenBatch(advantage, old, law, node, taken, correct, mask, rng.random((rows, length)))


def covariances(b):
    """Slow transcription: (A_t - mean A)(l_t - mean l) over the real tokens."""
    real = [(i, t) for i, t in np.ndindex(b.mask.shape) if b.mask[i, t]]
    a = sum(b.advantage[x] for x in real) / len(real)
    mean = sum(b.old[x] for x in real) / len(real)
    return {x: (b.advantage[x] - a) * (b.old[x] - mean) for x in real}


def test_clip_cov_drops_random_tokens_of_middling_covariance():
    b = tokens()
    factor, extra = ClipCov(0.1)(b)
    cov = covariances(b)
    candidates = sorted((x for x in cov if 1 < cov[x] < 5), key=lambda x: b.uniforms[x])
    expected = np.ones_like(b.old)
    for x in candidates[: math.ceil(0.1 * len(cov))]:
        expected[x] = 0.0
    np.testing.assert_array_equal(factor, expected)
    assert candidates
    assert extra is None


def test_kl_cov_penalises_the_tokens_of_largest_covariance():
    b = tokens()
    _, extra = KLCov(0.1, beta=2.0)(b)
    cov = covariances(b)
    largest = sorted(cov, key=lambda x: -cov[x])[: math.ceil(0.1 * len(cov))]
    expected = np.zeros_like(b.law)
    for x in largest:
        expected[b.node[x]] += 2.0 * np.exp(b.law[b.node[x]])
    np.testing.assert_allclose(extra, expected)


def test_simko_spreads_at_forks_of_correct_answers_and_presses_on_wrong_modes():
    b = tokens()
    factor, weights = SimKO(alpha=0.3, top=2, penalty=1.5, quantile=0.5)(b)
    assert not factor.any()
    real = [x for x in np.ndindex(b.mask.shape) if b.mask[x]]
    entropy = {x: -sum(np.exp(b.law[b.node[x]]) * b.law[b.node[x]]) for x in real}
    threshold = np.quantile(list(entropy.values()), 0.5)
    total = np.zeros_like(b.law)
    for x, h in entropy.items():
        expected = np.zeros(b.law.shape[-1])
        order = np.argsort(-b.law[b.node[x]])
        if b.correct[x[0]] and h >= threshold:
            expected[b.taken[x]] = 0.7
            expected[order[:2]] += 0.15
        else:
            wrong_mode = not b.correct[x[0]] and order[0] == b.taken[x]
            expected[b.taken[x]] = 1.5 if wrong_mode else 1.0
        total[b.node[x]] += expected * b.advantage[x]
    np.testing.assert_allclose(weights, total, atol=1e-12)


@pytest.mark.parametrize("where", ["bandit", "tree"])
def test_simko_without_its_parts_is_grpo(where):
    laboratory = Laboratory(regime(where), range(2), training=Training(8, checkpoints=3))
    plain = laboratory.run("grpo", [1.0]).measures["pass@1"]
    # One epoch less to compare: SimKO does not weigh by the importance ratio.
    same = Laboratory(regime(where), range(2), training=Training(8, epochs=1, checkpoints=3))
    np.testing.assert_allclose(
        same.run("simko", [0.0]).measures["pass@1"],
        same.run("grpo", [1.0]).measures["pass@1"],
        rtol=1e-10,
    )
    assert plain.shape == (3, 1, 2)


def test_the_token_rule_on_trees_gives_each_token_its_own_term():
    """At the root of a tree the token form smooths the root's law, unlike the sum form."""
    laboratory = Laboratory(regime("tree"), range(2), training=Training(16, checkpoints=3))
    token = laboratory.run("token", [0.4]).measures["entropy"]
    whole = laboratory.run("eq6", [0.4]).measures["entropy"]
    assert not np.allclose(token[-1], whole[-1])
