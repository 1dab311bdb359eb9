"""The rule inside verl's own trainer, on a CPU, in about a minute.

    make setup-verl && .venv-verl/bin/python docs/verl_example.py

A Ray worker loads the module by verl's environment variable, builds verl's synchronous trainer
with our mixin (without its models), puts four answers into the real TransferQueue, lets the
trainer compute the advantages, and prints plain GRPO beside the smoothed ones.
"""

from __future__ import annotations

import os
from typing import Any

VARIABLES = {
    "VERL_USE_EXTERNAL_MODULES": "diffsmooth.llm.engines.verl",
    "RAY_AUTH_MODE": "disabled",
    "OMP_NUM_THREADS": "1",
}
os.environ |= {"RAY_AUTH_MODE": "disabled"}

import ray  # noqa: E402 - after the variable that it reads

ANSWERS = ["1+2*3", "3*2+1", "7", "(9-2)*1"]
REWARD = [1.0, 1.0, 0.0, 1.0]
LOGPS = [[-0.2, -0.1], [-1.5, -0.9, -0.6], [-0.4], [-3.0, -1.0]]


@ray.remote(num_cpus=0.5)
def advantages(mode: str, ds: dict[str, Any], partition: str) -> list[float]:
    """Advantage of every answer, from verl's trainer of that mode."""
    import torch
    import transfer_queue as tq
    from omegaconf import OmegaConf
    from tensordict import TensorDict
    from tensordict.tensorclass import NonTensorStack
    from verl.trainer.ppo.v1 import get_trainer_cls

    tq.init()
    trainer = object.__new__(get_trainer_cls(mode))
    trainer.config = OmegaConf.create(
        {
            "algorithm": {
                "adv_estimator": "grpo", "gamma": 1.0, "lam": 1.0, "use_kl_in_reward": False,
                "norm_adv_by_std_in_grpo": True, "rollout_correction": None, "ds": ds,
            },
            "actor_rollout_ref": {"rollout": {"n": 4}},
        }
    )  # fmt: skip

    def ragged(rows: list[list[float]]) -> torch.Tensor:
        return torch.nested.as_nested_tensor([torch.tensor(r) for r in rows], layout=torch.jagged)

    keys = [f"prompt_{i}_0" for i in range(4)]
    fields = TensorDict(
        {
            "response_mask": ragged([[1.0] * len(r) for r in LOGPS]).to(torch.int64),
            "rm_scores": ragged(
                [[0.0] * (len(r) - 1) + [s] for r, s in zip(LOGPS, REWARD, strict=True)]
            ),
            "old_log_probs": ragged(LOGPS),
            "uid": NonTensorStack(*["prompt"] * 4),
        },
        batch_size=4,
    )
    meta = trainer._compute_advantage(
        tq.kv_batch_put(keys=keys, partition_id=partition, fields=fields), {}
    )
    out = tq.kv_batch_get(keys=meta.keys, partition_id=partition, select_fields=["advantages"])[
        "advantages"
    ]
    return [float(row[0]) for row in (out.unbind() if out.is_nested else out)]


def main() -> None:
    """Print the table."""
    ray.init(
        num_cpus=16,  # logical: TransferQueue's own workers ask for several
        include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": VARIABLES},
    )  # fmt: skip
    plain = ray.get(advantages.remote("sync", {}, "plain"))
    ours = ray.get(advantages.remote("ds_sync", {"rule": "centred", "g_correct": 0.2}, "ds"))
    print(f"{'answer':<10} {'reward':>6} {'log pi':>7} {'GRPO':>8} {'centred g=.2':>13}")
    for name, r, row, a, b in zip(ANSWERS, REWARD, LOGPS, plain, ours, strict=True):
        print(f"{name:<10} {r:>6.1f} {sum(row):>7.2f} {a:>8.4f} {b:>13.4f}")
    ray.shutdown()


if __name__ == "__main__":
    main()
