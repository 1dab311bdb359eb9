"""What must hold of every rule on every group of answers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.theory.rules import (
    LIKELIHOOD,
    NAMES,
    PRESETS,
    REWARD_ONLY,
    GroupBatch,
    RewardOnly,
    Rule,
    Smoothed,
    SmoothingTerm,
    add_term,
    rule,
)
from tests.theory.rules.batches import batches, in_sympy, in_torch, permuted

#: A sum of n terms of size <= x rounds by at most n eps x; log-probs here sum to below 200 nats and
#: standardised advantages stay below sqrt(33), so 1e-10 leaves three digits to spare.
ROUNDING = 1e-10


@pytest.mark.parametrize("name", NAMES)
@given(batch=batches(), seed=st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_permuting_the_rows_permutes_the_advantages(
    name: str, batch: GroupBatch, seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(batch.reward))
    shuffled = rule(name)(permuted(batch, order))
    np.testing.assert_allclose(shuffled, rule(name)(batch)[order], atol=ROUNDING)


@pytest.mark.parametrize("name", NAMES)
@given(batch=batches(), shift=st.integers(-(10**9), 10**9))
@settings(max_examples=15, deadline=None)
def test_the_values_of_group_and_class_ids_play_no_part(
    name: str, batch: GroupBatch, shift: int
) -> None:
    renamed = replace(batch, group=shift - batch.group, classes=shift - batch.classes)
    np.testing.assert_allclose(rule(name)(renamed), rule(name)(batch), atol=ROUNDING)


@pytest.mark.parametrize("name", NAMES)
@given(batch=batches())
@settings(max_examples=15, deadline=None)
def test_groups_do_not_see_each_other(name: str, batch: GroupBatch) -> None:
    rows = batch.group == batch.group[0]
    alone = rule(name)(permuted(batch, np.flatnonzero(rows)))
    np.testing.assert_allclose(alone, rule(name)(batch)[rows], atol=ROUNDING)


@pytest.mark.parametrize("name", NAMES)
@given(batch=batches(tokens=True))
@settings(max_examples=20, deadline=None)
def test_numpy_and_torch_agree(name: str, batch: GroupBatch) -> None:
    np.testing.assert_allclose(
        rule(name)(in_torch(batch)).numpy(), rule(name)(batch), atol=ROUNDING
    )


ORDERING = {"unlikeliness", "ucpo", "mara"}


@pytest.mark.parametrize("name", sorted(set(NAMES) - ORDERING))
@given(batch=batches(dyadic=True))
@settings(max_examples=3, deadline=None)
def test_sympy_agrees_with_numpy(name: str, batch: GroupBatch) -> None:
    exact = np.array(rule(name)(in_sympy(batch)).tolist(), dtype=float)
    np.testing.assert_allclose(rule(name)(batch), exact, atol=ROUNDING)


@pytest.mark.parametrize("name", sorted(ORDERING))
def test_rules_that_order_log_probs_refuse_symbols(name: str) -> None:
    batch = GroupBatch(
        np.ones(8), np.ones(8, bool), np.zeros(8, int), -np.arange(8.0)[:, None],
        ref_logps=-np.arange(8.0)[:, None],
    )  # fmt: skip
    with pytest.raises(TypeError, match="order"):
        rule(name)(in_sympy(batch))


STRENGTHS = {
    "entropy-bonus": {"g": 0.0},
    "entropy-penalty": {"g": 0.0},
    "kl": {"beta": 0.0},
    "kl-reward": {"beta": 0.0},
    "unlikeliness": {"weight": 0.0},
    "ucpo": {"tau": 0.0},
    "mara": {"beta": 0.0},
    **{name: {"g_correct": 0.0, "g_incorrect": 0.0} for name in PRESETS},
}


@pytest.mark.parametrize("name", STRENGTHS)
@given(batch=batches())
@settings(max_examples=10, deadline=None)
def test_strength_zero_is_the_base_bit_for_bit(name: str, batch: GroupBatch) -> None:
    off = rule(name, **STRENGTHS[name])
    base = off.base  # type: ignore[attr-defined]
    assert off(batch).tobytes() == base(batch).tobytes()
    assert torch.equal(off(in_torch(batch)), base(in_torch(batch)))


@pytest.mark.parametrize("reduction", ["sum", "mean", "spread", "token"])
@given(batch=batches())
@settings(max_examples=30, deadline=None)
def test_centred_terms_sum_to_zero_over_the_correct_answers(
    reduction: str, batch: GroupBatch
) -> None:
    term = SmoothingTerm(0.3, 0.0, reduction, centring="correct")(batch)  # type: ignore[arg-type]
    rows = term if term.ndim == 1 else term.sum(axis=1)
    for group in np.unique(batch.group):
        members = (batch.group == group) & batch.correct
        assert abs(rows[members].sum()) < ROUNDING
    assert not rows[~batch.correct].any()


@given(batch=batches())
@settings(max_examples=30, deadline=None)
def test_the_quotient_term_sees_classes_only(batch: GroupBatch) -> None:
    quotient = rule("quotient", g_correct=0.7)
    other = replace(batch, logps=batch.logps * 3 - 1)
    assert quotient(batch).tobytes() == quotient(other).tobytes()
    term = SmoothingTerm(0.7, 0.0, centring="correct", quotient=True)(batch)
    for group in np.unique(batch.group):
        for label in np.unique(batch.classes):
            same = (batch.group == group) & (batch.classes == label) & batch.correct
            assert len(np.unique(term[same])) <= 1


@given(batch=batches())
@settings(max_examples=30, deadline=None)
def test_dropping_groups_of_one_kind(batch: GroupBatch) -> None:
    kept = SmoothingTerm(0.2, 0.1)(batch)
    dropped = SmoothingTerm(0.2, 0.1, one_kind="drop")(batch)
    for group in np.unique(batch.group):
        rows = batch.group == group
        mixed = 0 < batch.correct[rows].sum() < rows.sum()
        np.testing.assert_array_equal(dropped[rows], kept[rows] if mixed else 0.0)


@given(batch=batches(), g=st.floats(0, 2), h=st.floats(0, 2))
@settings(max_examples=30, deadline=None)
def test_eq6_is_the_papers_equation(batch: GroupBatch, g: float, h: float) -> None:
    """Paper Eq. 6, written out as a loop."""
    got = rule("eq6", g_correct=g, g_incorrect=h)(batch)
    for i in range(len(batch.reward)):
        members = [j for j in range(len(batch.reward)) if batch.group[j] == batch.group[i]]
        rewards = [batch.reward[j] for j in members]
        mean = sum(rewards) / len(rewards)
        deviation = (sum((r - mean) ** 2 for r in rewards) / len(rewards)) ** 0.5
        total = sum(batch.logps[i][t] for t in range(batch.logps.shape[1]) if batch.mask[i][t])
        expected = (batch.reward[i] - mean) / (deviation + 1e-6)
        expected += -g * total if batch.correct[i] else h * total
        assert got[i] == pytest.approx(expected, abs=1e-9)


@given(batch=batches())
@settings(max_examples=20, deadline=None)
def test_masked_tokens_may_hold_anything(batch: GroupBatch) -> None:
    garbage = np.where(batch.mask, batch.logps, np.nan)
    for name in ("eq6", "token", "spread", "mean", "centred", "unlikeliness", "ucpo"):
        dirty = rule(name)(replace(batch, logps=garbage))
        assert dirty.tobytes() == rule(name)(batch).tobytes()


def test_answers_without_a_token_get_no_term_and_count_in_no_mean() -> None:
    logps = np.array([[-1.0], [-3.0], [-7.0], [-2.0]])
    mask = np.array([[True], [True], [False], [True]])
    correct = np.array([True, True, True, False])
    batch = GroupBatch(correct.astype(float), correct, np.zeros(4, int), logps, mask)
    for reduction in ("sum", "mean", "spread"):
        term = SmoothingTerm(1.0, 0.0, reduction, centring="correct")(batch)  # type: ignore[arg-type]
        np.testing.assert_allclose(term, [-1.0, 1.0, 0.0, 0.0])


def test_half_precision_is_summed_in_single() -> None:
    logps = torch.full((2, 4096), -0.01, dtype=torch.bfloat16)
    correct = torch.tensor([True, False])
    batch = GroupBatch(torch.tensor([1.0, 0.0]), correct, torch.zeros(2, dtype=torch.long), logps)
    term = SmoothingTerm(1.0, 0.0)(batch)
    assert term.dtype == torch.float32
    assert term[0].item() == pytest.approx(-float(logps[0, 0]) * 4096, rel=1e-5)


@pytest.mark.parametrize("centring", ["none", "correct"])
def test_the_token_form_too_is_computed_in_single(centring: str) -> None:
    """A mean over 4096 tokens in bfloat16 would keep two digits."""
    logps = -torch.linspace(0.5, 1.5, 2 * 4096).reshape(2, 4096).to(torch.bfloat16)
    batch = GroupBatch(
        torch.ones(2), torch.tensor([True, True]), torch.zeros(2, dtype=torch.long), logps
    )
    term = SmoothingTerm(0.7, 0.0, "token", centring)(batch)  # type: ignore[arg-type]
    exact = logps.double()
    expected = -0.7 * (exact - (exact.mean() if centring == "correct" else 0.0))
    assert term.dtype == torch.float32
    torch.testing.assert_close(term.double(), expected, rtol=1e-5, atol=1e-5)


def test_an_answer_without_a_token_is_no_anchor_and_weighs_nothing() -> None:
    """Answer 2 is correct and masked out whole: the others get what they get without it."""
    logps = np.array([[-1.0], [-3.0], [-0.5], [-2.0]])
    mask = np.array([[True], [True], [False], [True]])
    correct = np.array([True, True, True, False])
    batch = GroupBatch(
        correct.astype(float), correct, np.zeros(4, int), logps, mask, ref_logps=logps
    )
    plain = rule("vanilla")
    # MARA's anchor is answer 0: a bonus of 2 nats on answer 1 alone.
    np.testing.assert_allclose(rule("mara", beta=0.5, base=plain)(batch), [1.0, 2.0, 1.0, 0.0])
    x = np.exp([1.0, 3.0])
    factor = 0.5 + 0.5 * 2 * x / x.sum()
    np.testing.assert_allclose(rule("ucpo", tau=0.5, base=plain)(batch), [*factor, 1.0, 0.0])
    # Ranks of answers 0, 1 and 3: it neither adds to them nor has one of its own to lose by.
    found = rule("unlikeliness", weight=0.5, base=plain)(batch)
    np.testing.assert_allclose(found, [1 - 0.5 * 2 / 4, 1.0, 1.0, 0.0])


def test_gradients_flow_and_stay_finite_in_groups_of_one_reward() -> None:
    reward = torch.ones(4, dtype=torch.float64, requires_grad=True)
    logps = torch.tensor([-1.0, -2.0, -3.0, -4.0], dtype=torch.float64, requires_grad=True)
    batch = GroupBatch(
        reward, torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.long), logps
    )
    (rule("eq6", g_correct=0.5)(batch) ** 2).sum().backward()
    assert torch.isfinite(reward.grad).all()
    # A = -g l on correct answers with equal rewards, so dA^2/dl = 2 g^2 l.
    torch.testing.assert_close(logps.grad, 2 * 0.25 * logps.detach())


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")
@pytest.mark.parametrize(
    "name",
    ["grpo", "eq6", "token", "centred", "quotient", "ucpo", "mara", "kl", "unlikeliness", "f-grpo"],
)
def test_one_graph_under_compile(name: str) -> None:
    torch._dynamo.reset()  # every rule recompiles the same function: the limit is eight
    rng = np.random.default_rng(3)
    correct = rng.random(16) < 0.5
    batch = in_torch(
        GroupBatch(
            correct.astype(float), correct, np.repeat([4, 1], 8), -rng.random((16, 3)),
            classes=rng.integers(0, 2, 16), ref_logps=-rng.random((16, 3)),
        )
    )  # fmt: skip
    made = rule(name)
    compiled = torch.compile(
        lambda r, c, g, lp, k, f: made(GroupBatch(r, c, g, lp, classes=k, ref_logps=f)),
        fullgraph=True,
        backend="eager",
    )
    out = compiled(
        batch.reward, batch.correct, batch.group, batch.logps, batch.classes, batch.ref_logps
    )
    assert torch.equal(out, made(batch))


GOOD = {
    "reward": np.array([1.0, 0.0]),
    "correct": np.array([True, False]),
    "group": np.array([0, 0]),
    "logps": np.array([[-1.0, -2.0], [-1.0, -0.5]]),
    "mask": np.array([[True, True], [True, False]]),
}


@pytest.mark.parametrize(
    "field, value",
    [
        ("reward", np.array([[1.0], [0.0]])),
        ("reward", np.array([1.0, np.nan])),
        ("reward", np.array([1.0, np.inf])),
        ("correct", np.array([1.0, 0.0])),
        ("correct", np.array([True])),
        ("group", np.array([0.0, 1.0])),
        ("group", np.array([0])),
        ("logps", np.array([[-1.0, np.nan], [-1.0, -0.5]])),
        ("logps", np.array([[-1.0, 0.1], [-1.0, -0.5]])),
        ("logps", np.array([[-1.0, -np.inf], [-1.0, -0.5]])),
        ("logps", np.zeros((3, 2))),
        ("logps", np.zeros((2, 2, 2))),
        ("mask", np.ones((2, 3), dtype=bool)),
        ("mask", np.ones((2, 2))),
        ("ref_logps", np.zeros((2, 3))),
        ("ref_logps", np.ones((2, 2))),
        ("lengths", np.array([1, -1])),
        ("lengths", np.array([1.0, 2.0])),
        ("classes", np.array([1.0, 2.0])),
    ],
)
def test_bad_batches_are_refused_by_name(field: str, value: np.ndarray) -> None:
    with pytest.raises(ValueError, match=f"^{field}:"):
        GroupBatch(**{**GOOD, field: value})


def test_two_libraries_in_one_batch_are_refused() -> None:
    with pytest.raises(TypeError, match="one library"):
        GroupBatch(**{**GOOD, "logps": torch.zeros(2, 2)})
    with pytest.raises(TypeError, match="reward"):
        GroupBatch(**{**GOOD, "reward": [1.0, 0.0]})


@pytest.mark.parametrize("field", ["g_correct", "g_incorrect"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_bad_strengths_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{field}:"):
        rule("eq6", **{field: value})


@pytest.mark.parametrize(
    "name, overrides, message",
    [
        ("eq7", {}, "did you mean 'eq6'"),
        ("eq6", {"gama": 1.0}, "gama"),
        ("eq6", {"reduction": "median"}, "^reduction:"),
        ("eq6", {"centring": "all"}, "^centring:"),
        ("eq6", {"one_kind": "maybe"}, "^one_kind:"),
        ("eq6", {"entry": "loss"}, "^entry:"),
        ("token", {"entry": "reward"}, "^entry:"),
        ("quotient", {"g_incorrect": 0.1}, "^g_incorrect:"),
        ("grpo", {"ddof": 2}, "^ddof:"),
        ("pass-at-k", {"k": 0}, "^k:"),
        ("pkpo", {"baseline": "mean"}, "^baseline:"),
        ("ucpo", {"tau": 1.5}, "^tau:"),
        ("ucpo", {"reduction": "token"}, "^reduction:"),
        ("eq6", {"base": "grop"}, "did you mean 'grpo'"),
    ],
)
def test_bad_rules_are_refused(name: str, overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rule(name, **overrides)


@pytest.mark.parametrize(
    "name, missing", [("eq6", "logps"), ("mara", "ref_logps"), ("quotient", "classes")]
)
def test_what_a_rule_needs_and_the_batch_lacks_is_named(name: str, missing: str) -> None:
    batch = GroupBatch(GOOD["reward"], GOOD["correct"], GOOD["group"],
                       None if missing == "logps" else GOOD["logps"])  # fmt: skip
    with pytest.raises(ValueError, match=f"^{missing}:"):
        rule(name)(batch)


def test_means_of_sequence_log_probs_need_lengths() -> None:
    batch = GroupBatch(GOOD["reward"], GOOD["correct"], GOOD["group"], np.array([-4.0, -6.0]))
    with pytest.raises(ValueError, match="^lengths:"):
        rule("mean")(batch)
    term = SmoothingTerm(1.0, 1.0, "mean")(replace(batch, lengths=np.array([2, 3])))
    np.testing.assert_allclose(term, [2.0, -2.0])


@pytest.mark.parametrize("name", ["rloo", "pass-at-k", "pkpo"])
def test_groups_that_are_too_small_are_refused(name: str) -> None:
    batch = GroupBatch(np.ones(1), np.ones(1, bool), np.zeros(1, int))
    with pytest.raises(ValueError, match="^group:"):
        rule(name)(batch)


def test_every_rule_is_classified() -> None:
    for name in NAMES:
        made = rule(name)
        assert isinstance(made, Rule)
        assert made.part in ("across", "within", "both")
        assert made.citation
        assert made.formula
    assert all(isinstance(rule(name), RewardOnly) for name in REWARD_ONLY)
    assert all(not isinstance(rule(name), RewardOnly) for name in (*LIKELIHOOD, *PRESETS))
    assert not rule("centred").touches_incorrect
    assert rule("eq6").touches_incorrect
    assert rule("quotient").needs_classes
    assert not rule("quotient").needs_logps
    assert rule("token").token_level


def test_terms_add_by_answer() -> None:
    advantage, term = np.array([1.0, 2.0]), np.array([[0.5, 0.25], [1.0, 0.0]])
    np.testing.assert_array_equal(add_term(advantage, term), [[1.5, 1.25], [3.0, 2.0]])
    np.testing.assert_array_equal(add_term(term, advantage), [[1.5, 1.25], [3.0, 2.0]])
    with pytest.raises(ValueError, match="^term:"):
        add_term(advantage, term[:1])


def test_any_rule_can_carry_the_smoothing_term() -> None:
    batch = GroupBatch(**GOOD)
    for name in ("grpo", "dr-grpo", "maxrl"):
        base = rule(name)
        both = Smoothed(base, SmoothingTerm(0.1))(batch)
        np.testing.assert_allclose(both - base(batch), [0.3, 0.0])


def test_importing_the_rules_loads_neither_torch_nor_sympy() -> None:
    code = (
        "import sys, diffsmooth.theory.rules;"
        "heavy = {'torch', 'sympy', 'scipy', 'z3', 'flint', 'hypothesis', 'matplotlib'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
