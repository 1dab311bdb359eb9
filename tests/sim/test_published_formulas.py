"""Every answer-level remedy against a slow transcription of its published formula.

The transcriptions are loops over one group at a time, written from the papers' tables and sharing
no code with the rule library.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.sim.remedies import REMEDIES, remedy_named
from diffsmooth.theory.rules import GroupBatch


class Group:
    """One group as plain lists: rewards, log-probs, lengths, reference log-probs, classes."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.c = [bool(b) for b in rng.random(size) < rng.choice([0.2, 0.5, 0.9])]
        self.r = [float(c) for c in self.c]
        self.l = [-float(x) for x in rng.exponential(3.0, size) + 0.01]
        self.n = [int(x) for x in rng.integers(1, 9, size)]
        self.b = [-float(x) for x in rng.exponential(3.0, size) + 0.01]
        self.k = [int(x) for x in rng.integers(0, 3, size)]

    def __len__(self) -> int:
        return len(self.r)


def mean(x):
    return sum(x) / len(x)


def deviation(x):
    return math.sqrt(mean([(v - mean(x)) ** 2 for v in x]))


def grpo(r, eps=1e-6):
    m, s = mean(r), deviation(r)
    return [0.0 if v == m else (v - m) / (s + eps) for v in r]


def smoothed(advantage, g, x, gp, gn):
    return [a - gp * v if c else a + gn * v for a, v, c in zip(advantage, x, g.c, strict=True)]


def entropy_bonus(g, strength):
    return [a - strength * v for a, v in zip(grpo(g.r), g.l, strict=True)]


def kl(g, beta):
    """The gradient of -beta (e^d - d - 1), d = log ref - log pi, per unit of grad log pi."""
    ratio = [math.exp(b) / math.exp(v) for v, b in zip(g.l, g.b, strict=True)]
    return [a + beta * (x - 1) for a, x in zip(grpo(g.r), ratio, strict=True)]


def kl_reward(g, beta):
    return grpo([r - beta * (v - b) for r, v, b in zip(g.r, g.l, g.b, strict=True)])


def unlikeliness(g, weight):
    lbar = [v / n for v, n in zip(g.l, g.n, strict=True)]
    rank = [sum(other < mine for other in lbar) for mine in lbar]
    size = len(g)
    if all(g.c) or not any(g.c):  # the authors' "advantage_threshold": left out
        return [0.0] * size
    return grpo(
        [r * (1 - weight * k / size) if c else r for r, k, c in zip(g.r, rank, g.c, strict=True)]
    )


def signed(plus, minus):
    return lambda g, rate: [plus if c else -minus for c in g.c]


def w_reinforce(g, plus):
    return [plus if c else -1.0 for c in g.c]


def choose(n, k):
    return math.comb(n, k) if 0 <= k <= n else 0


def pass_at_k(g, k):
    k, size, wrong = int(k), len(g), g.c.count(False)
    r = 1 - choose(wrong, k) / choose(size, k)
    s = math.sqrt(r * (1 - r))
    if s == 0:
        return [0.0] * size
    minus = (1 - r - choose(wrong - 1, k - 1) / choose(size - 1, k - 1)) / s
    return [(1 - r) / s if c else minus for c in g.c]


def pkpo(g, k):
    """The reward of every k-subset is its maximum; an answer gets the mean over the subsets that
    hold it, less the mean over the (k-1)-subsets without it (leave-one-out), scaled to estimate
    the gradient of pass@k with weights divided by G."""
    from itertools import combinations

    k, size = int(k), len(g)
    out = []
    for i in range(size):
        rest = [j for j in range(size) if j != i]
        subsets = list(combinations(rest, k - 1))
        with_it = mean([max([g.r[i], *(g.r[j] for j in s)]) for s in subsets])
        without = mean([max([0.0, *(g.r[j] for j in s)]) for s in subsets])
        out.append(k * (with_it - without))
    return out


def maxrl(g, rate):
    m = mean(g.r)
    return [0.0] * len(g) if m == 0 else [(r - m) / m for r in g.r]


def f_grpo(g, gamma):
    return [(1 - mean(g.r)) ** gamma * a for a in grpo(g.r)]


