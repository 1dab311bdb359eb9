r"""Whether an answer equals the reference: parts, brackets and numbers here, the rest math-verify.

What math-verify takes for equal and is not is caught in front of it (``docs/grading.md`` has an
example of each kind): numbers are compared exactly, all parts of an answer are needed, a point is
not two parts, an equation that is false gives nothing, and two numbers that differ by less than
floats can tell are told apart.
"""

from __future__ import annotations

import itertools
import re
from functools import lru_cache
from typing import Any

from diffsmooth.llm.tasks import math_notation as notation
from diffsmooth.llm.tasks.math_exact import Unbounded
from diffsmooth.llm.tasks.math_number import Numeral, equal_angles, equal_numbers, read

#: Parts that are matched with each other; answers with more are compared in order.
MAX_PARTS = 40


def equal(gold: str, answer: str) -> bool:
    """Whether ``answer`` (the content of a box) equals the reference ``gold``.

    Raises whatever math-verify raises; the caller counts that as wrong.
    """
    expected, found = notation.tidy(gold), notation.tidy(answer)
    if not expected or not found:
        return False
    if _equal_sets(expected, found):
        return True
    # "1,000" may be a number or two parts: the data have both.
    return _equal_sets(_spread(expected), _spread(found)) if "," in gold + answer else False


def _spread(text: str) -> str:
    return re.sub(r",(?=\S)", ", ", text)


def _equal_sets(gold: str, answer: str) -> bool:
    if notation.compact(gold) == notation.compact(answer):
        return not _false_chain(answer) or _false_chain(gold)
    gold_set, gold_parts = _elements(gold)
    answer_set, answer_parts = _elements(answer)
    if gold_set and answer_set:
        gold_parts, answer_parts = _once(gold_parts), _once(answer_parts)
    if len(gold_parts) == 1 and len(answer_parts) == 1:
        return _equal_part(gold_parts[0], answer_parts[0])
    if len(gold_parts) != len(answer_parts):
        # (x, y) = (1, 2) beside x = 1, y = 2
        if len(gold_parts) == 1 and all(map(_name, answer_parts)):
            gold_parts = _named_elements(gold_parts[0])
        elif len(answer_parts) == 1 and all(map(_name, gold_parts)):
            answer_parts = _named_elements(answer_parts[0])
    if len(gold_parts) != len(answer_parts):
        return False
    return _equal_parts(gold_parts, answer_parts)


def _elements(text: str) -> tuple[bool, list[str]]:
    r"""(Is it a set in braces, its parts).

    Reads ``\{1,2\}``, ``x = 1, 2``, ``x \in \{1,2\}`` and ``\pm 2``.
    """
    text = re.sub(r"^[a-zA-Z]\s*\\in(?![a-zA-Z])\s*(?=\\\{)", "", text)
    while (inside := notation.enclosed(text)) is not None and inside[0] == "{":
        text = inside[1]
    is_set = False
    if inside is not None and inside[0] == r"\{" and not re.search(r"\\mid|:|\|", inside[1]):
        is_set, text = True, inside[1]
    found = notation.parts(text)
    first = notation.sides(found[0])
    if len(found) > 1 and len(first) == 2 and notation.is_name(first[0]):
        if all("=" not in part for part in found[1:]):
            found[0] = first[1]
        elif all(
            len(pair := notation.sides(part)) == 2 and pair[0] == first[0] for part in found[1:]
        ):  # x = 1 or x = 2
            found = [notation.sides(part)[1] for part in found]
    return is_set, [sign for part in found for sign in _signs(part)]


def _named_elements(part: str) -> list[str]:
    """``(x, y) = (1, 2)`` as ``x = 1`` and ``y = 2``; any other part as it is."""
    lists = [notation.enclosed(side) for side in notation.sides(part)]
    if len(lists) != 2 or lists[0] is None or lists[1] is None:
        return [part]
    names, values = notation.parts(lists[0][1]), notation.parts(lists[1][1])
    if len(names) != len(values) or not all(map(notation.is_name, names)):
        return [part]
    return [f"{name} = {value}" for name, value in zip(names, values, strict=True)]


def _signs(part: str) -> list[str]:
    r"""``a \pm b`` is two answers."""
    if part.count(r"\pm") != 1 or r"\mp" in part or notation.enclosed(part) is not None:
        return [part]
    match = re.fullmatch(r"([a-zA-Z]\s*=\s*)?(.*)", part, re.DOTALL)
    assert match is not None
    left, right = match[2].split(r"\pm")
    plus = left + "+" + right if left.strip() and left.strip()[-1] not in "({" else left + right
    return [plus.strip(), (left + "-" + right.strip()).strip()]


