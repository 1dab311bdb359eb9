"""Expressions: the grammar, exact values, and the two normal forms against independent oracles."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.llm.tasks.expression import (
    MAX_DEPTH,
    MAX_LEAVES,
    Tree,
    evaluate,
    parse,
    written,
)
from diffsmooth.llm.tasks.normal_form import canonical

PRIME = (1 << 61) - 1
#: Stand-ins for free variables, and large random points to evaluate them at.
SYMBOLS = (2, 3, 5, 7)
POINTS = (
    {2: 0x1B3F9A6C5D2E7, 3: 0x2F0C4B8A19D53, 5: 0x3D7E1F5B60A89, 7: 0x19A3C6E8F2B47},
    {2: 0x5A5C3E1B7D9F1, 3: 0x44D2F8A1C6B3D, 5: 0x6E9B0D4F8A217, 7: 0x7C1E5A3B9D0F5},
)


def all_trees(symbols: tuple[int, ...]) -> Iterator[Tree]:
    """Every tree that uses each symbol once, by slow plain recursion."""
    if len(symbols) == 1:
        yield symbols[0]
        return
    for size in range(1, len(symbols)):
        for left in itertools.combinations(symbols, size):
            right = tuple(s for s in symbols if s not in left)
            for a, b in itertools.product(all_trees(left), all_trees(right)):
                for operator in "+-*/":
                    yield (operator, a, b)


def modular(tree: Tree, point: dict[int, int]) -> int:
    """Value of the rational function in the field of 2**61 - 1 elements."""
    if isinstance(tree, int):
        return point[tree]
    operator, left, right = tree
    x, y = modular(left, point), modular(right, point)
    if operator == "/":
        assert y != 0
        return x * pow(y, -1, PRIME) % PRIME
    return {"+": x + y, "-": x - y, "*": x * y}[operator] % PRIME


@pytest.mark.parametrize("count, classes", [(1, 1), (2, 6), (3, 68), (4, 1170)])
def test_ac_classes_are_the_rational_functions(count: int, classes: int) -> None:
    """OEIS A140606; two expressions share a name iff they are one function of free variables."""
    by_name: dict[str, set[tuple[int, ...]]] = {}
    by_function: dict[tuple[int, ...], set[str]] = {}
    for tree in all_trees(SYMBOLS[:count]):
        name = canonical(written(tree))
        assert name is not None
        function = tuple(modular(tree, point) for point in POINTS)
        by_name.setdefault(name, set()).add(function)
        by_function.setdefault(function, set()).add(name)
    assert len(by_name) == len(by_function) == classes
    assert all(len(f) == 1 for f in by_name.values())


@pytest.mark.parametrize("equal", [(2, 3), (2, 3, 5)])
def test_equal_numbers_are_one_symbol(equal: tuple[int, ...]) -> None:
    """The identities use every literal once, so two expressions with equal numbers are one answer
    iff some way to tell the equal numbers apart makes them one function."""
    symbols = SYMBOLS[:4] if len(equal) == 2 else SYMBOLS[:3]
    exchanges = [dict(zip(equal, order, strict=True)) for order in itertools.permutations(equal)]
    merge = dict.fromkeys(equal, equal[0])
    names: dict[frozenset[tuple[int, ...]], set[str]] = {}
    orbits: dict[str, set[frozenset[tuple[int, ...]]]] = {}
    for tree in all_trees(symbols):
        orbit = frozenset(
            tuple(modular(relabel(tree, exchange), point) for point in POINTS)
            for exchange in exchanges
        )
        name = canonical(written(relabel(tree, merge)))
        assert name is not None
        names.setdefault(orbit, set()).add(name)
        orbits.setdefault(name, set()).add(orbit)
    assert all(len(found) == 1 for found in names.values())
    assert all(len(found) == 1 for found in orbits.values())


def relabel(tree: Tree, names: dict[int, int]) -> Tree:
    if isinstance(tree, int):
        return names.get(tree, tree)
    return (tree[0], relabel(tree[1], names), relabel(tree[2], names))


trees = st.recursive(
    st.integers(0, 9),
    lambda children: st.tuples(st.sampled_from("+-*/"), children, children),
    max_leaves=7,
)


@settings(deadline=None)
@given(trees)
def test_normal_forms_are_idempotent_and_keep_value_and_leaves(tree: Tree) -> None:
    text = written(tree)
    expression = parse(text)
    assert expression is not None
    assert expression.tree == tree
    name = canonical(text)
    assert name is not None
    assert canonical(name) == name
    again = parse(name)
    assert again is not None
    assert again.leaves == expression.leaves
    if expression.value is not None and again.value is not None:
        assert again.value == expression.value
    assert canonical(text, "written") == text


def rewrite(tree: Tree, data: st.DataObject) -> Tree:
    """One identity of the "ac" list applied at a random place."""
    if isinstance(tree, int):
        return tree
    operator, left, right = tree
    where = data.draw(st.sampled_from(("here", "left", "right")))
    if where == "left":
        return (operator, rewrite(left, data), right)
    if where == "right":
        return (operator, left, rewrite(right, data))
    if operator in "+*" and data.draw(st.booleans()):
        return (operator, right, left)
    inverse = {"+": "-", "*": "/", "-": "+", "/": "*"}
    if not isinstance(right, int) and right[0] in (operator, inverse[operator]):
        # a o (b p c) = (a o b) q c, q from the two signs
        base = "+" if operator in "+-" else "*"
        q = base if (operator == base) == (right[0] == base) else inverse[base]
        return (q, (operator, left, right[1]), right[2])
    if operator in "*/" and not isinstance(left, int) and not isinstance(right, int):
        if left[0] == right[0] == "-":  # (a-b)*(c-d) = (b-a)*(d-c)
            return (operator, ("-", left[2], left[1]), ("-", right[2], right[1]))
        return tree
    if operator in "+-" and not isinstance(right, int) and right[0] in "*/":
        factor = right[1]
        if not isinstance(factor, int) and factor[0] == "-":  # x-(a-b)*c = x+(b-a)*c
            return (inverse[operator], left, (right[0], ("-", factor[2], factor[1]), right[2]))
    return tree


@settings(deadline=None)
@given(trees, st.data())
def test_identities_keep_the_ac_name(tree: Tree, data: st.DataObject) -> None:
    other = tree
    for _ in range(4):
        other = rewrite(other, data)
    assert canonical(written(other)) == canonical(written(tree))


@pytest.mark.parametrize(
    "a, b",
    [("2*3+1", "1+3*2"), ("8/(4/2)", "8*2/4"), ("5-(2-3)*4", "5+(3-2)*4"), ("9-(3-3)", "9+(3-3)")],
)
def test_same_answer_under_ac_but_not_as_written(a: str, b: str) -> None:
    assert canonical(a) == canonical(b)
    assert canonical(a, "written") != canonical(b, "written")


@pytest.mark.parametrize(
    "a, b",
    [("5*1+3", "5/1+3"), ("2+2", "2*2"), ("2*(3+4)", "2*3+2*4"), ("3+0", "3-0"), ("6", "6*1")],
)
def test_identities_of_values_are_not_quotiented(a: str, b: str) -> None:
    assert canonical(a) != canonical(b)


def test_written_drops_spaces_and_redundant_parentheses_only() -> None:
    assert canonical(" ((1 +2)) + 3", "written") == canonical("1+2+3", "written") == "1+2+3"
    assert canonical("1+(2+3)", "written") == "1+(2+3)"


@pytest.mark.parametrize(
    "text",
    ["", " ", "-1", "9+6++6", "44**19**35", "7//2", "7 // 2", "1 2", "1(2)", "(1)(2)", "()", "(1",
     "1)", "1+", "*1", "007", "1_0", "1.5", "1e3", "0x1", "1,2", "a", "1=1", "٣+1", "1\x00", "--1",
     "1+-1", "\ud800", "1" * 10, "1+" * MAX_LEAVES + "1", "(" * (MAX_DEPTH + 1) + "1" + ")" * 17,
     "1" + " " * 300 + "+1", "1#", "1\\\n+1", "1;1", "x:=1", "1 if 1 else 1", "lambda:1", "1@1",
     "1%2", "1<<2", "~1", "'1'"],
)  # fmt: skip
def test_ill_formed(text: str) -> None:
    assert parse(text) is None
    assert canonical(text) is None


@settings(deadline=None)
@given(trees)
def test_value_agrees_with_an_independent_evaluation(tree: Tree) -> None:
    import re

    python = re.sub(r"(\d+)", r"F(\1)", written(tree))
    try:
        expected: Fraction | None = eval(python, {"F": Fraction})
    except ZeroDivisionError:
        expected = None
    assert evaluate(tree) == expected


def test_unknown_form_is_named() -> None:
    with pytest.raises(ValueError, match="form is 'best'; allowed: ac, written"):
        canonical("1", "best")  # type: ignore[arg-type]
