"""Rows of a local data file, each with its place: the only reader of users' data.

``.jsonl`` (one object a line), ``.json`` (one list of objects), ``.csv`` (a header, then rows) and
``.parquet``, whatever the case of the suffix.  Text is UTF-8, with or without a byte-order mark,
or UTF-16 with one.  What cannot be read is refused with file, line and what stands there; nothing
is repaired and no hub is asked.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from diffsmooth.records.encoding import encoding

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")

#: Rows that a message names one by one; of more it gives the number.
MAX_NAMED = 20

_SPACE = " \t\n"


class Row(NamedTuple):
    """One row: its ``place`` ("FILE, line N", lines counted from 1, empty ones too) and columns.

    A row of a ``.json`` list has "FILE, line N, row M", one of a ``.parquet`` file "FILE, row M".
    """

    place: str
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class LeftOut:
    """A row that is not used: its ``place`` and the ``reason``."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


def named(rows: Sequence[LeftOut]) -> str:
    """The rows one by one up to :data:`MAX_NAMED`, then the number of the others."""
    more = f"; and {len(rows) - MAX_NAMED} more" if len(rows) > MAX_NAMED else ""
    return "; ".join(map(str, rows[:MAX_NAMED])) + more


def left_out_lines(rows: Sequence[str]) -> list[str]:
    """What a command says of the rows that a run's record names as left out; no line for none."""
    if not rows:
        return []
    count = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
    lines = [f"left out, as no problems: {count} of the data"]
    lines += [f"  {row}" for row in rows[:MAX_NAMED]]
    more = len(rows) - MAX_NAMED
    return [*lines, f"  and {more} more, all named in the record"] if more > 0 else lines


def shown(value: Any) -> str:
    """``value`` as JSON writes it, cut to the length of a message."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def not_finite(value: Any) -> bool:
    """Whether ``value`` is, or holds, a number that is NaN or infinite."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(not_finite, value.values()))
    return isinstance(value, list | tuple) and any(map(not_finite, value))


def read_rows(path: str | Path, json_columns: Iterable[str] = ()) -> list[Row]:
    """The rows of a local file, in order.

    Cells of a ``.csv`` file are text, an empty one is ``None``; of the columns in
    ``json_columns`` those that hold a JSON value (a number, a list) become that value.  NaN and
    infinities of JSON are left to the reader of their column, see :func:`not_finite`.

    Raises ``FileNotFoundError`` where there is no such file, ``ValueError`` with the place for
    another suffix, another encoding, broken JSON, a row that is no object, a column named twice.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"data is {path}: a folder; allowed: a file ({', '.join(SUFFIXES)})")
    if not path.exists():
        raise FileNotFoundError(f"no data file {path}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"{path} has suffix {path.suffix!r}; allowed: {', '.join(SUFFIXES)} (rename the file "
            "after what it holds)"
        )
    rows = []
    for row in reader(path):
        if not isinstance(row.columns, Mapping):
            raise ValueError(
                f"{row.place}: the row is {shown(row.columns)}; allowed: an object with named "
                'columns, as {"problem": ...}'
            )
        rows.append(row)
    if path.suffix.lower() == ".csv":
        wanted = frozenset(json_columns)
        rows = [Row(place, _with_values(columns, wanted)) for place, columns in rows]
    return rows


def read_text(path: Path) -> str:
    """The text of a file, its line ends as ``\\n``.

    Raises ``ValueError`` with file and line for what is neither UTF-8 nor UTF-16 with its mark.
    """
    data = path.read_bytes()
    codec, name = encoding(data)
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is no {name} text; allowed: "
            "UTF-8, or UTF-16 with a byte-order mark (save the file as UTF-8)"
        ) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(
            f"{path}, line {line}: a NUL character; allowed: UTF-8, or UTF-16 with a byte-order "
            "mark (save the file as UTF-8)"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the object names {twice!r} twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _json(text: str, at: int, place: Callable[[int], str]) -> tuple[Any, int]:
    """The JSON value that starts at ``at`` and where it ends; ``place(position)`` names it."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        near = text[error.pos : error.pos + 20].partition("\n")[0]
        what = f"at {near!r}" if near else "at the end of the line"
        raise ValueError(f"{place(error.pos)}: broken JSON: {error.msg} {what}") from None
    except RecursionError:
        raise ValueError(f"{place(at)}: the JSON is nested too deeply") from None
    except ValueError as error:  # a name twice, an integer of thousands of digits
        raise ValueError(f"{place(at)}: {error}") from None
    if re.search(r"\\ud[89a-f]", text[at:end], re.IGNORECASE) and not _encodable(value):
        raise ValueError(f"{place(at)}: half of a surrogate pair (\\ud...) is no character")
    return value, end


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        place = f"{path}, line {number}"
        start = _skip(line, 0)
        if start == len(line):
            continue
        value, end = _json(line, start, lambda _, place=place: place)  # type: ignore[misc]
        if rest := line[end:].strip():
            raise ValueError(f"{place}: broken JSON: {rest[:20]!r} follows the row")
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            raise ValueError(
                f"{place}: the row is a list of objects; a file that is one list is named .json"
            )
        yield Row(place, value)


