"""verl's own training worker on a CPU: what its ``ActorRolloutRefWorker`` holds as actor.

verl 0.9 ships no CPU platform, so one is registered through its own extension point
(``verl.plugin.platform``); its FSDP engine is asked for by ``VERL_ENGINE_DEVICE`` and runs with
strategy ``fsdp2`` on gloo.  With ``fsdp`` torch refuses: ``sync_module_states`` needs a GPU.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
import torch

#: Environment of the process that holds the worker, which is the only rank.
VARIABLES = {
    "RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "VERL_ENGINE_DEVICE": "cuda",
    "VERL_USE_EXTERNAL_MODULES": "",  # the platform must be set before anything asks for it
}


def set_cpu_platform() -> None:
    """Tell verl that the accelerator is the CPU."""
    from contextlib import contextmanager

    from verl.plugin.platform.platform_base import PlatformBase
    from verl.plugin.platform.platform_manager import set_platform

    def nothing(*_: Any) -> None:
        """The CPU has no allocator and no profiler of its own."""

    def no_bytes(*_: Any) -> int:
        return 0

    module = SimpleNamespace(
        **{n: getattr(torch.cpu, n) for n in dir(torch.cpu) if not n.startswith("__")},
        max_memory_allocated=no_bytes,
        max_memory_reserved=no_bytes,
        memory_allocated=no_bytes,
        memory_reserved=no_bytes,
        mem_get_info=lambda *_: (0, 0),
        empty_cache=nothing,
        get_device_name=lambda *_: "CPU",
    )

    class Cpu(PlatformBase):  # type: ignore[misc, unused-ignore]
        device_name = "cpu"
        vendor_name = "cpu"
        device_module = module
        set_device = synchronize = manual_seed = manual_seed_all = nothing
        set_allocator_settings = empty_cache = profiler_start = profiler_stop = cudart = nothing

        def is_available(self) -> bool:
            return True

        def current_device(self) -> torch.device:
            return torch.device("cpu")

        def device_count(self) -> int:
            return 1

        def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
            return None, None

        def communication_backend_name(self) -> str:
            return "gloo"

        def visible_devices_envvar(self) -> str:
            return "CUDA_VISIBLE_DEVICES"

        @contextmanager
        def nvtx_range(self, msg: str) -> Iterator[None]:
            yield

        def ray_resource_name(self) -> str:
            return "CPU"

        def ray_noset_envvars(self) -> list[str]:
            return []

        def is_ipc_supported(self) -> bool:
            return False

    set_platform(Cpu())


def ragged(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)


@ray.remote
class Actor:
    """``TrainingWorker`` with its FSDP engine and ``ppo_loss``, built as verl builds its actor."""

    def __init__(self, folder: str, rate: float, port: int, answers: int) -> None:
        os.environ["MASTER_PORT"] = str(port)
        torch.set_num_threads(1)
        set_cpu_platform()
        # verl itself would name the CPU's backend twice.
        torch.distributed.init_process_group("gloo")
        from verl.trainer.config import CheckpointConfig
        from verl.workers.config import (
            FSDPActorConfig,
            FSDPEngineConfig,
            FSDPOptimizerConfig,
            HFModelConfig,
            TrainingWorkerConfig,
        )
        from verl.workers.engine_workers import TrainingWorker
        from verl.workers.utils.losses import ppo_loss

        self.answers = answers
        engine = FSDPEngineConfig(
            strategy="fsdp2",
            use_torch_compile=False,
            mixed_precision={"param_dtype": "fp32"},
            use_dynamic_bsz=False,
            micro_batch_size_per_gpu=answers // 2,
        )
        self.worker = TrainingWorker(
            config=TrainingWorkerConfig(
                model_type="language_model",
                model_config=HFModelConfig(
                    path=folder,
                    use_remove_padding=False,
                    enable_gradient_checkpointing=False,
                    override_config={"attn_implementation": "eager"},
                ),
                engine_config=engine,
                optimizer_config=FSDPOptimizerConfig(
                    optimizer="SGD", lr=rate, weight_decay=0.0, clip_grad=1e9,
                    total_training_steps=10,
                    override_optimizer_config={},
                ),
                checkpoint_config=CheckpointConfig(),
                profiler_config=None,
            )
        )  # fmt: skip
        loss = FSDPActorConfig(
            strategy="fsdp2", rollout_n=1, ppo_micro_batch_size_per_gpu=answers // 2,
            use_torch_compile=False,
        )  # fmt: skip
        self.worker.set_loss_fn(partial(ppo_loss, config=loss))

    def update(
        self, keys: list[str], partition: str, prompts: list[list[int]], answers: list[list[int]]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """(metrics, weights) after one update of the initial model with what the queue holds."""
        import transfer_queue as tq
        from tensordict import TensorDict
        from torch.distributed.tensor import DTensor
        from verl.utils import tensordict_utils as tu

        self.worker.reset()
        tq.init()
        asked, given = ([torch.tensor(r) for r in rows] for rows in (prompts, answers))
        fields = TensorDict(
            {
                "prompts": ragged(asked),
                "responses": ragged(given),
                "input_ids": ragged([torch.cat(x) for x in zip(asked, given, strict=True)]),
                "position_ids": ragged(
                    [torch.arange(len(p) + len(a)) for p, a in zip(asked, given, strict=True)]
                ),
                "loss_mask": ragged([torch.ones_like(a) for a in given]),
            },
            batch_size=len(keys),
        )
        meta = tq.kv_batch_put(keys=keys, partition_id=partition, fields=fields)
        meta.fields = [*fields.keys(), "response_mask", "old_log_probs", "advantages"]
        # What verl's trainer sends along in ``_update_actor``.
        meta.extra_info = {
            "calculate_entropy": False,
            "distillation_use_topk": False,
            "distillation_only": False,
            "global_batch_size": self.answers,
            "mini_batch_size": self.answers,
            "epochs": 1,
            "seed": 0,
            "dataloader_kwargs": {"shuffle": False},
            "temperature": 1.0,
        }
        output = self.worker.train_mini_batch(meta)
        weights = {
            name: (v.full_tensor() if isinstance(v, DTensor) else v).detach().numpy().copy()
            for name, v in self.worker.engine.module.state_dict().items()
        }
        return dict(tu.get(output, "metrics")), weights


def make(folder: Path, rate: float, port: int, answers: int) -> Any:
    """An :class:`Actor` in a Ray process of its own."""
    # A worker cannot import this module: it is sent along.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    options = Actor.options(num_cpus=0.5, runtime_env={"env_vars": VARIABLES})
    return options.remote(str(folder), rate, port, answers)
