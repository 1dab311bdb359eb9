"""Notations of one answer: same verdict and name as in ASCII, and nothing wrong gets in."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffsmooth.llm.tasks import notation
from diffsmooth.llm.tasks.countdown import CountDown, check, extract
from diffsmooth.llm.tasks.countdown_data import puzzle_from_row
from diffsmooth.llm.tasks.expression import parse
from diffsmooth.llm.tasks.puzzle import Puzzle


def value(tree):
    """Exact value and literals by an evaluator of this test's own."""
    if isinstance(tree, int):
        return Fraction(tree), [tree]
    op, a, b = tree
    (x, m), (y, n) = value(a), value(b)
    if x is None or y is None or (op == "/" and y == 0):
        return None, m + n
    return {"+": x + y, "-": x - y, "*": x * y}[op] if op != "/" else x / y, m + n


def ascii_text(tree):
    if isinstance(tree, int):
        return str(tree)
    return f"({ascii_text(tree[1])}){tree[0]}({ascii_text(tree[2])})"


def styled(tree, draw):
    if isinstance(tree, int):
        return "".join(draw(st.sampled_from([c, chr(0xFF10 + int(c))])) for c in str(tree))
    op, left, right = tree
    a, b = styled(left, draw), styled(right, draw)
    if op == "/" and draw(st.booleans()):
        return draw(st.sampled_from(["\\frac", "\\dfrac", "\\tfrac"])) + "{" + a + "}{" + b + "}"
    names = {"*": ["\\times ", "\\cdot ", " * "], "/": ["\\div ", "/"], "+": [" + "], "-": ["-"]}
    sign = draw(st.sampled_from(names[op] + list(notation.SYMBOLS[op])))
    opening, closing = draw(st.sampled_from([("(", ")"), ("\\left(", "\\right)"), ("（", "）")]))
    return f"{opening}{a}{closing}{sign}{opening}{b}{closing}"


TREES = st.recursive(
    st.integers(0, 99),
    lambda t: st.tuples(st.sampled_from("+-*/"), t, t),
    max_leaves=6,
)


@given(tree=TREES, data=st.data())
def test_every_notation_has_the_verdict_and_name_of_ascii(tree, data):
    exact, leaves = value(tree)
    whole = exact is not None and exact.denominator == 1
    puzzle = Puzzle(tuple(leaves), int(exact) if whole else 1)
    text = styled(tree, data.draw)
    if whole and data.draw(st.booleans()):
        text += f" = {int(exact)}"
    for left, right in data.draw(
        st.sampled_from(
            [[], [("```\n", "\n```")], [("```python\n", "\n```")], [("\\boxed{", "}")]]
            + [[w] for w in notation.WRAPPERS]
            + [[("$", "$"), ("**", "**")], [("\\boxed{", "}"), ("$", "$")]]
        )
    ):
        text = left + text + right
    verdict = check(puzzle, text)
    assert verdict == check(puzzle, ascii_text(tree)), text
    assert verdict.correct == (exact == puzzle.target), text
    assert not check(Puzzle(puzzle.nums, puzzle.target + 1), text).correct
    assert not check(Puzzle((*puzzle.nums, 1), puzzle.target), text).correct


@given(text=st.text(alphabet="38+-*/() =×÷−\\frac{}$`\n2４", max_size=24))
def test_what_is_accepted_is_true_by_another_evaluator(text):
    verdict = check(Puzzle((3, 8), 24), text)
    if verdict.correct:
        exact, leaves = value(parse(verdict.canonical).tree)
        assert (exact, sorted(leaves)) == (24, [3, 8])


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("3*8 = 25", 0.1), ("3*8 = 24 = 25", 0), ("3*8 = 24 = 24", 0), ("24 = 3*8", 0),
        ("3*8 =", 0), ("= 24", 0), ("3*8 = 24.0", 0), ("3**8", 0), ("3××8", 0), ("××3*8××", 0),
        ("**3**8**", 0), ("-3*8", 0), ("3*(+8)", 0), ("3(8)", 0), ("(3)(8)", 0), ("3 x 8", 0),
        ("3\\timess 8", 0), ("\\frac{3)*(8}{1}", 0), ("\\frac38", 0), ("3\\frac{8}{1}", 0),
        ("\\boxed{3}*\\boxed{8}", 0), ("\\frac{}{}", 0), ("", 0), ("$$", 0), ("````", 0),
        ("$3*8$ = $24$", 1), ("3*8 = \\boxed{24}", 1), ("**3*8** = **24**", 1), ("3*8 ＝ ２４", 1),
    ],
)  # fmt: skip
def test_edges_of_the_table(text, score):
    assert check(Puzzle((3, 8), 24), text).score == score


@pytest.mark.parametrize(
    "text",
    ["(" * 10**5, "\\frac{" * 10**5, "\\boxed{" * 140, "`" * 1000, "$" * 1000, "9" * 10**5,
     "\\frac{1}{" * 60 + "1" + "}" * 60, "3*8=" + "9" * 1000, "**" * 500, "<answer>" * 10**5,
     "<answer>3*8</answer>" * 10**4 + "</answer>" * 10**4],
)  # fmt: skip
def test_hostile_text_is_judged_and_never_raises(text):
    assert not check(Puzzle((3, 8), 24), text).correct
    extract(text)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("<answer>1+2</answer> hmm </answer>", "1+2"),
        ("<answer>1+2</answer><answer>\n \t</answer>", "1+2"),
        ("<answer><answer>1+2</answer></answer>", "1+2"),
        ("<answer>1+2</answer><answer>2-1", "1+2"),
        ("<answer>1+2</answer><answer>2-1</answer>", "2-1"),
        ("</answer>1<answer>", None),
        ("<answer></answer>", None),
    ],
)
def test_last_non_empty_closed_pair(text, content):
    assert extract(text) == content


@pytest.mark.parametrize("count", [7, 12])
def test_more_numbers_than_the_solver_takes_have_unknown_multiplicity(count):
    big, small = Puzzle(tuple(range(1, count + 1)), sum(range(1, count + 1))), Puzzle((1, 2), 3)
    task = CountDown([big, small], style="bare")
    assert [task.multiplicity(p) for p in task.problems()] == [None, 1]
    assert task.verify(task.problems()[0], "+".join(map(str, big.nums))).correct


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, 1.5, True, "3", [1], {}])
def test_row_values_that_are_no_integers_are_refused_by_column(bad):
    with pytest.raises(ValueError, match="column 'target' holds"):
        puzzle_from_row({"nums": [1, 2], "target": bad})
    with pytest.raises(ValueError, match="column 'nums' holds"):
        puzzle_from_row({"nums": [1, bad], "target": 3})


@pytest.mark.parametrize("bad", [None, 3, "12", {"1": 2}])
def test_nums_that_are_no_list_are_refused(bad):
    with pytest.raises(ValueError, match="column 'nums' holds"):
        puzzle_from_row({"nums": bad, "target": 3})
