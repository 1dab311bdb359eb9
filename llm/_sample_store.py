"""Every sample kept: Parquet shards of whole problems, each written atomically.

A shard is drawn as ``drawn/00000.parquet`` (one row a sample: its text), judged into
``samples/00000.parquet`` (the same rows with their grades, which replaces the first) and measured
into ``problems/00000.parquet`` (one row a problem).  Each is derived from the one before, so that
what a judge raises costs no sample.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsmooth.llm.measures import problem_measures
from diffsmooth.llm.samplers import Completion
from diffsmooth.llm.tasks.base import Problem, Task
from diffsmooth.llm.tasks.own import to_verdict
from diffsmooth.records import done, read_table, write_table

if TYPE_CHECKING:
    import pyarrow as pa


#: Columns of a sample that are drawn; the others are the judge's.
DRAWN: tuple[str, ...] = ("problem", "sample", "text", "tokens", "finish")


def sample_schema() -> pa.Schema:
    """Columns of a sample."""
    import pyarrow as pa

    return pa.schema(
        [
            ("problem", pa.string()),
            ("sample", pa.int32()),
            ("text", pa.string()),
            ("score", pa.float64()),
            ("correct", pa.bool_()),
            ("canonical", pa.string()),
            ("tokens", pa.int32()),
            ("finish", pa.string()),
        ]
    )


def drawn_schema() -> pa.Schema:
    """Columns of a sample before it is judged."""
    import pyarrow as pa

    schema = sample_schema()
    return pa.schema([schema.field(name) for name in DRAWN])


def problem_schema() -> pa.Schema:
    """Columns of a problem; what is not known is null."""
    import pyarrow as pa

    return pa.schema(
        [
            ("problem", pa.string()),
            ("prompt", pa.string()),
            ("samples", pa.int32()),
            ("correct", pa.int32()),
            ("score", pa.float64()),
            ("distinct_correct", pa.int32()),
            ("entropy_correct", pa.float64()),
            ("distinct_texts", pa.int32()),
            ("self_similarity", pa.float64()),
            ("self_similarity_correct", pa.float64()),
            ("multiplicity", pa.int64()),
            ("coverage", pa.float64()),
            ("tokens", pa.float64()),
            ("finished", pa.float64()),
            ("classes", pa.list_(pa.int32())),
        ]
    )


class SampleStore:
    """The shards of one evaluation in ``folder``, ``size`` problems each."""

    def __init__(self, folder: Path, problems: Sequence[Problem[Any]], size: int) -> None:
        if size < 1:
            raise ValueError(f"shard is {size} problems; allowed: at least 1")
        if len({p.id for p in problems}) != len(problems):
            raise ValueError("problems have the same id twice")
        self.folder = folder
        self.shards = [problems[i : i + size] for i in range(0, len(problems), size)]

    def path(self, kind: str, shard: int) -> Path:
        """File of a shard; ``kind`` is ``"drawn"``, ``"samples"`` or ``"problems"``."""
        return self.folder / kind / f"{shard:05d}.parquet"

    def missing(self) -> list[int]:
        """Shards whose samples are still to be drawn."""
        return [i for i in range(len(self.shards)) if self._texts(i) is None]

    def _texts(self, shard: int) -> Path | None:
        """The file that holds a shard's texts, judged or not."""
        kinds = ("samples", "drawn")
        return next((p for kind in kinds if done(p := self.path(kind, shard))), None)

    def keep(self, shard: int, completions: Sequence[Sequence[Completion]]) -> None:
        """Write the completions of a shard, one list a problem, before anybody judges them."""
        import pyarrow as pa

        rows = [
            {
                "problem": problem.id,
                "sample": number,
                "text": _utf8(c.text),
                "tokens": c.tokens,
                "finish": c.finish,
            }
            for problem, found in zip(self.shards[shard], completions, strict=True)
            for number, c in enumerate(found)
        ]
        write_table(self.path("drawn", shard), pa.Table.from_pylist(rows, drawn_schema()))

    def adopt(self, other: SampleStore) -> None:
        """Take over the texts of ``other``, which drew the same problems in the same shards."""
        for shard in self.missing():
            texts = other._texts(shard)
            if texts is not None:
                write_table(self.path("drawn", shard), read_table(texts).select(list(DRAWN)))

    def judge(self, shard: int, task: Task) -> None:
        """Grade and measure a shard whose texts are kept, where that is not done yet."""
        import pyarrow as pa

        if not done(self.path("samples", shard)):
            rows = read_table(self.path("drawn", shard)).to_pylist()
            by_id = {problem.id: problem for problem in self.shards[shard]}
            verdicts = task.verify_many((by_id[row["problem"]], row["text"]) for row in rows)
            for row, given in zip(rows, verdicts, strict=True):
                try:
                    verdict = to_verdict(given)  # of any task: no NaN gets into a table
                except (TypeError, ValueError) as error:
                    raise type(error)(f"problem {row['problem']!r}: {error}") from None
                name = verdict.canonical
                row["score"], row["correct"] = verdict.score, verdict.correct
                row["canonical"] = None if name is None else _utf8(name)
            write_table(self.path("samples", shard), pa.Table.from_pylist(rows, sample_schema()))
        self.path("drawn", shard).unlink(missing_ok=True)
        self.measure(shard, task)

    def tidy(self) -> None:
        """Remove the folder of drawn texts once all are judged.

        Not shard by shard: a shard is judged while the next one is written into that folder.
        """
        with contextlib.suppress(OSError):  # not empty, or never made
            (self.folder / "drawn").rmdir()

    def measure(self, shard: int, task: Task) -> None:
        """Derive the problems of a shard from its samples, where that is not done yet."""
        import pyarrow as pa

        if done(self.path("problems", shard)):
            return
        by_problem: dict[str, list[dict[str, Any]]] = {p.id: [] for p in self.shards[shard]}
        for row in read_table(self.path("samples", shard)).to_pylist():
            by_problem[row["problem"]].append(row)
        rows = [_problem_row(p, by_problem[p.id], task) for p in self.shards[shard]]
        write_table(self.path("problems", shard), pa.Table.from_pylist(rows, problem_schema()))

    def problems(self) -> pa.Table:
        """All problems with their measures, in order."""
        import pyarrow as pa

        tables = [read_table(self.path("problems", i)) for i in range(len(self.shards))]
        return pa.concat_tables(tables)

    def samples(self) -> Iterator[pa.Table]:
        """The samples, shard by shard."""
        for shard in range(len(self.shards)):
            yield read_table(self.path("samples", shard))


def _problem_row(
    problem: Problem[Any], rows: Sequence[dict[str, Any]], task: Task
) -> dict[str, Any]:
    measures = problem_measures(
        [row["correct"] for row in rows],
        [row["canonical"] for row in rows],
        [row["text"] for row in rows],
        task.multiplicity(problem),
    )
    tokens = [row["tokens"] for row in rows if row["tokens"] is not None]
    ends = [row["finish"] == "stop" for row in rows if row["finish"] != "unknown"]
    return {
        "problem": problem.id,
        "prompt": problem.prompt,
        "score": sum(row["score"] for row in rows) / len(rows),
        "tokens": sum(tokens) / len(tokens) if tokens else None,
        "finished": sum(ends) / len(ends) if ends else None,
        **measures,
    }


def _utf8(text: str) -> str:
    """``text`` with lone surrogates, which no file can hold, written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
