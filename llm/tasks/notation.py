r"""The notations that models write for plain arithmetic, brought to the ASCII of ``expression``.

One table: :data:`SYMBOLS`, :data:`COMMANDS` and :data:`WRAPPERS`, beside fractions, fences and
``\boxed{}``.  It only renames: no text gains a number or an operator, and what it
does not name stays as it is, so that the parser refuses it.  Wrappers are peeled before
characters are renamed, so that ``××3`` can never turn into bold.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: Longest answer that is read at all; LaTeX is longer than the ASCII it stands for.
MAX_NOTATION = 1024

#: Fractions inside fractions that are read; a deeper one is not well-formed.
MAX_NESTING = 16

#: ASCII character -> the characters read as it.
SYMBOLS = {
    "*": "×⋅·∙∗＊",
    "/": "÷∕⁄／",
    "-": "−‐‑‒–—﹣－",
    "+": "＋",
    "(": "（",
    ")": "）",
    "=": "＝",
    **{str(digit): chr(0xFF10 + digit) for digit in range(10)},
}

#: LaTeX command -> ASCII.  ``\frac{a}{b}`` (also ``\dfrac``, ``\tfrac``) is ``((a)/(b))``.
COMMANDS = {
    "\\times": "*",
    "\\cdot": "*",
    "\\div": "/",
    "\\left(": "(",
    "\\right)": ")",
    "\\quad": " ",
    "\\,": " ",
    "\\;": " ",
    "\\:": " ",
    "\\!": " ",
    "\\ ": " ",
}

#: Pairs that may stand around a whole answer or a side of its closing equation, and are dropped.
WRAPPERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"))

_RENAME = str.maketrans({c: ascii_ for ascii_, cs in SYMBOLS.items() for c in cs})
_COMMAND = re.compile(
    "|".join(
        re.escape(c) + ("(?![A-Za-z])" if c[-1].isalpha() else "")
        for c in sorted(COMMANDS, key=len, reverse=True)
    )
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_FENCE = re.compile(r"```(?:[A-Za-z][\w+-]*(?=\s))?(.*)```", re.DOTALL)
_BOXED = "\\boxed{"
_CLAIM = re.compile(r"\s*(-?\s*(?:0|[1-9][0-9]*))\s*")


class Arithmetic(NamedTuple):
    """An answer in ASCII: the expression, and the value that a closing ``= value`` claims."""

    expression: str
    claim: int | None


def _closed(text: str) -> bool:
    """Whether the round brackets of ``text`` pair up within it."""
    depth = 0
    for c in text:
        depth += (c == "(") - (c == ")")
        if depth < 0:
            return False
    return depth == 0


def _boxed(text: str) -> str | None:
    """Content of a ``\\boxed{...}`` that is all of ``text``."""
    if not (text.startswith(_BOXED) and text.endswith("}")):
        return None
    depth = 0
    inner = text[len(_BOXED) : -1]
    for c in inner:
        depth += (c == "{") - (c == "}")
        if depth < 0:
            return None
    return inner if depth == 0 else None


def _inside(text: str) -> str | None:
    """``text`` without its outermost wrapper, ``None`` where it has none."""
    fence = _FENCE.fullmatch(text)
    if fence and "`" not in fence[1]:
        return fence[1]
    for left, right in WRAPPERS:
        if len(text) > len(left + right) and text.startswith(left) and text.endswith(right):
            inner = text[len(left) : -len(right)]
            if left not in inner and right not in inner:
                return inner
    return _boxed(text)


def peeled(text: str) -> str:
    """``text`` without the wrappers that stand around all of it."""
    text = text.strip()
    while (inner := _inside(text)) is not None:
        text = inner.strip()
    return text


def _ascii(text: str) -> str | None:
    text = _COMMAND.sub(lambda m: COMMANDS[m[0]], text.translate(_RENAME))
    for _ in range(MAX_NESTING):
        found = _FRACTION.search(text)
        if found is None:
            return text
        # An argument that closes a bracket it did not open would change what is divided.
        if not all(_closed(a) and _closed(b) for a, b in _FRACTION.findall(text)):
            return None
        text = _FRACTION.sub(r"((\1)/(\2))", text)
    return None if _FRACTION.search(text) else text


def read(text: str) -> Arithmetic | None:
    """``text`` in ASCII; ``None`` where it is too long or its equation is none.  Never raises.

    At most one ``=`` is allowed, after the expression and before one whole number.
    """
    if len(text) > MAX_NOTATION:
        return None
    sides = re.split("[=＝]", peeled(text))
    if len(sides) > 2:
        return None
    expression = _ascii(peeled(sides[0]))
    if expression is None or len(sides) == 1:
        return None if expression is None else Arithmetic(expression, None)
    claim = _CLAIM.fullmatch(_ascii(peeled(sides[1])) or "")
    return Arithmetic(expression, int("".join(claim[1].split()))) if claim else None
