"""Prompts as token ids: what the trainer itself makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffsmooth.llm.engines._strict import ConfigError


def token_ids(
    tokenizer: Any,
    prompts: Sequence[Any],
    template_options: Mapping[str, Any] | None = None,
    template: str | None = None,
) -> list[list[int]]:
    """Token ids of prompts, each a text or a list of messages: what the trainer itself makes.

    Messages go through the chat template (``template``, or the tokenizer's own).  Raises
    :class:`ConfigError` where the template refuses them.
    """
    out: list[list[int]] = [[] for _ in prompts]
    texts = [i for i, p in enumerate(prompts) if isinstance(p, str)]
    if texts:
        found = tokenizer(text=[prompts[i] for i in texts])["input_ids"]
        for i, ids in zip(texts, found, strict=True):
            out[i] = list(ids)
    chats = [i for i, p in enumerate(prompts) if not isinstance(p, str)]
    if chats:
        try:
            found = tokenizer.apply_chat_template(
                conversation=[prompts[i] for i in chats],
                chat_template=template,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                **(template_options or {}),
            )["input_ids"]
        except Exception as error:  # a template is a program: it may raise anything
            raise ConfigError(
                "model.path: its chat template refuses the prompts of the task: "
                + " ".join(str(error).split())
            ) from error
        for i, ids in zip(chats, found, strict=True):
            out[i] = list(ids)
    return out
