"""All solutions of a CountDown puzzle, exactly.

The values that small sub-multisets of the numbers can reach are tabulated (forward, exact
fractions); the expressions are built for the target only (backward), so that six numbers cost a
fraction of their 793,002 expressions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import TypeVar

from diffsmooth.llm.tasks.expression import Tree, written
from diffsmooth.llm.tasks.normal_form import FORMS, Form, combine, number, render
from diffsmooth.llm.tasks.puzzle import Puzzle

N = TypeVar("N")
Numbers = tuple[int, ...]
MAX_NUMBERS = 6

#: Values are tabulated for so many numbers; five reach some 10,000, which costs more than asking.
MAX_TABLE = 4


def splits(nums: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Unordered splits of a sorted multiset into two non-empty sorted multisets, each once."""
    counts = sorted(Counter(nums).items())
    for chosen in product(*(range(c + 1) for _, c in counts)):
        left = tuple(n for (n, _), k in zip(counts, chosen, strict=True) for _ in range(k))
        right = tuple(n for (n, c), k in zip(counts, chosen, strict=True) for _ in range(c - k))
        if left and right and (len(left), left) <= (len(right), right):
            yield left, right


@lru_cache(maxsize=1 << 12)
def values(nums: Numbers) -> frozenset[Fraction]:
    """Every value of an expression that uses each of the sorted ``nums`` exactly once."""
    if len(nums) == 1:
        return frozenset({Fraction(nums[0])})
    found: set[Fraction] = set()
    for left, right in splits(nums):
        for x, y in product(values(left), values(right)):
            found.update((x + y, x - y, y - x, x * y))
            if y:
                found.add(x / y)
            if x:
                found.add(y / x)
    return frozenset(found)


def _partners(x: Fraction, right: Numbers, goal: Fraction) -> Iterator[tuple[str, Fraction, bool]]:
    """``(operator, y, swapped)``: ``x op y = goal``, or swapped ``y op x = goal``.

    Values y that ``right`` cannot reach are left out where that is cheap to know.
    """
    if not x and not goal:  # 0 + 0, 0 - 0, and 0 * y, 0 / y for any y
        for y in values(right):
            yield "*", y, False
            if y:
                yield "/", y, False
    candidates = [("+", goal - x, False), ("-", x - goal, False), ("-", x + goal, True)]
    if x:
        candidates += [("*", goal / x, False), ("/", goal * x, True)]
        if goal:
            candidates.append(("/", x / goal, False))
    if len(right) > MAX_TABLE:
        yield from candidates
    else:
        reachable = values(right)
        yield from (c for c in candidates if c[1] in reachable)


def _solve(
    nums: Numbers,
    goal: Fraction,
    leaf: Callable[[int], N],
    join: Callable[[str, N, N], N],
    *,
    ordered: bool,
    memo: dict[tuple[Numbers, Fraction], frozenset[N]],
) -> frozenset[N]:
    """Every expression over ``nums`` with value ``goal``; ``ordered``: both orders of + and *."""
    if len(nums) == 1:
        return frozenset({leaf(nums[0])}) if goal == nums[0] else frozenset()
    if (nums, goal) in memo:
        return memo[nums, goal]
    found: set[N] = set()
    for left, right in splits(nums):
        for x in values(left):
            for operator, y, swapped in _partners(x, right, goal):
                b = _solve(right, y, leaf, join, ordered=ordered, memo=memo)
                a = _solve(left, x, leaf, join, ordered=ordered, memo=memo) if b else b
                for u, v in product(a, b):
                    found.add(join(operator, v, u) if swapped else join(operator, u, v))
                    if ordered and operator in "+*":
                        found.add(join(operator, v, u))
    return memo.setdefault((nums, goal), frozenset(found))


def _checked(puzzle: Puzzle, form: Form) -> tuple[Numbers, Fraction]:
    if form not in FORMS:
        raise ValueError(f"form is {form!r}; allowed: {', '.join(FORMS)}")
    if len(puzzle.nums) > MAX_NUMBERS:
        raise ValueError(f"nums has {len(puzzle.nums)} numbers; the solver takes {MAX_NUMBERS}")
    return puzzle.key[0], Fraction(puzzle.target)


def _tree(operator: str, left: Tree, right: Tree) -> Tree:
    return (operator, left, right)


@lru_cache(maxsize=1 << 14)
def solutions(puzzle: Puzzle, form: Form = "ac") -> tuple[str, ...]:
    """Every right answer in normal form ``form``, sorted; empty where the puzzle has none.

    ``"written"`` over six numbers can be millions of strings; ``"ac"`` stays small.
    Raises ``ValueError`` for an unknown ``form`` or more than ``MAX_NUMBERS`` numbers.
    """
    nums, goal = _checked(puzzle, form)
    if form == "written":
        trees = _solve(nums, goal, lambda n: n, _tree, ordered=True, memo={})
        return tuple(sorted(map(written, trees)))
    return tuple(sorted(map(render, _solve(nums, goal, number, combine, ordered=False, memo={}))))


def multiplicity(puzzle: Puzzle, form: Form = "ac") -> int:
    """Number of distinct right answers (solution multiplicity) under normal form ``form``."""
    return len(solutions(puzzle, form))
