"""The rivals as their authors mean them, each against a computation written from the source.

Nothing here shares code with the rules: loops over plain floats, or the authors' loss written out
in torch and differentiated.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory.rules import (
    FGRPO,
    GRPO,
    NAMES,
    Focal,
    GroupBatch,
    RewardOnly,
    Smoothed,
    clip_cov_drop,
    forking_tokens,
    kl_cov_select,
    rule,
    simko_weights,
)
from diffsmooth.theory.rules.tokens import share_of
from tests.theory.rules.batches import batches

LOGPS, REFERENCE = np.array([-1.0, -2, -3, -4]), np.array([-1.5, -2, -2.5, -4.5])
ALL_CORRECT = GroupBatch(
    reward=np.ones(4), correct=np.ones(4, bool), group=np.zeros(4, int), logps=LOGPS,
    lengths=np.ones(4, int), ref_logps=REFERENCE,
)  # fmt: skip
ONE_OF_FOUR = GroupBatch(
    reward=np.array([1.0, 0, 0, 0]), correct=np.array([True, False, False, False]),
    group=np.zeros(4, int), logps=LOGPS, lengths=np.ones(4, int), ref_logps=REFERENCE,
    classes=np.zeros(4, int),
)  # fmt: skip


# -- KL: DeepSeekMath (2402.03300), Eq. 3 and 4 ---------------------------------------------------


@given(batch=batches(), beta=st.floats(0, 10))
@settings(max_examples=25, deadline=None)
def test_kl_is_grpo_s_term_of_the_loss(batch: GroupBatch, beta: float) -> None:
    """-beta (ref/pi - log(ref/pi) - 1), differentiated by each token's log-prob."""
    logps = torch.tensor(batch.logps, requires_grad=True)
    reference, mask = torch.tensor(batch.ref_logps), torch.tensor(batch.mask)
    ratio = torch.exp(reference) / torch.exp(logps)
    k3 = ratio - torch.log(ratio) - 1
    (-beta * k3[mask].sum()).backward()
    found = rule("kl", beta=beta)(batch)
    term = found - (rule("grpo")(batch) if found.ndim == 1 else rule("grpo")(batch)[:, None])
    expected = logps.grad.numpy() if beta else np.zeros(len(found))
    np.testing.assert_allclose(term, expected, atol=1e-9 * (1 + np.abs(expected).max()))


def test_kl_of_one_token_answers_in_a_group_of_one_kind() -> None:
    found = rule("kl", beta=1e-3)(ALL_CORRECT)
    np.testing.assert_allclose(found, [-0.00039347, 0, 0.00064872, -0.00039347], atol=5e-9)


@pytest.mark.parametrize("name", ["kl", "mara"])
@given(batch=batches(), beta=st.floats(1e-9, 10))
@settings(max_examples=25, deadline=None)
def test_a_strength_is_linear_and_vanishes_with_it(
    name: str, batch: GroupBatch, beta: float
) -> None:
    def term(strength: float) -> Any:
        found = rule(name, beta=strength)(batch)
        base = rule(name, beta=0.0)(batch)
        return found - (base if found.ndim == base.ndim else base[:, None])

    one, much = term(1.0), term(beta)
    np.testing.assert_allclose(much, beta * one, atol=1e-9 * beta * np.abs(one).max() + 1e-12)


def test_the_reward_form_has_a_name_of_its_own_and_its_jump_is_known() -> None:
    """Over GRPO the strength plays no part in a group of one kind; over Dr. GRPO it does."""
    weak, strong = rule("kl-reward", beta=1e-3)(ALL_CORRECT), rule("kl-reward")(ALL_CORRECT)
    np.testing.assert_allclose(weak, strong)
    assert np.abs(weak).max() > 1
    linear = rule("kl-reward", beta=1e-6, base="dr-grpo")(ALL_CORRECT)
    ratio = LOGPS - REFERENCE
    np.testing.assert_allclose(linear, -1e-6 * (ratio - ratio.mean()), atol=1e-15)


def test_an_overflow_of_the_ratio_is_said() -> None:
    far = replace(ALL_CORRECT, logps=np.array([-800.0, -1, -1, -1]))
    with pytest.raises(ValueError, match="^ref_logps: .*overflows"):
        rule("kl", beta=1e-3)(far)


@pytest.mark.parametrize("missing", ["logps", "ref_logps"])
def test_kl_names_what_the_batch_lacks(missing: str) -> None:
    lacking = replace(ALL_CORRECT, ref_logps=None)
    if missing == "logps":
        lacking = replace(lacking, logps=None)
    with pytest.raises(ValueError, match=f"^{missing}:"):
        rule("kl", beta=1e-3)(lacking)


