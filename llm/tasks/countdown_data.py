"""CountDown puzzles: a seeded generator whose splits cannot leak, and the public data set.

A puzzle belongs to a split by the hash of its key (sorted numbers, target); see ``splits``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsmooth.llm.tasks._rows import LeftOut, Row, read_rows, shown
from diffsmooth.llm.tasks.expression import Tree, evaluate, written
from diffsmooth.llm.tasks.puzzle import Puzzle
from diffsmooth.llm.tasks.splits import Split, check_split, distinct, split_of_key

if TYPE_CHECKING:
    import numpy as np

#: The public data set, and the usual way to split it: rows [0, 327680) train, the next 1024 test.
PUBLIC = "Jiayi-Pan/Countdown-Tasks-3to4"
PUBLIC_ROWS: Mapping[Split, tuple[int, int]] = {"train": (0, 327_680), "test": (327_680, 328_704)}


def split_of(puzzle: Puzzle) -> Split:
    """The split that ``puzzle`` belongs to, by its key alone."""
    numbers, target = puzzle.key
    return split_of_key(f"{','.join(map(str, numbers))}={target}")


@dataclass(frozen=True)
class Generator:
    """Law of generated puzzles: how many numbers, their range, and the range of the target.

    A uniformly drawn number of uniformly drawn numbers is joined by uniform operators in a
    random order; draws whose value is no integer in ``[1, max_target]`` are drawn again, so every
    puzzle is solvable and carries the drawn expression as its ``solution``.
    """

    min_numbers: int = 3
    """Fewest numbers of a puzzle."""

    max_numbers: int = 3
    """Most numbers of a puzzle, up to 6."""

    low: int = 1
    """Smallest number."""

    high: int = 9
    """Largest number."""

    max_target: int = 99
    """Largest target; the smallest is 1."""

    def __post_init__(self) -> None:
        if not 2 <= self.min_numbers <= self.max_numbers <= 6:
            raise ValueError(
                f"min_numbers {self.min_numbers}, max_numbers {self.max_numbers}; "
                "allowed: 2 <= min_numbers <= max_numbers <= 6"
            )
        if not 0 <= self.low <= self.high:
            raise ValueError(f"low {self.low}, high {self.high}; allowed: 0 <= low <= high")
        if self.max_target < 1:
            raise ValueError(f"max_target is {self.max_target}; allowed: at least 1")

    def draw(self, rng: np.random.Generator) -> Puzzle:
        """One puzzle of any split."""
        while True:
            count = int(rng.integers(self.min_numbers, self.max_numbers + 1))
            nums = tuple(int(n) for n in rng.integers(self.low, self.high + 1, count))
            parts: list[Tree] = list(nums)
            while len(parts) > 1:
                left = parts.pop(int(rng.integers(len(parts))))
                right = parts.pop(int(rng.integers(len(parts))))
                parts.append(("+-*/"[int(rng.integers(4))], left, right))
            value = evaluate(parts[0])
            if value is not None and value.denominator == 1 and 1 <= value <= self.max_target:
                return Puzzle(nums, int(value), written(parts[0]))

    def stream(self, split: Split, seed: int | np.random.SeedSequence) -> Iterator[Puzzle]:
        """Endless puzzles of ``split``, repeats included; the same seed gives the same stream."""
        check_split(split)
        import numpy as np

        rng = np.random.Generator(np.random.Philox(seed))
        while True:
            puzzle = self.draw(rng)
            if split_of(puzzle) == split:
                yield puzzle

    def distinct(
        self, split: Split, count: int, seed: int | np.random.SeedSequence
    ) -> list[Puzzle]:
        """``count`` different problems of ``split``.

        Raises ``ValueError`` where the law has fewer (``splits.distinct``).
        """
        return distinct(self.stream(split, seed), count, lambda puzzle: puzzle.key, split)


def puzzle_from_row(row: Mapping[str, Any]) -> Puzzle:
    """The puzzle in a row with the public columns ``nums`` and ``target``.

    Raises ``ValueError`` naming the column that is missing or no integer.
    """
    for column in ("nums", "target"):
        if column not in row:
            raise ValueError(f"row has no column {column!r}; found: {', '.join(sorted(row))}")
    nums = row["nums"]
    if isinstance(nums, str | bytes | Mapping) or not isinstance(nums, Iterable):
        raise ValueError(f"column 'nums' holds {shown(nums)}; allowed: a list of integers")
    solution = row.get("solution")
    if solution is not None and not isinstance(solution, str):
        raise ValueError(f"column 'solution' holds {shown(solution)}; allowed: text or null")
    return Puzzle(
        tuple(_integer("nums", n) for n in nums), _integer("target", row["target"]), solution
    )


def _integer(column: str, value: Any) -> int:
    whole = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise ValueError(f"column {column!r} holds {shown(value)}; allowed: integers")
    return int(value)


def local_puzzles(path: str | Path) -> tuple[list[Puzzle], list[LeftOut]]:
    """The puzzles of a local file, and the rows that only repeat a puzzle above them.

    Raises ``FileNotFoundError``, and ``ValueError`` with file and line of a row that is no puzzle.
    """
    first: dict[tuple[tuple[int, ...], int], tuple[Puzzle, Row]] = {}
    repeats: list[LeftOut] = []
    for row in read_rows(path, json_columns=("nums", "target")):
        try:
            puzzle = puzzle_from_row(row.columns)
        except ValueError as error:
            raise ValueError(f"{row.place}: {error}") from None
        _, above = first.setdefault(puzzle.key, (puzzle, row))
        if above is not row:
            reason = f"the puzzle of {above.place} again (same numbers and target)"
            repeats.append(LeftOut(row.place, reason))
    if not first:
        raise ValueError(f"{path} has no rows; a puzzle has the columns 'nums' and 'target'")
    return [puzzle for puzzle, _ in first.values()], repeats


def load_puzzles(
    source: str | Path = PUBLIC, split: Split | None = None, limit: int | None = None
) -> list[Puzzle]:
    """Puzzles of a local file, or of the public data set by its name ``PUBLIC``, from the hub.

    ``split`` takes the usual rows of the public data set (``"train"`` or ``"test"``); a local
    file is read whole.  The first of each key is kept, and the public test rows drop the keys
    that train holds.  Every other ``source`` is a path: no hub is asked for it.
    """
    if str(source) != PUBLIC:
        return local_puzzles(source)[0][:limit]
    if split is None or split not in PUBLIC_ROWS:
        raise ValueError(f"split is {split!r}; the public data set has: {', '.join(PUBLIC_ROWS)}")
    from datasets import load_dataset

    rows = load_dataset(PUBLIC, split="train")
    return public_split(rows, split)[:limit]


def public_split(rows: Any, split: Split) -> list[Puzzle]:
    """The usual split of the public rows, without repeats and without leakage into test."""
    start, stop = PUBLIC_ROWS[split]
    columns = rows[start:stop]
    puzzles = unique(_pairs(columns))
    if split == "train":
        return puzzles
    seen = {p.key for p in _pairs(rows[slice(*PUBLIC_ROWS["train"])])}
    return [p for p in puzzles if p.key not in seen]


def _pairs(columns: Mapping[str, Sequence[Any]]) -> Iterator[Puzzle]:
    """Puzzles of a column-wise slice, as ``datasets`` gives it."""
    for nums, target in zip(columns["nums"], columns["target"], strict=True):
        yield puzzle_from_row({"nums": nums, "target": target})


def unique(puzzles: Iterable[Puzzle]) -> list[Puzzle]:
    """``puzzles`` with the first of every key, in order."""
    first: dict[tuple[tuple[int, ...], int], Puzzle] = {}
    for puzzle in puzzles:
        first.setdefault(puzzle.key, puzzle)
    return list(first.values())
