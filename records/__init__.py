"""What was run: configuration hash, Parquet tables, JSON sidecars, atomic writes, resume.

Stands beside the stack: ``sim``, ``llm`` and ``cli`` use it, it imports none of them.
"""

from diffsmooth.records.configuration import canonical, config_hash
from diffsmooth.records.store import (
    done,
    read_json,
    read_table,
    sidecar,
    write_bytes,
    write_json,
    write_table,
)
from diffsmooth.records.table import Table

__all__ = [
    "Table",
    "canonical",
    "config_hash",
    "done",
    "read_json",
    "read_table",
    "sidecar",
    "write_bytes",
    "write_json",
    "write_table",
]
