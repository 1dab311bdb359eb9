"""Mathematics with one reference answer: boxed answers compared by math-verify.

All correct answers of a problem are one answer (the reference), so the diversity of this task
lies in the texts, not in canonical forms.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from diffsmooth.llm.tasks._boxed import boxed
from diffsmooth.llm.tasks._rows import LeftOut
from diffsmooth.llm.tasks.base import NO_ANSWER, Problem, Verdict
from diffsmooth.llm.tasks.math_data import load_math
from diffsmooth.llm.tasks.math_pool import MathPool

_log = logging.getLogger(__name__)

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


class Mathematics:
    """Problems with reference answers; ``pairs`` are (question, reference).

    ``pool`` does the comparisons; without one the task makes its own of two processes.  Score 1
    for a correct boxed answer, 0 otherwise; a comparison that runs into the timeout is wrong.
    ``left_out`` are the rows of the data that gave no answer and so are no problems.
    """

    def __init__(
        self,
        name: str,
        pairs: Sequence[tuple[str, str]],
        pool: MathPool | None = None,
        left_out: Sequence[LeftOut] = (),
    ) -> None:
        self._name = name
        self._problems = tuple(
            Problem(f"{name}/{i}", f"{question}\n\n{INSTRUCTION}", answer)
            for i, (question, answer) in enumerate(pairs)
        )
        self.pool = pool or MathPool()
        self.left_out = tuple(left_out)

    @classmethod
    def load(
        cls, name: str, data: str | Path | None = None, pool: MathPool | None = None
    ) -> Mathematics:
        """A public set by ``name`` (``math_data.SOURCES``), from the hub or a local file."""
        rows = load_math(name, data)
        return cls(name, rows.pairs, pool, rows.left_out)

    @property
    def name(self) -> str:
        return self._name

    def problems(self) -> Sequence[Problem[str]]:
        return self._problems

    def verify(self, problem: Problem[str], text: str) -> Verdict:
        return self.verify_many([(problem, text)])[0]

    def verify_many(self, pairs: Iterable[tuple[Problem[str], str]]) -> list[Verdict]:
        items = [(problem.payload, boxed(text)) for problem, text in pairs]
        asked = [(gold, answer) for gold, answer in items if answer is not None]
        outcomes = dict(zip(asked, self.pool.compare(asked), strict=True))
        undecided = [pair for pair, found in outcomes.items() if found in ("timeout", "error")]
        if undecided:
            _log.warning(
                "%d of %d comparisons ended by timeout or error and count as wrong, e.g. %r",
                len(undecided),
                len(outcomes),
                undecided[0],
            )
        verdicts = []
        for gold, answer in items:
            if answer is None:
                verdicts.append(NO_ANSWER)
            elif outcomes[gold, answer] == "correct":
                verdicts.append(Verdict(1.0, True, gold))
            else:
                verdicts.append(Verdict(0.0, False, answer.strip()))
        return verdicts

    def multiplicity(self, problem: Problem[str]) -> int:
        return 1
