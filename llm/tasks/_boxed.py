r"""The answer that a text gives in its last ``\boxed{...}``, or in several side by side.

Reads what TeX reads (``\boxed 2``, ``\boxed {5}``, ``\fbox{3}``), skips boxes that hold nothing
(the instruction "put your answer within \boxed{}" is often echoed), and takes boxes that stand
side by side as one answer in parts.
"""

from __future__ import annotations

import re

#: Only the end of an answer is searched, so that its length costs nothing.
MAX_TAIL = 1 << 14
MAX_CHARS = 512

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
#: What a box without braces holds: a command with its arguments, a number, one character.  TeX
#: would box the first digit only; ``\boxed 12`` in the data means 12.
_BARE = re.compile(
    r"[-+]?(?:\\[a-zA-Z]+(?:\s*\{[^{}]*\})*(?:\s*\d{1,2}(?![\d{]))?"
    r"|\d+(?:,\d{3})*(?:\.\d+)?|[a-zA-Z])"
)
_EMPTY = re.compile(
    r"(?:[\s~$.…_?{}]|\\[ ,;:!]"
    r"|\\(?:l?dots|cdots|quad|qquad|square|phantom|hspace|underline)(?![a-zA-Z])"
    r"|\\(?:text|mathrm|textbf|mathbf)\s*\{\s*\})*"
)
#: Between boxes that stand side by side: commas, "and", "or", the dollars, spaces, ``x =``.
_BETWEEN = re.compile(
    r"(?:[ \t~,;$&]|\n(?![ \t]*\n)|\\[ ,;:!()\[\]]|\\q?quad(?![a-zA-Z])|\\(?:text|mathrm|mbox)\s*\{"
    r"\s{0,4},?\s{0,4}(?:and|or)?\s{0,4}\}|\b(?:and|or)\b|[a-zA-Z](?:_\w|_\{\w+\})?\s*=(?!=))*"
)


def boxed(text: str) -> str | None:
    """Content of the last non-empty box with balanced braces, ``None`` where there is none.

    Boxes with nothing but commas, "and", "or" or ``x =`` between them are one answer: their
    contents joined by commas, equal ones once.  A box within a box is opened.  Reads the last
    ``MAX_TAIL`` characters; boxes longer than ``MAX_CHARS`` do not count, escaped braces are
    characters.  Linear time.
    """
    tail = text[-MAX_TAIL:]
    found: list[tuple[int, int, str]] = []  # start, end, content
    position = 0
    blanks: list[tuple[int, int]] = []
    while (match := _BOX.search(tail, position)) is not None:
        position = match.end()
        if tail.startswith("{", position):
            content = _balanced(tail, position + 1)
            end = position + 2 + len(content) if content is not None else position
        else:
            bare = _BARE.match(tail, position)
            content = bare.group() if bare else None
            end = bare.end() if bare else position
        if content is None:
            continue
        position = end
        content = open_boxes(content)
        if _EMPTY.fullmatch(content):
            blanks.append((match.start(), end))
        else:
            found.append((match.start(), end, content))
    if not found:
        return None
    parts = [found[-1][2]]
    for (_, left, content), (right, _, _) in zip(found[-2::-1], found[:0:-1], strict=True):
        between = tail[left:right]
        for start, stop in blanks:
            if left <= start and stop <= right:
                between = between.replace(tail[start:stop], " ", 1)
        if not _BETWEEN.fullmatch(between):
            break
        parts.append(content)
    return ", ".join(dict.fromkeys(reversed(parts)))


def has_box(text: str) -> bool:
    r"""Whether there is a ``\boxed`` or ``\fbox`` at all, empty or not."""
    return _BOX.search(text) is not None


def open_boxes(content: str) -> str:
    r"""``content`` with the boxes inside it replaced by what they hold: ``\boxed{3}`` is 3."""
    for _ in range(MAX_CHARS // 7):
        match = _BOX.search(content)
        if match is None:
            break
        inner = _balanced(content, match.end() + 1) if content[match.end() :][:1] == "{" else None
        if inner is None:
            content = content[: match.start()] + content[match.end() :]
        else:
            rest = content[match.end() + 2 + len(inner) :]
            content = content[: match.start()] + inner + rest
    return content


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
