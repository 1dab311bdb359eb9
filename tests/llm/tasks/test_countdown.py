"""CountDown: the verifier under hostile texts, the solver against brute force, split safety."""

from __future__ import annotations

import itertools
import json
import random
import time
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsmooth.llm.tasks import countdown_data
from diffsmooth.llm.tasks.base import NO_ANSWER, Task
from diffsmooth.llm.tasks.countdown import (
    BARE_ALPHABET,
    MAX_TAIL,
    CountDown,
    Puzzle,
    bare_prompt,
    check,
    extract,
)
from diffsmooth.llm.tasks.countdown_data import Generator, load_puzzles, split_of
from diffsmooth.llm.tasks.countdown_solver import multiplicity, solutions, values
from diffsmooth.llm.tasks.expression import Tree, evaluate, parse, written
from diffsmooth.llm.tasks.normal_form import canonical

PUZZLE = Puzzle((3, 5, 7, 2), 24)


@pytest.mark.parametrize(
    "text, score",
    [
        ("7*5-3*2-5", 0.1),  # a number twice
        ("(7+5)*2", 0.1),  # a number left out
        ("3*5+7+2", 1.0),
        ("2 + (7 + 3*5)", 1.0),
        ("3*5+7-2", 0.1),
        ("3/(5-5)+7+2", 0.1),
        ("3*5+7+2=24", 1.0),  # a closing equation that is true
        ("3*5+7+2=25", 0.1),
        ("3*5++7+2", 0.0),
        ("+3*5+7+2", 0.0),
        ("35+7-2", 0.1),  # digits joined
        ("", 0.0),
    ],
)
def test_scores(text: str, score: float) -> None:
    verdict = check(PUZZLE, text)
    assert verdict.score == score
    assert verdict.correct == (score == 1.0)
    assert (verdict.canonical is None) == (score == 0.0)


def test_arithmetic_is_exact() -> None:
    assert check(Puzzle((1, 3, 3), 1), "1/3*3").correct
    assert check(Puzzle((8, 3, 8, 3), 24), "8/(3-8/3)").correct
    big = Puzzle((999_999_999, 999_999_999, 999_999_998), 0)
    assert not check(big, "999999999/999999999-999999998").correct
    assert not check(big, "999999999/999999998/999999999").correct


@pytest.mark.parametrize(
    "text, inner",
    [
        ("<answer>1+2</answer>", "1+2"),
        ("so\n<answer> 1+2 </answer>\nbye", " 1+2 "),
        ("<answer>1</answer> no: <answer>2</answer>", "2"),
        ("<answer><answer>2</answer>", "2"),
        ("<answer>1+2", None),
        ("1+2</answer>", None),
        ("</answer>1<answer>", None),
        ("1+2", None),
        ("<answer>1</answer>" + "x" * MAX_TAIL, None),
    ],
)
def test_extraction_reads_the_last_closed_pair(text: str, inner: str | None) -> None:
    assert extract(text) == inner


def hostile(count: int) -> list[str]:
    """Texts meant to hang, crash or fool a verifier, from a fixed seed."""
    rng = random.Random(0)
    nasty = [
        "44**19**35", "9**9**9**9", "(" * 5000, "(" * 90 + "1" + ")" * 90, "[" * 3000,
        "-" * 4000 + "1", "1+" * 5000 + "1", "9" * 10_000, "1" + "0" * 4301, "1//0", "1/0", "0/0",
        "{" * 60 + ":", "lambda: 0", "__import__('os').system('true')", "exec('1')", "\x00" * 99,
        "1e999999999", "0x" + "f" * 500, "1_" * 300, "٣+٥", "１+２", "⅓", "1\\\n+2", "\ud800\udfff",
        "'" * 300, '"""', "#" * 500, "1if 1else 1", "not " * 400 + "1", "*" * 1000, "1(2)(3)(4)",
        "(((((" * 3 + "1**", "f'{1}'", "1;" * 300, "1\n" * 300, "\t" * 500, "1 " * 500,
        "<answer>" * 2000, "</answer>" * 2000, "<answer></answer>" * 900, "</answer" * 2000,
        "<" * 20_000, "a" * 1_000_000, "1+1" * 300_000,
    ]  # fmt: skip
    pieces = [*"0123456789+-*/()., =<>_\n\t'\"[]{}:;\\#@%~^&|!?eEjJx", "**", "//", "<answer>",
              "</answer>", "lambda", " if ", " else ", "\x00", "\u202e", "∞", "²", "((((", "))))",
              "999999999", "1/0", "3*5", "+7+2", "--", "3*5+7+2"]  # fmt: skip
    texts = [*nasty, *(f"<answer>{t}</answer>" for t in nasty)]
    while len(texts) < count:
        text = "".join(rng.choices(pieces, k=rng.choice((3, 8, 30, 300, 3000))))
        texts.append(text if rng.random() < 0.5 else f"{text}<answer>{text[:400]}</answer>")
    return texts


