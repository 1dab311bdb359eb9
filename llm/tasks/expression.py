"""Arithmetic expressions of answers: a parser nothing can hang, and exact values.

The grammar is binary ``+ - * /``, parentheses and decimal literals without leading zeros.  No
unary sign, no ``**``, no ``//``: a smoothed policy learns to write ``9+6++6`` and
``44**19**35`` would hang an evaluator.  A scan of the tokens decides well-formedness first, so
that ``ast`` is only ever given text that it accepts (its error paths can take exponential time
on nested brackets).
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

#: A literal, or (operator, left, right).
Tree: TypeAlias = "int | tuple[str, Tree, Tree]"

#: Bounds of an answer that is read at all; anything longer or deeper is not well-formed.
MAX_CHARS, MAX_DIGITS, MAX_LEAVES, MAX_DEPTH = 256, 9, 16, 16

_TOKEN = re.compile(r"\s*(?:(0|[1-9][0-9]*)(?![0-9])|(.))", re.DOTALL)
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


@dataclass(frozen=True, slots=True)
class Expression:
    """A well-formed expression: its tree, its literals in ascending order and its exact value.

    ``value`` is ``None`` where a division by zero occurs.
    """

    tree: Tree
    leaves: tuple[int, ...]
    value: Fraction | None


def _tokens(text: str) -> list[str] | None:
    """Tokens of a grammatical expression within the bounds, else ``None``."""
    if len(text) > MAX_CHARS:
        return None
    tokens: list[str] = []
    depth = leaves = 0
    operand_next = True
    for literal, other in _TOKEN.findall(text.strip()):
        if literal:
            leaves += 1
            if not operand_next or len(literal) > MAX_DIGITS or leaves > MAX_LEAVES:
                return None
            operand_next = False
        elif other == "(":
            depth += 1
            if not operand_next or depth > MAX_DEPTH:
                return None
        elif other == ")":
            depth -= 1
            if operand_next or depth < 0:
                return None
        elif other in "+-*/":
            if operand_next:
                return None
            operand_next = True
        else:
            return None
        tokens.append(literal or other)
    return None if operand_next or depth else tokens


def _tree(node: ast.expr) -> Tree:
    if isinstance(node, ast.BinOp):
        return (_OPERATORS[type(node.op)], _tree(node.left), _tree(node.right))
    assert isinstance(node, ast.Constant)
    assert isinstance(node.value, int)
    return node.value


def evaluate(tree: Tree) -> Fraction | None:
    """Exact value of ``tree``; ``None`` where a division by zero occurs."""
    if isinstance(tree, int):
        return Fraction(tree)
    operator, left, right = tree
    x, y = evaluate(left), evaluate(right)
    if x is None or y is None or (operator == "/" and y == 0):
        return None
    if operator == "+":
        return x + y
    if operator == "-":
        return x - y
    return x * y if operator == "*" else x / y


def _leaves(tree: Tree) -> list[int]:
    return [tree] if isinstance(tree, int) else _leaves(tree[1]) + _leaves(tree[2])


@lru_cache(maxsize=1 << 16)
def parse(text: str) -> Expression | None:
    """The expression in ``text``, ``None`` where it is not well-formed.  Never raises, never hangs.

    At most ``MAX_CHARS`` characters, ``MAX_DIGITS`` digits a literal, ``MAX_LEAVES`` literals and
    ``MAX_DEPTH`` open brackets; texts are remembered, so a repeated answer costs a look-up.
    """
    tokens = _tokens(text)
    if tokens is None:
        return None
    tree = _tree(ast.parse("".join(tokens), mode="eval").body)
    return Expression(tree, tuple(sorted(_leaves(tree))), evaluate(tree))


def written(tree: Tree) -> str:
    """``tree`` with the fewest parentheses that keep it."""
    return _written(tree)[0]


def _written(tree: Tree) -> tuple[str, int]:
    """Text and binding strength (1 sum, 2 product, 3 literal)."""
    if isinstance(tree, int):
        return str(tree), 3
    operator, left, right = tree
    strength = 1 if operator in "+-" else 2
    (x, sx), (y, sy) = _written(left), _written(right)
    x = x if sx >= strength else f"({x})"
    y = y if sy > strength else f"({y})"
    return f"{x}{operator}{y}", strength