def _json_list(path: Path) -> Iterator[Row]:
    text = read_text(path)
    counted = line = 0

    def place(position: int) -> str:
        nonlocal counted, line
        if position < counted:
            counted = line = 0
        line += text.count("\n", counted, position)
        counted = position
        return f"{path}, line {line + 1}"

    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        held = "nothing" if at == len(text) else repr(text[at : at + 20].partition("\n")[0])
        raise ValueError(
            f"{place(at)}: the file holds no list of rows but begins with {held}; allowed: one "
            "list of objects (a file with one object a line is named .jsonl)"
        )
    at = _skip(text, at + 1)
    number = 0
    while text[at : at + 1] != "]":
        if number:
            if text[at : at + 1] != ",":
                held = repr(text[at : at + 20].partition("\n")[0]) if at < len(text) else "the end"
                raise ValueError(f"{place(at)}: broken JSON: ',' or ']' expected, not {held}")
            at = _skip(text, at + 1)
        number += 1
        row = f"{place(at)}, row {number}"
        value, at = _json(text, at, place)
        yield Row(row, value)
        at = _skip(text, at)
    if rest := text[at + 1 :].strip():
        raise ValueError(f"{place(at)}: broken JSON: {rest[:20]!r} follows the list")


def _csv(path: Path) -> Iterator[Row]:
    lines = io.StringIO(read_text(path), newline="")
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    start = 1
    while True:
        place = f"{path}, line {start}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{place}: broken CSV: {error}") from None
        start = reader.line_num + 1
        if cells is None:
            break
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            twice = [name for name in header if header.count(name) > 1]
            if twice:
                raise ValueError(f"{place}: the header names {twice[0]!r} twice")
            continue
        if len(cells) != len(header):
            raise ValueError(
                f"{place}: {len(cells)} cells, but the header names {len(header)} columns "
                f"({', '.join(header)}); a cell that holds a comma stands in double quotes"
            )
        yield Row(place, {name: cell or None for name, cell in zip(header, cells, strict=True)})


def _with_values(columns: Mapping[str, Any], wanted: frozenset[str]) -> dict[str, Any]:
    """``columns`` of CSV with the JSON values of those that are ``wanted``."""
    found = dict(columns)
    for name in wanted & found.keys():
        if found[name] is not None:
            try:
                found[name] = json.loads(found[name])
            except (ValueError, RecursionError):
                continue  # the reader of the column says what it allows
    return found


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowInvalid, OSError) as error:
        line = " ".join(str(error).split())
        raise ValueError(f"{path}: no Parquet file that can be read: {line}") from None
    for number, row in enumerate(table.to_pylist(), start=1):
        yield Row(f"{path}, row {number}", row)


_READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".json": _json_list,
    ".csv": _csv,
    ".parquet": _parquet,
}
