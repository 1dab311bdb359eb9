"""A user's own task: one function and one data file.  See ``docs/own_task.md``."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from diffsmooth.llm.tasks._rows import not_finite, read_rows, shown
from diffsmooth.llm.tasks.base import Problem, Verdict
from diffsmooth.records import own

#: ``function(row, text)`` gives a bool, a score in [0, 1], (score, canonical) or a Verdict.
Judge = Callable[[Mapping[str, Any], str], "bool | float | tuple[float, str | None] | Verdict"]


class JudgeError(RuntimeError):
    """A user's judge raised; its own exception is the cause."""


def load_function(spec: str) -> Judge:
    """The function named by ``path/to/file.py:function``.

    Raises ``ValueError`` for a malformed ``spec`` or a file without that function,
    ``FileNotFoundError`` where there is no such file.
    """
    path, _, name = spec.rpartition(":")
    if not own.is_own(spec):
        raise ValueError(f"task is {spec!r}; allowed: path/to/file.py:function")
    function = own.load(spec, "function")
    if not callable(function):
        raise ValueError(f"{path} has no function {name!r}")
    judge: Judge = function
    return judge


def to_verdict(result: Any) -> Verdict:
    """The :class:`Verdict` meant by a judge's ``result``; correct means score 1.

    NumPy's scalars count as the bools and numbers that they hold.  Raises ``TypeError`` or
    ``ValueError`` that says what the judge returned and what is allowed.
    """
    given = result
    if isinstance(given, Verdict):
        given = (given.score, given.canonical)
    pair = isinstance(given, tuple) and len(given) == 2
    score, canonical = given if pair else (given, None)
    score = _plain(score)
    correct = _plain(result.correct) if isinstance(result, Verdict) else None
    if (
        not isinstance(score, Real)
        or not isinstance(canonical, str | None)
        or not isinstance(correct, bool | None)
    ):
        raise TypeError(
            f"the judge returned {result!r}; allowed: a bool, a score, (score, canonical) "
            "or a Verdict"
        )
    value = float(score)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"the judge returned the score {value}; allowed: 0 to 1")
    name = None if canonical is None else str(canonical)
    return Verdict(value, value == 1.0 if correct is None else correct, name)


def _plain(value: Any) -> Any:
    """A scalar of NumPy (or of anything with its interface) as Python's own."""
    return value.item() if getattr(value, "shape", None) == () else value


def _id(value: Any, number: int) -> str:
    """The problem's name: its ``id``, or the row's ``number`` where it has none."""
    if value is None:
        return str(number)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of whole numbers with gaps comes as floats
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"'id' is {shown(value)}; allowed: text, a whole number")
    if not str(value).strip():
        raise ValueError("'id' is empty; allowed: text, a whole number")
    return str(value)


def _multiplicity(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"'multiplicity' is {shown(value)}; allowed: a whole number from 0")
    return value


class OwnTask:
    """A task from a judge and rows; each row needs a column ``prompt`` and may have an ``id``.

    A row without ``id`` (or with null) is named by its number, from 0.  ``places`` name the rows
    in messages.  The judge gets the whole row.  What it raises stops the run as ``JudgeError``: a
    broken judge must not look like a bad model.
    """

    def __init__(
        self,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        judge: Judge,
        places: Sequence[str] | None = None,
    ) -> None:
        self._name = name
        self._judge = judge
        named = [f"row {i}" for i in range(len(rows))] if places is None else places
        first: dict[str, str] = {}
        self._multiplicity: dict[str, int | None] = {}
        problems = []
        for i, (place, row) in enumerate(zip(named, rows, strict=True)):
            if not isinstance(row.get("prompt"), str):
                held = f"'prompt' is {shown(row['prompt'])}; " if "prompt" in row else ""
                raise ValueError(
                    f"{place} has no text column 'prompt': {held}found: {sorted(map(str, row))}"
                )
            for column, value in row.items():
                if not_finite(value):
                    raise ValueError(
                        f"{place}: {column!r} is {shown(value)}; allowed: finite numbers, null"
                    )
            try:
                key = _id(row.get("id"), i)
                self._multiplicity[key] = _multiplicity(row.get("multiplicity"))
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from None
            if key in first:
                raise ValueError(f"{place} and {first[key]} have the same 'id' twice: {key!r}")
            first[key] = place
            problems.append(Problem(key, row["prompt"], dict(row)))
        self._problems = tuple(problems)

    @classmethod
    def load(cls, spec: str, data: str | Path) -> OwnTask:
        """The task ``path/to/file.py:function`` over a local file (``_rows.SUFFIXES``)."""
        function = load_function(spec)
        rows = read_rows(data, json_columns=("multiplicity",))
        return cls(
            spec.rpartition(":")[2],
            [row.columns for row in rows],
            function,
            [row.place for row in rows],
        )

    @property
    def name(self) -> str:
        return self._name

    def problems(self) -> Sequence[Problem[dict[str, Any]]]:
        return self._problems

    def verify(self, problem: Problem[dict[str, Any]], text: str) -> Verdict:
        try:
            result = self._judge(problem.payload, text)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise JudgeError(
                f"problem {problem.id!r}: the judge {self._name!r} raised "
                f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno})"
            ) from error
        try:
            return to_verdict(result)
        except (TypeError, ValueError) as error:
            raise type(error)(f"problem {problem.id!r}: {error}") from None

    def verify_many(self, pairs: Iterable[tuple[Problem[dict[str, Any]], str]]) -> list[Verdict]:
        seen: dict[tuple[str, str], Verdict] = {}
        verdicts = []
        for problem, text in pairs:
            key = (problem.id, text)
            if key not in seen:
                seen[key] = self.verify(problem, text)
            verdicts.append(seen[key])
        return verdicts

    def multiplicity(self, problem: Problem[dict[str, Any]]) -> int | None:
        return self._multiplicity[problem.id]