# -- MARA: 2510.20817, Algorithm 1 ----------------------------------------------------------------

#: Reference, which answers are correct, and the strength.
REF = np.array([0.4, 0.05, 0.15, 0.3, 0.1])
RIGHT = np.array([True, True, True, False, False])
BETA = 0.3


def aim(beta: float) -> np.ndarray:
    """argmax of E R' - beta KL(pi || ref), R' = 1 + beta log(ref(z)/ref(y)) on correct answers."""
    top = REF[RIGHT].max()
    weight = np.where(RIGHT, REF * np.exp((1 + beta * np.log(top / REF)) / beta), REF)
    return np.asarray(weight / weight.sum())


def group_of(ids: Any, law: np.ndarray) -> GroupBatch:
    ids = np.array(ids)
    return GroupBatch(
        reward=RIGHT[ids].astype(float), correct=RIGHT[ids], group=np.zeros(len(ids), int),
        logps=np.log(law[ids]), lengths=np.ones(len(ids), int), ref_logps=np.log(REF[ids]),
    )  # fmt: skip


def drift(law: np.ndarray, made: Any, size: int) -> np.ndarray:
    """The expected update of the logits, over all groups of ``size`` that hold the anchor.

    In a group without it another answer takes its place: the law aimed for is that of a common
    anchor.
    """
    total, anchor = np.zeros(len(law)), int(np.argmax(np.where(RIGHT, REF, 0)))
    for ids in product(range(len(law)), repeat=size):
        if anchor not in ids:
            continue
        advantage = made(group_of(ids, law))
        chance = np.prod(law[list(ids)])
        for i, a in zip(ids, advantage, strict=True):
            total += chance * a * ((np.arange(len(law)) == i) - law)
    return total


def test_the_law_that_mara_aims_for_is_uniform_over_the_correct_answers() -> None:
    law = aim(BETA)
    np.testing.assert_allclose(law[RIGHT], law[RIGHT][0])
    np.testing.assert_allclose(law[~RIGHT] / law[~RIGHT].sum(), REF[~RIGHT] / REF[~RIGHT].sum())


@pytest.mark.parametrize("base", ["dr-grpo", "rloo", "vanilla", "grpo"])
def test_it_is_a_fixed_point_whatever_the_base(base: str) -> None:
    made = rule("mara", beta=BETA, base=base)
    for ids in ((0, 1, 3, 4), (0, 0, 2, 3), (0, 1, 2, 4)):
        paid = rule("mara", beta=BETA, base="vanilla")(group_of(ids, aim(BETA)))
        np.testing.assert_allclose(paid, paid[0], atol=1e-12)
    if base != "vanilla":  # without a baseline only the mean over all answers vanishes
        np.testing.assert_allclose(drift(aim(BETA), made, 3), 0, atol=1e-9)
    # Off it the update leads back: the divergence from the law aimed for falls.
    for law in (REF, np.full(5, 0.2), np.array([0.05, 0.85, 0.05, 0.03, 0.02])):
        step = drift(law, rule("mara", beta=BETA), 3)
        # d KL(law || aim) along d theta = step.
        slope = law * (np.log(law / aim(BETA)) - (law * np.log(law / aim(BETA))).sum())
        assert slope @ step < 0


def test_mara_pays_the_anchor_s_reward_and_reads_the_policy() -> None:
    """Rewards that differ among correct answers (a format bonus): all are paid the anchor's."""
    batch = GroupBatch(
        reward=np.array([1.0, 1.5, 0.25]), correct=np.array([True, True, False]),
        group=np.zeros(3, int), logps=np.array([-1.0, -2.0, -3.0]),
        ref_logps=np.array([-0.5, -4.0, -2.0]),
    )  # fmt: skip
    found = rule("mara", beta=0.1, base="vanilla")(batch)
    expected = [1 - 0.1 * (-0.5), 1 + 0.1 * 3.5 - 0.1 * 2.0, 0.25 - 0.1 * (-1.0)]
    np.testing.assert_allclose(found, expected)
    moved = replace(batch, logps=np.array([-1.0, -7.0, -3.0]))
    np.testing.assert_allclose(
        rule("mara", beta=0.1, base="vanilla")(moved) - found, [0, 0.5, 0], atol=1e-12
    )


# -- unlikeliness: 2506.02355, its trainer's _compute_advantages ----------------------------------