def ucpo(g, tau):
    a = grpo(g.r)
    q = [math.exp(v / n) for v, n in zip(g.l, g.n, strict=True)]
    good = [i for i in range(len(g)) if g.c[i]]
    total = sum(1 / q[i] for i in good)
    for i in good:
        a[i] *= len(good) * ((1 - tau) / len(good) + tau * (1 / q[i]) / total)
    return a


def mara(g, beta):
    """Algorithm 1 with KL-regularised policy gradients: the reward less the KL of that strength."""
    paid = list(g.r)
    good = [i for i in range(len(g)) if g.c[i]]
    if good:
        z = max(good, key=lambda i: g.b[i])
        for i in good:
            paid[i] = g.r[z] + beta * (g.b[z] - g.b[i])
    total = [p - beta * (v - b) for p, v, b in zip(paid, g.l, g.b, strict=True)]
    return [t - mean(total) for t in total]


def eq6(g, s):
    return smoothed(grpo(g.r), g, g.l, s, s)


def literal(g, s):
    return smoothed(grpo(g.r), g, g.l, s, 0.0)


def spread(g, s):
    x = [v / n / n for v, n in zip(g.l, g.n, strict=True)]
    return smoothed(grpo(g.r), g, x, s, s)


def mean_form(g, s):
    x = [v / n for v, n in zip(g.l, g.n, strict=True)]
    return smoothed(grpo(g.r), g, x, s, s)


def reward_form(g, s):
    x = [v / n for v, n in zip(g.l, g.n, strict=True)]
    r = smoothed(g.r, g, x, s, s)
    return [v - mean(r) for v in r]


def centring(g, x):
    good = [v for v, c in zip(x, g.c, strict=True) if c]
    return [v - mean(good) if c else v for v, c in zip(x, g.c, strict=True)]


def centred(g, s, base=lambda g: grpo(g.r)):
    return smoothed(base(g), g, centring(g, g.l), s, 0.0)


def quotient(g, s):
    share = Counter(k for k, c in zip(g.k, g.c, strict=True) if c)
    total = sum(share.values())
    x = [math.log(share[k] / total) if c else 0.0 for k, c in zip(g.k, g.c, strict=True)]
    return smoothed(grpo(g.r), g, centring(g, x), s, 0.0)


def relative(g, mu, base=lambda g: grpo(g.r)):
    """A correct answer's advantage times 1 - mu (its log-prob less the group's mean of them)."""
    x = centring(g, g.l)
    return [a * (1 - mu * v) if c else a for a, v, c in zip(base(g), x, g.c, strict=True)]


TRANSCRIBED = {
    "vanilla": lambda g, rate: list(g.r),
    "grpo": lambda g, rate: grpo(g.r),
    "dr-grpo": lambda g, rate: [r - mean(g.r) for r in g.r],
    "rloo": lambda g, rate: [r - (sum(g.r) - r) / (len(g) - 1) for r in g.r],
    "psr": signed(1.0, 0.0),
    "nsr": signed(0.0, 1.0),
    "w-reinforce": w_reinforce,
    "pass-at-k": pass_at_k,
    "pkpo": pkpo,
    "maxrl": maxrl,
    "f-grpo": f_grpo,
    "entropy-bonus": entropy_bonus,
    "entropy-penalty": entropy_bonus,
    "kl": kl,
    "kl-reward": kl_reward,
    "unlikeliness": unlikeliness,
    "ucpo": ucpo,
    "mara": mara,
    "eq6": eq6,
    "literal": literal,
    "spread": spread,
    "mean": mean_form,
    "reward": reward_form,
    "centred": centred,
    "quotient": quotient,
    "relative": relative,
    "unit": lambda g, rate: relative(g, 1.0),
    "unit-maxrl": lambda g, rate: relative(g, 1.0, lambda g: maxrl(g, 1.0)),
    # The rule; what replay adds to the update is tested in test_memory.py.
    "replay": lambda g, s: grpo(g.r),
    "maxrl-replay": lambda g, s: maxrl(g, 1.0),
    "centred-replay": centred,
    "three-levers": lambda g, s: centred(g, s, lambda g: maxrl(g, 1.0)),
    "unit-replay": lambda g, rate: relative(g, 1.0),
    "two-part": lambda g, s: centred(g, s, lambda g: pass_at_k(g, 4)),
    "two-part-maxrl": lambda g, s: centred(g, s, lambda g: maxrl(g, 1.0)),
}
#: Remedies that act on tokens or on the update; tested in test_tokens.py and test_adaptive.py.
ELSEWHERE = {"token", "clip-higher", "clip-cov", "kl-cov", "simko", "adaptive"}


