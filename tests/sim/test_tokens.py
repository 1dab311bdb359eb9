"""Token-level remedies on hand-made tokens."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from diffsmooth.sim.dynamics.advantages import advantages
from diffsmooth.sim.dynamics.sampled import Trainer
from diffsmooth.sim.paths import Laboratory
from diffsmooth.sim.policies import log_softmax, softmax
from diffsmooth.sim.regimes import Training, regime
from diffsmooth.sim.remedies import remedy_named
from diffsmooth.sim.remedies.tokens import ClipCov, KLCov, SimKO, TokenBatch


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


def share(fraction: str, count: int) -> int:
    """The authors' max(1, int(len(cov) * ratio)), in exact decimals."""
    return max(1, int(Fraction(fraction) * count))


def test_clip_cov_drops_random_tokens_of_middling_covariance():
    b = tokens()
    factor, extra = ClipCov(0.1)(b)
    cov = covariances(b)
    candidates = sorted((x for x in cov if 1 < cov[x] < 5), key=lambda x: b.uniforms[x])
    expected = np.ones_like(b.old)
    for x in candidates[: share("0.1", len(cov))]:
        expected[x] = 0.0
    np.testing.assert_array_equal(factor, expected)
    assert candidates
    assert extra is None
    assert (ClipCov()(b)[0] == 0).sum() == 1, "at least one token, however small the fraction"
    np.testing.assert_array_equal(ClipCov(0.0)(b)[0], 1.0)


def test_kl_cov_penalises_the_tokens_of_largest_covariance():
    b = tokens()
    factor, extra = KLCov(0.1, beta=2.0)(b)
    slope = KLCov(0.1, beta=2.0).log_ratio_slope(b)
    cov = covariances(b)
    largest = sorted(cov, key=lambda x: -cov[x])[: share("0.1", len(cov))]
    expected = np.zeros_like(b.old)
    for x in largest:
        expected[x] = 2.0
    np.testing.assert_array_equal(slope, expected)
    np.testing.assert_array_equal(factor, 1.0)
    assert extra is None
    assert KLCov(0.0).log_ratio_slope(b) is None
    assert KLCov(0.1, beta=0.0).log_ratio_slope(b) is None


def test_kl_cov_has_slope_one_in_the_second_epoch_and_no_clipping():
    """One step of two epochs on the bandit, written out answer by answer."""
    where = Laboratory(regime("bandit"), range(2), training=Training(8, epochs=2, checkpoints=3))
    e = where.environment
    update = remedy_named("kl-cov").at(0.3)
    assert update.clip.passes(np.array([5.0, 0.1]), np.array([1.0, -1.0])).all()

    def after(epochs):
        trainer = Trainer(e, [update], group_size=8, epochs=epochs, rate=0.5)
        local, law = softmax(e.model.logits(trainer.parameters))
        rows = trainer.sampler(local, law[..., 0, :], where.randomness, 0)
        log_probs = e.model.answers(local)
        a = advantages(e, [update], rows, log_probs)
        trainer.step(local, law.copy(), log_probs, where.randomness, 0)
        return e.model.logits(trainer.parameters)[0, :, :, 0], local[0, :, :, 0], rows, a

    first, old, rows, a = after(1)
    second = after(2)[0]
    now = first - np.log(np.exp(first).sum(-1, keepdims=True))
    prompts = np.flatnonzero(e.train)
    for seed in range(2):
        taken = [(q, g) for q in range(len(prompts)) for g in range(8)]
        spread = {x: float(a[0, seed, x[0], x[1], 0]) for x in taken}
        log = {x: old[seed, prompts[x[0]], rows.answers[0, seed, x[0], x[1]]] for x in taken}
        mean_a = sum(spread.values()) / len(taken)
        mean_l = sum(log.values()) / len(taken)
        order = sorted(taken, key=lambda x: -(spread[x] - mean_a) * (log[x] - mean_l))
        cut = share("0.3", len(taken))
        value = [(spread[x] - mean_a) * (log[x] - mean_l) for x in order]
        if value[cut - 1] == pytest.approx(value[cut]):
            continue  # equal covariances: which of them is chosen is a matter of taste
        change = np.zeros_like(first[seed])
        for x in taken:
            q, answer = prompts[x[0]], rows.answers[0, seed, x[0], x[1]]
            x_log = now[seed, q, answer] - log[x]
            weight = spread[x] * math.exp(x_log) - (x in order[:cut]) * np.sign(x_log)
            change[q] += weight * ((np.arange(first.shape[-1]) == answer) - np.exp(now[seed, q]))
        np.testing.assert_allclose(second[seed] - first[seed], 0.5 / 8 * change, atol=1e-12)


