"""Two processes (gloo), groups split over ranks, against transcriptions of the whole batch."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")

from tests.llm import trl_toy as toy

#: Each rank holds 12 answers of 3 groups of 8: the second group is split over the ranks.
SIZE, LOCAL = 8, 12

RULES: dict[str, dict[str, Any]] = {
    "eq6": {"g_correct": 0.3, "g_incorrect": 0.2},
    "centred": {"g_correct": 0.7},
    "token": {"g_correct": 0.3, "g_incorrect": 0.2},
    "quotient": {"g_correct": 0.7},
}
LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo")
#: (name of the case, rule, loss type): every rule with one loss, one rule with every loss.
CASES = [(name, name, "dapo") for name in RULES] + [(f"loss {x}", "centred", x) for x in LOSSES]
TERMS: dict[str, dict[str, Any]] = {
    "eq6": RULES["eq6"],
    "centred": {"g_correct": 0.7, "centred": True},
    "token": {**RULES["token"], "reduction": "token"},
    "quotient": {"g_correct": 0.7, "centred": True, "classes": True},
}


def rank_main(out: str) -> None:
    """One rank: train two steps with every rule; write what was seen."""
    import torch

    from diffsmooth.llm.engines import trl as engine
    from diffsmooth.theory.rules import rule

    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name, rule_name, loss in CASES:

        class Spy(engine.SmoothedGRPOTrainer):  # type: ignore[misc, name-defined]
            def _calculate_rewards(self, inputs: Any, prompts: Any, texts: Any, ids: Any) -> Any:
                self.texts, self.prompts = list(texts), list(prompts)
                self.table = super()._calculate_rewards(inputs, prompts, texts, ids)
                return self.table

            def _generate_and_score_completions(self, inputs: Any) -> Any:
                output = super()._generate_and_score_completions(inputs)
                found.setdefault(self.case_name, []).append(
                    {
                        "reward": self.table[:, 0].tolist(),
                        "texts": self.texts,
                        "prompts": self.prompts,
                        "logps": toy.token_logps(self.accelerator.unwrap_model(self.model), output),
                        "advantages": output["advantages"].tolist(),
                    }
                )
                return output

        trainer = toy.make(
            Spy,
            Path(out) / name.replace(" ", "-"),
            {"per_device_train_batch_size": LOCAL, "logging_steps": 2, "loss_type": loss},
            rule=rule(rule_name, **RULES[rule_name]),
        )
        trainer.case_name = name
        trainer.train()
        found[name][-1]["log"] = list(trainer._logs["advantages"])
        state = trainer.accelerator.unwrap_model(trainer.model).state_dict()
        found[name][-1]["weights"] = float(sum(v.double().sum() for v in state.values()))
    rank = int(os.environ["RANK"])
    (Path(out) / f"rank-{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("ranks")
    toy.run_two_ranks("tests.llm.test_trl_ranks", out)
    return [json.loads((out / f"rank-{r}.json").read_text()) for r in range(2)]


@pytest.mark.parametrize(("name", "rule_name", "loss"), CASES)
def test_groups_split_over_ranks(
    name: str, rule_name: str, loss: str, ranks: list[dict[str, Any]]
) -> None:
    for a, b in zip(ranks[0][name], ranks[1][name], strict=True):
        assert a["reward"] == b["reward"]
        prompts = a["prompts"] + b["prompts"]
        assert prompts[8] == prompts[15], "the second group is split"
        assert prompts[7] != prompts[8]
        texts, logps = a["texts"] + b["texts"], a["logps"] + b["logps"]
        options = dict(TERMS[rule_name])
        if options.pop("classes", False):
            options["classes"] = [t[:1] for t in texts]
        term = toy.slow_term([toy.is_correct(t) for t in texts], logps, SIZE, **options)
        base = toy.trl_grpo(a["reward"], SIZE)
        got = a["advantages"] + b["advantages"]
        for i in range(2 * LOCAL):
            want = base[i] + np.asarray(term[i])
            np.testing.assert_allclose(
                np.asarray(got[i])[: len(term[i])] if name == "token" else got[i], want, atol=3e-5
            )


@pytest.mark.parametrize("name", [case[0] for case in CASES])
def test_both_ranks_log_all_advantages_and_keep_one_model(
    name: str, ranks: list[dict[str, Any]]
) -> None:
    a, b = (r[name][-1] for r in ranks)
    assert a["weights"] == b["weights"]
    assert a["log"] == b["log"]
    used = [
        np.mean(np.asarray(x)[: len(row)])
        for part in (a, b)
        for x, row in zip(part["advantages"], part["logps"], strict=True)
    ] if name == "token" else a["advantages"] + b["advantages"]  # fmt: skip
    np.testing.assert_allclose(a["log"], used, atol=1e-6)


if __name__ == "__main__":
    rank_main(sys.argv[1])
