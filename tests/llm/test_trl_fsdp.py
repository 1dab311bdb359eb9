"""Two processes (gloo) under accelerate's FSDP, version 2, on the CPU: groups split over ranks,
weights split over ranks, against two steps written out in one plain process.

accelerate offers FSDP to accelerators only: with ``ACCELERATE_USE_FSDP`` on a CPU it silently
takes DDP instead.  Here it is told, at the one place where it asks, that the processes are GPUs;
everything after that (wrapping, sharding, gradients, clipping) is accelerate's and torch's own.
Version 1 stops in torch: "Inconsistent compute device and `device_id` on rank 0: cpu vs cpu:0".
"""

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
from tests.llm.test_trl_ranks import LOCAL, RULES, SIZE, TERMS

FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "LlamaDecoderLayer",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}
#: Large steps, so that the second generation is visibly of another policy; clipping at 1 works.
RATE = 0.5
STEPS = 2


def rank_main(out: str) -> None:
    """One rank: two sharded steps with every rule; write what was drawn and what came out."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import DistributedType
    from torch.distributed.tensor import DTensor

    from diffsmooth.llm.engines import trl as engine
    from diffsmooth.theory.rules import rule

    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    found: dict[str, Any] = {}
    for name in RULES:

        class Spy(engine.SmoothedGRPOTrainer):  # type: ignore[misc, name-defined]
            def create_accelerator_and_postprocess(self) -> None:
                PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
                super().create_accelerator_and_postprocess()
                assert self.accelerator.distributed_type == DistributedType.FSDP

            def _calculate_rewards(self, inputs: Any, prompts: Any, texts: Any, ids: Any) -> Any:
                self.texts = list(texts)
                self.table = super()._calculate_rewards(inputs, prompts, texts, ids)
                return self.table

            def _generate_and_score_completions(self, inputs: Any) -> Any:
                output = super()._generate_and_score_completions(inputs)
                drawn = {"texts": self.texts, "reward": self.table[:, 0].tolist()}
                drawn["advantages"] = output["advantages"].tolist()
                for kind in ("prompt", "completion"):
                    ids, mask = output[f"{kind}_ids"], output[f"{kind}_mask"].bool()
                    drawn[kind] = [i[m].tolist() for i, m in zip(ids, mask, strict=True)]
                self.seen.append(drawn)
                return output

        trainer = toy.make(
            Spy,
            Path(out) / name,
            {
                "per_device_train_batch_size": LOCAL,
                "max_steps": STEPS,
                "optim": "sgd",
                "learning_rate": RATE,
            },
            rule=rule(name, **RULES[name]),
        )
        trainer.seen = []
        trainer.train()
        parameters = list(trainer.model_wrapped.named_parameters())
        assert all(isinstance(p, DTensor) for _, p in parameters), "the weights are sharded"
        held = sum(p.to_local().numel() for _, p in parameters)
        whole = {k: p.full_tensor().detach().numpy() for k, p in parameters}
        found[name] = {
            "steps": trainer.seen,
            "share": held / sum(v.size for v in whole.values()),
            "norms": [e["grad_norm"] for e in trainer.state.log_history if "grad_norm" in e],
        }
        if rank == 0:
            np.savez(Path(out) / f"{name}.npz", **whole)
    (Path(out) / f"rank-{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fsdp")
    toy.run_two_ranks("tests.llm.test_trl_fsdp", out, FSDP)
    return out


def logps(model: Any, prompt: list[int], answer: list[int]) -> Any:
    import torch

    law = torch.log_softmax(model(input_ids=torch.tensor([prompt + answer])).logits[0], dim=-1)
    return law[len(prompt) - 1 : -1].gather(1, torch.tensor(answer)[:, None])[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RULES))
def test_sharded_steps_are_those_of_one_plain_process(name: str, folder: Path) -> None:
    import torch

    from diffsmooth.llm import small

    ranks = [json.loads((folder / f"rank-{r}.json").read_text())[name] for r in range(2)]
    assert all(0.45 < r["share"] < 0.55 for r in ranks), "each rank holds half of the weights"
    assert ranks[0]["norms"] == ranks[1]["norms"]
    model, _ = small.build(toy.SHAPE)
    clipped = []
    for step in range(STEPS):
        a, b = (r["steps"][step] for r in ranks)
        assert a["reward"] == b["reward"], "every rank knows all rewards"
        drawn = {key: a[key] + b[key] for key in ("texts", "prompt", "completion", "advantages")}
        assert drawn["prompt"][LOCAL - 4] == drawn["prompt"][LOCAL + 3], "a group is split"
        found = [logps(model, *x) for x in zip(drawn["prompt"], drawn["completion"], strict=True)]
        options = dict(TERMS[name])
        if options.pop("classes", False):
            options["classes"] = [t[:1] for t in drawn["texts"]]
        correct = [toy.is_correct(t) for t in drawn["texts"]]
        term = toy.slow_term(correct, [x.tolist() for x in found], SIZE, **options)
        base = toy.trl_grpo(a["reward"], SIZE)
        loss = torch.zeros(())
        for i, x in enumerate(found):
            want = base[i] + np.asarray(term[i])
            got = np.asarray(drawn["advantages"][i])
            np.testing.assert_allclose(got[: len(x)] if got.ndim else got, want, atol=5e-5)
            loss = loss - (torch.as_tensor(want, dtype=torch.float32) * x).sum()
        loss = loss / sum(map(len, drawn["completion"]))
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        parameters = list(model.parameters())
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        norm = sum(float((g.double() ** 2).sum()) for g in gradients) ** 0.5
        assert ranks[0]["norms"][step] == pytest.approx(norm, rel=1e-4)
        clipped.append(norm > 1)
        with torch.no_grad():
            for p, g in zip(parameters, gradients, strict=True):
                p.sub_(RATE * min(1.0, 1.0 / (norm + 1e-6)) * g)
    assert any(clipped), "the norm that is clipped is that of all shards together"
    saved = np.load(folder / f"{name}.npz")
    start = dict(small.build(toy.SHAPE)[0].named_parameters())
    for key, want in model.named_parameters():
        np.testing.assert_allclose(saved[key], want.detach().numpy(), atol=2e-5, err_msg=key)
        if want.ndim > 1:
            assert not np.allclose(saved[key], start[key].detach().numpy(), atol=1e-3), key


if __name__ == "__main__":
    rank_main(sys.argv[1])
