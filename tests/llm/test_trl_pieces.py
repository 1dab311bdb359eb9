"""The engine's pieces without a trainer: hashes, groups, the estimate of C5, log-probs' source."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from diffsmooth.llm.engines._adaptive import (  # noqa: E402
    Adaptive,
    AdaptiveState,
    critical_strengths,
)
from diffsmooth.llm.engines._gather import group_ids, token_hash  # noqa: E402
from diffsmooth.llm.engines._rows import engine_logps  # noqa: E402
from diffsmooth.llm.engines._verifier import VerifierReward, answer_text  # noqa: E402

rows = st.lists(st.lists(st.integers(0, 200_000), max_size=6), min_size=1, max_size=6)


@settings(deadline=None)
@given(rows, st.integers(0, 3), st.integers(0, 3))
def test_the_hash_sees_tokens_and_order_but_no_padding(
    texts: list[list[int]], left: int, right: int
) -> None:
    width = max(map(len, texts))
    plain = torch.full((len(texts), width), 7)
    padded = torch.full((len(texts), left + width + right), 9)
    plain_mask, padded_mask = torch.zeros_like(plain), torch.zeros_like(padded)
    for i, text in enumerate(texts):
        plain[i, : len(text)] = torch.tensor(text, dtype=torch.long)
        plain_mask[i, : len(text)] = 1
        start = left + width - len(text)
        padded[i, start : left + width] = torch.tensor(text, dtype=torch.long)
        padded_mask[i, start : left + width] = 1
    a = token_hash(plain, plain_mask)
    assert torch.equal(a, token_hash(padded, padded_mask))
    for i, x in enumerate(texts):
        for j, y in enumerate(texts):
            assert (int(a[i]) == int(a[j])) == (x == y)


def test_groups_are_blocks_of_one_prompt_or_an_error() -> None:
    assert group_ids(np.array([5, 5, 3, 3]), 2).tolist() == [0, 0, 1, 1]
    # The same prompt drawn twice is two groups, as in the trainer's own mean.
    assert group_ids(np.array([5, 5, 5, 5]), 2).tolist() == [0, 0, 1, 1]
    with pytest.raises(RuntimeError, match="different prompts"):
        group_ids(np.array([5, 3, 5, 3]), 2)
    with pytest.raises(RuntimeError, match="do not divide"):
        group_ids(np.array([5, 5, 5]), 2)


def slow_critical(values: list[float], share: float, standardised: bool) -> float:
    """C5, centred, from theory.md's sums, for the law q over distinct answers."""
    total = sum(math.exp(v) for v in values)
    q = [math.exp(v) / total for v in values]
    mean_log = sum(x * math.log(x) for x in q)
    k1 = sum(x * math.log(x) * x for x in q) - mean_log * sum(x * x for x in q)
    e = sum(x * x * (math.log(x) - mean_log) ** 2 for x in q)
    push = math.sqrt((1 - share) / share) if standardised else 1 - share
    return push * k1 / e


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(-12, -1), min_size=2, max_size=7, unique=True).filter(
        lambda v: max(v) - min(v) > 0.1
    ),
    st.integers(1, 5),
    st.integers(0, 3),
    st.booleans(),
)
def test_the_estimate_of_c5_is_its_formula_on_the_distinct_answers(
    values: list[float], wrong: int, repeats: int, standardised: bool
) -> None:
    """Repeats of an answer count in its share of correctness, not in the law of the answers."""
    logps = values + [values[0]] * repeats + [-3.0] * wrong
    answer = [*range(len(values)), *([0] * repeats), *range(100, 100 + wrong)]
    correct = [True] * (len(values) + repeats) + [False] * wrong
    n = len(logps)
    order = np.random.default_rng(0).permutation(3 * n)
    # Three groups in any order: the second has no wrong answer, the third one answer only.
    group = np.repeat([4, 2, 9], n)
    all_correct = np.concatenate([correct, np.ones(n, bool), correct])
    names = np.concatenate([answer, answer, np.where(correct, 0, answer)])
    found = critical_strengths(
        np.tile(logps, 3)[order], all_correct[order], group[order], names[order],
        form="advantage-centred" if standardised else "centred",
    )  # fmt: skip
    share = (len(values) + repeats) / n
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == pytest.approx(slow_critical(values, share, standardised), rel=1e-6)


def test_the_adaptive_strength_is_bounded_and_remembers() -> None:
    state = AdaptiveState(Adaptive(multiplier=2.0, decay=0.5, maximum=3.0, start=0.25))
    assert state.update(math.nan) == 0.25
    assert state.update(0.5) == 1.0  # the first estimate replaces the start
    assert state.update(1.0) == 1.5
    again = AdaptiveState(state.config)
    again.load_state_dict(state.state_dict())
    assert again.update(0.5) == state.update(0.5) == 1.25
    assert state.update(100.0) == 3.0
    for bad in ({"multiplier": -1.0}, {"decay": 1.0}, {"maximum": 0.0}, {"start": 9.0}):
        with pytest.raises(ValueError, match="Adaptive"):
            Adaptive(**bad)


def test_log_probs_come_from_the_trainer_then_the_sampler_unless_it_could_not_say() -> None:
    trainer = SimpleNamespace(accelerator=SimpleNamespace(gather=lambda x: x))
    mask = torch.tensor([[1, 1, 0]])
    old, sampled = torch.full((1, 3), -1.0), torch.full((1, 3), -2.0)
    output: dict[str, Any] = {"completion_mask": mask, "sampling_per_token_logps": sampled}
    assert engine_logps(trainer, {**output, "old_per_token_logps": old}) is old
    assert engine_logps(trainer, output) is sampled
    sampled[0, 2] = math.nan  # padding
    assert engine_logps(trainer, output) is sampled
    sampled[0, 1] = math.nan
    assert engine_logps(trainer, output) is None
    assert engine_logps(trainer, {"completion_mask": mask}) is None


def test_the_text_of_a_chat_is_its_answer_turns() -> None:
    assert answer_text("3+4") == "3+4"
    chat = [
        {"role": "assistant", "content": "a"},
        {"role": "tool", "content": "x"},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None},
    ]
    assert answer_text(chat) == "ab"


def test_the_verifier_hands_over_its_verdicts_once() -> None:
    from diffsmooth.llm.tasks.countdown import CountDown
    from diffsmooth.llm.tasks.puzzle import Puzzle

    reward = VerifierReward(CountDown([Puzzle((1, 2), 3)], style="bare"))
    name = next(iter(reward.problems))
    assert reward(["1+2", "2+1", "1*2", "?"], problem_id=[name] * 4) == [1.0, 1.0, 0.1, 0.0]
    verdicts = reward.take()
    assert verdicts is not None
    assert [v.correct for v in verdicts] == [True, True, False, False]
    assert verdicts[0].canonical == verdicts[1].canonical
    assert reward.take() is None
    with pytest.raises(ValueError, match="problem_id"):
        reward(["1+2"])
    with pytest.raises(KeyError):
        reward(["1+2"], problem_id=["unknown"])
