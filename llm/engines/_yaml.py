"""YAML files of configurations: read strictly, with the place of every key.

Three things differ from PyYAML's safe loader, each of them a silent fault there:

- ``1e-2`` is a number, as in YAML 1.2 and JSON (YAML 1.1 wants ``1.0e-2``, the rest is text);
- a key that stands twice in a mapping is refused (YAML takes the last one);
- keys must be text (``on:`` and ``1:`` are not, in YAML 1.1).

Text is UTF-8, with or without a byte-order mark, or UTF-16 or UTF-32 with one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from diffsmooth.llm.engines._strict import ConfigError
from diffsmooth.records.encoding import encoding

#: Numbers with an exponent as YAML 1.2 writes them: neither a dot nor a sign is needed.
_EXPONENT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?|\.[0-9])[0-9_]*[eE][-+]?[0-9]+$")


def read_mapping(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The mapping in a YAML file, and the line (from 1) of every key by its dotted path.

    Raises ``FileNotFoundError``, or :class:`ConfigError` that names the line: another encoding,
    no YAML, no mapping, a key given twice, a key that is not text.
    """
    import yaml

    if not file.is_file():
        raise FileNotFoundError(f"no configuration file {file}")
    try:
        loader = _loader()(_text(file))
        try:
            node = loader.get_single_node()
            lines: dict[str, int] = {}
            if node is not None:
                _check_keys(node, "", lines)
            data: Any = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        said = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise ConfigError(f"not YAML: {said}") from error
    if not isinstance(data, dict):
        raise ConfigError("must be a mapping of keys")
    return data, lines


def _text(file: Path) -> str:
    raw = file.read_bytes()
    codec, name = encoding(raw)
    try:
        return raw.decode(codec)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"line {line} is not {name} text; save the file as UTF-8") from error


@lru_cache(maxsize=1)
def _loader() -> type[Any]:
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """The safe loader with the numbers of YAML 1.2."""

    # Before YAML 1.1's own: the first pattern that matches decides.
    resolvers = {
        first: list(found) for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for first in "-+0123456789.":
        resolvers[first] = [("tag:yaml.org,2002:float", _EXPONENT), *resolvers.get(first, [])]
    Loader.yaml_implicit_resolvers = resolvers
    return Loader


def _check_keys(node: Any, where: str, lines: dict[str, int]) -> None:
    """Note the line of every key below ``node``; refuse keys that are not text or stand twice."""
    import yaml

    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _check_keys(item, f"{where}[{i}]", lines)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag == "tag:yaml.org,2002:merge":
            _check_keys(value, where, {})
            continue
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            shown = getattr(key, "value", None)
            name = f"{shown!r}" if isinstance(shown, str) else "a key"
            raise ConfigError(f"line {line}: {name} is not text; keys are names")
        path = f"{where}.{key.value}" if where else key.value
        if path in lines:
            raise ConfigError(f"{path}: given twice, in lines {lines[path]} and {line}")
        lines[path] = line
        _check_keys(value, path, lines)


def place(message: str, lines: Mapping[str, tuple[Path, int]]) -> tuple[Path, int] | None:
    """Where the key stands with which ``message`` begins, or the nearest one above it."""
    key = message.partition(": ")[0]
    while key:
        if key in lines:
            return lines[key]
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return None
