r"""How an answer is written: signs that mean the same, dollars, full stops, parts, brackets.

Everything here works on text; nothing is evaluated.  Linear time but for nested brackets.
"""

from __future__ import annotations

import re
import unicodedata

from diffsmooth.llm.tasks._boxed import open_boxes

#: Characters with a LaTeX or ASCII way to say the same.
_SIGNS = {
    "−": "-",
    "–": "-",
    "‐": "-",
    "×": r"\times ",
    "·": r"\cdot ",
    "⋅": r"\cdot ",
    "÷": r"\div ",
    "±": r"\pm ",
    "π": r"\pi ",
    "∞": r"\infty ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\neq ",
    "∅": r"\emptyset ",
    "°": r"^{\circ}",
    "º": r"^{\circ}",
    "⁄": "/",
    "％": "%",
    "，": ",",
    "\u00a0": " ",
    "\u2009": " ",
    "\u202f": " ",
}
_CURRENCY = re.compile(
    r"\\?\$|[£€¥₹¢]|\\(?:pounds|euro|yen|textdollar|mathdollar|textsterling)(?![a-zA-Z])"
)
_SPACES = re.compile(
    r"(?<!\\)\\[,;:!> ]|~|\\q?quad(?![a-zA-Z])|\\(?:thin|med|thick|neg)space(?![a-zA-Z])"
)
_SILENT = re.compile(
    r"\\(?:left|right|big|Big|bigg|Bigg|bigl|bigr|Bigl|Bigr|displaystyle|textstyle|limits)"
    r"(?![a-zA-Z])\.?|(?<!\\)\\[()\[\]]"
)
_DEGREES = re.compile(
    r"(?<=\d)\s*\^\s*\{?\s*o\s*\}?(?=\s*(?:[),]|$))|\^\s*\{?\s*\\circ\s*\}?|\\deg(?:rees?)?(?![a-zA-Z])|\\degree(?![a-zA-Z])"
)
_TEXT = re.compile(
    r"\\(?:text|textrm|textbf|textit|textnormal|mathrm|mathbf|mathit|mathsf|mbox|hbox)"
    r"\s*\{([^{}]*)\}"
)
#: Text that is a number or a single variable in another type face.
_TYPEFACE = re.compile(
    r"\\text[a-z]*\s*\{(\s*[-+]?\d[^{}]*)\}|\\math(?:rm|bf|it|sf)\s*\{([^{}]|\s*[-+]?\d[^{}]*)\}"
)
_BETWEEN = re.compile(r"\\text\{\s*,?\s*(?:and|or)\s*,?\s*\}|\b(?:and|or)\b")
_BRACKETS = {"(": ")", "[": "]", "{": "}", r"\{": r"\}", r"\langle": r"\rangle"}
_CLOSING = {")", "]", "}", r"\}", r"\rangle"}
_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|.", re.DOTALL)
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?!\d|,\d)")


