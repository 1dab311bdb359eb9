"""CountDown: reach the target with each of the numbers used exactly once.

Score 1 for a right answer, 0.1 for a well-formed expression, 0 otherwise; only score 1 is
correct.  Arithmetic is exact.  Large models answer inside ``<answer>`` tags, the small model
writes the bare expression.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from diffsmooth.llm.tasks import notation
from diffsmooth.llm.tasks._rows import LeftOut
from diffsmooth.llm.tasks.base import NO_ANSWER, Problem, Verdict
from diffsmooth.llm.tasks.expression import parse
from diffsmooth.llm.tasks.normal_form import Form, canonical
from diffsmooth.llm.tasks.puzzle import Puzzle

Style = Literal["tags", "bare"]

#: Every character of a bare prompt or a bare answer: the small model's vocabulary.
BARE_ALPHABET = "0123456789+-*/(),=:"

FORMAT_SCORE = 0.1

#: Only the end of an answer is searched for tags, so that its length costs nothing.
MAX_TAIL = 1 << 14

_OPEN, _CLOSE = "<answer>", "</answer>"


def extract(text: str) -> str | None:
    """Content of the last non-empty closed ``<answer>`` pair in the last ``MAX_TAIL`` characters.

    A pair holds no other tag; white space alone is empty.
    """
    for part in reversed(text[-MAX_TAIL:].split(_CLOSE)[:-1]):
        _, tag, content = part.rpartition(_OPEN)
        if tag and content.strip():
            return content
    return None


def check(puzzle: Puzzle, expression: str, form: Form = "ac") -> Verdict:
    """Judge a bare ``expression``; never raises for any text.

    It may be written in any notation of the ``notation`` table; a closing ``= value`` must be
    true.  See ``normal_form`` for ``form``.
    """
    answer = notation.read(expression)
    parsed = parse(answer.expression) if answer else None
    if answer is None or parsed is None:
        return NO_ANSWER
    correct = (
        parsed.value == puzzle.target
        and parsed.leaves == puzzle.key[0]
        and answer.claim in (None, puzzle.target)
    )
    return Verdict(1.0 if correct else FORMAT_SCORE, correct, canonical(answer.expression, form))


def bare_prompt(puzzle: Puzzle) -> str:
    """The small model's prompt, e.g. ``"3,5,7=22:"``; the answer follows, then end-of-sequence."""
    return f"{','.join(map(str, puzzle.nums))}={puzzle.target}:"


def chat_prompt(puzzle: Puzzle) -> str:
    """The instruction for a large language model."""
    return (
        f"Using the numbers {list(puzzle.nums)}, create an equation that equals {puzzle.target}. "
        "You can use basic arithmetic operations (+, -, *, /) and parentheses, and each number "
        "must be used exactly once. Think step by step, then give the final expression, without "
        "an equals sign, between <answer> and </answer>, for example <answer>(1 + 2) / 3</answer>."
    )


class CountDown:
    """The CountDown task over given puzzles.

    ``style`` is ``"tags"`` (chat prompt, answer in tags) or ``"bare"`` (small model); ``form``
    is the normal form that tells answers apart.  ``left_out`` are the rows of the data that only
    repeat a puzzle and so are no problems.
    """

    def __init__(
        self,
        puzzles: Sequence[Puzzle] = (),
        *,
        style: Style = "tags",
        form: Form = "ac",
        left_out: Sequence[LeftOut] = (),
    ) -> None:
        if style not in ("tags", "bare"):
            raise ValueError(f"style is {style!r}; allowed: tags, bare")
        canonical("1", form)  # rejects an unknown form
        self.style: Style = style
        self.form: Form = form
        self.left_out = tuple(left_out)
        self._problems = tuple(self.problem(p) for p in puzzles)
        if len({p.id for p in self._problems}) != len(self._problems):
            raise ValueError("puzzles holds one problem twice (same numbers and target)")

    @property
    def name(self) -> str:
        return "countdown"

    def problem(self, puzzle: Puzzle) -> Problem[Puzzle]:
        """``puzzle`` with its prompt; the id is its key, e.g. ``"3-5-7=22"``."""
        numbers, target = puzzle.key
        bare = self.style == "bare"
        prompt = bare_prompt(puzzle) if bare else chat_prompt(puzzle)
        return Problem(f"{'-'.join(map(str, numbers))}={target}", prompt, puzzle, raw=bare)

    def problems(self) -> Sequence[Problem[Puzzle]]:
        return self._problems

    def answer(self, text: str) -> str | None:
        """The expression in an answer text, ``None`` where there is none."""
        return extract(text) if self.style == "tags" else text

    def verify(self, problem: Problem[Puzzle], text: str) -> Verdict:
        return self.check(problem.payload, text)

    def check(self, puzzle: Puzzle, text: str) -> Verdict:
        """:meth:`verify` for a puzzle without its prompt."""
        expression = self.answer(text)
        return NO_ANSWER if expression is None else check(puzzle, expression, self.form)

    def verify_many(self, pairs: Iterable[tuple[Problem[Puzzle], str]]) -> list[Verdict]:
        return self.check_many((problem.payload, text) for problem, text in pairs)

    def check_many(self, pairs: Iterable[tuple[Puzzle, str]]) -> list[Verdict]:
        """Judge many answers; one that occurs twice in the batch is judged once."""
        seen: dict[tuple[Puzzle, str], Verdict] = {}
        verdicts = []
        for pair in pairs:
            verdict = seen.get(pair)
            if verdict is None:
                verdict = seen[pair] = self.check(*pair)
            verdicts.append(verdict)
        return verdicts

    def multiplicity(self, problem: Problem[Puzzle]) -> int | None:
        """Number of right answers; ``None`` beyond the numbers that the solver takes."""
        from diffsmooth.llm.tasks.countdown_solver import MAX_NUMBERS, multiplicity

        if len(problem.payload.nums) > MAX_NUMBERS:
            return None
        return multiplicity(problem.payload, self.form)
