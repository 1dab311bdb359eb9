"""The rule inside verl, on CPU, with its real trainers, Ray workers and transfer queue.

Run by ``make test-verl`` in an environment of its own; skipped where verl is not installed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("verl", reason="verl lives in an environment of its own: make test-verl")

import ray
import torch

from diffsmooth.llm.engines._tokens import numbered
from diffsmooth.llm.engines.verl import MODES, estimate, register
from diffsmooth.theory.rules import GroupBatch, Smoothed, rule

PROMPTS, SIZE = 3, 8
#: The queue and the workers compute in float32: sums of a dozen log-probs of about a nat.
SINGLE = 2e-5


def start_ray() -> None:
    """A local Ray whose workers load the engine by verl's own environment variable."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    variables = {
        "VERL_USE_EXTERNAL_MODULES": "diffsmooth.llm.engines.verl",
        "RAY_AUTH_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
    }
    ray.init(
        num_cpus=16,  # logical: the queue's own actors ask for several
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200 * 1024 * 1024,
        runtime_env={"env_vars": variables},
    )


@pytest.fixture(scope="module")
def worker() -> Iterator[Any]:
    """A worker of a real local Ray, which loads the module by verl's own environment variable."""
    start_ray()
    yield Trainer.options(num_cpus=0.5).remote()
    ray.shutdown()


def answers(seed: int = 1) -> dict[str, Any]:
    """Answers in shuffled order, ragged, as lists that travel to a worker."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, PROMPTS * SIZE)
    keys = [f"p{i % PROMPTS}_{i // PROMPTS}_0" for i in range(PROMPTS * SIZE)]
    order = rng.permutation(len(keys))
    return {
        "keys": [keys[i] for i in order],
        "uid": [keys[i].split("_")[0] for i in order],
        "lengths": [int(n) for n in lengths],
        "score": [float(s) for s in (rng.random(len(keys)) < 0.5)],
        "logps": [(-rng.exponential(1.0, n)).tolist() for n in lengths],
        "classes": [f"c{k}" for k in rng.integers(0, 3, len(keys))],
    }


@ray.remote
class Trainer:
    """verl's trainer inside a Ray worker, without its models: only what scores a batch."""

    def __init__(self) -> None:
        import transfer_queue as tq
        import verl  # noqa: F401 - loads the external module

        tq.init()

    def build(self, mode: str, algorithm: dict[str, Any]) -> None:
        from omegaconf import OmegaConf
        from verl.trainer.ppo.v1 import get_trainer_cls

        self.trainer = object.__new__(get_trainer_cls(mode))
        self.trainer.config = OmegaConf.create(
            {
                "algorithm": {
                    "adv_estimator": "grpo",
                    "gamma": 1.0,
                    "lam": 1.0,
                    "use_kl_in_reward": False,
                    "norm_adv_by_std_in_grpo": True,
                    "rollout_correction": None,
                    **algorithm,
                },
                "actor_rollout_ref": {"rollout": {"n": SIZE}},
            }
        )

    def parents(self) -> list[str]:
        return [c.__name__ for c in type(self.trainer).__mro__]

    def advantages(
        self, a: dict[str, Any], partition: str
    ) -> tuple[list[list[float]], dict[str, float]]:
        import transfer_queue as tq
        from tensordict import TensorDict
        from tensordict.tensorclass import NonTensorStack

        def ragged(rows: list[list[float]]) -> torch.Tensor:
            return torch.nested.as_nested_tensor(
                [torch.tensor(r) for r in rows], layout=torch.jagged
            )

        scores = [[0.0] * (n - 1) + [s] for n, s in zip(a["lengths"], a["score"], strict=True)]
        extra = [
            {"reward_extra_info": {"acc": bool(s), "canonical": c}}
            for s, c in zip(a["score"], a["classes"], strict=True)
        ]
        fields = TensorDict(
            {
                "response_mask": ragged([[1.0] * n for n in a["lengths"]]).to(torch.int64),
                "rm_scores": ragged(scores),
                "old_log_probs": ragged(a["logps"]),
                "rollout_log_probs": ragged(a["logps"]),
                "uid": NonTensorStack(*a["uid"]),
                "extra_fields": NonTensorStack(*extra),
            },
            batch_size=len(a["keys"]),
        )
        meta = tq.kv_batch_put(keys=a["keys"], partition_id=partition, fields=fields)
        metrics: dict[str, float] = {}
        meta = self.trainer._compute_advantage(meta, metrics)
        out = tq.kv_batch_get(keys=a["keys"], partition_id=partition, select_fields=["advantages"])[
            "advantages"
        ]
        rows = out.unbind() if out.is_nested else list(out)
        return [r.tolist()[:n] for r, n in zip(rows, a["lengths"], strict=True)], metrics


def in_numpy(a: dict[str, Any]) -> GroupBatch:
    score = np.array(a["score"])
    return GroupBatch(
        reward=score,
        correct=score >= 1.0,
        group=np.array(numbered(a["uid"])),
        logps=np.array([sum(row) for row in a["logps"]]),
        lengths=np.array(a["lengths"]),
        classes=np.array(numbered(a["classes"])),
    )


def verls_grpo(a: dict[str, Any]) -> np.ndarray:
    """verl's own: sample deviation (G - 1) and 1e-6, written out."""
    score, uid = np.array(a["score"]), np.array(a["uid"])
    out = np.empty_like(score)
    for name in set(a["uid"]):
        rows = uid == name
        out[rows] = (score[rows] - score[rows].mean()) / (score[rows].std(ddof=1) + 1e-6)
    return out


