"""Files that are either whole or absent, and a sidecar that says where they come from."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsmooth.records.configuration import canonical, config_hash

if TYPE_CHECKING:
    import pyarrow as pa

#: Packages whose version may change a result.
_VERSIONED = ("diffsmooth", "numpy", "scipy", "torch", "transformers", "trl", "verl")


def write_bytes(path: Path | str, data: bytes) -> Path:
    """Write ``data`` so that ``path`` is never half written, even if the process is killed.

    The data go to a temporary file in the same folder, are flushed to disk, and take the name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def write_json(path: Path | str, value: Any) -> Path:
    """Write JSON (indented, keys sorted, trailing newline) atomically.

    Raises ValueError on NaN and infinities, which JSON does not have.
    """
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return write_bytes(path, (text + "\n").encode())


def read_json(path: Path | str) -> Any:
    """The value in a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_table(path: Path | str, table: pa.Table) -> Path:
    """Write an Arrow table as Parquet, atomically; equal tables give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return write_bytes(path, sink.getvalue().to_pybytes())


def read_table(path: Path | str) -> pa.Table:
    """The Arrow table in a Parquet file."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read()


def sidecar(config: Any, seed: int | None = None, **extra: Any) -> dict[str, Any]:
    """What must be known of a run to repeat it: configuration, its hash, seed, versions.

    No clock and no host: equal runs have equal sidecars.
    """
    return {
        "config": canonical(config),
        "hash": config_hash(config),
        "seed": seed,
        "python": platform.python_version(),
        "versions": _versions(),
        **extra,
    }


def done(path: Path | str) -> bool:
    """True if the result exists: writes are atomic, so existing means complete."""
    return Path(path).is_file()


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
