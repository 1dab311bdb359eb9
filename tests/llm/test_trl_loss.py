"""KL-Cov and SimKO inside TRL's loss, against losses and gradients written out in loops."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")

from diffsmooth.llm import small  # noqa: E402
from diffsmooth.llm.configuration import RuleChoice  # noqa: E402
from diffsmooth.llm.engines import _strict  # noqa: E402
from diffsmooth.llm.engines import trl as engine  # noqa: E402
from diffsmooth.theory.rules import rule  # noqa: E402
from tests.llm import trl_toy as toy  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

#: Two updates with the same answers: in the second one the policy is no longer the old one.
TWICE = {"num_iterations": 2, "max_steps": 4, "optim": "sgd", "learning_rate": 0.5}


def weights(trainer: Any) -> dict[str, Any]:
    return {k: v.detach().clone() for k, v in trainer.model.state_dict().items()}


def laws(model: Any, inputs: Any, temperature: float) -> list[Any]:
    """Log-softmax at the tokens of every answer, (tokens, V), without padding, with gradient."""
    rows = []
    for i in range(len(inputs["completion_ids"])):
        prompt = inputs["prompt_ids"][i][inputs["prompt_mask"][i].bool()]
        answer = inputs["completion_ids"][i][inputs["completion_mask"][i].bool()]
        logits = model(input_ids=torch.cat([prompt, answer])[None]).logits[0] / temperature
        rows.append(torch.log_softmax(logits[len(prompt) - 1 : -1], dim=-1))
    return rows


def coefficient(ratio: float, advantage: float) -> float:
    """d/d log-prob of min(r A, clip(r) A), over A."""
    if (advantage > 0 and ratio > 1.2) or (advantage < 0 and ratio < 0.8):
        return 0.0
    return ratio


def spy(expected: Any) -> Any:
    """A trainer that compares the gradient of every loss with that of ``expected``."""

    class Spy(engine.SmoothedGRPOTrainer):  # type: ignore[misc, name-defined]
        def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
            self.texts = list(completions)
            return super()._calculate_rewards(inputs, prompts, completions, ids)

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            output = super()._generate_and_score_completions(inputs)
            # An identity that survives the shuffle of the answers.
            output["row"] = torch.arange(len(output["completion_ids"]))
            self.whole = output
            return output

        def _compute_loss(self, model: Any, inputs: Any) -> Any:
            inputs = dict(inputs)
            row = inputs.pop("row").tolist()
            loss = super()._compute_loss(model, inputs)
            want = expected(self, model, inputs, [self.texts[i] for i in row], row)
            names = [n for n, p in model.named_parameters() if p.requires_grad]
            parameters = [p for p in model.parameters() if p.requires_grad]
            got = torch.autograd.grad(loss, parameters, retain_graph=True)
            for name, a, b in zip(names, got, torch.autograd.grad(want, parameters), strict=True):
                torch.testing.assert_close(a, b, atol=2e-6, rtol=2e-4, msg=f"{name}: {a} {b}")
            self.__dict__.setdefault("compared", []).append(loss.item())
            return loss

    return Spy


def denominator(kind: str, lengths: list[int], i: int) -> float:
    """The weight of a token of answer ``i`` in TRL's loss is one over this."""
    if kind in ("bnpo", "dapo"):  # one process, no accumulation: dapo's is the same number
        return sum(lengths)
    if kind == "luspo":
        return len(lengths)
    if kind == "dr_grpo":
        return len(lengths) * 5
    return len(lengths) * lengths[i]


def chosen(trainer: Any, fraction: str) -> set[tuple[int, int]]:
    """The tokens of largest covariance; max(1, int(fraction * tokens)) of them."""
    whole = trainer.whole
    mask, old = whole["completion_mask"], whole["old_per_token_logps"]
    flat = [(i, t) for i, t in mask.nonzero().tolist()]
    a = {x: float(whole["advantages"][x[0]]) for x in flat}
    mean_a = sum(a.values()) / len(flat)
    mean_l = sum(float(old[x]) for x in flat) / len(flat)
    order = sorted(flat, key=lambda x: -(a[x] - mean_a) * (float(old[x]) - mean_l))
    return set(order[: max(1, int(Fraction(fraction) * len(flat)))])