@given(batch=batches(), weight=st.floats(0.01, 1))
@settings(max_examples=25, deadline=None)
def test_unlikeliness_is_the_authors(batch: GroupBatch, weight: float) -> None:
    """Ranks by two argsorts, the sample deviation, groups of one kind left out."""
    batch = replace(batch, reward=batch.correct.astype(float))
    scores = torch.tensor(batch.reward)
    mean = torch.tensor(np.where(batch.mask, batch.logps, 0).sum(1) / batch.mask.sum(1))
    expected = torch.zeros(len(scores), dtype=torch.float64)
    for label in np.unique(batch.group):
        rows = torch.tensor(np.flatnonzero(batch.group == label))
        if 0 < scores[rows].sum() < len(rows):
            ranks = torch.argsort(torch.argsort(mean[rows])) / len(rows)
            changed = scores[rows] * (1 - ranks.double() * weight)
            expected[rows] = (changed - changed.mean()) / (changed.std() + 1e-6)
    found = rule("unlikeliness", weight=weight, ddof=1)(batch)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_groups_of_one_kind_can_be_ranked_too() -> None:
    np.testing.assert_array_equal(rule("unlikeliness")(ALL_CORRECT), 0)
    ranked = [rule("unlikeliness", weight=w, one_kind="keep")(ALL_CORRECT) for w in (1e-3, 1.0)]
    np.testing.assert_allclose(*ranked, atol=5e-3)
    assert np.abs(ranked[0]).max() > 1


# -- GRPO and what is built over it ---------------------------------------------------------------


def over_grpo(made: Any) -> bool:
    base = getattr(made, "base", None)
    return isinstance(made, GRPO) or (base is not None and over_grpo(base))


OVER_GRPO = [name for name in NAMES if over_grpo(rule(name))]


def test_most_rules_are_built_over_grpo() -> None:
    rest = {"vanilla", "dr-grpo", "rloo", "psr", "nsr", "w-reinforce", "pass-at-k", "pkpo"}
    assert set(NAMES) - set(OVER_GRPO) == rest | {"maxrl", "mara", "reward", "two-part"}


@pytest.mark.parametrize("name", OVER_GRPO)
@given(batch=batches())
@settings(max_examples=10, deadline=None)
def test_the_sample_deviation_is_an_option_of_all_of_them(name: str, batch: GroupBatch) -> None:
    sample = rule(name, ddof=1, eps=1e-4)(batch)
    if name == "grpo":
        expected = np.zeros(len(batch.reward))
        for label in np.unique(batch.group):
            rows = batch.group == label
            r = batch.reward[rows]
            expected[rows] = (r - r.mean()) / (r.std(ddof=1) + 1e-4)
    else:
        expected = rule(name, base=GRPO(eps=1e-4, ddof=1))(batch)
    np.testing.assert_allclose(sample, expected, atol=1e-10)


@pytest.mark.parametrize(
    "given_, expected",
    [
        ({"base": "dr-grpo"}, [0.5625, -0.1875]),
        ({"base": rule("grpo", ddof=1, eps=0)}, [1.125, -0.375]),
        ({"base": "grpo", "ddof": 1, "eps": 0}, [1.125, -0.375]),
        ({"ddof": 1, "eps": 0}, [1.125, -0.375]),
        ({"eps": 0, "gamma": 2}, [0.5625 * math.sqrt(3), -0.5625 / math.sqrt(3)]),
        ({"base": "rloo"}, [0.75, -0.25]),
        ({"base": "maxrl"}, [2.25, -0.75]),
        ({"base": "w-reinforce"}, [0.075, -0.75]),
        ({"base": "pass-at-k", "k": 1}, [0.75 * math.sqrt(3), -0.75 / math.sqrt(3)]),
    ],
)
def test_f_grpo_over_any_group_rule(given_: dict[str, Any], expected: list[float]) -> None:
    made = rule("f-grpo", **given_)
    assert isinstance(made, FGRPO)
    assert isinstance(made, RewardOnly)
    good, bad = expected
    np.testing.assert_allclose(made(ONE_OF_FOUR), [good, bad, bad, bad], rtol=1e-12)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"f-grpo"}))
@given(batch=batches(), gamma=st.floats(0, 3))
@settings(max_examples=5, deadline=None)
def test_the_focal_weight_goes_with_every_rule(name: str, batch: GroupBatch, gamma: float) -> None:
    made = rule("f-grpo", base=name, gamma=gamma)
    base = rule(name)
    found, plain = made(batch), base(batch)
    for i in range(len(found)):
        rows = batch.group == batch.group[i]
        weight = (1 - batch.correct[rows].mean()) ** gamma
        np.testing.assert_allclose(found[i], weight * plain[i], atol=1e-12)
    assert isinstance(made, FGRPO if isinstance(base, RewardOnly) else Focal)
    for flag in ("needs_logps", "needs_reference", "needs_classes", "token_level"):
        assert getattr(made, flag) == getattr(base, flag), flag