def test_simko_acts_at_the_forks_of_each_response_only():
    b = tokens()
    factor, weights = SimKO(alpha=0.3, top=2, penalty=1.5, quantile=0.5)(b)
    expected, spread = np.ones_like(b.old), np.zeros_like(b.law)
    seen = set()
    for i in range(len(b.mask)):
        entropy = {
            t: -sum(np.exp(v) * v for v in b.law[b.node[i, t]])
            for t in range(b.mask.shape[1])
            if b.mask[i, t]
        }
        threshold = np.quantile(list(entropy.values()), 0.5)
        for t, h in entropy.items():
            order = np.argsort(-b.law[b.node[i, t]])
            if not h > threshold:
                continue
            if b.correct[i]:
                seen.add("spread")
                expected[i, t] = 0.7
                spread[b.node[i, t], order[:2]] += 0.15 * b.advantage[i, t]
            elif order[0] == b.taken[i, t]:
                seen.add("penalty")
                expected[i, t] = 1.5
    assert seen == {"spread", "penalty"}
    np.testing.assert_allclose(factor, expected, atol=1e-12)
    np.testing.assert_allclose(weights, spread, atol=1e-12)


def test_simko_takes_the_batch_s_forks_where_an_answer_is_one_token():
    b = tokens(length=1)
    factor, _ = SimKO(alpha=0.3, top=2, penalty=1.0, quantile=0.8)(b)
    entropy = -(np.exp(b.law) * b.law).sum(-1)[b.node][:, 0]
    forks = b.correct & (entropy > np.quantile(entropy, 0.8))
    np.testing.assert_allclose(factor[:, 0], np.where(forks, 0.7, 1.0))
    assert forks.any()


@pytest.mark.parametrize("name", ["simko", "kl-cov", "clip-cov"])
@pytest.mark.parametrize("where", ["bandit", "tree"])
def test_token_remedies_of_strength_zero_are_grpo(where, name):
    laboratory = Laboratory(regime(where), range(2), training=Training(8, checkpoints=3))
    np.testing.assert_array_equal(
        laboratory.run(name, [0.0]).measures["pass@1"],
        laboratory.run("grpo", [1.0]).measures["pass@1"],
    )


@pytest.mark.parametrize("name", ["kl", "mara", "unlikeliness"])
def test_a_small_strength_is_a_small_change(name):
    """The final entropy over GRPO (Dr. GRPO for MARA) is hardly moved by a strength of 1e-5."""
    laboratory = Laboratory(regime("bandit"), range(4))
    paths = laboratory.run(name, [0.0, 1e-5]).measures["entropy"][-1]
    assert np.abs(paths[1] - paths[0]).max() < 1e-3


def test_the_token_rule_on_trees_gives_each_token_its_own_term():
    """At the root of a tree the token form smooths the root's law, unlike the sum form."""
    laboratory = Laboratory(regime("tree"), range(2), training=Training(16, checkpoints=3))
    token = laboratory.run("token", [0.4]).measures["entropy"]
    whole = laboratory.run("eq6", [0.4]).measures["entropy"]
    assert not np.allclose(token[-1], whole[-1])
