"""Arithmetic expressions of answers: a parser nothing can hang, exact values, two normal forms.

The grammar is binary ``+ - * /``, parentheses and decimal literals without leading zeros.  No
unary sign, no ``**``, no ``//``: a smoothed policy learns to write ``9+6++6`` and
``44**19**35`` would hang an evaluator.  A scan of the tokens decides well-formedness first, so
that ``ast`` is only ever given text that it accepts (its error paths can take exponential time
on nested brackets).

Two normal forms name an answer:

``"written"``
    The parse tree: spaces and redundant parentheses are dropped, nothing else.
    ``2*3+1`` and ``1+3*2`` differ.
``"ac"``
    The quotient by exactly these identities, and none that follows from values alone:

    * ``+`` and ``*`` are commutative and associative;
    * ``a-b = a+(-b)``, ``-(a+b) = (-a)+(-b)``, ``--a = a``;
    * ``a/b = a*b^-1``, ``(a*b)^-1 = a^-1*b^-1``, ``(a^-1)^-1 = a``;
    * ``(-a)*b = -(a*b)``, ``(-a)^-1 = -(a^-1)``.

    So ``5-(2-3)*4`` is ``5+(3-2)*4`` and ``8/(4/2)`` is ``8*2/4``.  Kept apart: ``x*1``,
    ``x/1`` and ``x``; ``x+0`` and ``x-0``; ``2+2`` and ``2*2``; ``a*(b+c)`` and ``a*b+a*c``;
    no cancellation of ``a-a`` or ``a/a``.  Equal numbers are one symbol.  On n distinct symbols
    each used once the classes number 1, 6, 68, 1170, 27142, 793002 (OEIS A140606).
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal, TypeAlias

Form = Literal["ac", "written"]
FORMS: tuple[Form, ...] = ("ac", "written")

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
    """``tree`` with the fewest parentheses that keep it: the ``"written"`` normal form."""
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


# The "ac" normal form.  A body is (0, n), (1, ((body, exponent), ...)) for a product or
# (2, ((body, sign), ...)) for a sum, the parts in descending order; a signed body is
# (sign, body).  Plain tuples compare and hash quickly, which the solver lives on.
Body: TypeAlias = "tuple[int, Any]"
Signed: TypeAlias = "tuple[int, Body]"


def number(n: int) -> Signed:
    """The literal ``n`` in ``"ac"`` form."""
    return (1, (0, n))


@lru_cache(maxsize=1 << 16)
def _symmetric(body: Body) -> bool:
    """Whether ``-body = body`` follows from the identities (``3-3``, and products with it)."""
    kind, parts = body
    if kind == 0:
        return False
    if kind == 1:
        return any(_symmetric(part) for part, _ in parts)
    return bool(_negated(parts) == parts)


def _signed(sign: int, body: Body) -> Signed:
    return (1 if _symmetric(body) else sign, body)


def _negated(terms: tuple[tuple[Body, int], ...]) -> tuple[tuple[Body, int], ...]:
    flipped = [(body, 1 if _symmetric(body) else -sign) for body, sign in terms]
    return tuple(sorted(flipped, reverse=True))


def _terms(x: Signed, sign: int) -> list[tuple[Body, int]]:
    total = sign * x[0]
    kind, parts = x[1]
    if kind != 2:
        return [(x[1], _signed(total, x[1])[0])]
    return list(parts if total > 0 else _negated(parts))


def _factors(x: Signed, exponent: int) -> list[tuple[Body, int]]:
    kind, parts = x[1]
    return [(b, exponent * e) for b, e in parts] if kind == 1 else [(x[1], exponent)]


def combine(operator: str, x: Signed, y: Signed) -> Signed:
    """``x operator y`` in ``"ac"`` form, from the operands in that form."""
    if operator in "+-":
        terms = tuple(sorted(_terms(x, 1) + _terms(y, 1 if operator == "+" else -1), reverse=True))
        flipped = _negated(terms)
        # The orientation whose greatest unpaired term is positive represents both.
        return (1, (2, terms)) if terms >= flipped else (-1, (2, flipped))
    factors = _factors(x, 1) + _factors(y, 1 if operator == "*" else -1)
    return _signed(x[0] * y[0], (1, tuple(sorted(factors, reverse=True))))


def normal(tree: Tree) -> Signed:
    """``tree`` in ``"ac"`` form."""
    if isinstance(tree, int):
        return number(tree)
    return combine(tree[0], normal(tree[1]), normal(tree[2]))


def _can_flip(body: Body) -> bool:
    """Whether ``-body`` can be written without a unary sign."""
    kind, parts = body
    if kind == 0:
        return False
    return any(_can_flip(part) or (kind == 2 and sign < 0) for part, sign in parts)


def render(x: Signed) -> str:
    """``x`` as an expression that :func:`parse` reads back into the same class."""
    sign, (kind, parts) = x
    if kind == 0:
        return str(parts)
    if kind == 2:
        terms = _terms(x, 1)
        positive = [b for b, s in terms if s > 0]
        negative = [b for b, s in terms if s < 0]
        if positive:
            head = [render((1, b)) for b in positive]
        else:  # a product inside can take the sign: (2-3)*4 for -(3-2)*4
            first = next(i for i, b in enumerate(negative) if _can_flip(b))
            head = [render((-1, negative.pop(first)))]
        return "-".join(["+".join(head), *(render((1, b)) for b in negative)])
    flip = next(i for i, (b, _) in enumerate(parts) if _can_flip(b)) if sign < 0 else -1
    texts = [
        (f"({render((-1 if i == flip else 1, b))})" if b[0] == 2 else str(b[1]), e)
        for i, (b, e) in enumerate(parts)
    ]
    numerator = "*".join(text for text, e in texts if e > 0)
    return "/".join([numerator, *(text for text, e in texts if e < 0)])


@lru_cache(maxsize=1 << 16)
def canonical(text: str, form: Form = "ac") -> str | None:
    """Normal form of the expression in ``text``; ``None`` where it is not well-formed.

    Raises ``ValueError`` for an unknown ``form``.
    """
    if form not in FORMS:
        raise ValueError(f"form is {form!r}; allowed: {', '.join(FORMS)}")
    expression = parse(text)
    if expression is None:
        return None
    return written(expression.tree) if form == "written" else render(normal(expression.tree))