@pytest.mark.parametrize(
    "kind, estimator, changes",
    [
        ("grpo", "abs", {}),
        ("bnpo", "abs", {"use_bias_correction_kl": True}),
        ("dr_grpo", "abs", {}),
        ("dapo", "abs", {}),
        ("luspo", "abs", {"importance_sampling_level": "sequence"}),
        ("bnpo", "k3", {}),
        ("grpo", "k3", {"use_bias_correction_kl": True}),
    ],
)
def test_kl_cov_is_a_penalty_on_the_tokens_of_largest_covariance(
    kind: str, estimator: Any, changes: dict[str, Any], tmp_path: Path
) -> None:
    """The authors' |log pi - log pi_old| with slope beta, by default; token by token."""
    fraction, beta = "0.1", 2.0
    penalised: list[float] = []

    def expected(trainer: Any, model: Any, inputs: Any, texts: Any, row: list[int]) -> Any:
        marked = chosen(trainer, fraction)
        lengths = inputs["completion_mask"].sum(1).tolist()
        total = torch.zeros(())
        for i, law in enumerate(laws(model, inputs, trainer.temperature)):
            old = inputs["old_per_token_logps"][i]
            advantage = float(inputs["advantages"][i])
            nows = [law[t, inputs["completion_ids"][i, t]] for t in range(lengths[i])]
            mean = sum(now - float(old[t]) for t, now in enumerate(nows)) / lengths[i]
            for t, now in enumerate(nows):
                if kind == "luspo":  # one ratio an answer
                    ratio = math.exp(mean.item())
                    term = -coefficient(ratio, advantage) * advantage * mean
                else:
                    ratio = math.exp(now.item() - float(old[t]))
                    term = -coefficient(ratio, advantage) * advantage * now
                if (row[i], t) in marked:
                    x = now - float(old[t])
                    penalty = x.abs() if estimator == "abs" else torch.exp(-x) + x - 1
                    penalised.append(float(penalty.detach()))
                    if abs(x.item()) > 1e-5:  # else the first update, up to rounding
                        term = term + beta * penalty
                total = total + term / denominator(kind, lengths, i)
        return total

    trainer = toy.make(
        spy(expected), tmp_path, {**TWICE, "loss_type": kind, **changes},
        rule=rule("centred", g_correct=0.4), kl_cov=engine.KLCov(float(fraction), beta, estimator),
    )  # fmt: skip
    trainer.train()
    assert len(trainer.compared) == 4
    assert max(penalised) > 1e-4, "the penalty is at work in the second update"
    log = trainer.state.log_history[0]
    assert 0 < log["smoothing/kl_cov_chosen"] <= float(fraction)


def test_the_second_call_of_the_loss_leaves_no_trace(tmp_path: Path) -> None:
    """What is logged, and the loss's own settings, are those of one call."""
    changes = {**TWICE, "loss_type": "bnpo", "use_bias_correction_kl": True}
    plain = toy.make(engine.SmoothedGRPOTrainer, tmp_path / "a", changes, rule=rule("mean"))
    plain.train()
    # A penalty that changes nothing: the same steps, the same log.
    trainer = toy.make(
        engine.SmoothedGRPOTrainer, tmp_path / "b", changes, rule=rule("mean"),
        kl_cov=engine.KLCov(0.1, 1e-30),
    )  # fmt: skip
    trainer.train()
    assert trainer.beta == 0.0
    assert trainer.args.use_bias_correction_kl
    for one, two in zip(plain.state.log_history, trainer.state.log_history, strict=True):
        same = {k for k in one if "time" not in k and "per_second" not in k and "runtime" not in k}
        assert {k for k in two if k not in one} <= {"smoothing/kl_cov_chosen"}
        for key in same:
            assert one[key] == pytest.approx(two[key], nan_ok=True), key


def test_kl_cov_goes_with_the_engine_s_own_kl(tmp_path: Path) -> None:
    """With beta > 0 the loss keeps its KL to the reference and gets the penalty beside it."""
    folder = small.save(*small.build(toy.SHAPE), tmp_path / "model")

    def last(**kwargs: Any) -> dict[str, Any]:
        model, tok = small.load(folder)
        trainer = engine.SmoothedGRPOTrainer(
            model, reward_funcs=engine.VerifierReward(toy.ToyTask()), processing_class=tok,
            args=toy.settings(tmp_path, **TWICE, beta=0.5), **kwargs,
            train_dataset=toy.dataset(toy.ToyTask()),
        )  # fmt: skip
        trainer.train()
        assert trainer.beta == 0.5
        return weights(trainer)

    with_it, without = last(kl_cov=engine.KLCov(0.1, 2.0)), last()
    assert any(not torch.equal(with_it[k], without[k]) for k in without)


