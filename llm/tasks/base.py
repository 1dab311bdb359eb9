"""What a task is: problems with prompts, and a verifier that judges one answer text.

Trainers and the evaluator know tasks only through these types.  ``correct`` is a fact of its
own; it is never inferred from ``score``, which may carry partial credit for the format.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from diffsmooth.llm.tasks._rows import LeftOut

#: One chat message as chat templates want it: ``{"role": ..., "content": ...}``.
Message = dict[str, str]

P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)


@dataclass(frozen=True)
class Verdict:
    """What the verifier says of one answer.

    ``score`` is the reward in [0, 1]; ``correct`` is the fact that pass@k counts; ``canonical``
    names the answer's class (two answers with one name are the same answer), ``None`` where the
    text holds no well-formed answer.
    """

    score: float
    correct: bool
    canonical: str | None = None


#: Not an answer at all.
NO_ANSWER = Verdict(0.0, False, None)


@dataclass(frozen=True)
class Problem(Generic[P]):
    """One problem: a unique ``id``, the user's turn as ``prompt``, and the task's own ``payload``.

    ``raw`` prompts are fed to the model as they are; the others go through its chat template
    where it has one.
    """

    id: str
    prompt: str
    payload: P
    raw: bool = False

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("Problem.id is empty: every problem needs a unique name")

    def messages(self) -> list[Message]:
        """The prompt as a chat of one user turn."""
        return [{"role": "user", "content": self.prompt}]


@runtime_checkable
class Task(Protocol):
    """A named source of problems with a verifier."""

    @property
    def name(self) -> str:
        """Short name, used in file names and logs."""
        ...

    def problems(self) -> Sequence[Problem[Any]]:
        """All problems, in a fixed order; ids are unique."""
        ...

    def verify(self, problem: Problem[Any], text: str) -> Verdict:
        """Judge one answer; never raises for any ``text``."""
        ...

    def verify_many(self, pairs: Iterable[tuple[Problem[Any], str]]) -> list[Verdict]:
        """Judge many answers, in the order given."""
        ...

    def multiplicity(self, problem: Problem[Any]) -> int | None:
        """Number of distinct correct answers there are, ``None`` where it is not known."""
        ...


def left_out(task: Task) -> tuple[LeftOut, ...]:
    """The rows of a task's data that are no problems of it, each with its place and the reason."""
    return tuple(getattr(task, "left_out", ()))
