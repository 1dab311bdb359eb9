r"""Grades of mathematics: kinds of notation, equal values both ways, changed values never."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from diffsmooth.llm.tasks import math_notation as notation
from diffsmooth.llm.tasks._boxed import boxed
from diffsmooth.llm.tasks.math_data import load_math
from diffsmooth.llm.tasks.math_equal import equal
from diffsmooth.llm.tasks.math_exact import Exact, Unbounded
from diffsmooth.llm.tasks.math_number import read
from diffsmooth.llm.tasks.mathematics import Mathematics

PAGE = Path(__file__).parents[3] / "docs" / "grading.md"


def documented() -> list[tuple[str, str, bool]]:
    rows = re.findall(r"^\|[^|]*\| `(.+?)` \| `(.+?)` \| (right|wrong) \|", PAGE.read_text(), re.M)
    return [(gold, answer, grade == "right") for gold, answer, grade in rows]


def test_the_page_has_its_tables() -> None:
    lines = re.findall(r"\| (?:right|wrong) \|", PAGE.read_text())
    assert len(documented()) == len(lines) > 40


@pytest.mark.parametrize("gold, answer, right", documented())
def test_every_row_of_the_page(gold: str, answer: str, right: bool) -> None:
    assert equal(gold, answer) is right


#: Beyond the page: more ways to write each kind.
VARIATIONS = r"""
+ | \text{\$}18.90 | 18.9
+ | 1250 | \$1,250
+ | 10,000, 20,000 | 20000, 10000
+ | 1 000 000 | 1000000
+ | x=2 \text{ or } x=3 | 2, 3
+ | 2, 3 | x = 2 \text{ or } x = 3
+ | 2,3 | x \in \{2,3\}
- | 2, 3 | 2, 3, 4
- | 1, 2 | (1,2)
- | (1,2), (3,4) | (1,3), (2,4)
- | (1,2) | (2,1)
- | [1,2] | (1,2)
+ | \left(3, \frac{\pi}{2}\right) | (3,\pi/2)
+ | (-\infty,1)\cup(2,\infty) | (-\infty, 1) \cup (2, \infty)
- | (-\infty,1)\cup(2,\infty) | (-\infty, 1] \cup (2, \infty)
+ | (2,\infty) | x>2
+ | 1 \pm \sqrt{2} | 1-\sqrt2, 1+\sqrt{2}
- | 1 \pm \sqrt{2} | 1+\sqrt2
+ | 5 | 5=x
- | 5 | \sqrt{16}=5
+ | y=2x+3 | 2x+3
- | x^2+y^2=4 | x^2+y^2=5
+ | -1 1/4 | -5/4
- | -1 1/4 | -3/4
+ | 1½ | 3/2
+ | 0.\overline{3} | 1/3
+ | -3 | −3
- | \frac{1}{2004!} | \frac{1}{2005!}
+ | \frac{100000!}{99999!} | 100000
- | 1000000000! | 1000000001!
+ | 11\text{ a.m.} | 11 \text{ am}
- | 11\text{ a.m.} | 11 \text{ p.m.}
+ | 100 | 1 \text{ m} = 100 \text{ cm}
+ | \sin 30^\circ | \frac{1}{2}
- | x | X
- | 2 | 2x
- | 2 | 2 xy
- | a_1 | a_2
- | \log_2 8 | \log_3 8
- | 10^{-20}i | 10^{-21}i
+ | Evelyn | \text{Evelyn}
+ | 3 | \text{Answer: }3
+ | 7 | \mathbf{7}
+ | \begin{pmatrix}1\\2\end{pmatrix} | \begin{pmatrix} 1 \\ 2 \end{pmatrix}
- | \begin{pmatrix}1\\2\end{pmatrix} | \begin{pmatrix} 1 \\ 3 \end{pmatrix}
""".strip().splitlines()


@pytest.mark.parametrize("case", VARIATIONS)
def test_variations(case: str) -> None:
    sign, gold, answer = case.split(" | ")
    assert equal(gold, answer) is (sign == "+")


@pytest.mark.parametrize(
    "text, content",
    [
        (r"$\boxed{2}, \boxed{3}$.", "2, 3"),
        (r"$x=\boxed{2}$ or $x = \boxed{3}$", "2, 3"),
        (r"\boxed{2} \text{ and } \boxed{3}", "2, 3"),
        (r"\boxed{2} fails. \boxed{3}", "3"),
        ("\\boxed{2}\n\n\\boxed{3}", "3"),
        (r"\boxed{7} or \boxed{7}", "7"),
        (r"\boxed{2}, \boxed{}, \boxed{3}", "2, 3"),
        (r"\boxed{7} (put it into \boxed{...})", "7"),
        (r"\boxed{\text{}} \boxed{ \, }", None),
        (r"\boxed{\boxed{3}}", "3"),
        (r"\boxed{x = \fbox{3}}", "x = 3"),
        (r"\boxed 2$", "2"),
        (r"\boxed 12.", "12"),
        (r"\boxed5", "5"),
        (r"\boxed\frac{1}{2}$", r"\frac{1}{2}"),
        (r"\boxed {5}", "5"),
    ],
)
def test_boxes(text: str, content: str | None) -> None:
    assert boxed(text) == content


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join((json.dumps(row) if row else "") + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "reference, text",
    [
        (["2", "3"], "2, 3"),
        ([2, 3], "2, 3"),
        ([2.5], "2.5"),
        (["$(1,2)$, $(3,4)$"], "$(1,2)$, $(3,4)$"),
        (["\\$5"], "\\$5"),
        ('["2", "$3$"]', "2, 3"),
        (1e-7, "0.0000001"),
        (r"It is \boxed{4}", "4"),
    ],
)
def test_references(tmp_path: Path, reference: Any, text: str) -> None:
    path = write(tmp_path / "a.jsonl", {"problem": "p", "answer": reference})
    assert load_math("file", path).pairs == (("p", text),)


BAD = [None, float("nan"), float("inf"), {"value": 4}, [], ["2", None], [["2"]], [""], True]


@pytest.mark.parametrize("bad", BAD)
def test_references_of_the_wrong_kind_are_refused(tmp_path: Path, bad: Any) -> None:
    good = {"problem": "1+1?", "answer": "2"}
    path = write(tmp_path / "a.jsonl", good, None, {"problem": "2+2?", "answer": bad})
    with pytest.raises(ValueError, match=r"a\.jsonl, line 3: .*'answer'.*1 of 2 rows") as error:
        load_math("file", path)
    assert "\n" not in str(error.value)


def test_rows_without_an_answer_are_named_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    solutions = [r"\boxed{2}", r"\boxed 4", None, r"\boxed{}", "It is 8.", ""]
    rows = [s if s is None else {"problem": "p", "solution": s} for s in solutions]
    path = write(tmp_path / "a.jsonl", *rows)
    with caplog.at_level(logging.WARNING):
        task = Mathematics.load("math-train", path)
    assert [p.payload for p in task.problems()] == ["2", "4"]
    assert [row.place for row in task.left_out] == [f"{path}, line {n}" for n in (4, 5, 6)]
    assert "3 of 5 rows" in caplog.text
    assert all(str(row) in caplog.text for row in task.left_out)
    with pytest.raises(ValueError, match=r"no row with an answer.*a\.jsonl, line 1"):
        load_math("math-train", write(path, {"problem": "p", "solution": "8"}))


numbers = st.builds(Fraction, st.integers(-9999, 9999), st.integers(1, 60))


def notations(value: Fraction) -> list[str]:
    n, d = value.numerator, value.denominator
    sign, n = ("-" if n < 0 else ""), abs(n)
    found = [
        rf"{sign}\frac{{{n}}}{{{d}}}",
        rf"${sign}{n}/{d}$.",
        rf"x = {sign}\dfrac{{{n}}}{{{d}}}",
    ]
    whole, rest = divmod(n, d)
    if whole and rest:
        found += [f"{sign}{whole} {rest}/{d}", rf"{sign}{whole}\frac{{{rest}}}{{{d}}}"]
    if d == 1:
        found += [f"{sign}{n}", f"{sign}{n:,}", f"{sign}{n}.", f"{sign}{n}.0", rf"{sign}\${n}"]
        found += [
            rf"{sign}{n} \text{{ cm}}",
            rf"{sign}{n}^\circ",
            f"0{n}" if not sign else f"-0{n}",
        ]
    if 10**6 % d == 0:
        found += [f"{sign}{n * (10**6 // d) // 10**6}.{n * (10**6 // d) % 10**6:06d}"]
    return found


@given(numbers, st.data())
def test_equal_numbers_in_any_notation(value: Fraction, data: st.DataObject) -> None:
    a, b = (data.draw(st.sampled_from(notations(value))) for _ in range(2))
    assert equal(a, b)
    assert equal(b, a)


@given(numbers, numbers, st.data())
def test_unequal_numbers_in_no_notation(x: Fraction, y: Fraction, data: st.DataObject) -> None:
    assume(x != y)
    a = data.draw(st.sampled_from(notations(x)))
    b = data.draw(st.sampled_from(notations(y)))
    assert not equal(a, b)
    assert not equal(f"{a}; 5", f"{b}; 5")


@given(st.from_regex(r"[1-9][0-9]{0,12}(\.[0-9]{1,12})?", fullmatch=True), st.data())
def test_a_changed_digit_is_wrong(text: str, data: st.DataObject) -> None:
    at = data.draw(st.sampled_from([i for i, c in enumerate(text) if c.isdigit()]))
    changed = text[:at] + str((int(text[at]) + data.draw(st.integers(1, 9))) % 10) + text[at + 1 :]
    assert not equal(text, changed)
    assert not equal(f"({text}, 1)", f"({changed}, 1)")


@given(st.lists(st.integers(-99, 99), min_size=2, max_size=6, unique=True), st.data())
def test_parts_in_any_order_and_none_missing(values: list[int], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(values))
    gold, answer = ", ".join(map(str, values)), ", ".join(map(str, shuffled))
    assert equal(gold, answer)
    assert equal(gold, rf"\{{{answer}\}}")
    assert not equal(gold, ", ".join(map(str, values[1:])))
    assert equal(f"({gold})", f"({answer})") == (values == shuffled)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(-3, 3))
def test_exact_products_agree_with_fractions(n: int, base: int, exponent: int) -> None:
    assume(base or exponent >= 0)
    power = Exact(Fraction(base)).power(exponent)
    assert power.equals(Exact(Fraction(base) ** exponent))
    huge = Exact(Fraction(n + 5_000)).factorial()
    assert (huge * Exact(Fraction(n + 5_001))).equals(Exact(Fraction(n + 5_001)).factorial())
    assert not huge.equals(Exact(Fraction(n + 5_001)).factorial())


FRAGMENTS = [
    *"{}()[].,-+*/^_!=x\\½٣²| \n\x00\ud800$",
    *("1", "20", "99999999", "...", "!!", "and", "or", "million", r"\frac", r"\sqrt", r"\boxed"),
    *(r"\text{", r"\{", r"\}", r"\$", r"\%", r"^\circ", r"\pm", r"\le", r"\binom", r"\overline"),
    *(r"\approx", r"\in"),
]
latex = st.lists(st.sampled_from(FRAGMENTS), max_size=20).map("".join)


@settings(deadline=None, max_examples=300)
@given(st.one_of(latex, st.text()), st.one_of(latex, st.text()))
@example("", "")
@example("2", "(" * 500)
def test_reading_never_raises(gold: str, answer: str) -> None:
    """What is before math-verify; math-verify itself runs in a process and may raise."""
    for text in (gold, answer):
        boxed(text)
        tidied = notation.tidy(text)
        for part in notation.parts(tidied):
            with contextlib.suppress(Unbounded):
                read(part)
            notation.sides(part)
            notation.enclosed(part)


@settings(deadline=None, max_examples=40)
@given(st.one_of(latex, st.text()))
def test_the_task_never_raises(text: str) -> None:
    (problem,) = TASK.problems()
    assert not TASK.verify(problem, rf"\boxed{{{text}}}").correct  # no fragments make 123457


TASK = Mathematics("file", [("?", "123457")])
