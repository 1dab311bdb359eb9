"""Every row of docs/grading_countdown.md is run: what the page says is what the judges do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diffsmooth.llm.tasks import notation
from diffsmooth.llm.tasks.colouring import Graph
from diffsmooth.llm.tasks.colouring import check as check_colouring
from diffsmooth.llm.tasks.countdown import CountDown, check
from diffsmooth.llm.tasks.puzzle import Puzzle

PAGE = (Path(__file__).parents[3] / "docs" / "grading_countdown.md").read_text(encoding="utf-8")


def tables(first: str, width: int) -> Iterator[list[str]]:
    """Rows of the tables whose first column is called ``first`` and that have ``width`` columns."""
    inside = False
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == first and len(cells) == width:
            inside = True
        elif inside and not set(line) <= set("|-"):
            assert len(cells) == width, line
            yield cells


def code(cell: str) -> str:
    """The text that a cell shows: code spans, with "line break" between them."""
    spans = re.findall(r"(?<!`)(`+)(?!`) ?(.+?) ?(?<!`)\1(?!`)", cell)
    return "\n".join(text for _, text in spans)


NOTATIONS = list(tables("notation", 3))
SCORERS = list(tables("kind", 8))
COLOURINGS = list(tables("kind", 5))
PATH = Graph(3, ((1, 2), (2, 3)))


def puzzle(numbers: str, target: Any = 24) -> Puzzle:
    return Puzzle(tuple(map(int, re.findall(r"\d+", numbers))), int(target))


def tinyzero(puzzle: Puzzle, answer: str) -> bool:
    """TinyZero's rule as its source states it, for the page's own rows only.

    The last line's last pair of tags; its runs of digits must be the numbers, its characters
    plain, and what ``eval`` makes of it within 1e-5.
    """
    found = re.findall("<answer>(.*?)</answer>", f"<answer>{answer}</answer>".split("\n")[-1])
    text = found[-1].strip() if found else ""
    if sorted(map(int, re.findall(r"\d+", text))) != sorted(puzzle.nums):
        return False
    if not re.match(r"^[\d+\-*/().\s]+$", text):
        return False
    try:
        value = eval(text, {"__builtins__": None}, {})
    except Exception:
        return False
    return abs(value - puzzle.target) < 1e-5


def test_the_tables_are_found() -> None:
    assert (len(NOTATIONS), len(SCORERS), len(COLOURINGS)) == (37, 26, 18)


@pytest.mark.parametrize("row", NOTATIONS, ids=str)
def test_notations(row: list[str]) -> None:
    _, cell, grade = row
    text, _, numbers = cell.partition(" with ")
    score = {"right": 1.0, "well-formed": 0.1, "none": 0.0}[grade]
    verdict = check(puzzle(numbers or "3 8"), code(text))
    assert (verdict.score, verdict.correct) == (score, score == 1.0)


def test_every_notation_of_the_code_is_on_the_page() -> None:
    """One character of each kind of sign, each command of arithmetic, each wrapper."""
    shown = "".join(code(row[1]) for row in NOTATIONS)
    for ascii_, signs in notation.SYMBOLS.items():
        if ascii_ in "*/-":
            assert set(signs) & set(shown), ascii_
    for command, meaning in notation.COMMANDS.items():
        if meaning != " ":
            assert command in shown, command
    for left, _ in notation.WRAPPERS:
        assert left in shown or left in ("$$", "\\("), left


@pytest.mark.parametrize("row", SCORERS, ids=str)
def test_here_and_tinyzero(row: list[str]) -> None:
    _, numbers, target, answer, here, there, _, why = row
    asked, text = puzzle(numbers, target), code(answer)
    assert check(asked, text).correct == (here == "right")
    assert CountDown([asked]).check(asked, f"<answer>{text}</answer>").correct == (here == "right")
    assert tinyzero(asked, text) == (there == "right")
    assert why or len(set(row[4:7])) == 1, "a difference is argued"


@pytest.mark.parametrize("row", COLOURINGS, ids=str)
def test_colourings(row: list[str]) -> None:
    _, answer, here, there, why = row
    assert check_colouring(PATH, code(answer)).correct == (here == "right")
    assert why or here == there, "a difference is argued"


def test_modebench_says_what_the_page_says() -> None:
    api = pytest.importorskip("modebench.api", reason="the extra 'judges' is not installed")
    for _, numbers, target, answer, _, _, there, _ in SCORERS:
        asked = puzzle(numbers, target)
        spec = {"numbers": list(asked.nums), "target": asked.target, "verifier": "countdown"}
        found = api.grade(api.Task("", 1, "countdown", "", spec), code(answer))
        assert (found["status"] == "correct") == (there == "right"), answer
    spec = {"n": PATH.n, "edges": [list(e) for e in PATH.edges], "verifier": "graph_coloring"}
    for _, answer, _, there, _ in COLOURINGS:
        found = api.grade(api.Task("", 1, "graph_coloring", "", spec), code(answer))
        assert (found["status"] == "correct") == (there == "right"), answer