@pytest.mark.parametrize("style", ["tags", "bare"])
def test_ten_thousand_hostile_texts_in_a_millisecond_each(style: str) -> None:
    """No text raises, only the right sum is ever correct, and the mean cost is under 1 ms.

    The bound is the specification's; the mean measured when this was written was under 0.1 ms.
    """
    task = CountDown(style=style)  # type: ignore[arg-type]
    texts = hostile(10_000)
    parse.cache_clear()
    start = time.process_time()
    verdicts = [task.check(PUZZLE, text) for text in texts]
    assert time.process_time() - start < 10_000 * 1e-3
    for text, verdict in zip(texts, verdicts, strict=True):
        assert verdict.score in (0.0, 0.1, 1.0)
        assert verdict.correct == (verdict.score == 1.0)
        if verdict.correct:
            expression = parse(task.answer(text) or "")
            assert expression is not None
            assert expression.value == 24
            assert expression.leaves == (2, 3, 5, 7)


def test_no_hostile_text_costs_a_millisecond() -> None:
    """The least of up to five runs of each text, in processor time: a limit of the text's own
    cost, whatever else the machine does.  The largest measured was 0.13 ms."""
    long = "999999999/" * 15 + "999999998"
    extra = [
        "(" * 16 + long + ")" * 16,
        long.replace("/", "-"),
        "</answer" * 4000,
        "<answer" * 4000,
    ]
    task = CountDown()
    for text in [*hostile(1000), *extra, *(f"<answer>{t}</answer>" for t in extra)]:
        spent = 1.0
        for _ in range(5):
            parse.cache_clear()
            canonical.cache_clear()
            start = time.thread_time()
            task.check(PUZZLE, text)
            spent = min(spent, time.thread_time() - start)
            if spent < 1e-3:
                break
        assert spent < 1e-3, text[:80]


@settings(deadline=None)
@given(st.text())
def test_no_text_raises(text: str) -> None:
    for answer in (text, f"<answer>{text}</answer>"):
        for style in ("tags", "bare"):
            CountDown(style=style).check(PUZZLE, answer)  # type: ignore[arg-type]


def brute_force(nums: tuple[int, ...]) -> list[Tree]:
    """Every tree over the multiset, slowly: all orders, all shapes, all operators."""

    def over(order: tuple[int, ...]) -> list[Tree]:
        if len(order) == 1:
            return [order[0]]
        return [
            (operator, a, b)
            for cut in range(1, len(order))
            for a in over(order[:cut])
            for b in over(order[cut:])
            for operator in "+-*/"
        ]

    return [tree for order in set(itertools.permutations(nums)) for tree in over(order)]


@pytest.mark.parametrize(
    "nums", [(4,), (2, 2), (3, 5, 7), (2, 2, 4), (0, 0, 3), (1, 1, 1), (1, 2, 3, 6)]
)
def test_solver_finds_exactly_what_brute_force_finds(nums: tuple[int, ...]) -> None:
    by_value: dict[Fraction, list[str]] = {}
    for tree in brute_force(nums):
        value = evaluate(tree)
        if value is not None:
            by_value.setdefault(value, []).append(written(tree))
    assert values(tuple(sorted(nums))) == set(by_value)
    for target in sorted(v for v in by_value if v.denominator == 1)[:25]:
        puzzle = Puzzle(nums, int(target))
        texts = by_value[target]
        assert set(solutions(puzzle, "written")) == set(texts)
        assert set(solutions(puzzle)) == {canonical(text) for text in texts}
    assert solutions(Puzzle(nums, 10**6)) == ()


def test_six_numbers_all_solutions_are_right_and_distinct() -> None:
    puzzle = Puzzle((3, 5, 7, 11, 2, 10), 24)
    found = solutions(puzzle)
    assert len(found) == len(set(found)) > 100
    assert all(check(puzzle, text).correct and canonical(text) == text for text in found[::97])


@pytest.mark.parametrize("count, puzzles", [(5, 60), (6, 6)])
def test_the_expression_a_puzzle_was_drawn_by_is_among_its_solutions(
    count: int, puzzles: int
) -> None:
    law = Generator(min_numbers=count, max_numbers=count, low=0, high=20, max_target=50)
    for puzzle in itertools.islice(law.stream("train", 11), puzzles):
        assert puzzle.solution is not None
        assert canonical(puzzle.solution) in solutions(puzzle)


