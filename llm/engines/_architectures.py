"""The true shapes of the models in ``configs/``, known offline; parameters counted, not quoted.

Shapes are those of the public ``config.json`` files.  ``config_of`` gives a ``transformers``
configuration that builds the model with random weights; ``count`` builds it on the meta device,
where it takes no memory, and counts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Family = Literal["qwen2", "qwen3", "mistral"]


@dataclass(frozen=True)
class Architecture:
    """Decoder-only transformer with grouped-query attention and a gated feed-forward layer."""

    family: Family
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool
    head_dim: int
    positions: int
    rope_theta: float


_QWEN25_15 = Architecture("qwen2", 1536, 8960, 28, 12, 2, 151936, True, 128, 32768, 1e6)
_QWEN25_3 = Architecture("qwen2", 2048, 11008, 36, 16, 2, 151936, True, 128, 32768, 1e6)
_QWEN25_7 = Architecture("qwen2", 3584, 18944, 28, 28, 4, 152064, False, 128, 32768, 1e6)
_MATH = {"positions": 4096, "rope_theta": 1e4}

ARCHITECTURES: dict[str, Architecture] = {
    "Qwen/Qwen2.5-1.5B": _QWEN25_15,
    "Qwen/Qwen2.5-3B": _QWEN25_3,
    "Qwen/Qwen2.5-7B": _QWEN25_7,
    "Qwen/Qwen2.5-3B-Instruct": _QWEN25_3,
    "Qwen/Qwen2.5-Math-1.5B": Architecture(**{**vars(_QWEN25_15), **_MATH}),
    "Qwen/Qwen2.5-Math-7B": Architecture(**{**vars(_QWEN25_7), **_MATH}),
    "Qwen/Qwen3-1.7B": Architecture("qwen3", 2048, 6144, 28, 16, 8, 151936, True, 128, 40960, 1e6),
    "mistralai/Ministral-8B-Instruct-2410": Architecture(
        "mistral", 4096, 12288, 36, 32, 8, 131072, False, 128, 32768, 1e8
    ),
}


def config_of(shape: Architecture) -> Any:
    """A ``transformers`` configuration with this shape."""
    from transformers import MistralConfig, Qwen2Config, Qwen3Config

    classes = {"qwen2": Qwen2Config, "qwen3": Qwen3Config, "mistral": MistralConfig}
    settings: dict[str, Any] = {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "max_position_embeddings": shape.positions,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
    }
    if shape.family != "qwen2":
        settings["head_dim"] = shape.head_dim
    return classes[shape.family](**settings)


def count(config: Any) -> int:
    """Number of parameters of the model with this configuration, tied ones once."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(int(p.numel()) for p in model.parameters())


def lookup(path: str) -> Any | None:
    """The configuration of a model folder or of a known hub name, without asking the hub.

    ``None`` where neither is known here.  Raises ``ValueError`` for a ``config.json`` that
    transformers cannot read.
    """
    folder = Path(os.path.expanduser(path))
    if (folder / "config.json").is_file():
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            line = " ".join(str(error).split())
            raise ValueError(
                f"{folder / 'config.json'}: no readable configuration: {line}"
            ) from error
    shape = ARCHITECTURES.get(path)
    return None if shape is None else config_of(shape)