def _once(parts: list[str]) -> list[str]:
    kept: list[str] = []
    for part in parts:
        if not any(_equal_part(other, part) for other in kept):
            kept.append(part)
    return kept


def _equal_parts(gold: list[str], answer: list[str]) -> bool:
    """Whether the parts can be matched one to one, in any order.

    In order only, where the reference names different unknowns and the answer none.
    """
    named = [_name(part) for part in gold]
    ordered = len(set(named)) > 1 and None not in named and all(_name(a) is None for a in answer)
    if ordered or len(gold) > MAX_PARTS:
        return all(map(_equal_part, gold, answer))
    partner: dict[int, int] = {}
    fits: dict[tuple[int, int], bool] = {}

    def fit(i: int, j: int) -> bool:
        if (i, j) not in fits:
            fits[i, j] = _equal_part(gold[i], answer[j])
        return fits[i, j]

    def place(i: int, tried: set[int]) -> bool:
        order = [i, *(j for j in range(len(answer)) if j != i)]
        for j in order:
            if j not in tried and fit(i, j):
                tried.add(j)
                if j not in partner or place(partner[j], tried):
                    partner[j] = i
                    return True
        return False

    return all(place(i, set()) for i in range(len(gold)))


def _name(part: str) -> str | None:
    pair = notation.sides(part)
    return notation.compact(pair[0]) if len(pair) > 1 and notation.is_name(pair[0]) else None


def _equal_part(gold: str, answer: str) -> bool:
    if notation.compact(gold) == notation.compact(answer):
        return not _false_chain(answer) or _false_chain(gold)
    if _false_chain(answer):
        return False
    gold, answer = notation.without_estimate(gold), notation.without_estimate(answer)
    expected, found = notation.sides(gold), notation.sides(answer)
    if not expected or not found:
        return False
    if len(expected) == 1:
        return _equal_value(gold, _value(found))
    if len(found) == 1:
        if notation.is_name(expected[0]) or len(expected) > 2:
            return _equal_value(_value(expected), answer)
        return _by_math_verify(gold, answer)
    if notation.is_name(expected[0]) and notation.is_name(found[0]):
        same = notation.compact(expected[0]) == notation.compact(found[0])
        if same:
            return _equal_value(expected[-1], found[-1])
    return _by_math_verify(gold, answer)


def _value(chain: list[str]) -> str:
    """What a chain of equations states: its last side, unless that is the unknown (``5 = x``)."""
    if len(chain) > 1 and notation.is_name(chain[-1]) and not notation.is_name(chain[0]):
        return chain[0]
    return chain[-1]


def _false_chain(text: str) -> bool:
    """Whether two sides of a chain of equations are different numbers: ``6 = 5``, ``x = 6 = 5``."""
    chain = notation.sides(text)
    if len(chain) < 2:
        return False
    numbers = [side for side in map(notation.without_estimate, chain) if _is_number(side)]
    return any(not _equal_value(a, b) for a, b in itertools.pairwise(numbers))


_NUMERIC = re.compile(r"\\(?:frac|sqrt|pi|cdot|times|div)(?![a-zA-Z])|[\d .+\-*/^(){}\[\]%!]")


def _is_number(side: str) -> bool:
    """Whether a side of an equation is a number without a unit (1 m = 100 cm is true)."""
    try:
        numeral = _read(side)
    except Unbounded:
        return True
    return not numeral.unit if numeral is not None else not _NUMERIC.sub("", side)


@lru_cache(maxsize=4096)
def _read(text: str) -> Numeral | None:
    return read(text)


def _equal_value(gold: str, answer: str) -> bool:
    """Two expressions without ``=`` at the outside."""
    if notation.compact(gold) == notation.compact(answer):
        return True
    try:
        expected, found = _read(gold), _read(answer)
    except Unbounded:
        return False
    if expected is not None and found is not None:
        return equal_numbers(expected, found)
    if expected is not None and equal_angles(expected, answer):
        return True
    if found is not None and equal_angles(found, gold):
        return True
    if _product_against_number(expected, answer) or _product_against_number(found, gold):
        return False
    brackets = _equal_brackets(gold, answer)
    if brackets is not None:
        return brackets
    same_words = _equal_words(gold, answer)
    if same_words is not None:
        return same_words
    return _by_math_verify(gold, answer)


