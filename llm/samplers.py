"""Where samples come from: transformers, vLLM or an OpenAI-compatible server.

Every backend seeds by problem, so that neither order nor interruption changes what a problem
gets: the same configuration gives the same bytes wherever the backend itself is deterministic
(transformers on CPU is; vLLM and servers promise it only on one machine, if at all).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from diffsmooth.llm.tasks.base import Message, Problem

Finish = Literal["stop", "length", "unknown"]


@dataclass(frozen=True)
class Completion:
    """One sampled answer: its text, its length in tokens where it is known, and why it ended."""

    text: str
    tokens: int | None = None
    finish: Finish = "unknown"


@dataclass(frozen=True)
class Sampling:
    """How to sample from the tempered, truncated softmax.

    Raises ``ValueError`` naming the field that is out of range.
    """

    samples: int = 64
    """Answers drawn for each problem."""

    temperature: float = 1.0
    """Temperature of the softmax; 0 is greedy and allows one sample only."""

    top_p: float = 1.0
    """Nucleus; 1 truncates nothing."""

    top_k: int = 0
    """Number of tokens kept; 0 truncates nothing."""

    max_tokens: int = 1024
    """Longest answer in tokens."""

    stop: tuple[str, ...] = ()
    """Texts that end an answer; they stay in it, also where a server leaves them out."""

    system: str | None = None
    """System message put before chat prompts; an error where the model's template has none."""

    seed: int = 0
    """Seed of the samples, of the bootstrap too."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}; allowed: at least 1")
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}; allowed: 0 or more")
        if self.temperature == 0 and self.samples > 1:
            raise ValueError("temperature is 0 (greedy), so samples must be 1")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; allowed: above 0, at most 1")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; allowed: 0 (off) or more")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; allowed: at least 1")

        given: object = self.stop
        if isinstance(given, str) or not all(self.stop):
            raise ValueError(f"stop is {self.stop!r}; allowed: texts that are not empty")

    def seed_of(self, problem: Problem[Any], chunk: int = 0) -> int:
        """Seed of a chunk of a problem's samples, in [0, 2**31)."""
        text = f"{self.seed}/{chunk}/{problem.id}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1

    def messages(self, problem: Problem[Any]) -> list[Message]:
        """The chat that is sent for a problem."""
        head = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*head, *problem.messages()]


#: NAME or OWNER/NAME, as the hub allows them.
_HUB_NAME = re.compile(r"(?=.{1,96}$)(\w[\w.-]*/)?\w([\w.-]*\w)?", re.ASCII)


def check_model(name: str, what: str = "model") -> None:
    """Raise ``ValueError`` unless ``name`` is a folder with a model, or may be a hub name.

    A run's own folder, whose model lies one level below, is the likely mistake and is told apart.
    """
    holders = ("config.json", "adapter_config.json")
    folder = Path(name)
    if folder.is_dir():
        if any((folder / holder).is_file() for holder in holders):
            return
        below = folder / "final"
        held = any((below / holder).is_file() for holder in holders)
        hint = f"; did you mean {below}?" if held else ""
        raise ValueError(f"{what} is {name!r}: this folder holds no config.json{hint}")
    if folder.exists():
        raise ValueError(f"{what} is {name!r}: a file; give the folder of a model or a hub name")
    if not _HUB_NAME.fullmatch(name):
        raise ValueError(f"{what} is {name!r}: no such folder, and not a hub name (OWNER/NAME)")


def ask_hub(name: str) -> None:
    """Raise ``OSError`` where ``name`` is no folder and the hub, or its cache, has no such model.

    One question before anything is loaded: the loaders of tokenizer and model would each ask,
    and wait, in turn.
    """
    if Path(name).is_dir():
        return
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        hf_hub_download(name, "config.json")
    except LocalEntryNotFoundError as error:
        raise OSError(
            "the hub is not reached (no network, or HF_HUB_OFFLINE), and its cache holds no "
            f"model {name!r}"
        ) from error
    except EntryNotFoundError:
        pass  # the hub has it, without a config.json: an adapter, say


class Sampler(Protocol):
    """Draws ``sampling.samples`` completions for each problem, in order."""

    def sample(
        self, problems: Sequence[Problem[Any]], sampling: Sampling
    ) -> list[list[Completion]]: ...


def prompt_text(tokenizer: Any, problem: Problem[Any], sampling: Sampling) -> tuple[str, bool]:
    """The text a model is given, and whether the tokenizer still adds its special tokens.

    Chat prompts go through the chat template where the tokenizer has one (templates write their
    own special tokens); raw prompts, and models without a template, get the plain text.  Raises
    ``ValueError`` where the template refuses the prompt, or refuses or drops the system message.
    """
    if problem.raw or not getattr(tokenizer, "chat_template", None):
        system = f"{sampling.system}\n\n" if sampling.system and not problem.raw else ""
        return system + problem.prompt, True
    text = _templated(tokenizer, problem, sampling)
    # Some templates pass over a system message without a word.
    if sampling.system is not None and sampling.system.strip() not in text:
        raise ValueError(_NO_SYSTEM)
    return text, False


_NO_SYSTEM = (
    "--system: the chat template of this model has no place for a system message; leave --system "
    "out, or write the text into the prompts"
)


def _templated(tokenizer: Any, problem: Problem[Any], sampling: Sampling) -> str:
    def rendered(messages: list[Message]) -> str:
        return str(
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        )

    try:
        return rendered(sampling.messages(problem))
    except Exception as error:  # a template is a program: it may raise anything
        said = " ".join(str(error).split())
        if sampling.system is not None:
            try:
                rendered(problem.messages())
            except Exception:
                pass  # it is not for the system message
            else:
                raise ValueError(f"{_NO_SYSTEM} (it says: {said})") from error
        raise ValueError(
            f"the chat template of this model refuses the prompt of problem {problem.id!r}: {said}"
        ) from error
