"""A run that is killed and goes on equals one that was never killed, bit for bit on CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from diffsmooth.llm.engines import trl as engine  # noqa: E402
from diffsmooth.llm.engines._resume import latest_checkpoint  # noqa: E402
from diffsmooth.theory.rules import rule  # noqa: E402
from tests.llm import trl_toy as toy  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Killed(RuntimeError):
    """Stands for the kill."""


def killer(step: int) -> Any:
    from transformers import TrainerCallback

    class _Killer(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            if state.global_step == step:
                raise Killed

    return _Killer()


#: 12 problems, 2 a generation: an epoch is 6 generations.
CASES: dict[str, dict[str, Any]] = {
    "on-policy": {"max_steps": 10},
    "reused answers": {
        "max_steps": 10, "steps_per_generation": 2, "per_device_train_batch_size": 8,
    },
    "two iterations": {"max_steps": 14, "num_iterations": 2},
    "accumulation": {
        "max_steps": 8, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 8,
    },
}  # fmt: skip


def run(folder: Path, case: str, **kwargs: Any) -> Any:
    changes = {**CASES[case], "save_strategy": "steps", "save_steps": 1, "logging_steps": 3}
    return toy.make(
        engine.SmoothedGRPOTrainer, folder, changes, rule=rule("centred", g_correct=0.3), **kwargs
    )


def weights(trainer: Any) -> dict[str, Any]:
    return {k: v.detach().clone() for k, v in trainer.model.state_dict().items()}


@pytest.mark.parametrize("case", sorted(CASES))
def test_resumed_equals_uninterrupted_after_a_kill_at_any_step(case: str, tmp_path: Path) -> None:
    """Killed in the first and the second epoch, and in the middle of a generation's answers."""
    whole = run(tmp_path / "whole", case)
    whole.train()
    want = weights(whole)
    steps = CASES[case]["max_steps"]
    for kill in range(1, steps, 2 if case == "on-policy" else 3):
        folder = tmp_path / f"killed-{kill}"
        with pytest.raises(Killed):
            run(folder, case, callbacks=[killer(kill)]).train()
        checkpoint = latest_checkpoint(folder)
        assert checkpoint is not None
        assert checkpoint.name == f"checkpoint-{kill}"
        torch.manual_seed(991)  # nothing may hang on the state of the new process
        again = run(folder, case)
        again.train(resume_from_checkpoint=str(checkpoint))
        got = weights(again)
        assert all(torch.equal(got[k], want[k]) for k in want), f"killed at {kill}"
        a, b = whole.state.log_history[-2], again.state.log_history[-2]
        skip = {"step_time", "loss"}  # a clock, and a mean that upstream restarts
        assert {k: v for k, v in a.items() if k not in skip} == {
            k: v for k, v in b.items() if k not in skip
        }


def test_without_the_replayed_order_a_second_epoch_would_differ(tmp_path: Path) -> None:
    """The mutant: upstream's sampler alone begins the second epoch with the first one's order."""
    trainer = run(tmp_path, "on-policy")
    sampler = trainer._get_train_sampler()
    first = list(sampler)
    trainer.state.epoch = 1.0
    second = list(sampler)
    assert first != second
    upstream = sampler.sampler
    upstream.generator.set_state(sampler._start)
    assert list(upstream) == first
    assert list(upstream) == second


def test_a_checkpoint_killed_while_written_is_passed_over(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    for step, text in ((2, json.dumps({"global_step": 2})), (10, '{"global_st'), (9, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if text is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(text)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-2"