def run(
    worker: Any, mode: str, ds: dict[str, Any] | None, a: dict[str, Any], partition: str
) -> tuple[list[list[float]], dict[str, float], list[str]]:
    """(advantages of every answer, metrics, the trainer's ancestors), from inside the worker."""
    ray.get(worker.build.remote(mode, {} if ds is None else {"ds": ds}), timeout=120)
    rows, metrics = ray.get(worker.advantages.remote(a, partition), timeout=180)
    return rows, metrics, ray.get(worker.parents.remote(), timeout=60)


@pytest.mark.parametrize("mode", MODES)
def test_the_term_is_added_to_verls_advantage_in_every_mode(worker: Any, mode: str) -> None:
    a = answers()
    rows, metrics, parents = run(
        worker, mode, {"rule": "centred", "g_correct": 0.2}, a, f"add-{mode}"
    )
    assert "SmoothingMixin" in parents
    made = rule("centred", g_correct=0.2)
    assert isinstance(made, Smoothed)
    expected = verls_grpo(a) + made.term(in_numpy(a))
    for row, value in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row, value, atol=SINGLE)
    assert metrics["ds/term_abs"] > 0


@pytest.mark.parametrize(
    "name, keys", [("maxrl", {}), ("eq6", {}), ("quotient", {"class_key": "canonical"})]
)
def test_a_whole_rule_replaces_verls_advantage(
    worker: Any, name: str, keys: dict[str, str]
) -> None:
    a = answers(2)
    ds = {"rule": name, "base": "rule", "correct_key": "acc", **keys}
    rows, _, _ = run(worker, "ds_sync", ds, a, f"whole-{name}")
    for row, value in zip(rows, rule(name)(in_numpy(a)), strict=True):
        np.testing.assert_allclose(row, value, atol=SINGLE)


def test_strength_zero_is_plain_verl_bit_for_bit(worker: Any) -> None:
    a = answers(3)
    off = {"rule": "eq6", "g_correct": 0.0, "g_incorrect": 0.0}
    ours, metrics, _ = run(worker, "ds_sync", off, a, "zero")
    plain, _, parents = run(worker, "sync", None, a, "plain")
    assert ours == plain
    assert not metrics
    assert "SmoothingMixin" not in parents


def test_a_bad_setting_stops_the_worker_with_its_name(worker: Any) -> None:
    with pytest.raises(Exception, match="did you mean 'centred'"):
        run(worker, "ds_sync", {"rule": "centered"}, answers(), "bad")


def tensors(a: dict[str, Any]) -> dict[str, torch.Tensor]:
    width = max(a["lengths"])
    mask = torch.tensor([[t < n for t in range(width)] for n in a["lengths"]])
    logps = torch.zeros(mask.shape, dtype=torch.float64)
    rewards = torch.zeros(mask.shape, dtype=torch.float64)
    for i, n in enumerate(a["lengths"]):
        logps[i, :n] = torch.tensor(a["logps"][i], dtype=torch.float64)
        rewards[i, n - 1] = a["score"][i]
    return {"mask": mask, "logps": logps, "rewards": rewards}


def test_the_estimator_works_once_verl_passes_the_batch() -> None:
    from verl.trainer.ppo import core_algos

    register()
    register()  # a second call changes nothing
    assert core_algos.get_adv_estimator_fn("diffsmooth") is estimate
    a = answers(4)
    t = tensors(a)
    config = {"ds": {"rule": "centred", "g_correct": 0.2}}
    advantages, returns = estimate(
        token_level_rewards=t["rewards"],
        response_mask=t["mask"],
        config=config,
        index=a["uid"],
        batch={"old_log_probs": t["logps"]},
    )
    expected = rule("centred", g_correct=0.2)(in_numpy(a))[:, None] * t["mask"].numpy()
    np.testing.assert_allclose(advantages.numpy(), expected, atol=1e-12)
    assert returns is advantages


def test_until_then_the_estimator_serves_rules_that_read_rewards_and_says_so() -> None:
    a = answers(5)
    t = tensors(a)
    common = {"token_level_rewards": t["rewards"], "response_mask": t["mask"], "index": a["uid"]}
    advantages, _ = estimate(**common, config={"ds": {"rule": "maxrl"}})
    expected = rule("maxrl")(in_numpy(a))[:, None] * t["mask"].numpy()
    np.testing.assert_allclose(advantages.numpy(), expected, atol=1e-12)
    with pytest.raises(ValueError, match="ds_sync"):
        estimate(**common, config={"ds": {"rule": "centred"}})


def test_outputs_before_the_last_of_a_session_take_its_change(worker: Any) -> None:
    a = answers(6)
    earlier = {
        "keys": [a["keys"][0]], "uid": [a["uid"][0]], "lengths": [4], "score": [0.0],
        "logps": [[-1.0] * 4], "classes": ["c0"],
    }  # fmt: skip
    last = {k: list(v) for k, v in a.items()}
    last["keys"][0] = last["keys"][0].rsplit("_", 1)[0] + "_1"
    both = {k: last[k] + earlier[k] for k in a}
    rows, _, _ = run(worker, "ds_sync", {"rule": "centred", "g_correct": 0.2}, both, "sessions")
    alone, _, _ = run(worker, "ds_sync", {"rule": "centred", "g_correct": 0.2}, last, "alone")
    for row, expected in zip(rows, alone, strict=False):
        np.testing.assert_allclose(row, expected, atol=SINGLE)
    np.testing.assert_allclose(rows[-1], rows[0][0], atol=SINGLE)
