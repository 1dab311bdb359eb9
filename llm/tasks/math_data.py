"""Where mathematics problems come from: public data sets by their hub names, or a local file.

The hub is only reached when a public name is asked for; the column mapping is the same function
for both routes, so that a copy of a public file works offline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffsmooth.llm.tasks._boxed import boxed
from diffsmooth.llm.tasks._rows import read_rows


@dataclass(frozen=True)
class MathSource:
    """A data set: hub name, configurations, split, and how its columns give question and answer.

    Of ``question`` and ``answer`` the first column that is present is read; ``extract`` turns the
    answer column into the reference.
    """

    hub: str
    split: str
    question: tuple[str, ...] = ("problem", "question")
    answer: tuple[str, ...] = ("answer",)
    configs: tuple[str | None, ...] = (None,)
    extract: Callable[[Any], str] = str


def _last_box(solution: Any) -> str:
    found = boxed(str(solution))
    if found is None:
        raise ValueError(f"no \\boxed answer in the solution {str(solution)[:60]!r}")
    return found


def _after_hashes(answer: Any) -> str:
    _, mark, tail = str(answer).rpartition("####")
    if not mark:
        raise ValueError(f"no '####' in the answer {str(answer)[:60]!r}")
    return tail.strip().replace(",", "")


def _joined(answers: Any) -> str:
    parts = [answers] if isinstance(answers, str) else list(answers)
    return ", ".join(str(part).strip().strip("$") for part in parts)


_SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)

SOURCES: Mapping[str, MathSource] = {
    "math500": MathSource("HuggingFaceH4/MATH-500", "test"),
    "math": MathSource(
        "EleutherAI/hendrycks_math",
        "test",
        answer=("solution",),
        configs=_SUBJECTS,
        extract=_last_box,
    ),
    # Training sets: never to be evaluated on.
    "math-train": MathSource(
        "EleutherAI/hendrycks_math",
        "train",
        answer=("solution",),
        configs=_SUBJECTS,
        extract=_last_box,
    ),
    "dapo-train": MathSource(
        "open-r1/DAPO-Math-17k-Processed",
        "train",
        question=("prompt",),
        answer=("solution",),
        configs=("en",),
    ),
    "aime24": MathSource("HuggingFaceH4/aime_2024", "train"),
    "aime25": MathSource("math-ai/aime25", "test"),
    "amc23": MathSource("math-ai/amc23", "test"),
    "olympiadbench": MathSource(
        "Hothan/OlympiadBench",
        "train",
        answer=("final_answer",),
        configs=("OE_TO_maths_en_COMP",),
        extract=_joined,
    ),
    "gsm8k": MathSource("openai/gsm8k", "test", configs=("main",), extract=_after_hashes),
}

#: A plain local file: columns ``problem`` or ``question``, and ``answer``.
PLAIN = MathSource("", "")


def _column(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise ValueError(
        f"{where} has no column {' or '.join(map(repr, names))}; found: {', '.join(sorted(row))}"
    )


def question_and_answer(row: Mapping[str, Any], source: MathSource, where: str) -> tuple[str, str]:
    """Question and reference answer of one row.

    Raises ``ValueError`` that says which row lacks which column.
    """
    question = str(_column(row, source.question, where)).strip()
    try:
        answer = source.extract(_column(row, source.answer, where)).strip()
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not answer:
        raise ValueError(f"{where} has an empty answer")
    return question, answer


def _hub_rows(source: MathSource) -> Iterable[Mapping[str, Any]]:
    from datasets import load_dataset

    for config in source.configs:
        yield from load_dataset(source.hub, config, split=source.split)


def load_math(name: str, data: str | Path | None = None) -> list[tuple[str, str]]:
    """(question, reference) pairs of a public set ``name``, from the hub or a local copy ``data``.

    ``name`` is a key of :data:`SOURCES`, or ``"file"`` for a plain local file with columns
    ``problem`` (or ``question``) and ``answer``.  Raises ``ValueError`` for an unknown name.
    """
    if name != "file" and name not in SOURCES:
        raise ValueError(f"name is {name!r}; allowed: file, {', '.join(SOURCES)}")
    if name == "file" and data is None:
        raise ValueError("data is missing: the name 'file' needs a local file")
    source = SOURCES.get(name, PLAIN)
    rows = _hub_rows(source) if data is None else read_rows(data)
    where = source.hub if data is None else str(data)
    return [question_and_answer(row, source, f"{where} row {i}") for i, row in enumerate(rows)]