def test_parameters_reach_the_base_s_base() -> None:
    made = rule("two-part", base="f-grpo", gamma=0.5, ddof=1, g_correct=0.2)
    assert isinstance(made, Smoothed)
    assert made.base == FGRPO(0.5, GRPO(ddof=1))
    assert made.term.g_correct == 0.2


@pytest.mark.parametrize(
    "name, wrong, message",
    [
        ("f-grpo", {"gama": 1}, "did you mean 'gamma'"),
        ("f-grpo", {"base": "dr-grpo", "ddof": 1}, "unknown parameter 'ddof'"),
        ("f-grpo", {"base": 3}, "^base: must be a rule"),
        ("f-grpo", {"ddof": 2}, "^ddof:"),
        ("vanilla", {"eps": 1}, "takes none"),
        ("reward", {"ddof": 1}, "unknown parameter 'ddof'"),
    ],
)
def test_what_neither_takes_is_named(name: str, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rule(name, **wrong)


def test_the_class_itself_takes_rewards_only() -> None:
    with pytest.raises(ValueError, match="^base: .*rewards only"):
        FGRPO(1.0, rule("eq6"))  # type: ignore[arg-type]


# -- Clip-Cov and KL-Cov: 2505.22617 and its core_algos.py ----------------------------------------


@pytest.mark.parametrize(
    "fraction, total, count",
    [(0.002, 1001, 2), (0.07, 100, 7), (0.29, 100, 29), (2e-4, 12, 1), (0.0, 12, 0), (1.0, 7, 7),
     (0.5, 1, 1), (0.57, 100, 57), (0.002, 0, 0)],
)  # fmt: skip
def test_the_number_of_tokens_is_the_authors(fraction: float, total: int, count: int) -> None:
    assert share_of(fraction, total) == count
    if total:
        mask = np.ones((1, total), bool)
        logps = -np.arange(total, dtype=float)[None]
        chosen = kl_cov_select(np.array([1.0]), logps, mask, fraction=fraction)
        assert chosen.sum() == count


@given(cents=st.integers(1, 100), total=st.integers(1, 5000))
@settings(max_examples=200, deadline=None)
def test_no_fraction_is_rounded_before_it_is_cut(cents: int, total: int) -> None:
    assert share_of(cents / 100, total) == max(1, cents * total // 100)


def tokens(seed: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    mask = np.arange(9) < rng.integers(1, 10, (8, 1))
    return rng.normal(size=8), np.where(mask, -rng.exponential(2.0, (8, 9)), 7.0), mask


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", ["0.002", "0.07", "0.5"])
def test_kl_cov_takes_the_authors_tokens(seed: int, fraction: str) -> None:
    advantage, logps, mask = tokens(seed)
    valid = torch.tensor(mask).reshape(-1).nonzero()[:, 0]
    a = torch.tensor(np.repeat(advantage[:, None], 9, 1)).reshape(-1)[valid]
    log = torch.tensor(logps).reshape(-1)[valid]
    covariance = (a - a.mean()) * (log - log.mean())
    count = max(1, int(len(covariance) * Fraction(fraction)))
    expected = np.zeros(72, bool)
    expected[valid[torch.topk(covariance, count, largest=True).indices]] = True
    found = kl_cov_select(advantage, logps, mask, fraction=float(fraction))
    np.testing.assert_array_equal(found.reshape(-1), expected)


@pytest.mark.parametrize("seed", range(5))
def test_clip_cov_takes_as_many_as_the_authors_from_their_candidates(seed: int) -> None:
    advantage, logps, mask = tokens(seed)
    uniforms = np.random.default_rng(seed).random(mask.shape)
    cells = [tuple(c) for c in np.argwhere(mask)]
    mean_a = sum(advantage[i] for i, _ in cells) / len(cells)
    mean_l = sum(logps[c] for c in cells) / len(cells)
    near = {c for c in cells if 1 < (advantage[c[0]] - mean_a) * (logps[c] - mean_l) < 5}
    for fraction in ("0.0002", "0.07", "0.5"):
        found = clip_cov_drop(advantage, logps, mask, uniforms, fraction=float(fraction))
        dropped = {tuple(c) for c in np.argwhere(found)}
        assert dropped <= near
        assert len(dropped) == min(len(near), max(1, int(Fraction(fraction) * len(cells))))
    assert clip_cov_drop(advantage, logps, mask, uniforms).sum() == min(1, len(near))


# -- SimKO: 2510.14807 and its core_algos.py ------------------------------------------------------


def test_simko_penalises_wrong_modes_at_forking_positions_only() -> None:
    law = np.log([[0.5, 0.3, 0.2]] * 3)
    found = simko_weights(
        law, np.array([0, 0, 1]), np.array([False] * 3), np.array([False, True, True])
    )
    np.testing.assert_allclose(found.sum(1), [1, 1.1, 1])


@pytest.mark.parametrize("seed", range(6))
def test_simko_has_the_gradient_of_the_authors_loss(seed: int) -> None:
    """compute_policy_loss_simko, rewritten, on the policy that sampled (every ratio is 1)."""
    rng = np.random.default_rng(seed)
    rows, width, vocabulary, alpha, top, quantile = 6, 10, 7, 0.2, 3, 0.8
    logits = torch.tensor(2 * rng.standard_normal((rows, width, vocabulary)), requires_grad=True)
    taken = torch.tensor(rng.integers(0, vocabulary, (rows, width)))
    correct = torch.tensor(rng.random(rows) < 0.5)
    mask = torch.tensor(np.arange(width) < rng.integers(1, width + 1, (rows, 1)))
    advantage = torch.where(correct, 0.8, -0.6)[:, None].double() * mask

    logp = torch.log_softmax(logits, -1)
    now = logp.gather(-1, taken[..., None])[..., 0]
    best = logp.topk(top, -1).values
    entropy = -(logp.exp() * logp).sum(-1).detach()
    threshold = torch.stack([torch.quantile(entropy[i][mask[i]], quantile) for i in range(rows)])
    fork = entropy > threshold[:, None]
    gamma = torch.exp(now - now.detach())
    gamma_top = torch.exp(best - best.detach())
    spread = (gamma.detach()[..., None] / gamma_top.detach() * gamma_top).sum(-1)
    mix = alpha * fork.double()
    ratio = torch.where(correct[:, None] & mask, (1 - mix) * gamma + mix / top * spread, gamma)
    is_top = logp.argmax(-1) == taken
    scale = torch.where(is_top & (advantage < 0) & fork, 1.1, torch.ones_like(now))
    (advantage * scale * ratio * mask).sum().backward()

    found = forking_tokens(entropy, mask, quantile)
    assert torch.equal(found, fork & mask)
    flat = logp.detach().reshape(-1, vocabulary)
    weights = simko_weights(
        flat, taken.reshape(-1), correct.repeat_interleave(width), found.reshape(-1),
        alpha=alpha, top=top,
    )  # fmt: skip
    pushed = weights * (advantage * mask).reshape(-1, 1)
    expected = pushed - pushed.sum(1, keepdim=True) * flat.exp()
    torch.testing.assert_close(logits.grad.reshape(-1, vocabulary), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("scope", ["response", "batch"])
@given(seed=st.integers(0, 2**16), quantile=st.sampled_from([0.0, 0.29, 0.5, 0.7, 0.8, 1.0]))
@settings(max_examples=50, deadline=None)
def test_forks_lie_strictly_above_the_quantile(scope: Any, seed: int, quantile: float) -> None:
    rng = np.random.default_rng(seed)
    entropy = rng.integers(0, 30, (4, 11)) / 8  # with ties
    mask = np.arange(11) < rng.integers(0, 12, (4, 1))
    found = forking_tokens(entropy, mask, quantile, scope)
    for part in (
        [mask] if scope == "batch" else [mask & (np.arange(4)[:, None] == i) for i in range(4)]
    ):
        values = sorted(Fraction(float(v)) for v in entropy[part])
        if not values:
            assert not found[part].any()
            continue
        place = Fraction(str(quantile)) * (len(values) - 1)
        low = values[math.floor(place)]
        high = values[math.ceil(place)]
        threshold = low + (place - math.floor(place)) * (high - low)
        near = np.abs(entropy - float(threshold)) < 1e-12
        sure = part & (~near | (place.denominator == 1))
        above = np.array([[Fraction(float(v)) > threshold for v in row] for row in entropy])
        np.testing.assert_array_equal(found[sure], above[sure])
    one = forking_tokens(entropy[:, :1], np.ones((4, 1), bool), quantile)
    assert not one.any(), "a response of one token has none that forks"


def test_bad_quantiles_and_scopes_are_refused() -> None:
    entropy, mask = np.ones((1, 2)), np.ones((1, 2), bool)
    with pytest.raises(ValueError, match="^quantile:"):
        forking_tokens(entropy, mask, 1.5)
    with pytest.raises(ValueError, match="^scope:"):
        forking_tokens(entropy, mask, 0.5, "group")  # type: ignore[arg-type]
