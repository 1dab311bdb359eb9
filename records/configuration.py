"""One configuration, one key: a hash that depends on values only.

A frozen dataclass is turned into canonical JSON (sorted keys, type names of nested dataclasses,
floats by their shortest repr), so that the key survives field order, processes and machines.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
from pathlib import PurePath
from typing import Any


def canonical(config: Any) -> Any:
    """The configuration as plain JSON values.

    Dataclasses become objects with their type's name under ``"type"``; tuples and lists become
    lists.  Raises TypeError on values that have no canonical form (arrays, functions, sets) and
    ValueError on NaN, which would never equal itself.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        fields = {f.name: canonical(getattr(config, f.name)) for f in dataclasses.fields(config)}
        return {"type": type(config).__name__, **fields}
    if isinstance(config, dict):
        if not all(isinstance(key, str) for key in config):
            raise TypeError("configuration: keys of mappings must be strings")
        return {key: canonical(config[key]) for key in sorted(config)}
    if isinstance(config, (list, tuple)):
        return [canonical(value) for value in config]
    if isinstance(config, enum.Enum):
        return config.name
    if isinstance(config, PurePath):
        return config.as_posix()
    if isinstance(config, float) and math.isnan(config):
        raise ValueError("configuration: NaN is not allowed")
    if config is None or isinstance(config, (bool, int, float, str)):
        return config
    raise TypeError(f"configuration: {type(config).__name__} has no canonical form")


def config_hash(config: Any, length: int = 16) -> str:
    """Hex digest of the canonical configuration: the key of its results.

    Raises TypeError or ValueError as :func:`canonical`.
    """
    text = json.dumps(canonical(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]
