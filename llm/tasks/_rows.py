"""Rows of a local data file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SUFFIXES = (".parquet", ".jsonl", ".json")


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a ``.parquet``, ``.jsonl`` or ``.json`` (one list of objects) file.

    Raises ``FileNotFoundError`` where there is no file, ``ValueError`` for another suffix or for
    a row that is no object.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no data file {path}")
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        rows = pq.read_table(path).to_pylist()
    elif path.suffix == ".jsonl":
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line.strip()]
    elif path.suffix == ".json":
        rows = json.loads(path.read_text(encoding="utf-8"))
    else:
        raise ValueError(f"{path} has suffix {path.suffix!r}; allowed: {', '.join(SUFFIXES)}")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} holds no list of rows (objects with named columns)")
    return rows
