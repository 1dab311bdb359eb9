"""Where mathematics problems come from: public data sets by their hub names, or a local file.

The hub is only reached when a public name is asked for; the column mapping is the same function
for both routes, so that a copy of a public file works offline.

A solution that gives no answer (no box, an empty box) is left out and reported with its file and
line; a file whose columns do not hold what they should (null, NaN, an object) is refused.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from diffsmooth.llm.tasks._boxed import boxed, has_box
from diffsmooth.llm.tasks._rows import LeftOut, Row, named, read_rows

_log = logging.getLogger(__name__)


class NoAnswer(Exception):
    """A row that is well formed but whose text gives no answer."""


@dataclass(frozen=True)
class MathRows:
    """The usable rows as (question, reference), and those that were left out, of ``total``."""

    pairs: tuple[tuple[str, str], ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def total(self) -> int:
        return len(self.pairs) + len(self.left_out)


def _text(value: Any) -> str:
    """``value`` as text.  Raises ``ValueError`` for what is no text and no finite number."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        kind = {dict: "an object", list: "a list", type(None): "null"}.get(type(value))
        raise ValueError(f"is {kind or repr(value)}; allowed: text, a number")
    if not math.isfinite(value):
        raise ValueError(f"is {value}; allowed: text, a finite number")
    return format(Decimal(str(value)), "f")


def _last_box(solution: Any) -> str:
    text = _text(solution)
    found = boxed(text)
    if found is None:
        what = "only empty boxes" if has_box(text) else "no \\boxed answer"
        raise NoAnswer(f"{what} in the solution {_shown(text)}")
    return found


def _after_hashes(answer: Any) -> str:
    text = _text(answer)
    _, mark, tail = text.rpartition("####")
    if not mark:
        raise NoAnswer(f"no '####' in the answer {_shown(text)}")
    return tail.strip().replace(",", "")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _reference(answer: Any) -> str:
    """A reference as it stands, or the parts of a list joined by commas; boxes are opened.

    A text that is itself a JSON array of texts counts as the list.
    """
    if isinstance(answer, str) and answer.lstrip().startswith('["'):
        with contextlib.suppress(json.JSONDecodeError):
            answer = json.loads(answer)
    if isinstance(answer, list):
        if not answer:
            raise ValueError("is an empty list; allowed: text, a number, a list of these")
        parts = []
        for i, part in enumerate(answer):
            try:
                parts.append(_reference_text(_text(part)))
            except ValueError as error:
                raise ValueError(f"is a list whose part {i + 1} {error}") from None
        if not all(parts):
            raise ValueError("is a list with an empty part")
        return ", ".join(parts)
    return _reference_text(_text(answer))


def _reference_text(text: str) -> str:
    if has_box(text):
        return _last_box(text)
    text = text.strip()
    inner = text[1:-1]
    around = (
        len(text) > 1 and text[0] == text[-1] == "$" and "$" not in inner and inner[-1:] != "\\"
    )
    return inner.strip() if around else text


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
    extract: Callable[[Any], str] = _reference


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
    ),
    "gsm8k": MathSource("openai/gsm8k", "test", configs=("main",), extract=_after_hashes),
}

#: A plain local file: columns ``problem`` or ``question``, and ``answer``.
PLAIN = MathSource("", "")


def _column(row: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, Any]:
    for name in names:
        if row.get(name) is not None:
            return name, row[name]
    nulls = [name for name in names if name in row]
    if nulls:
        raise ValueError(f"the column {nulls[0]!r} is null; allowed: text, a number")
    raise ValueError(
        f"no column {' or '.join(map(repr, names))}; found: {', '.join(sorted(map(str, row)))}"
    )


def question_and_answer(row: Mapping[str, Any], source: MathSource) -> tuple[str, str]:
    """Question and reference answer of one row.

    Raises ``NoAnswer`` where the text of the answer's column gives no answer, ``ValueError`` that
    names the column where it is missing or holds neither text nor number nor a list of these.
    """
    name, value = _column(row, source.question)
    try:
        question = _text(value).strip()
    except ValueError as error:
        raise ValueError(f"the column {name!r} {error}") from error
    if not question:
        raise ValueError(f"the column {name!r} is empty")
    name, value = _column(row, source.answer)
    try:
        answer = source.extract(value).strip()
    except ValueError as error:
        raise ValueError(f"the column {name!r} {error}") from error
    if not answer:
        raise NoAnswer(f"the column {name!r} is empty")
    return question, answer


def _hub_rows(source: MathSource) -> Iterator[Row]:
    from datasets import load_dataset

    for config in source.configs:
        name = source.hub if config is None else f"{source.hub} ({config})"
        for i, row in enumerate(load_dataset(source.hub, config, split=source.split), start=1):
            yield Row(f"{name}, row {i}", row)


def load_math(name: str, data: str | Path | None = None) -> MathRows:
    """Questions and references of a public set ``name``, from the hub or a local copy ``data``.

    ``name`` is a key of :data:`SOURCES`, or ``"file"`` for a plain local file with columns
    ``problem`` (or ``question``) and ``answer``.  Rows whose solution gives no answer are left
    out: logged as a warning and listed in ``left_out``.  Raises ``ValueError`` for an unknown
    name; for rows that lack a column or hold null, NaN, an object, naming each; where no row is
    left.
    """
    if name != "file" and name not in SOURCES:
        raise ValueError(f"name is {name!r}; allowed: file, {', '.join(SOURCES)}")
    if name == "file" and data is None:
        raise ValueError("data is missing: the name 'file' needs a local file")
    source = SOURCES.get(name, PLAIN)
    pairs: list[tuple[str, str]] = []
    left_out: list[LeftOut] = []
    refused: list[LeftOut] = []
    for place, row in _hub_rows(source) if data is None else read_rows(data):
        try:
            pairs.append(question_and_answer(row, source))
        except NoAnswer as reason:
            left_out.append(LeftOut(place, str(reason)))
        except ValueError as error:
            refused.append(LeftOut(place, str(error)))
    total = len(pairs) + len(left_out) + len(refused)
    if refused:
        raise ValueError(f"{named(refused)} ({len(refused)} of {total} rows cannot be read)")
    if not pairs:
        where = source.hub if data is None else data
        raise ValueError(f"{where} has no row with an answer{': ' * bool(total)}{named(left_out)}")
    if left_out:
        _log.warning(
            "%d of %d rows give no answer and are left out: %s",
            len(left_out),
            total,
            named(left_out),
        )
    return MathRows(tuple(pairs), tuple(left_out))