def test_multiplicity_counts_as_asked() -> None:
    puzzle = Puzzle((1, 2, 3), 7)
    assert solutions(puzzle) == ("3*2+1",)
    assert multiplicity(puzzle) == 1
    assert multiplicity(puzzle, "written") == 4
    assert CountDown(form="written").multiplicity(CountDown().problem(puzzle)) == 4


def test_generated_puzzles_obey_their_law_and_carry_a_solution() -> None:
    law = Generator(min_numbers=3, max_numbers=6, low=1, high=12, max_target=200)
    sizes = set()
    for puzzle in itertools.islice(law.stream("train", 7), 300):
        sizes.add(len(puzzle.nums))
        assert all(1 <= n <= 12 for n in puzzle.nums)
        assert 1 <= puzzle.target <= 200
        assert puzzle.solution is not None
        assert check(puzzle, puzzle.solution).correct
        assert set(bare_prompt(puzzle) + puzzle.solution) <= set(BARE_ALPHABET)
    assert sizes == {3, 4, 5, 6}


def test_splits_never_share_a_problem_whatever_the_seed() -> None:
    law = Generator()
    keys = {
        split: {p.key for seed in range(2) for p in itertools.islice(law.stream(split, seed), 500)}
        for split in ("train", "valid", "test")
    }
    assert all(keys.values())
    for a, b in itertools.combinations(keys.values(), 2):
        assert not a & b
    assert split_of(Puzzle((1, 2, 3), 7)) == split_of(Puzzle((3, 1, 2), 7, "1+3*2"))


def test_same_seed_same_puzzles() -> None:
    law = Generator()
    assert law.distinct("test", 40, 5) == law.distinct("test", 40, 5)
    assert law.distinct("test", 40, 5) != law.distinct("test", 40, 6)


def test_generator_says_when_the_law_has_too_few_problems() -> None:
    law = Generator(min_numbers=2, max_numbers=2, high=2)
    with pytest.raises(ValueError, match=r"count is 1000, but only \d+ distinct train problems"):
        law.distinct("train", 1000, 0)


@pytest.mark.parametrize(
    "bad", [{"min_numbers": 1}, {"max_numbers": 7}, {"low": 5, "high": 4}, {"max_target": 0}]
)
def test_bad_laws_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="allowed"):
        Generator(**bad)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".json"])
def test_public_columns_are_read_as_they_are(tmp_path: Path, suffix: str) -> None:
    rows = [{"target": 24, "nums": [3, 5, 7, 2]}, {"target": 98, "nums": [44, 19, 35]},
            {"target": 24, "nums": [2, 3, 5, 7]}]  # fmt: skip
    path = tmp_path / f"data{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))
    assert load_puzzles(path) == [Puzzle((3, 5, 7, 2), 24), Puzzle((44, 19, 35), 98)]
    assert load_puzzles(path, limit=1) == [Puzzle((3, 5, 7, 2), 24)]


def test_public_split_drops_leaked_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset

    monkeypatch.setattr(countdown_data, "PUBLIC_ROWS", {"train": (0, 3), "test": (3, 6)})
    rows = Dataset.from_dict(
        {
            "target": [6, 7, 6, 6, 8, 8],
            "nums": [[1, 2, 3], [3, 4], [3, 2, 1], [2, 1, 3], [4, 4], [4, 4]],
        }
    )
    train = countdown_data.public_split(rows, "train")
    assert train == [Puzzle((1, 2, 3), 6), Puzzle((3, 4), 7)]
    assert countdown_data.public_split(rows, "test") == [Puzzle((4, 4), 8)]


@pytest.mark.parametrize(
    "row, named", [({"nums": [1]}, "'target'"), ({"target": 1, "nums": [1.5]}, "'nums'")]
)
def test_bad_rows_name_the_column(row: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        countdown_data.puzzle_from_row(row)


def test_bulk_check_is_the_single_check_in_order() -> None:
    task = CountDown(Generator().distinct("test", 8, 0), style="bare")
    assert isinstance(task, Task)
    pairs = [
        (p, text) for p in task.problems() for text in (p.payload.solution or "", "1+", "1")
    ] * 2
    assert task.verify_many(pairs) == [task.verify(*pair) for pair in pairs]
    assert task.verify(task.problems()[0], "none") == NO_ANSWER


def test_duplicate_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        CountDown([Puzzle((1, 2), 3), Puzzle((2, 1), 3)])
