"""A user's own task: one function and one data file.  See ``docs/own_task.md``."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffsmooth.llm.tasks._rows import read_rows
from diffsmooth.llm.tasks.base import Problem, Verdict

#: ``function(row, text)`` gives a bool, a score in [0, 1], (score, canonical) or a Verdict.
Judge = Callable[[Mapping[str, Any], str], "bool | float | tuple[float, str | None] | Verdict"]


def load_function(spec: str) -> Judge:
    """The function named by ``path/to/file.py:function``.

    Raises ``ValueError`` for a malformed ``spec`` or a file without that function,
    ``FileNotFoundError`` where there is no such file.
    """
    path_text, colon, name = spec.rpartition(":")
    path = Path(path_text)
    if not colon or path.suffix != ".py" or not name.isidentifier():
        raise ValueError(f"task is {spec!r}; allowed: path/to/file.py:function")
    if not path.is_file():
        raise FileNotFoundError(f"no task file {path}")
    module_spec = importlib.util.spec_from_file_location(f"_diffsmooth_task_{path.stem}", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"{path} has no function {name!r}")
    judge: Judge = function
    return judge


def to_verdict(result: Any) -> Verdict:
    """The :class:`Verdict` meant by a judge's ``result``; correct means score 1.

    Raises ``TypeError`` or ``ValueError`` that says what the judge returned and what is allowed.
    """
    if isinstance(result, Verdict):
        return result
    score, canonical = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    if not isinstance(score, (bool, int, float)) or not isinstance(canonical, (str, type(None))):
        raise TypeError(
            f"the judge returned {result!r}; allowed: a bool, a score, (score, canonical) "
            "or a Verdict"
        )
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"the judge returned the score {score}; allowed: 0 to 1")
    return Verdict(float(score), float(score) == 1.0, canonical)


class OwnTask:
    """A task from a judge and rows; each row needs a column ``prompt`` and may have an ``id``.

    The judge gets the whole row.  What it raises is not swallowed: a broken judge must not look
    like a bad model.
    """

    def __init__(self, name: str, rows: Sequence[Mapping[str, Any]], judge: Judge) -> None:
        self._name = name
        self._judge = judge
        problems = []
        for i, row in enumerate(rows):
            if not isinstance(row.get("prompt"), str):
                raise ValueError(f"row {i} has no text column 'prompt'; found: {sorted(row)}")
            problems.append(Problem(str(row.get("id", i)), row["prompt"], dict(row)))
        if len({p.id for p in problems}) != len(problems):
            raise ValueError("rows have the same 'id' twice")
        self._problems = tuple(problems)

    @classmethod
    def load(cls, spec: str, data: str | Path) -> OwnTask:
        """The task ``path/to/file.py:function`` over a ``.jsonl``, ``.json`` or ``.parquet``."""
        function = load_function(spec)
        return cls(spec.rpartition(":")[2], read_rows(data), function)

    @property
    def name(self) -> str:
        return self._name

    def problems(self) -> Sequence[Problem[dict[str, Any]]]:
        return self._problems

    def verify(self, problem: Problem[dict[str, Any]], text: str) -> Verdict:
        return to_verdict(self._judge(problem.payload, text))

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
        value = problem.payload.get("multiplicity")
        return value if isinstance(value, int) else None