@pytest.mark.parametrize("changes", [TWICE, {"max_steps": 2, "temperature": 0.7}])
def test_simko_has_the_gradient_of_its_weights(changes: dict[str, Any], tmp_path: Path) -> None:
    alpha, top, penalty, quantile = 0.3, 3, 1.5, 0.6
    seen: set[str] = set()

    def expected(trainer: Any, model: Any, inputs: Any, texts: Any, row: list[int]) -> Any:
        found = laws(model, inputs, trainer.temperature)
        entropy = [[-sum(math.exp(x) * x for x in node.tolist()) for node in law] for law in found]
        # The authors' row_quantile_masked: a threshold of its own for every response.
        threshold = [np.quantile(row, quantile) for row in entropy]
        lengths = [len(law) for law in found]
        total = torch.zeros(())
        for i, law in enumerate(found):
            for t, node in enumerate(law):
                token = int(inputs["completion_ids"][i, t])
                likeliest = sorted(range(len(node)), key=lambda v: -node[v].item())
                value = node[token]
                fork = entropy[i][t] > threshold[i] * (1 + 1e-6)  # strictly, in single precision
                if fork and toy.is_correct(texts[i]):
                    seen.add("spread")
                    value = (1 - alpha) * value + alpha / top * sum(
                        node[v] for v in likeliest[:top]
                    )
                elif fork and likeliest[0] == token:
                    seen.add("penalty")
                    value = penalty * value
                old = inputs.get("old_per_token_logps")
                ratio = 1.0 if old is None else math.exp(node[token].item() - float(old[i, t]))
                advantage = float(inputs["advantages"][i])
                total = total - coefficient(ratio, advantage) * advantage * value / sum(lengths)
        return total

    trainer = toy.make(
        spy(expected), tmp_path, {**changes, "loss_type": "bnpo"},
        rule=None, simko=engine.SimKO(alpha, top, penalty, quantile),
    )  # fmt: skip
    trainer.train()
    assert len(trainer.compared) == changes["max_steps"]
    assert seen == {"spread", "penalty"}


def test_strength_zero_is_plain_bit_for_bit(tmp_path: Path) -> None:
    plain = toy.make(trl.GRPOTrainer, tmp_path / "plain", TWICE)
    plain.train()
    want = weights(plain)
    settings: list[dict[str, Any]] = [
        {"kl_cov": engine.KLCov(beta=0.0)},
        {"kl_cov": engine.KLCov(fraction=0.0)},
        {"simko": engine.SimKO(alpha=0.0, penalty=1.0)},
    ]
    for nothing in settings:
        trainer = toy.make(engine.SmoothedGRPOTrainer, tmp_path / "zero", TWICE, **nothing)
        trainer.train()
        got = weights(trainer)
        assert all(torch.equal(got[k], want[k]) for k in want), nothing
    for something in ({"kl_cov": engine.KLCov(0.2, 5.0)}, {"simko": engine.SimKO(0.2)}):
        trainer = toy.make(engine.SmoothedGRPOTrainer, tmp_path / "some", TWICE, **something)
        trainer.train()
        got = weights(trainer)
        assert any(not torch.equal(got[k], want[k]) for k in want), something


@pytest.mark.parametrize("loss", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo"])
def test_both_run_with_every_loss_type(loss: str, tmp_path: Path) -> None:
    trainer = toy.make(
        engine.SmoothedGRPOTrainer, tmp_path, {**TWICE, "loss_type": loss},
        rule=rule("mean"), kl_cov=engine.KLCov(0.1), simko=engine.SimKO(),
    )  # fmt: skip
    trainer.train()
    assert all(math.isfinite(e["loss"]) for e in trainer.state.log_history if "loss" in e)
    assert all(bool(torch.isfinite(v).all()) for v in weights(trainer).values())


def test_settings_that_would_do_nothing_are_refused(tmp_path: Path) -> None:
    def make(changes: dict[str, Any], **kwargs: Any) -> Any:
        return toy.make(engine.SmoothedGRPOTrainer, tmp_path, changes, **kwargs)

    with pytest.raises(ValueError, match="one update a generation"):
        make({}, kl_cov=engine.KLCov())
    for bad in ({"fraction": 2.0}, {"beta": -1.0}, {"beta": math.inf}, {"estimator": "k2"}):
        with pytest.raises(ValueError, match="kl_cov"):
            engine.KLCov(**bad)
    bads: list[dict[str, Any]] = [{"alpha": -0.1}, {"top": 0}, {"penalty": 0.5}, {"quantile": 1.5}]
    for bad in bads:
        with pytest.raises(ValueError, match="simko"):
            engine.SimKO(**bad)


def test_a_loss_without_the_hooks_is_a_hard_error(tmp_path: Path) -> None:
    class Renamed(trl.GRPOTrainer):  # type: ignore[misc]
        _compute_loss = None

    with pytest.raises(engine.UpstreamChangedError, match="_compute_loss is missing"):
        toy.make(engine.smoothed(Renamed), tmp_path, simko=engine.SimKO())

    class Moved(trl.GRPOTrainer):  # type: ignore[misc]
        def _compute_loss(self, model: Any, inputs: Any) -> Any:
            return model(input_ids=inputs["completion_ids"]).logits.sum()

    trainer = toy.make(engine.smoothed(Moved), tmp_path, simko=engine.SimKO())
    with pytest.raises(engine.UpstreamChangedError, match="does not ask for log-probs"):
        trainer.train()


def test_the_configuration_reads_them_strictly() -> None:
    read = _strict.build(RuleChoice, {"name": "grpo", "kl_cov": {"fraction": 0.01}, "simko": {}})
    assert read.kl_cov == engine.KLCov(0.01)
    assert read.simko == engine.SimKO()
    with pytest.raises(_strict.ConfigError, match=r"kl_cov.fractoin.*fraction"):
        _strict.build(RuleChoice, {"kl_cov": {"fractoin": 0.01}})
