"""``make test-trl-suite``: what it finds, what it compares, and a small suite run through it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from tests.llm.trl_suite import run

MINIATURE = """
from .testing_utils import helper
from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer


def test_trains_with_two_rewards(tmp_path):
    data = load_dataset("trl-internal-testing/zen", "standard_prompt_only", split="train")
    arguments = GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=3, num_generations=3,
        max_completion_length=4, max_steps=1, report_to="none",
    )
    trainer = GRPOTrainer(
        model="trl-internal-testing/tiny-Qwen2ForCausalLM-2.5",
        reward_funcs=[helper, lambda completions, **_: [0.0] * len(completions)],
        args=arguments, train_dataset=data,
    )
    trainer.train()
    assert trainer.state.global_step == 1


def test_is_a_difference():
    assert GRPOTrainer.__mro__[1].__name__ != "SmoothedGRPOTrainer"


def test_fails_for_both():
    raise RuntimeError("no hub")
"""


def test_a_suite_runs_in_both_passes_and_a_difference_is_found(tmp_path: Path, capsys: Any) -> None:
    suite = tmp_path / "tests"
    suite.mkdir()
    (suite / run.SUITE).write_text(MINIATURE)
    (suite / "testing_utils.py").write_text(
        "def helper(completions, **_):\n    return [float(len(c)) for c in completions]\n"
    )
    assert run.main([str(suite)]) == 1
    said = capsys.readouterr().out
    assert "stand-ins for tiny-Qwen2ForCausalLM-2.5" in said
    assert "plain: 1 failed, 2 passed" in said
    assert "1 x: RuntimeError: no hub" in said
    assert [
        line.split("::")[1].split(":")[0] for line in said.splitlines() if "DIFFERS" in line
    ] == ["test_is_a_difference"]
    assert "1 of 3 tests differ" in said
    assert sorted(p.name for p in suite.iterdir()) == [run.SUITE, "testing_utils.py"]


def test_without_a_suite_the_reason_is_said(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRL_TESTS", str(tmp_path))
    assert run.main([]) == 0
    assert f"skipped: {tmp_path} holds no {run.SUITE}" in capsys.readouterr().out


def test_what_counts_as_a_difference() -> None:
    plain = {"a": ("passed", ""), "b": ("failed", "OSError: x"), "c": ("failed", "OSError: y")}
    assert run.differences(plain, plain) == []
    other = {"a": ("failed", "ValueError: z"), "b": ("failed", "OSError: w")}
    lines = run.differences(plain, other)
    assert [line[0] for line in lines] == ["a", "c"]
    assert "not run" in lines[1]
