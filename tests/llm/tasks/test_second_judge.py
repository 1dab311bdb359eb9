"""A judge by other people over the same answers: every disagreement is of a kind that is argued.

ModeBench (extra ``judges``) grades through its public ``grade``.  The kinds, and who is right in
each, are the tables of ``docs/grading_countdown.md``.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from diffsmooth.llm.tasks.colouring import Graph, GraphLaw
from diffsmooth.llm.tasks.colouring import check as check_colouring
from diffsmooth.llm.tasks.countdown import check
from diffsmooth.llm.tasks.countdown_data import Generator
from diffsmooth.llm.tasks.countdown_solver import solutions
from diffsmooth.llm.tasks.expression import Tree, written
from diffsmooth.llm.tasks.puzzle import Puzzle

api = pytest.importorskip("modebench.api", reason="the extra 'judges' is not installed")

ANSWERS = 10_000

PAGE = Path(__file__).parents[3] / "docs" / "grading_countdown.md"


@pytest.fixture(scope="module", autouse=True)
def _worker() -> Iterator[None]:
    """ModeBench grades in a process of its own, which is ended here."""
    from modebench.verifier import close_worker

    yield
    close_worker()


def by_modebench(domain: str, spec: dict[str, Any], text: str) -> tuple[bool, str | None]:
    task = api.Task("", 1, domain, "", {**spec, "verifier": domain})
    found = api.grade(task, text)
    assert found["status"] in ("correct", "incorrect", "malformed"), found
    return found["status"] == "correct", found["canonical_key"]


# CountDown ---------------------------------------------------------------------------------------

#: Decoration of a plain expression -> whether a right one stays right (here, there).
Decorate = Callable[[str, Puzzle], str]
DECORATIONS: dict[str, tuple[Decorate, bool, bool]] = {
    "plain": (lambda e, p: e, True, True),
    "spaces": (lambda e, p: " " + e.replace("+", " + ").replace("*", " *"), True, True),
    "brackets": (lambda e, p: f"({e})", True, True),
    "× and ÷": (lambda e, p: e.replace("*", "×").replace("/", "÷"), True, True),
    "\\times": (lambda e, p: e.replace("*", "\\times ").replace("/", "\\div "), True, True),
    "true closing equation": (lambda e, p: f"{e} = {p.target}", True, True),
    "box": (lambda e, p: f"\\boxed{{{e}}}", True, True),
    "other Unicode signs": (lambda e, p: e.replace("-", "−") + " ", True, False),
    "full-width": (lambda e, p: e.translate({48 + i: 0xFF10 + i for i in range(10)}), True, False),
    "`\\left(`": (lambda e, p: f"\\left({e}\\right)", True, False),
    "dollars": (lambda e, p: f"${e}$", True, False),
    "bold": (lambda e, p: f"**{e}**", True, False),
    "code": (lambda e, p: f"`{e}`", True, False),
    "line break": (lambda e, p: f"(\n{e})", True, False),
    "false closing equation": (lambda e, p: f"{e} = {p.target + 1}", False, True),
    "chain": (lambda e, p: f"{e} = {p.target} = {p.target}", False, True),
    "equation in front": (lambda e, p: f"{p.target} = {e}", False, True),
    "unfinished equation": (lambda e, p: f"{e} =", False, True),
    "box in words": (lambda e, p: f"so \\boxed{{{e}}}", False, True),
    "words in front": (lambda e, p: f"answer: {e}", False, True),
    "unary plus": (lambda e, p: f"+{e}", False, True),
    "two unary signs": (lambda e, p: f"-(-({e}))", False, True),
    "power": (lambda e, p: f"({e})**1", False, False),
    "floor division": (lambda e, p: f"({e})//1", False, False),
    "juxtaposition": (lambda e, p: f"({e})(1)", False, False),
}
#: Decorations that do nothing where the expression lacks the sign.
CONDITIONAL = {"other Unicode signs": "-"}


def tree_over(numbers: list[int], rng: random.Random) -> Tree:
    parts: list[Tree] = list(numbers)
    while len(parts) > 1:
        left = parts.pop(rng.randrange(len(parts)))
        parts.append((rng.choice("+-*/"), left, parts.pop(rng.randrange(len(parts)))))
    return parts[0]


def expressions(puzzle: Puzzle, rng: random.Random) -> str:
    """A right expression, one over the same numbers, or one over others."""
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(solutions(puzzle, "written"))
    numbers = list(puzzle.nums)
    if kind > 0.85:
        numbers[rng.randrange(len(numbers))] = rng.randint(0, 12)
    return written(tree_over(numbers, rng))


SIGN = re.compile(r"(?:^|[-+*/(=])\s*[-+]")


def mutated(text: str, rng: random.Random) -> str:
    """``text`` with one to three characters changed, taken out or put in."""
    letters = list(text)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(letters) + 1)
        letters[at : at + rng.randint(0, 1)] = rng.choice(["", *"0123456789+-*/()= .x"])
    return "".join(letters)


@pytest.mark.slow
def test_countdown_answers_by_both_judges() -> None:
    rng = random.Random(1)
    law = Generator(min_numbers=2, max_numbers=4, high=12)
    puzzles = law.distinct("test", 150, 0)
    kinds: Counter[str] = Counter()
    outcomes: Counter[tuple[bool, bool]] = Counter()
    names: dict[Puzzle, list[tuple[str, str, str]]] = defaultdict(list)
    for _ in range(ANSWERS):
        puzzle = rng.choice(puzzles)
        spec = {"numbers": list(puzzle.nums), "target": puzzle.target}
        plain = expressions(puzzle, rng)
        right = check(puzzle, plain).correct
        kind = rng.choice([*DECORATIONS, "plain", "plain", "mutated", "mutated", "mutated"])
        text = mutated(plain, rng) if kind == "mutated" else DECORATIONS[kind][0](plain, puzzle)
        verdict = check(puzzle, text)
        there, key = by_modebench("countdown", spec, text)
        outcomes[verdict.correct, there] += 1
        if kind == "mutated":
            if verdict.correct != there:
                # Chance can only write the kinds that need no more than ASCII.
                assert there, text
                assert SIGN.search(text) or "=" in text, text
        else:
            _, keeps, keeps_there = DECORATIONS[kind]
            if CONDITIONAL.get(kind, "") not in plain:
                keeps_there = True
            assert verdict.correct == (right and keeps), (kind, text)
            assert there == (right and keeps_there), (kind, text)
            if verdict.correct != there:
                kinds[kind] += 1
        if verdict.correct and there:
            assert key is not None
            assert verdict.canonical is not None
            parse_tree = check(puzzle, text, "written").canonical
            assert parse_tree is not None
            names[puzzle].append((parse_tree, key, verdict.canonical))
    listed = {k for k, (_, here, there) in DECORATIONS.items() if here != there}
    assert set(kinds) == listed, "every kind of disagreement occurs"
    assert len(outcomes) == 4
    assert min(outcomes.values()) > 500, outcomes
    assert_refines([(a, b) for found in names.values() for a, b, _ in found])
    assert_refines([(f"{p.key} {b}", c) for p, found in names.items() for _, b, c in found])
    split = {(b, c) for found in names.values() for _, b, c in found}
    assert len({b for b, _ in split}) > len({c for _, c in split}), "and some names are one here"


def assert_refines(pairs: list[tuple[str, str]]) -> None:
    """Equal first names have equal second names."""
    second: dict[str, str] = {}
    for fine, coarse in pairs:
        assert second.setdefault(fine, coarse) == coarse, fine


def test_the_known_difference_of_names() -> None:
    puzzle = Puzzle((1, 2, 3), 6)
    spec = {"numbers": [1, 2, 3], "target": 6}
    texts = ("1+(2+3)", "(1+2)+3", "3+(1+2)")
    here = {check(puzzle, text).canonical for text in texts}
    there = {by_modebench("countdown", spec, text)[1] for text in texts}
    assert (len(here), len(there)) == (1, 2)


# Graph colouring ---------------------------------------------------------------------------------

WRITINGS: dict[str, tuple[Callable[[str], str], bool, bool]] = {
    "plain": (lambda d: d, True, True),
    "separated": (", ".join, True, True),
    "white space": (" ".join, True, True),
    "bracketed": (lambda d: f"[{' '.join(d)}]", True, True),
    "bold": (lambda d: f"**{d}**", True, True),
    "box": (lambda d: f"\\boxed{{{d}}}", True, True),
    "dollars": (lambda d: f"${d}$", True, True),
    "code": (lambda d: f"`{d}`", True, True),
    "line breaks": ("\n".join, True, False),
    "fence": (lambda d: f"```\n{d}\n```", True, False),
    "words": (lambda d: f"I say {d}", False, True),
    "other characters": ("x".join, False, True),
    "other separators": ("-".join, False, True),
    "uneven separators": (lambda d: f"{d[:2]} {d[2:]}", False, True),
    "unpaired bracket": (lambda d: f"[{d}", False, True),
    "other digits among them": (" 5 ".join, False, True),
    "too short": (lambda d: d[:-1], False, False),
    "too long": (lambda d: d + d[0], False, False),
    "a fourth colour": (lambda d: d[:-1] + "4", False, False),
    "other numerals": (lambda d: d.translate({49: 0xFF11, 50: 0xFF12, 51: 0xFF13}), False, False),
}


#: Colours as they are asked for, and nothing else.
LIST = re.compile(r"(\[)?(?:[123]+|[123](?: [123])*|[123](?:, [123])*)(?(1)\])")


@pytest.mark.slow
def test_colourings_by_both_judges() -> None:
    rng = random.Random(2)
    graphs = GraphLaw(3, 6, 0.5).distinct("test", 100, 0)
    proper: dict[Graph, list[str]] = {
        graph: [
            digits
            for digits in map("".join, product("123", repeat=graph.n))
            if all(digits[u - 1] != digits[v - 1] for u, v in graph.edges)
        ]
        for graph in graphs
    }
    kinds: Counter[str] = Counter()
    outcomes: Counter[tuple[bool, bool]] = Counter()
    for _ in range(ANSWERS):
        graph = rng.choice(graphs)
        spec = {"n": graph.n, "edges": [list(edge) for edge in graph.edges]}
        right = rng.random() < 0.6
        digits = (
            rng.choice(proper[graph])
            if right
            else "".join(rng.choice("123") for _ in range(graph.n))
        )
        right = digits in proper[graph]
        kind = rng.choice([*WRITINGS, "plain", "plain", "mutated", "mutated", "mutated"])
        if kind == "mutated":
            text = mutated(
                WRITINGS[rng.choice(["plain", "separated", "bracketed"])][0](digits), rng
            )
        else:
            text = WRITINGS[kind][0](digits)
        verdict = check_colouring(graph, text)
        there, key = by_modebench("graph_coloring", spec, text)
        outcomes[verdict.correct, there] += 1
        if kind == "mutated":
            # It picks the digits out of whatever stands around them.
            assert there or not verdict.correct, text
            assert verdict.correct == there or not LIST.fullmatch(text.strip()), text
        else:
            _, keeps, keeps_there = WRITINGS[kind]
            assert verdict.correct == (right and keeps), (kind, text)
            assert there == (right and keeps_there), (kind, text)
            if verdict.correct != there:
                kinds[kind] += 1
        if verdict.correct and there:
            assert key == f"graph_coloring:{verdict.canonical}"
    assert set(kinds) == {k for k, (_, here, there) in WRITINGS.items() if here != there}
    assert len(outcomes) == 4
    assert min(outcomes.values()) > 300, outcomes


def test_the_kinds_are_those_of_the_page() -> None:
    """No disagreement is expected here that the page does not argue."""
    page = PAGE.read_text(encoding="utf-8")
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in page.splitlines()]
    for table, width, kind_here_there in ((DECORATIONS, 8, (0, 4, 6)), (WRITINGS, 5, (0, 2, 3))):
        argued = {tuple(row[i] for i in kind_here_there) for row in rows if len(row) == width}
        for kind, (_, here, there) in table.items():
            if here != there:
                grades = ("right" if grade else "wrong" for grade in (here, there))
                assert (kind, *grades) in argued, kind
