"""Smoothed advantages reach verl's parameters: trainer, transfer queue, actor, on CPU.

verl's ``ds_sync`` trainer writes the advantages, verl's training worker takes them from the queue,
and verl's loss, FSDP engine and optimiser change a small transformer.  Compared with a step of
plain torch with advantages, loss and update written out.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("verl", reason="verl lives in an environment of its own: make test-verl")

import ray
import torch

from diffsmooth.llm.small import SmallModel, build, save
from diffsmooth.theory.rules import Smoothed, rule
from tests.llm.verl import cpu_actor
from tests.llm.verl.test_verl import (
    PROMPTS,
    SIZE,
    Trainer,
    answers,
    in_numpy,
    run,
    start_ray,
    verls_grpo,
)

RATE = 0.5
SHAPE = SmallModel(hidden=16, layers=1, heads=2, intermediate=24, positions=32, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(*build(SHAPE), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def workers(folder: Path) -> Iterator[tuple[Any, Any]]:
    start_ray()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    trainer = Trainer.options(num_cpus=0.5).remote()
    yield trainer, cpu_actor.make(folder, RATE, port, PROMPTS * SIZE)
    ray.shutdown()


def token_logps(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    law = torch.log_softmax(model(input_ids=torch.tensor([prompt + answer])).logits[0], dim=-1)
    return law[len(prompt) - 1 : -1].gather(1, torch.tensor(answer)[:, None])[:, 0]


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )


def sampled(folder: Path) -> tuple[dict[str, Any], list[list[int]], list[list[int]]]:
    """Answers as the trainer sees them, with the model's own log-probs; prompts; token ids."""
    a = answers(11)
    rng = np.random.default_rng(7)
    texts = [rng.integers(3, 14, n).tolist() for n in a["lengths"]]
    prompts = [[3 + int(uid[1:]), 5, 4 + int(uid[1:])] for uid in a["uid"]]
    model = load(folder)
    with torch.no_grad():
        found = [token_logps(model, p, t) for p, t in zip(prompts, texts, strict=True)]
    return {**a, "logps": [x.tolist() for x in found]}, prompts, texts


def step(
    folder: Path, advantage: np.ndarray, prompts: list[list[int]], texts: list[list[int]]
) -> dict[str, np.ndarray]:
    """The weights after one step of the mean over all tokens of -A log pi."""
    model = load(folder)
    tokens = sum(map(len, texts))
    loss = sum(
        -float(a) * token_logps(model, p, t).sum() / tokens
        for a, p, t in zip(advantage, prompts, texts, strict=True)
    )
    assert isinstance(loss, torch.Tensor)
    loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
    with torch.no_grad():
        return {
            name: (v - RATE * v.grad if v.grad is not None else v).numpy()
            for name, v in model.named_parameters()
        }


@pytest.mark.parametrize("strength", [0.2, 0.0])
def test_an_update_of_verls_actor_is_that_of_the_smoothed_advantages(
    workers: tuple[Any, Any], folder: Path, strength: float
) -> None:
    trainer, actor = workers
    a, prompts, texts = sampled(folder)
    name = f"update-{strength}"
    run(trainer, "ds_sync", {"rule": "centred", "g_correct": strength}, a, name)
    metrics, weights = ray.get(actor.update.remote(a["keys"], name, prompts, texts), timeout=240)
    plain = verls_grpo(a)
    made = rule("centred", g_correct=strength)
    assert isinstance(made, Smoothed)
    advantage = plain if strength == 0 else plain + made.term(in_numpy(a))
    expected = step(folder, advantage, prompts, texts)
    before = {k: v.detach().numpy() for k, v in load(folder).named_parameters()}
    assert set(expected) <= set(weights)
    assert metrics["grad_norm"][0] > 0
    for key, want in expected.items():
        np.testing.assert_allclose(weights[key], want, atol=2e-6, err_msg=key)
    moved = max(np.abs(weights[k] - before[k]).max() for k in expected)
    assert moved > 1e-3
    if strength:
        other = step(folder, plain, prompts, texts)
        assert max(np.abs(weights[k] - other[k]).max() for k in expected) > 1e-3
