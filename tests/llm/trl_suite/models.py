"""Stand-ins for the tiny models of TRL's tests: random weights in a hub cache of our own.

In a cache of the hub's layout, with the hub switched off, every ``from_pretrained(name)`` of the
suite and of TRL itself finds them as it would find the true ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_NAME = re.compile(r"trl-internal-testing/(tiny-(\w+?)For(CausalLM|SequenceClassification)[\w.-]*)")
_REVISION = "0" * 40

#: Plain decoder-only families; others (images, mixtures) are left to fail alike in both passes.
_FAMILIES = ("Qwen2", "Qwen3", "Llama", "Mistral", "Gemma", "Phi3", "Cohere")

_CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make(text: str, home: Path) -> list[str]:
    """Make every model that ``text`` (of a test file) names and we can; returns the names."""
    names = sorted({m.groups() for m in _NAME.finditer(text) if m[2] in _FAMILIES})
    for name, family, head in names:
        _write(home / "hub" / f"models--trl-internal-testing--{name}", family, head)
    return [name for name, _, _ in names]


def _write(folder: Path, family: str, head: str) -> None:
    import torch
    import transformers

    tokenizer = _tokenizer()
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("endoftext", "im_end")}
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32768,
        head_dim=2, eos_token_id=ids["im_end"], bos_token_id=None, pad_token_id=ids["endoftext"],
        **({"num_labels": 1} if head == "SequenceClassification" else {}),
    )  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}For{head}")(config)
    snapshot = folder / "snapshots" / _REVISION
    model.save_pretrained(snapshot)
    tokenizer.save_pretrained(snapshot)
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(_REVISION)


def _tokenizer() -> Any:
    """One token a byte, and the three special tokens of Qwen's chat format."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet: Iterable[str] = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    core.add_special_tokens([AddedToken(s, special=True) for s in special])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=special[0], eos_token=special[2],
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    tokenizer.chat_template = _CHATML
    return tokenizer
