"""The pytest plugin of one pass over TRL's suite: which trainer it gets, what came of each test.

Loaded by name in a process of its own (``run.py``), before any test module is imported.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

#: "plain" or "smoothed"; where the outcomes go; the folder of the data sets' stand-ins.
WHICH, OUT = os.environ["DIFFSMOOTH_TRL_WHICH"], Path(os.environ["DIFFSMOOTH_TRL_OUT"])

ZEN = (
    "Beautiful is better than ugly.", "Explicit is better than implicit.",
    "Simple is better than complex.", "Complex is better than complicated.",
    "Flat is better than nested.", "Sparse is better than dense.", "Readability counts.",
    "Special cases aren't special enough.", "Practicality beats purity.",
    "Errors should never pass silently.", "Unless explicitly silenced.",
    "In the face of ambiguity, refuse to guess.", "There should be one obvious way.",
    "Now is better than never.", "Never is often better than right now.",
    "If it is hard to explain, it is a bad idea.", "Namespaces are a great idea.",
)  # fmt: skip

_found: dict[str, list[str]] = {}


def pytest_configure(config: Any) -> None:
    _stand_in_data()
    _train_on_the_cpu()
    if WHICH == "smoothed":
        _replace_trainer()


def _train_on_the_cpu() -> None:
    """Without a GPU upstream's defaults (bfloat16 on one) are refused: these are of the CPU."""
    import torch
    import trl
    import trl.trainer
    import trl.trainer.grpo_config as module
    import trl.trainer.grpo_trainer as trainer

    if torch.cuda.is_available():
        return

    class GRPOConfig(module.GRPOConfig):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{"use_cpu": True, "bf16": False, **kwargs})

    # Checkpoints pickle it, by the name under which it can be imported.
    GRPOConfig.__module__, GRPOConfig.__qualname__ = module.__name__, "GRPOConfig"
    for holder in (trl, trl.trainer, module, trainer):
        holder.GRPOConfig = GRPOConfig


def _replace_trainer() -> None:
    """Wherever a test may import ``GRPOTrainer`` from."""
    import trl
    import trl.trainer
    import trl.trainer.grpo_trainer as module

    from diffsmooth.llm.engines.trl import smoothed
    from diffsmooth.theory.rules import rule

    class GRPOTrainer(smoothed(module.GRPOTrainer)):  # type: ignore[misc]
        """Smoothed with strength 0: must be the plain one in every respect that a test can see."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.setdefault("rule", rule("centred", g_correct=0.0))
            super().__init__(*args, **kwargs)

    for holder in (trl, trl.trainer, module):
        holder.GRPOTrainer = GRPOTrainer


def _stand_in_data() -> None:
    """``trl-internal-testing/zen`` as upstream has it: lines of the Zen of Python."""
    import datasets

    hub = datasets.load_dataset

    def load_dataset(path: str, name: str | None = None, *args: Any, **kwargs: Any) -> Any:
        if path != "trl-internal-testing/zen" or name is None or "prompt_only" not in name:
            return hub(path, name, *args, **kwargs)
        if "image" in name:
            return hub(path, name, *args, **kwargs)
        chat = name.startswith("conversational")
        rows = [[{"role": "user", "content": z}] if chat else z for z in ZEN]
        parts = {
            "train": datasets.Dataset.from_dict({"prompt": rows}),
            "test": datasets.Dataset.from_dict({"prompt": rows[:2]}),
        }
        split = kwargs.get("split", args[0] if args else None)
        return datasets.DatasetDict(parts) if split is None else parts[split]

    datasets.load_dataset = load_dataset


def pytest_runtest_makereport(item: Any, call: Any) -> None:
    if call.excinfo is None:
        if call.when == "call":
            _found.setdefault(item.nodeid, ["passed", ""])
        return
    kind = call.excinfo.type.__name__
    outcome = "skipped" if kind in ("Skipped", "SkipTest") else "failed"
    text = " ".join(str(call.excinfo.value).split())[:300]
    _found[item.nodeid] = [outcome, f"{kind}: {text}" if outcome == "failed" else text]


def pytest_sessionfinish(session: Any) -> None:
    OUT.write_text(json.dumps(_found, indent=1, sort_keys=True))
