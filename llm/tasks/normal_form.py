"""When two expressions are the same answer: the normal forms that name it.

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

from functools import lru_cache
from typing import Any, Literal, TypeAlias

from diffsmooth.llm.tasks.expression import Tree, parse, written

Form = Literal["ac", "written"]
FORMS: tuple[Form, ...] = ("ac", "written")

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