def batch(groups: list[Group], order: np.ndarray | None = None) -> GroupBatch:
    def joined(name, dtype):
        return np.concatenate([np.array(getattr(g, name), dtype=dtype) for g in groups])

    ids = np.concatenate([np.full(len(g), 10 * i) for i, g in enumerate(groups)])
    order = np.arange(len(ids)) if order is None else order
    return GroupBatch(
        reward=joined("r", float)[order],
        correct=joined("c", bool)[order],
        group=ids[order],
        logps=joined("l", float)[order],
        lengths=joined("n", np.int64)[order],
        classes=joined("k", np.int64)[order],
        ref_logps=joined("b", float)[order],
    )


def test_every_remedy_is_transcribed_or_tested_elsewhere():
    assert set(TRANSCRIBED) | ELSEWHERE == set(REMEDIES)
    assert not set(TRANSCRIBED) & ELSEWHERE


@pytest.mark.parametrize("name", TRANSCRIBED)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shuffle=st.booleans())
def test_formula(name, seed, shuffle):
    rng = np.random.default_rng(seed)
    groups = [Group(rng, int(rng.integers(8, 12))) for _ in range(3)]
    order = np.arange(sum(map(len, groups)))
    if shuffle:
        rng.shuffle(order)
    for strength in remedy_named(name).strengths:
        got = remedy_named(name).at(strength).rule(batch(groups, order))
        slow = np.concatenate([TRANSCRIBED[name](g, strength) for g in groups])[order]
        scale = 1e-9 * (1 + np.abs(slow).max())
        # GRPO of nearly constant rewards divides rounding noise by the deviation.
        np.testing.assert_allclose(got, slow, atol=scale, rtol=1e-7)


@pytest.mark.parametrize("name", [n for n in REMEDIES if REMEDIES[n].neutral is not None])
def test_neutral_strength_is_the_base(name):
    remedy = remedy_named(name)
    update = remedy.at(remedy.neutral)
    groups = [Group(np.random.default_rng(s), 8) for s in range(4)]
    data = batch(groups)
    if name == "token":
        data = GroupBatch(
            reward=data.reward,
            correct=data.correct,
            group=data.group,
            logps=data.logps[:, None],
            mask=np.ones((len(data.reward), 1), dtype=bool),
        )
    got = np.asarray(update.rule(data)).reshape(-1)
    base = {"two-part": "pass-at-k", "two-part-maxrl": "maxrl", "maxrl-replay": "maxrl"}
    base |= {"reward": "dr-grpo", "mara": "dr-grpo"}
    name_of_base = base.get(name, "grpo")
    strength = 4 if name_of_base == "pass-at-k" else 1.0
    expected = remedy_named(name_of_base).at(strength).rule(data)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", [n for n, h in REMEDIES.items() if h.part == "across"])
def test_reward_only_remedies_do_not_read_log_probs(name):
    groups = [Group(np.random.default_rng(s), 8) for s in range(4)]
    blind = batch(groups)
    blind = GroupBatch(reward=blind.reward, correct=blind.correct, group=blind.group)
    rule = remedy_named(name).at(remedy_named(name).strengths[0]).rule
    np.testing.assert_array_equal(rule(blind), rule(batch(groups)))
    assert not remedy_named(name).needs_logps


def test_touching_incorrect_answers_is_classified():
    groups = [Group(np.random.default_rng(s), 8) for s in range(20)]
    data = batch(groups)
    wrong = ~data.correct
    base = np.asarray(remedy_named("grpo").at(1.0).rule(data))
    for name in ("eq6", "entropy-bonus", "centred", "literal", "quotient", "ucpo"):
        remedy = remedy_named(name)
        changed = bool(np.any(np.asarray(remedy.at(0.4).rule(data))[wrong] != base[wrong]))
        assert changed == remedy.touches_incorrect, name


def test_unknown_remedy_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'centred'"):
        remedy_named("centered")
