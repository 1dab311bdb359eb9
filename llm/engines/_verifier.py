"""One named verifier as a trainer's reward function, with the facts that the reward hides.

A trainer knows only numbers.  The rule needs to know whether an answer is *correct* (never
inferred from a sum of rewards) and, for the quotient rule, which *class* it belongs to; both come
from the same call that paid the reward.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from diffsmooth.llm.tasks.base import Problem, Task, Verdict

#: The data set's column that names the problem of a row.
PROBLEM_COLUMN = "problem_id"


def answer_text(completion: Any) -> str:
    """Text of a completion: a string, or a chat's messages (the contents of its answer turns)."""
    if isinstance(completion, str):
        return completion
    parts = [
        m.get("content") or "" for m in completion if m.get("role", "assistant") == "assistant"
    ]
    return "".join(
        p if isinstance(p, str) else "".join(x.get("text", "") for x in p) for p in parts
    )


class VerifierReward:
    """A task's verifier as reward function: pays ``Verdict.score``, remembers the verdicts.

    Rows name their problem in the column ``problem_id``.  ``take`` hands over the verdicts of the
    last call, once.  All answers of a batch are judged in one call.
    """

    def __init__(self, task: Task, problems: Mapping[str, Problem[Any]] | None = None) -> None:
        self.task = task
        self.problems = problems if problems is not None else {p.id: p for p in task.problems()}
        self.__name__ = task.name
        self._last: list[Verdict] | None = None
        self._lock = threading.Lock()

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float]:
        """Scores of the answers.

        Raises ``KeyError`` for an unknown problem, ``ValueError`` without the column
        ``problem_id``.
        """
        ids = columns.get(PROBLEM_COLUMN)
        if ids is None:
            raise ValueError(f"the training data has no column {PROBLEM_COLUMN!r}")
        pairs = [(self.problems[i], answer_text(c)) for i, c in zip(ids, completions, strict=True)]
        verdicts = self.task.verify_many(pairs)
        with self._lock:
            self._last = verdicts
        return [v.score for v in verdicts]

    def take(self) -> list[Verdict] | None:
        """Verdicts of the last call, in its order; ``None`` if there was none since."""
        with self._lock:
            verdicts, self._last = self._last, None
        return verdicts