def tidy(text: str) -> str:
    r"""``text`` in one way of writing: no dollars, no ``\left``, ASCII signs, no closing stop.

    Text commands become ``\text{...}``, degrees ``^{\circ}``, ``\dfrac`` ``\frac``.
    """
    text = open_boxes(text)
    for sign, meaning in _SIGNS.items():
        text = text.replace(sign, meaning)
    text = "".join(_vulgar(c) for c in text)
    text = re.sub(r"\{\s*,\s*\}|,\\!", ",", text)
    text = re.sub(r"(?<=\d)(?:\\,|\\ |\\;)(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"\\\$\s*(?=\d)|\\?\$$", "", text.strip()) if "$" in text else text
    text = _TYPEFACE.sub(lambda m: m[1] or m[2], text)
    text = _TEXT.sub(lambda m: rf"\text{{{_CURRENCY.sub('', m[1])}}}", text)
    text = _CURRENCY.sub(" ", text)
    text = _SPACES.sub(" ", text)
    text = _SILENT.sub("", text)
    text = text.replace(r"\lbrace", r"\{").replace(r"\rbrace", r"\}")
    text = text.replace(r"\lbrack", "[").replace(r"\rbrack", "]")
    text = re.sub(r"\\[dtc]frac(?![a-zA-Z])", r"\\frac", text)
    text = text.replace(r"\varnothing", r"\emptyset")
    text = _DEGREES.sub(r"^{\\circ}", text)
    text = re.sub(r"\*\*(?=[^*]+\*\*$)|(?<=\w)\*\*$", "", text) if text.startswith("**") else text
    text = re.sub(r"\s+", " ", text).strip()
    while text and text[-1] in ".,;:" and not text.endswith(".."):
        text = text[:-1].rstrip()
    return text


def _vulgar(character: str) -> str:
    if character < "\x80" or unicodedata.category(character) != "No":
        return character
    plain = unicodedata.normalize("NFKD", character)
    if "⁄" not in plain:  # superscripts and the like
        return character
    return " " + plain.replace("⁄", "/")


def parts(text: str) -> list[str]:
    r"""``text`` cut at its outer commas, semicolons, "and", "or"; thousands stay whole.

    ``2, 3`` has two parts, ``(1,2)`` and ``1,000`` one.  Brackets that do not match give one part.
    """
    whole = _THOUSANDS.sub(lambda m: m[1].replace(",", ""), text)
    cuts, found, depth, start = _BETWEEN.sub(lambda m: "," * bool(m), whole), [], 0, 0
    position = 0
    for match in _TOKEN.finditer(cuts):
        token, position = match.group(), match.start()
        if token in _BRACKETS:
            depth += 1
        elif token in _CLOSING:
            depth -= 1
            if depth < 0:
                return [text]
        elif token in ",;" and depth == 0:
            found.append(cuts[start:position])
            start = match.end()
    if depth:
        return [text]
    found.append(cuts[start:])
    cleaned = [part.strip() for part in found]
    return [part for part in cleaned if part] or [text]


def enclosed(text: str) -> tuple[str, str, str] | None:
    """(opening bracket, content, closing bracket) where one pair encloses all of ``text``.

    Half-open intervals count, as in ``[1,2)``.
    """
    tokens = list(_TOKEN.finditer(text))
    if len(tokens) < 2 or tokens[0].group() not in _BRACKETS:
        return None
    depth = 0
    for i, token in enumerate(tokens):
        if token.group() in _BRACKETS:
            depth += 1
        elif token.group() in _CLOSING:
            depth -= 1
            if depth == 0:
                if i < len(tokens) - 1:
                    return None
                opening, closing = tokens[0].group(), token.group()
                round_pair = {opening, closing} <= {"(", ")", "[", "]"}
                if not round_pair and _BRACKETS[opening] != closing:
                    return None
                return opening, text[tokens[0].end() : token.start()].strip(), closing
    return None


_EQUALS = re.compile(r"(?<![<>!:=\\])=(?!=)")


def without_estimate(text: str) -> str:
    r"""The exact side of ``1/3 \approx 0.333``; of ``x \approx 0.333`` the number."""
    found = [side.strip() for side in re.split(r"\\approx(?![a-zA-Z])|≈", text)]
    if len(found) < 2 or not all(found):
        return text
    return found[1] if is_name(found[0]) else found[0]


def sides(text: str) -> list[str]:
    """``text`` cut at its outer signs of equality."""
    found, depth, start = [], 0, 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        depth += (token in _BRACKETS) - (token in _CLOSING)
        if token == "=" and depth == 0 and _EQUALS.match(text, match.start()):
            found.append(text[start : match.start()].strip())
            start = match.end()
    found.append(text[start:].strip())
    return [side for side in found if side]


_VARIABLE = re.compile(
    r"(?:[a-zA-Z]|\\(?!frac|sqrt|pi|infty)[a-zA-Z]+)(?:_(?:\w|\{\w+\}))?'*(?:\(\s*[a-zA-Z]\s*\))?"
)


def is_name(side: str) -> bool:
    """Whether a side of an equation is a name: ``x``, ``a_1``, ``f(x)``."""
    return _VARIABLE.fullmatch(side.strip()) is not None


_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]*")


def words(text: str) -> str | None:
    r"""The words that ``text`` is made of, or ``None`` where it is mathematics.

    ``\text{Evelyn}``, ``(B)`` and ``\textbf{(B)}``; a bare ``xy`` may be a product as well.
    """
    found = bare(text)
    return found if _WORDS.fullmatch(found) else None


def bare(text: str) -> str:
    r"""``text`` without ``\text`` and single spaces; ``(B)`` is B."""
    found = " ".join(_TEXT.sub(r"\1", text).split())
    return found[1] if len(found) == 3 and found[0] == "(" and found[2] == ")" else found


def has_text(text: str) -> bool:
    r"""Whether ``text`` has a part in ``\text{...}``."""
    return _TEXT.search(text) is not None


def compact(text: str) -> str:
    """``text`` without spaces but between digits (``1 1/4``), to compare by characters."""
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)
