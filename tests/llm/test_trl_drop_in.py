"""Without a rule in force the smoothed trainer is the plain one, whatever rewards there are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")

from diffsmooth.llm import small  # noqa: E402
from diffsmooth.llm.engines import trl as engine  # noqa: E402
from diffsmooth.llm.engines._gather import gather_answers  # noqa: E402
from diffsmooth.llm.engines._rows import depends_on_correctness  # noqa: E402
from diffsmooth.theory.rules import NAMES, Smoothed, SmoothingTerm, rule  # noqa: E402
from tests.llm import trl_toy as toy  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

VERSION = tuple(int(x) for x in trl.__version__.split(".")[:2])
#: TRL 0.29 drops the sampler's log-probs without vLLM.
keeps_logps = pytest.mark.skipif(VERSION < (1, 0), reason="TRL 0.29 drops them without vLLM")


def begins_well(completions: Any, **_: Any) -> list[float]:
    return [float(toy.is_correct(t)) for t in completions]


def shorter(completions: Any, **_: Any) -> list[float | None]:
    """Not every answer gets this reward."""
    return [None if i % 5 == 4 else 0.125 * len(t) for i, t in enumerate(completions)]


async def later(completions: Any, **_: Any) -> list[float]:
    return [0.25 * (t[-1:] == "1") for t in completions]


REWARDS = [begins_well, shorter, later]


def weights(trainer: Any) -> dict[str, Any]:
    return {k: v.detach().clone() for k, v in trainer.model.state_dict().items()}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# -- several rewards ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[float]]:
    trainer = toy.make(
        trl.GRPOTrainer, tmp_path_factory.mktemp("plain"), {"reward_weights": [1.0, 0.5, 2.0]},
        reward_funcs=list(REWARDS),
    )  # fmt: skip
    trainer.train()
    return weights(trainer), list(trainer._logs["advantages"])


@pytest.mark.parametrize(
    "nothing",
    [
        {"rule": None},
        {"rule": SmoothingTerm()},
        {"rule": rule("eq6", g_correct=0.0, g_incorrect=0.0)},
        {"rule": rule("centred", g_correct=0.0)},
        {"rule": rule("token", g_correct=0.0, g_incorrect=0.0)},
        {"rule": rule("quotient", g_correct=0.0)},
        {"rule": None, "verifier": "begins_well"},
    ],
    ids=str,
)
def test_several_rewards_and_strength_zero_are_plain_grpo_bit_for_bit(
    nothing: dict[str, Any], plain: Any, tmp_path: Path
) -> None:
    trainer = toy.make(
        engine.SmoothedGRPOTrainer, tmp_path, {"reward_weights": [1.0, 0.5, 2.0]},
        reward_funcs=list(REWARDS), **nothing,
    )  # fmt: skip
    trainer.train()
    assert same(weights(trainer), plain[0])
    assert list(trainer._logs["advantages"]) == plain[1]
    assert ("smoothing/correct" in trainer.state.log_history[0]) == ("verifier" in nothing)


def test_the_verifier_is_asked_for_only_where_correctness_matters(tmp_path: Path) -> None:
    """Every rule of the library: named in the error, or never looked at."""
    parameters = {"pass-at-k": {"k": 4}, "pkpo": {"k": 4}, "two-part": {"base": rule("maxrl")}}
    for name in NAMES:
        chosen: Any = rule(name, **parameters.get(name, {}))
        if chosen.needs_reference:
            continue
        if depends_on_correctness(chosen, 8):
            with pytest.raises(ValueError, match="verifier: name the one of begins_well, shorter"):
                toy.make(
                    engine.SmoothedGRPOTrainer, tmp_path, rule=chosen, reward_funcs=list(REWARDS)
                )
        else:
            toy.make(
                engine.SmoothedGRPOTrainer, tmp_path, {"max_steps": 1}, rule=chosen, base="rule",
                reward_funcs=list(REWARDS),
            ).train()  # fmt: skip
    with pytest.raises(ValueError, match="verifier"):
        toy.make(
            engine.SmoothedGRPOTrainer, tmp_path, simko=engine.SimKO(), reward_funcs=list(REWARDS)
        )
    with pytest.raises(ValueError, match="verifier"):
        toy.make(
            engine.SmoothedGRPOTrainer, tmp_path, rule=rule("centred", g_correct=0.0),
            gamma="adaptive", reward_funcs=list(REWARDS),
        )  # fmt: skip


def test_rules_of_rewards_alone_do_not_depend_on_correctness() -> None:
    """The classifier against what the formulas say."""
    blind = {"vanilla", "grpo", "dr-grpo", "rloo", "entropy-bonus", "entropy-penalty", "kl"}
    known = {"psr", "nsr", "pass-at-k", "maxrl", "centred", "eq6", "quotient", "mara", "ucpo"}
    assert not any(depends_on_correctness(rule(name), 16) for name in blind)
    assert all(depends_on_correctness(rule(name), 16) for name in known)
    assert not depends_on_correctness(Smoothed(rule("grpo"), SmoothingTerm()), 8)


@keeps_logps
def test_answers_to_different_prompts_in_a_group_stop_no_plain_run(tmp_path: Path) -> None:
    """A rollout function may change prompts (an environment does): only a rule needs groups."""

    def rollout(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        out = small.rollout(prompts, trainer)
        marks = trainer.processing_class(text=list("0123456789"))["input_ids"]
        out["prompt_ids"] = [[*ids, *marks[i % 10]] for i, ids in enumerate(out["prompt_ids"])]
        return out

    found = []
    for cls, kwargs in ((trl.GRPOTrainer, {}), (engine.SmoothedGRPOTrainer, {"rule": None})):
        trainer = toy.make(cls, tmp_path, rollout_func=rollout, **kwargs)
        trainer.train()
        found.append(weights(trainer))
    assert same(*found)
    with pytest.raises(RuntimeError, match="different prompts"):
        toy.make(
            engine.SmoothedGRPOTrainer, tmp_path, rollout_func=rollout, rule=rule("eq6")
        ).train()


# -- log-probs that are none ----------------------------------------------------------------------


def spoiled(value: float, where: tuple[int, ...] = (3,)) -> Any:
    """The lean sampler, but the first log-prob of the answers ``where`` is ``value``."""

    def rollout(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        out = small.rollout(prompts, trainer)
        for i in where:
            out["logprobs"][i][0] = value
        return out

    return rollout


BAD_LOGPS = (-math.inf, math.inf, 0.5)


@keeps_logps
@pytest.mark.parametrize("value", BAD_LOGPS)
def test_no_log_prob_stops_a_rule_that_reads_none(value: float, tmp_path: Path) -> None:
    one = {"max_steps": 1}
    trainer = toy.make(trl.GRPOTrainer, tmp_path, one, rollout_func=spoiled(value))
    trainer.train()
    want, advantages = weights(trainer), list(trainer._logs["advantages"])
    reading_none: list[dict[str, Any]] = [
        {"rule": None},
        {"rule": rule("centred", g_correct=0.0)},
        {"rule": rule("maxrl")},
        {"rule": rule("quotient", g_correct=0.3)},
        {"rule": rule("grpo"), "base": "rule"},
        {"rule": rule("two-part", g_correct=0.0, base="maxrl")},
    ]
    for i, choice in enumerate(reading_none):
        trainer = toy.make(
            engine.SmoothedGRPOTrainer, tmp_path, one, rollout_func=spoiled(value), **choice
        )
        trainer.train()
        if i < 2:
            assert same(weights(trainer), want)
            assert list(trainer._logs["advantages"]) == advantages
        elif choice["rule"] == rule("maxrl"):  # a rule in force it is
            assert list(trainer._logs["advantages"]) != advantages
        for entry in trainer.state.log_history:
            assert all(math.isfinite(v) for v in entry.values() if isinstance(v, float))
        assert trainer.state.log_history[0]["smoothing/logps_unusable"] == 1 / 16


@keeps_logps
@pytest.mark.parametrize("value", BAD_LOGPS)
@pytest.mark.parametrize(
    "choice",
    [
        {"rule": rule("centred", g_correct=0.3)},
        {"rule": rule("token", g_correct=0.3)},
        {"rule": rule("entropy-bonus"), "base": "rule"},
        {"rule": rule("centred", g_correct=0.0), "gamma": "adaptive"},
        {"rule": None, "clip_cov": 0.1},
    ],
    ids=str,
)
def test_it_stops_a_rule_that_reads_them(
    value: float, choice: dict[str, Any], tmp_path: Path
) -> None:
    trainer = toy.make(engine.SmoothedGRPOTrainer, tmp_path, rollout_func=spoiled(value), **choice)
    before = weights(trainer)
    with pytest.raises(ValueError, match=r"logps: holds .*1 of 16 answers"):
        trainer.train()
    assert same(weights(trainer), before)


@keeps_logps
@pytest.mark.parametrize("value", BAD_LOGPS)
def test_the_logs_leave_out_what_has_no_value_and_change_nothing_else(
    value: float, tmp_path: Path
) -> None:
    """The entropy is the mean over the other answers; the other group's estimate stays its own."""

    class Spy(engine.SmoothedGRPOTrainer):  # type: ignore[misc, name-defined]
        def _critical(self, answers: Any, scored: Any, group: Any) -> Any:
            found = super()._critical(answers, scored, group)
            self.kept = (answers.sums.copy(), found)
            return found

    def logged(rollout: Any) -> tuple[dict[str, float], Any, Any]:
        trainer = toy.make(Spy, tmp_path, {"max_steps": 1}, rule=None, rollout_func=rollout)
        trainer.train()
        return trainer.state.log_history[0], *trainer.kept

    clean, sums, critical = logged(small.rollout)
    dirty, _, left = logged(spoiled(value))
    kept = np.delete(sums, 3)
    assert dirty["smoothing/sequence_entropy"] == pytest.approx(-kept.mean(), rel=1e-6)
    assert len(critical) == 2
    assert left.tolist() == pytest.approx(critical[1:].tolist(), nan_ok=True)
    assert "smoothing/logps_unusable" not in clean
    everyone, _, none = logged(spoiled(value, tuple(range(16))))
    assert everyone["smoothing/logps_unusable"] == 1.0
    assert "smoothing/sequence_entropy" not in everyone
    assert not len(none)


@pytest.mark.parametrize("token_level", [False, True])
def test_infinities_that_cancel_and_rounding_above_zero(token_level: bool) -> None:
    """Judged token by token, before anything is summed; rounding above 0 is 0, to the bit."""
    from accelerate import Accelerator

    tokens = torch.tensor(
        [[math.inf, -math.inf], [-3.0, 0.25], [-1.0, -2.0], [1e-6, 0.0], [-1.0, math.nan]]
    )
    mask = torch.ones((5, 2), dtype=torch.long)
    mask[4, 1] = 0
    output = {
        "prompt_ids": torch.ones((5, 1), dtype=torch.long),
        "prompt_mask": torch.ones((5, 1), dtype=torch.long),
        "completion_ids": torch.arange(10).view(5, 2),
        "completion_mask": mask,
    }
    found = gather_answers(Accelerator(cpu=True), output, tokens, token_level)
    np.testing.assert_array_equal(found.log_probs, [math.nan, math.nan, -3.0, 0.0, -1.0])
    assert found.unusable.tolist() == [True, True, False, False, False]
