"""The rule inside TRL against slow transcriptions, on models made here."""

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
from diffsmooth.llm.engines._hooks import check_hooks  # noqa: E402
from diffsmooth.theory.rules import (  # noqa: E402
    NAMES,
    GroupBatch,
    Rule,
    Smoothed,
    SmoothingTerm,
    rule,
)
from tests.llm import trl_toy as toy  # noqa: E402

# Upstream warns about its own deprecated names.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

VERSION = tuple(int(x) for x in trl.__version__.split(".")[:2])
LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo")[
    : None if VERSION >= (1, 0) else -1
]


def spy(cls: Any) -> Any:
    """``cls`` keeping, for every generation, what was scored and the advantages that came out."""

    class Spy(cls):  # type: ignore[misc]
        def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
            self.texts = list(completions)
            self.table = super()._calculate_rewards(inputs, prompts, completions, ids)
            return self.table

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            output = super()._generate_and_score_completions(inputs)
            seen = {
                "reward": self.table[:, 0].tolist(),
                "texts": self.texts,
                "logps": toy.token_logps(self.model, output, self.temperature),
                "advantages": output["advantages"].clone(),
            }
            self.__dict__.setdefault("seen", []).append(seen)
            return output

    return Spy


def weights(trainer: Any) -> dict[str, Any]:
    return {k: v.detach().clone() for k, v in trainer.model.state_dict().items()}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def correct_of(seen: dict[str, Any]) -> list[bool]:
    return [toy.is_correct(t) for t in seen["texts"]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Weights after plain GRPO, two steps."""
    trainer = toy.make(trl.GRPOTrainer, tmp_path_factory.mktemp("plain"))
    trainer.train()
    return weights(trainer)


@pytest.mark.parametrize(
    "nothing",
    [
        None,
        SmoothingTerm(),
        SmoothingTerm(0.0, 0.0, "token"),
        rule("centred", g_correct=0.0),
        rule("quotient", g_correct=0.0),
    ],
)
def test_strength_zero_is_plain_grpo_bit_for_bit(
    nothing: Any, plain: dict[str, Any], tmp_path: Path
) -> None:
    trainer = toy.make(engine.SmoothedGRPOTrainer, tmp_path, rule=nothing)
    trainer.train()
    assert same(weights(trainer), plain)


def test_the_rule_changes_the_result(plain: dict[str, Any], tmp_path: Path) -> None:
    trainer = toy.make(engine.SmoothedGRPOTrainer, tmp_path, rule=rule("centred", g_correct=0.5))
    trainer.train()
    assert not same(weights(trainer), plain)


TERMS: dict[str, dict[str, Any]] = {
    "eq6": {"g_correct": 0.3, "g_incorrect": 0.2},
    "token": {"g_correct": 0.3, "g_incorrect": 0.2, "reduction": "token"},
    "spread": {"g_correct": 0.3, "g_incorrect": 0.2, "reduction": "spread"},
    "mean": {"g_correct": 0.3, "g_incorrect": 0.2, "reduction": "mean"},
    "centred": {"g_correct": 0.7, "centred": True},
    "quotient": {"g_correct": 0.7, "centred": True, "classes": True},
}


def expected_term(name: str, seen: dict[str, Any], size: int = 8) -> list[Any]:
    options = dict(TERMS[name])
    if options.pop("classes", False):
        options["classes"] = [t[:1] for t in seen["texts"]]
    found: list[Any] = toy.slow_term(correct_of(seen), seen["logps"], size, **options)
    return found


@pytest.mark.parametrize("name", sorted(TERMS))
@pytest.mark.parametrize("updates", [1, 2])
def test_presets_add_their_term_to_the_engines_advantage(
    name: str, updates: int, tmp_path: Path
) -> None:
    """``updates=2`` makes TRL compute the old log-probs itself; 1 needs our forward pass."""
    strengths = {k: v for k, v in TERMS[name].items() if k.startswith("g_")}
    changes = {
        "per_device_train_batch_size": 16 // updates,
        "steps_per_generation": updates,
        "max_steps": 2 * updates,
        "temperature": 0.8,
    }
    trainer = toy.make(
        spy(engine.SmoothedGRPOTrainer), tmp_path, changes, rule=rule(name, **strengths)
    )
    trainer.train()
    assert len(trainer.seen) == 2
    for seen in trainer.seen:
        base = toy.trl_grpo(seen["reward"], 8)
        for i, term in enumerate(expected_term(name, seen)):
            got = seen["advantages"][i]
            if isinstance(term, list):
                want = torch.tensor([base[i] + x for x in term])
                torch.testing.assert_close(got[: len(term)], want, atol=2e-5, rtol=2e-5)
            else:
                assert float(got) == pytest.approx(base[i] + term, abs=2e-5)


def test_every_rule_of_the_library_runs_and_is_the_same_function_as_in_the_library(
    tmp_path: Path,
) -> None:
    """The trainer's advantages are the library's rule applied to the gathered group."""
    for name in NAMES:
        if name in TERMS:
            continue
        parameters = {"k": 4} if name in ("pass-at-k", "pkpo") else {}
        chosen: Any = rule(name, **parameters)
        if chosen.needs_reference:
            continue
        trainer = toy.make(
            spy(engine.SmoothedGRPOTrainer), tmp_path, {"max_steps": 1}, rule=chosen, base="rule"
        )
        trainer.train()
        seen = trainer.seen[0]
        width = max(map(len, seen["logps"]))
        logps = np.zeros((16, width))
        mask = np.zeros((16, width), dtype=bool)
        for i, row in enumerate(seen["logps"]):
            logps[i, : len(row)], mask[i, : len(row)] = row, True
        batch = GroupBatch(
            reward=np.asarray(seen["reward"]),
            correct=np.asarray(correct_of(seen)),
            group=np.repeat([1, 0], 8),
            logps=logps,
            mask=mask,
            classes=np.asarray([ord(t[0]) if t else 0 for t in seen["texts"]]),
        )
        want = np.asarray(chosen(batch))
        np.testing.assert_allclose(
            seen["advantages"].numpy(), want, atol=5e-5, rtol=5e-5, err_msg=name
        )


def test_a_rule_that_needs_a_reference_says_so_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="beta"):
        toy.make(engine.SmoothedGRPOTrainer, tmp_path, rule=rule("mara"))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_type_against_an_independent_trainer(loss: str, tmp_path: Path) -> None:
    """A trainer of the test's own, with the transcribed term, takes the same two steps.

    Plain gradient descent: Adam would turn a gradient that is only rounding into a whole step.
    """

    class Independent(trl.GRPOTrainer):  # type: ignore[misc]
        def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
            self.texts = list(completions)
            return super()._calculate_rewards(inputs, prompts, completions, ids)

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            output = super()._generate_and_score_completions(inputs)
            correct = [toy.is_correct(t) for t in self.texts]
            logps = toy.token_logps(self.model, output)
            term = toy.slow_term(correct, logps, 8, 0.4, centred=True)
            output["advantages"] = output["advantages"] + torch.tensor(term)
            return output

    changes: dict[str, Any] = {"loss_type": loss, "optim": "sgd", "learning_rate": 0.1}
    if loss == "luspo":
        changes["importance_sampling_level"] = "sequence"
    ours = toy.make(
        engine.SmoothedGRPOTrainer, tmp_path / "a", changes, rule=rule("centred", g_correct=0.4)
    )
    ours.train()
    theirs = toy.make(Independent, tmp_path / "b", changes)  # seeds the generators anew
    theirs.train()
    a, b = weights(ours), weights(theirs)
    start = dict(small.build(toy.SHAPE)[0].state_dict())
    assert any(float((a[name] - start[name]).abs().max()) > 1e-3 for name in a)
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-5, rtol=1e-4)


def test_the_log_holds_the_advantage_that_was_used(tmp_path: Path) -> None:
    trainer = toy.make(
        spy(engine.SmoothedGRPOTrainer), tmp_path, {"max_steps": 1}, rule=rule("eq6", g_correct=0.3)
    )
    trainer.train()
    used = trainer.seen[0]["advantages"]
    assert list(trainer._logs["advantages"]) == used.tolist()
    entry = trainer.state.log_history[0]
    term = expected_term("eq6", {**trainer.seen[0]})
    options = {"g_correct": 0.3, "g_incorrect": 0.01}
    term = toy.slow_term(correct_of(trainer.seen[0]), trainer.seen[0]["logps"], 8, **options)
    base = toy.trl_grpo(trainer.seen[0]["reward"], 8)
    ratio = np.abs(term).mean() / np.abs(base).mean()
    assert entry["smoothing/term_to_advantage"] == pytest.approx(ratio, rel=1e-3)
    nats = -np.mean([sum(row) for row in trainer.seen[0]["logps"]])
    assert entry["smoothing/sequence_entropy"] == pytest.approx(nats, rel=1e-4)
    right = correct_of(trainer.seen[0])
    groups = [[i for i in rows if right[i]] for rows in toy.blocks(16, 8)]
    distinct = [len({trainer.seen[0]["texts"][i][:1] for i in g}) for g in groups if g]
    assert entry["smoothing/distinct_correct"] == pytest.approx(np.mean(distinct))
    kinds = np.mean([len(g) in (0, 8) for g in groups])
    assert entry["smoothing/one_kind_groups"] == pytest.approx(kinds)


def test_the_literal_term_never_flips_a_sign_and_the_centred_one_can(tmp_path: Path) -> None:
    def flips(chosen: Rule) -> float:
        trainer = toy.make(
            engine.SmoothedGRPOTrainer, tmp_path, {"max_steps": 3, "logging_steps": 3},
            rule=chosen, reward_funcs=_binary(),
        )  # fmt: skip
        trainer.train()
        return float(trainer.state.log_history[0]["smoothing/sign_flips"])

    for g in (0.1, 1.0, 10.0):
        assert flips(rule("eq6", g_correct=g, g_incorrect=g)) == 0.0
    assert flips(rule("centred", g_correct=10.0)) > 0.0


def _binary() -> Any:
    class Binary(toy.ToyTask):  # type: ignore[misc]
        def verify(self, problem: Any, text: str) -> Any:
            verdict = super().verify(problem, text)
            return type(verdict)(float(verdict.correct), verdict.correct, verdict.canonical)

    return engine.VerifierReward(Binary())


def test_correctness_is_one_verifier_and_never_the_sum(tmp_path: Path) -> None:
    """A format bonus of 1/8 (or of 5) makes no answer correct; rows not judged get no term."""

    def verifier(completions: Any, **kw: Any) -> list[float | None]:
        return [None if i % 8 == 7 else float(toy.is_correct(t)) for i, t in enumerate(completions)]

    def bonus(completions: Any, **kw: Any) -> list[float]:
        return [5.0 + 0.125 * len(t) for t in completions]

    term = SmoothingTerm(0.5, 0.0, "sum", centring="correct")
    with pytest.raises(ValueError, match="verifier"):
        toy.make(engine.SmoothedGRPOTrainer, tmp_path, rule=term, reward_funcs=[verifier, bonus])
    trainer = toy.make(
        spy(engine.SmoothedGRPOTrainer), tmp_path, {"max_steps": 1}, rule=term,
        reward_funcs=[verifier, bonus], verifier="verifier",
    )  # fmt: skip
    trainer.train()
    seen = trainer.seen[0]
    total = [5.0 + 0.125 * len(t) + (i % 8 != 7 and toy.is_correct(t))
             for i, t in enumerate(seen["texts"])]  # fmt: skip
    base = toy.trl_grpo(total, 8)
    right = [c and i % 8 != 7 for i, c in enumerate(correct_of(seen))]
    want = [b + t for b, t in zip(base, toy.slow_term(right, seen["logps"], 8, 0.5, centred=True), strict=True)]  # fmt: skip  # noqa: E501
    np.testing.assert_allclose(seen["advantages"].numpy(), want, atol=3e-5)


def test_a_renamed_hook_is_a_hard_error_that_names_the_version() -> None:
    class Renamed:
        def _calculate_rewards(self, inputs: Any, prompts: Any) -> None: ...

    with pytest.raises(engine.UpstreamChangedError) as caught:
        check_hooks(Renamed)
    assert trl.__version__ in str(caught.value)
    assert "_generate_and_score_completions is missing" in str(caught.value)
    assert "completions, completion_ids_list" in str(caught.value)
    check_hooks(trl.GRPOTrainer)


def test_a_hook_that_is_no_longer_called_is_a_hard_error(tmp_path: Path) -> None:
    class Moved(trl.GRPOTrainer):  # type: ignore[misc]
        """Upstream where scoring has moved to another method."""

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            return {"advantages": torch.zeros(len(inputs))}

    trainer = toy.make(engine.smoothed(Moved), tmp_path, rule=rule("eq6"))
    with pytest.raises(engine.UpstreamChangedError, match="was not called"):
        trainer.train()


def test_bad_settings_are_refused_at_the_start(tmp_path: Path) -> None:
    def make(**kwargs: Any) -> Any:
        return toy.make(engine.SmoothedGRPOTrainer, tmp_path, **kwargs)

    with pytest.raises(ValueError, match="allowed: engine, rule"):
        make(base="trl")
    with pytest.raises(ValueError, match="adaptive"):
        make(gamma="adaptive", rule=rule("quotient"))
    with pytest.raises(ValueError, match="adaptive"):
        make(gamma="adaptive", rule=rule("rloo"))
    with pytest.raises(ValueError, match="allowed: toy"):
        make(verifier="correctness")

    def length(completions: Any, **kw: Any) -> list[float]:
        return [float(len(t)) for t in completions]

    with pytest.raises(ValueError, match="canonical"):
        make(rule=rule("quotient"), reward_funcs=length)


def test_an_engine_term_is_recognised_and_a_whole_rule_replaces(tmp_path: Path) -> None:
    trainer = toy.make(
        spy(engine.SmoothedGRPOTrainer), tmp_path, {"max_steps": 1},
        rule=Smoothed(base=rule("maxrl"), term=SmoothingTerm(0.5, centring="correct")),
    )  # fmt: skip
    trainer.train()
    seen = trainer.seen[0]
    right = correct_of(seen)
    term = toy.slow_term(right, seen["logps"], 8, 0.5, centred=True)
    want = []
    for rows in toy.blocks(16, 8):
        m = sum(right[i] for i in rows) / 8
        want += [((right[i] - m) / m if m else 0.0) + term[i] for i in rows]
    np.testing.assert_allclose(seen["advantages"].numpy(), want, atol=3e-5)


@pytest.mark.skipif(VERSION < (1, 0), reason="TRL 0.29 drops them without vLLM")
def test_the_samplers_log_probs_are_used_where_there_are_any(tmp_path: Path) -> None:
    """With a rollout function that returns log-probs no forward pass is made for the rule."""

    class Counting(spy(engine.SmoothedGRPOTrainer)):  # type: ignore[misc]
        def _forward_logps(self, output: Any) -> Any:
            raise AssertionError("the engine had log-probs")

    trainer = toy.make(
        Counting, tmp_path, {"max_steps": 2, "temperature": 0.7},
        rule=rule("centred", g_correct=0.7), rollout_func=small.rollout,
    )  # fmt: skip
    trainer.train()
    for seen in trainer.seen:
        base = toy.trl_grpo(seen["reward"], 8)
        want = [b + t for b, t in zip(base, expected_term("centred", seen), strict=True)]
        np.testing.assert_allclose(seen["advantages"].numpy(), want, atol=3e-5)
    assert math.isfinite(trainer.state.log_history[0]["smoothing/sequence_entropy"])


def test_clip_cov_drops_the_gradient_of_chosen_tokens_only(tmp_path: Path) -> None:
    """Dropped tokens have a covariance in (1, 5), by a transcription; the rest is untouched."""
    trainer = toy.make(
        spy(engine.SmoothedGRPOTrainer), tmp_path, {"max_steps": 6, "learning_rate": 0.1},
        rule=None, clip_cov=0.05,
    )  # fmt: skip
    trainer.train()
    dropped_somewhere = 0
    for seen in trainer.seen:
        base = toy.trl_grpo(seen["reward"], 8)
        flat = [(i, t) for i, row in enumerate(seen["logps"]) for t in range(len(row))]
        mean_a = sum(base[i] for i, _ in flat) / len(flat)
        mean_l = sum(seen["logps"][i][t] for i, t in flat) / len(flat)
        candidates = {
            (i, t) for i, t in flat
            if 1.0 < (base[i] - mean_a) * (seen["logps"][i][t] - mean_l) < 5.0
        }  # fmt: skip
        dropped = {(i, t) for i, t in flat if float(seen["advantages"][i, t]) == 0.0 != base[i]}
        assert dropped <= candidates
        assert len(dropped) == min(len(candidates), max(1, 5 * len(flat) // 100))
        for i, t in set(flat) - dropped:
            assert float(seen["advantages"][i, t]) == pytest.approx(base[i], abs=2e-5)
        dropped_somewhere += len(dropped)
    assert dropped_somewhere > 0


def test_adaptive_strength_follows_the_estimate(tmp_path: Path) -> None:
    """The strength logged is the running value of multiplier times the logged estimate of g*."""
    config = engine.Adaptive(multiplier=0.5, decay=0.5, maximum=10.0)
    trainer = toy.make(
        spy(engine.SmoothedGRPOTrainer), tmp_path, {"max_steps": 6},
        rule=rule("centred"), gamma=config,
    )  # fmt: skip
    trainer.train()
    value, seen_any = 0.0, False
    for entry, seen in zip(trainer.state.log_history, trainer.seen, strict=False):
        critical = entry.get("smoothing/critical_strength")
        if critical is not None:
            value = 0.5 * critical if not seen_any else 0.5 * value + 0.5 * 0.5 * critical
            seen_any = True
        assert entry["smoothing/strength"] == pytest.approx(value, rel=1e-6, abs=1e-9)
        base = toy.trl_grpo(seen["reward"], 8)
        term = toy.slow_term(correct_of(seen), seen["logps"], 8, value, centred=True)
        want = [b + t for b, t in zip(base, term, strict=True)]
        np.testing.assert_allclose(seen["advantages"].numpy(), want, atol=3e-5)
    assert seen_any


@pytest.mark.parametrize("name", ["mara", "kl", "kl-reward"])
def test_rules_that_read_a_reference_get_the_engines(name: str, tmp_path: Path) -> None:
    """With beta > 0 TRL computes the reference's log-probs; the first model is the reference."""
    folder = small.save(*small.build(toy.SHAPE), tmp_path / "model")
    model, tok = small.load(folder)
    reference, _ = small.load(folder)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(
                0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))
            )
    task = toy.ToyTask()
    reads: list[Any] = []

    class Spy(engine.SmoothedGRPOTrainer):  # type: ignore[misc, name-defined]
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            output = super()._generate_and_score_completions(inputs)
            texts = tok.batch_decode(output["completion_ids"], skip_special_tokens=True)
            reads.append(
                (
                    [toy.is_correct(t) for t in texts],
                    toy.token_logps(self.model, output),
                    toy.token_logps(reference, output),
                    output["advantages"].clone(),
                )
            )
            return output

    chosen = rule(name)
    trainer = Spy(
        model, reward_funcs=_binary(), args=toy.settings(tmp_path, beta=0.04, max_steps=1),
        train_dataset=toy.dataset(task), processing_class=tok, rule=chosen,
    )  # fmt: skip
    trainer.train()
    correct, logps, ref, got = reads[0]
    width = max(len(r) for r in logps)
    mask = np.array([[t < len(r) for t in range(width)] for r in logps])

    def padded(rows: list[list[float]]) -> Any:
        return np.array([r + [0.0] * (width - len(r)) for r in rows])

    batch = GroupBatch(
        reward=np.asarray(correct, dtype=np.float64),
        correct=np.asarray(correct),
        group=np.repeat([0, 1], 8),
        logps=padded(logps),
        mask=mask,
        ref_logps=padded(ref),
    )
    want = np.asarray(chosen(batch))
    assert want.ndim == (2 if name == "kl" else 1)
    assert got.ndim == want.ndim
    found = np.where(mask, got.numpy(), want) if name == "kl" else got.numpy()
    np.testing.assert_allclose(found, want, atol=1e-4)


def test_low_rank_adapters_train_and_the_base_stays(tmp_path: Path) -> None:
    from peft import LoraConfig

    adapter = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = toy.make(
        engine.SmoothedGRPOTrainer, tmp_path, rule=rule("centred", g_correct=0.5),
        peft_config=adapter,
    )  # fmt: skip
    before = weights(trainer)
    trainer.train()
    after = weights(trainer)
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert moved
    assert all("lora_" in k for k in moved)
