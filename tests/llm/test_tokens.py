"""The rule on padded token tensors: the numbers are those of the rule library, for every engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from diffsmooth.llm.engines import slime
from diffsmooth.llm.engines._tokens import Knobs, numbered, token_advantages
from diffsmooth.theory.rules import GroupBatch, Smoothed, rule


def answers(seed: int = 0, prompts: int = 3, size: int = 8, width: int = 6) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    rows = prompts * size
    order = rng.permutation(rows)
    mask = np.arange(width) < rng.integers(1, width + 1, (rows, 1))
    score = (rng.random(rows) < 0.5).astype(np.float64)
    return {
        "score": torch.from_numpy(score),
        "mask": torch.from_numpy(mask),
        "groups": [f"prompt-{i // size}" for i in order],
        "logps": torch.from_numpy(-rng.exponential(0.5, (rows, width)) * mask),
        "ref_logps": torch.from_numpy(-rng.exponential(0.5, (rows, width)) * mask),
        "classes": [f"class-{i}" for i in rng.integers(0, 3, rows)],
    }


def in_numpy(a: dict[str, Any]) -> GroupBatch:
    """The same answers as a table's GroupBatch: sequence log-probs summed by hand."""
    mask = a["mask"].numpy()
    return GroupBatch(
        reward=a["score"].numpy(),
        correct=a["score"].numpy() >= 1.0,
        group=np.array(numbered(a["groups"])),
        logps=np.where(mask, a["logps"].numpy(), 0.0).sum(axis=1),
        lengths=mask.sum(axis=1),
        classes=np.array(numbered(a["classes"])),
        ref_logps=np.where(mask, a["ref_logps"].numpy(), 0.0).sum(axis=1),
    )


@pytest.mark.parametrize("name", ["grpo", "maxrl", "eq6", "mean", "centred", "quotient", "mara"])
def test_token_advantages_are_the_rules(name: str) -> None:
    a = answers()
    knobs = Knobs(rule=name, base="rule", class_key="canonical")
    got = token_advantages(knobs, **a)
    expected = rule(name)(in_numpy(a))[:, None] * a["mask"].numpy()
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-12)


def test_over_the_engine_only_the_term_is_added() -> None:
    a = answers()
    engine = torch.randn(a["mask"].shape, dtype=torch.float64) * a["mask"]
    knobs = Knobs(rule="centred", parameters={"g_correct": 0.2})
    made = knobs.made()
    assert isinstance(made, Smoothed)
    got = token_advantages(knobs, **a, engine=engine)
    expected = (engine.numpy() + made.term(in_numpy(a))[:, None]) * a["mask"].numpy()
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-12)


def test_strength_zero_returns_the_engines_tensor_itself() -> None:
    a = answers()
    engine = torch.randn(a["mask"].shape, dtype=torch.float64)
    knobs = Knobs(rule="eq6", parameters={"g_correct": 0.0, "g_incorrect": 0.0})
    assert knobs.does_nothing
    assert token_advantages(knobs, **a, engine=engine) is engine


def test_explicit_correctness_overrides_the_threshold() -> None:
    a = answers()
    none_correct = token_advantages(
        Knobs(rule="psr", base="rule"), **a, correct=[False] * len(a["score"])
    )
    assert not none_correct.any()


@pytest.mark.parametrize(
    "section, message",
    [
        ({"rule": "centered"}, "did you mean 'centred'"),
        ({"gama": 0.1}, "gama"),
        ({"base": "both"}, "^ds.base:"),
        ({"threshold": float("nan")}, "^ds.threshold:"),
        ({"rule": "quotient"}, "^ds.class_key:"),
        ({"g_correct": -1.0}, "^g_correct:"),
    ],
)
def test_bad_settings_are_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Knobs.read(section)


def test_the_engines_advantage_is_asked_for() -> None:
    with pytest.raises(ValueError, match="^ds.base:"):
        token_advantages(Knobs(rule="centred"), **answers())


def slime_data(a: dict[str, Any], size: int) -> dict[str, Any]:
    """As slime hands it over: unpadded tensors, indices from which the prompt follows."""
    counts: dict[str, int] = {}
    indices = []
    for name in a["groups"]:
        seen = counts.get(name, 0)
        counts[name] = seen + 1
        indices.append(int(name.rsplit("-", 1)[1]) * size + seen)
    lengths = a["mask"].sum(dim=1).tolist()
    return {
        "rewards": a["score"].tolist(),
        "log_probs": [a["logps"][i, :n].float() for i, n in enumerate(lengths)],
        "loss_masks": [torch.ones(n) for n in lengths],
        "sample_indices": indices,
    }


def test_slimes_function_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    a, size = answers(size=8), 8
    monkeypatch.setenv(slime.VARIABLE, '{"rule": "centred", "g_correct": 0.3}')
    data = slime_data(a, size)
    slime.advantages(SimpleNamespace(n_samples_per_prompt=size), data)
    expected = rule("centred", g_correct=0.3)(in_numpy(a))
    for i, row in enumerate(data["advantages"]):
        assert len(row) == int(a["mask"][i].sum())
        # Single precision log-probs of a few nats: 1e-6 per token, six tokens.
        np.testing.assert_allclose(row.numpy(), expected[i], atol=2e-5)
    assert len(data["returns"]) == len(data["advantages"])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"rewards_normalization": True}, "raw rewards"),
        ({"context_parallel_size": 2}, "context"),
    ],
)
def test_slime_settings_that_would_mislead_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    args = SimpleNamespace(n_samples_per_prompt=8, **changes)
    with pytest.raises(ValueError, match=message):
        slime.advantages(args, slime_data(answers(), 8))


def test_slime_data_without_a_field_is_refused() -> None:
    data = slime_data(answers(), 8)
    del data["sample_indices"]
    with pytest.raises(ValueError, match="sample_indices"):
        slime.advantages(SimpleNamespace(n_samples_per_prompt=8), data)