def _equal_words(gold: str, answer: str) -> bool | None:
    r"""Answers in words; ``None`` where they may be mathematics, as ``xy`` and ``\text{yx}`` not.

    math-verify takes bare letters for a product, to which ``evil`` and ``live`` are equal.
    """
    is_text = notation.has_text(gold) or notation.has_text(answer)
    if is_text and notation.bare(gold).lower() == notation.bare(answer).lower():
        return True
    left, right = notation.words(gold), notation.words(answer)
    if left is None or right is None:
        return None
    if len(left) == len(right) == 1:
        return left == right  # math-verify holds x and X for one
    if left == right:
        return True
    if is_text:
        return False
    return left.lower() == right.lower() if max(len(left), len(right)) > 3 else None


def _product_against_number(number: Numeral | None, other: str) -> bool:
    """``2c`` is no number, though math-verify takes c for a unit and drops it."""
    return number is not None and re.search(r"\d[a-zA-Z]$", other) is not None


def _equal_brackets(gold: str, answer: str) -> bool | None:
    """Points, intervals and lists: element by element in order; ``None`` where there is none.

    The kind of bracket counts for pairs, which may be intervals; a point is not its parts.
    """
    expected, found = notation.enclosed(gold), notation.enclosed(answer)
    lists = [
        notation.parts(inside[1]) if inside is not None and inside[0] in _ORDERED else []
        for inside in (expected, found)
    ]
    sizes = [len(items) for items in lists]
    if max(sizes) < 2:
        return None
    if sizes[0] != sizes[1] or expected is None or found is None:
        other = answer if sizes[0] > 1 else gold
        return None if re.search(r"[<>]|\\[lg]eq?|\\cup|\\in|matrix", other) else False
    if sizes[0] == 2 and _kind(expected) != _kind(found):
        return False
    return all(map(_equal_part, *lists))


_ORDERED = {"(", "[", r"\langle"}


def _kind(inside: tuple[str, str, str]) -> tuple[str, str]:
    opening, closing = inside[0], inside[2]
    return ("(", ")") if opening == r"\langle" else (opening, closing)


#: Computations that have no bound: towers of powers, factorials and exponents of many digits.
_HEAVY = re.compile(r"\d{4,}\s*[\])}]*\s*!|\^\s*\{?\s*-?\d{5,}|\d\s*\^\s*\{?\s*\d+\s*\}?\s*\^|!!!")


def _by_math_verify(gold: str, answer: str) -> bool:
    if _HEAVY.search(gold) or _HEAVY.search(answer):
        return False
    expected, found = _parsed(gold), _parsed(answer)
    if not expected or not found:
        return False
    from math_verify import verify

    # Its own timeouts are signals and raise outside the main thread; the pool kills instead.
    if not verify(list(expected), list(found), timeout_seconds=None, allow_set_relation_comp=True):
        return False
    return not _apart(expected[0], found[0])


_ANGLE_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_IN_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\^\{\\circ\}")


@lru_cache(maxsize=1024)
def _parsed(text: str) -> tuple[Any, ...]:
    from math_verify import parse

    if _ANGLE_FUNCTION.search(text):
        text = _IN_DEGREES.sub(r"\\frac{\1\\pi}{180}", text)
    return tuple(parse(f"\\boxed{{{text}}}", parsing_timeout=None))


def _apart(gold: Any, answer: Any) -> bool:
    """Whether two expressions that math-verify holds for equal differ at a point.

    It compares by absolute tolerance: e^{-40} equals e^{-50} there.  Here by relative one: 12
    digits, or six where one has a decimal.
    """
    import sympy

    if not isinstance(gold, sympy.Expr) or not isinstance(answer, sympy.Expr):
        return False
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    if len(symbols) > 8 or gold.has(sympy.Integral, sympy.Sum, sympy.Product):
        return False
    point = {
        symbol: sympy.Rational(7 * i + 13, 5 * i + 11) for i, symbol in enumerate(symbols, start=1)
    }
    try:
        a, b = (e.subs(point) for e in (gold, answer))
        off, size = (sympy.N(abs(e), 30) for e in (a - b, a))
        if not (off.is_Number and size.is_Number and off.is_finite and size.is_finite):
            return False
        tolerance = 5e-6 if gold.has(sympy.Float) or answer.has(sympy.Float) else 1e-12
        return bool(off > tolerance * size)
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return False
