"""The prompts of a run as the tokenizer makes them, checked before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffsmooth.llm._token_ids import token_ids
from diffsmooth.llm.configuration import ConfigError, Training
from diffsmooth.llm.engines._verifier import PROBLEM_COLUMN
from diffsmooth.llm.tasks.base import Problem


def training_rows(
    config: Training, problems: Sequence[Problem[Any]], tokenizer: Any
) -> list[dict[str, Any]]:
    """One row a problem for the trainer: its prompt (text or messages) and its id.

    As in an evaluation, chat prompts go through the chat template where the tokenizer has one;
    raw prompts, and models without a template, get the plain text.

    Raises :class:`ConfigError` for a prompt longer than ``generation.max_prompt_length``, one that
    the template refuses and one that a character model of the lean sampler cannot spell.
    """
    chat = bool(getattr(tokenizer, "chat_template", None))
    prompts = [p.messages() if chat and not p.raw else p.prompt for p in problems]
    ids = token_ids(tokenizer, prompts, config.trl.get("chat_template_kwargs"))
    _check_lengths(config, problems, ids)
    _check_spelling(config, problems, prompts, ids, tokenizer)
    return [
        {"prompt": prompt, PROBLEM_COLUMN: problem.id}
        for prompt, problem in zip(prompts, problems, strict=True)
    ]


def _check_lengths(
    config: Training, problems: Sequence[Problem[Any]], ids: Sequence[Sequence[int]]
) -> None:
    most = config.generation.max_prompt_length
    longer = [i for i, x in enumerate(ids) if len(x) > most]
    if longer:
        worst = max(longer, key=lambda i: len(ids[i]))
        raise ConfigError(
            f"generation.max_prompt_length: is {most}, but the prompt of problem "
            f"{problems[longer[0]].id!r} has {len(ids[longer[0]])} tokens ({len(longer)} of "
            f"{len(ids)} prompts are longer; the longest, {problems[worst].id!r}, has "
            f"{len(ids[worst])})"
        )


def _check_spelling(
    config: Training,
    problems: Sequence[Problem[Any]],
    prompts: Sequence[Any],
    ids: Sequence[Sequence[int]],
    tokenizer: Any,
) -> None:
    """Models of characters know few of them; a prompt of unknown tokens says nothing."""
    unknown = tokenizer.unk_token_id
    made_here = config.model.small is not None
    if unknown is None or not (made_here or config.generation.engine == "small"):
        return
    bad = next((i for i, x in enumerate(ids) if unknown in x), None)
    if bad is None:
        return
    prompt = prompts[bad]
    text = prompt if isinstance(prompt, str) else "".join(m["content"] for m in prompt)
    vocabulary = tokenizer.get_vocab()
    missing = sorted({c for c in text if c not in vocabulary})
    key = "model.small.characters" if made_here else "model.path"
    raise ConfigError(
        f"data.style: {config.data.style} makes prompts that the model cannot read: it has no "
        f"token for {''.join(missing)!r} (problem {problems[bad].id!r}, generation.engine "
        f"{config.generation.engine}); choose style bare or change {key}"
    )
