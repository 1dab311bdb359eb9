"""What an OpenAI-compatible server's reply says: its texts, or a clear refusal to guess them.

Servers differ in what they leave out.  A text that was ended by a stop text gets it back, since
:class:`~diffsmooth.llm.samplers.Sampling` promises that it stays; everything that is no text of
the model is an error, since it would otherwise count as a wrong answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from diffsmooth.llm.samplers import Completion, Finish

#: ``finish_reason`` -> why the text ended, where it is one that leaves a whole text.
FINISH: Mapping[Any, Finish] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "unknown",
    None: "unknown",
    "": "unknown",
}

#: Of those, the reasons that name the model's own end: no stop text was taken away.
OWN_END = frozenset({"eos", "eos_token", "end_turn"})

#: Fields in which servers name the stop text that ended a choice (vLLM, SGLang, llama.cpp).
STOPPED_BY = ("stop_reason", "matched_stop", "stopping_word")

#: Kinds of parts of a message that hold its text; the others (reasoning, say) are no answer.
TEXT_PARTS = frozenset({None, "text", "output_text"})

#: Where servers put what a model thinks before its answer.
REASONING = ("reasoning_content", "reasoning")


class ReplyError(ValueError):
    """The reply holds no text where one was asked for."""


def completions(reply: Any, stop: Sequence[str] = ()) -> list[Completion]:
    """The completions of a reply of ``/completions`` or ``/chat/completions``, in order of index.

    Raises ``ReplyError`` that says what is wrong, with what was found.
    """
    if not isinstance(reply, dict):
        raise ReplyError(f"the reply is {_kind(reply)}, no object with choices: {_shown(reply)}")
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ReplyError(f"the reply gave no choices: {_shown(reply)}")
    for choice in choices:
        if not isinstance(choice, dict):
            raise ReplyError(f"a choice is {_kind(choice)}, no object: {_shown(reply)}")
    return [_completion(choice, stop) for choice in _ordered(choices)]


def _ordered(choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By index where every choice has one, else as they came."""
    numbers = [choice.get("index") for choice in choices]
    for number in numbers:
        if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
            raise ReplyError(f"an index is no whole number: {_shown({'choices': choices})}")
    if None in numbers:
        return choices
    return sorted(choices, key=lambda choice: int(choice["index"]))


def _completion(choice: dict[str, Any], stop: Sequence[str]) -> Completion:
    reason = choice.get("finish_reason")
    if not isinstance(reason, str | None):
        raise ReplyError(f"the finish_reason of a choice is no text: {_shown(choice)}")
    if reason in ("error", "abort"):
        raise ReplyError(f"the server broke a choice off: {_shown(choice)}")
    text = _text(choice, FINISH.get(reason, "unknown"))
    return _with_stop(choice, text, stop)


def _text(choice: dict[str, Any], finish: Finish) -> str:
    """The model's text of a choice, of either endpoint."""
    if "text" in choice and not isinstance(choice.get("message"), dict):
        return _content(choice["text"], choice)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise ReplyError(f"a choice has neither text nor message: {_shown(choice)}")
    content = message.get("content")
    if content is None:
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal:
            return refusal  # in the model's own words; it is judged as any answer
        if finish == "length" and any(message.get(name) for name in REASONING):
            return ""  # cut while it still thought: an unfinished answer, counted as one
    return _content(content, choice)


def _content(content: Any, choice: dict[str, Any]) -> str:
    """A text, or the text parts of a list, joined."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ReplyError(f"the content of a choice is {_kind(content)}, no text: {_shown(choice)}")
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif not isinstance(part, dict):
            raise ReplyError(f"a part of a choice is {_kind(part)}, no text: {_shown(choice)}")
        elif _name(part.get("type")) in TEXT_PARTS:
            if not isinstance(part.get("text"), str):
                raise ReplyError(f"a text part of a choice holds no text: {_shown(choice)}")
            texts.append(part["text"])
        elif part.get("type") == "refusal" and isinstance(part.get("refusal"), str):
            texts.append(part["refusal"])
    if not texts:
        raise ReplyError(f"no part of a choice is text: {_shown(choice)}")
    return "".join(texts)


def _with_stop(choice: dict[str, Any], text: str, stop: Sequence[str]) -> Completion:
    """The completion with the stop text that ended it, and nothing after it."""
    reason = choice.get("finish_reason")
    finish = FINISH.get(reason, "unknown")
    ends = [text.index(mark) + len(mark) for mark in stop if mark in text]
    if ends:  # kept by the server, or not known to it
        return Completion(text[: min(ends)], None, "stop")
    if not stop or finish == "length":
        return Completion(text, None, finish)
    said = next((choice[name] for name in STOPPED_BY if choice.get(name) is not None), None)
    if isinstance(said, str) and said in stop:
        return Completion(text + said, None, "stop")
    told = any(name in choice for name in STOPPED_BY)
    if reason in OWN_END or (told and finish == "stop"):
        return Completion(text, None, "stop")
    if finish == "stop":
        return Completion(text + _likely(text, stop), None, "stop")
    raise ReplyError(
        "the server leaves the stop text out and does not say why the answer ended "
        f"(finish_reason), so it cannot be completed: {_shown(choice)}; sample without --stop, "
        "or from a server that tells"
    )


def _likely(text: str, stop: Sequence[str]) -> str:
    """The stop text that a server took away without naming it.

    The one that closes a tag left open, else the only one there is; among several, none.
    """
    for mark in stop:
        tag = re.fullmatch(r"\s*</([^<>/\s]+)>\s*", mark)
        if tag and text.count(f"<{tag[1]}>") > text.count(f"</{tag[1]}>"):
            return mark
    return stop[0] if len(stop) == 1 else ""


def _name(value: Any) -> str | None:
    return value if isinstance(value, str | None) else "?"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null", bool: "a bool"}
    return names.get(type(value), "a number")


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:300]
