"""The content of the last ``\\boxed{...}`` of a text."""

from __future__ import annotations

#: Only the end of an answer is searched, so that its length costs nothing.
MAX_TAIL = 1 << 14
MAX_CHARS = 512

_MARKS = ("\\boxed{", "\\fbox{")


def boxed(text: str) -> str | None:
    """Content of the last closed ``\\boxed{...}`` (or ``\\fbox``) with balanced braces.

    Reads the last ``MAX_TAIL`` characters; ``None`` where there is none, or where its content is
    longer than ``MAX_CHARS``.  Escaped braces do not count.  Linear time.
    """
    tail = text[-MAX_TAIL:]
    end = len(tail)
    while True:
        start, mark = max((tail.rfind(m, 0, end), m) for m in _MARKS)
        if start < 0:
            return None
        content = _balanced(tail, start + len(mark))
        if content is not None:
            return content
        end = start


def _balanced(text: str, start: int) -> str | None:
    depth, i = 1, start
    stop = min(len(text), start + MAX_CHARS + 1)
    while i < stop:
        if text[i] == "\\":
            i += 2
            continue
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return text[start:i]
        i += 1
    return None
