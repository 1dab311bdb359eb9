"""Frozen dataclasses from mappings, strictly: an unknown key is an error that names the nearest.

Types understood: ``bool int float str``, ``Literal``, optional and union types of these, tuples,
``dict[str, Any]`` and nested dataclasses.  No value is converted but integers to floats; NaN and
infinities are refused everywhere.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message begins with the key.

    A dataclass that raises one names its own field; :func:`build` puts the path in front.
    """


def bounded(
    owner: Any, *names: str, least: float | None = None, above: float | None = None,
    most: float | None = None, below: float | None = None,
) -> None:  # fmt: skip
    """Raise :class:`ConfigError` unless the fields ``names`` of ``owner`` are finite and within.

    ``None`` passes: a field that may be ``None`` says so by its type.
    """
    limits = [
        f"{sign} {limit:g}"
        for sign, limit in ((">=", least), (">", above), ("<=", most), ("<", below))
        if limit is not None
    ]
    for name in names:
        value = getattr(owner, name)
        if value is None:
            continue
        good = number(value) and (
            (least is None or value >= least)
            and (above is None or value > above)
            and (most is None or value <= most)
            and (below is None or value < below)
        )
        if not good:
            allowed = " and ".join(limits) or "finite"
            raise ConfigError(f"{name}: is {value!r}; it must be {allowed}")


def number(value: Any) -> bool:
    """Whether ``value`` is a finite number (``True`` and ``"1"`` are none)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_finite(value: Any, where: str) -> None:
    """Raise :class:`ConfigError` if ``value`` is, or holds, NaN or an infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: must be a finite number, got {value}")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            check_finite(inner, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            check_finite(inner, f"{where}[{i}]")


def nearest(name: str, allowed: list[str]) -> str:
    """`` (did you mean ...?)`` or the list of what is allowed."""
    match = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"did you mean {match[0]!r}?" if match else f"allowed: {', '.join(sorted(allowed))}"


def build(cls: type[T], data: Any, where: str = "") -> T:
    """An instance of the dataclass ``cls`` from ``data``.

    Raises :class:`ConfigError` for unknown or missing keys, values of another type, and whatever
    ``cls`` itself refuses; the message begins with the path of the key (``rule.name``).
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where or 'configuration'}: must be a mapping of keys, got {data!r}")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    values = {}
    for key, value in data.items():
        path = f"{where}.{key}" if where else str(key)
        if key not in fields:
            raise ConfigError(f"{path}: unknown key; {nearest(str(key), list(fields))}")
        values[key] = convert(hints[key], value, path)
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in values:
            raise ConfigError(f"{f'{where}.' if where else ''}{name}: missing")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}" if where else str(error)) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where or 'configuration'}: {error}") from error


def convert(kind: Any, value: Any, where: str) -> Any:
    """``value`` as ``kind`` or :class:`ConfigError`."""
    origin = get_origin(kind)
    if kind is Any:
        check_finite(value, where)
        return value
    if origin in (Union, types.UnionType):
        return _union(get_args(kind), value, where)
    if origin is Literal:
        allowed = get_args(kind)
        # True == 1 in Python: compare the types too.
        if any(value == a and type(value) is type(a) for a in allowed):
            return value
        hint = nearest(str(value), [str(a) for a in allowed])
        raise ConfigError(f"{where}: {value!r} is not allowed; {hint}")
    if dataclasses.is_dataclass(kind):
        return build(kind, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        return _tuple(get_args(kind), value, where)
    if origin is dict:
        if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
            check_finite(value, where)
            return dict(value)
        raise ConfigError(f"{where}: must be a mapping of names, got {value!r}")
    return _scalar(kind, value, where)


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is type(None) and value is None:
        return None
    if kind is float and number(value):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    name = "a finite number" if kind is float else getattr(kind, "__name__", str(kind))
    raise ConfigError(f"{where}: must be {name}, got {value!r}")


def _union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    faults = []
    for kind in kinds:
        try:
            return convert(kind, value, where)
        except ConfigError as error:
            faults.append(error)
    # A mapping is meant for the dataclass among the choices: its complaint is the useful one.
    for kind, fault in zip(kinds, faults, strict=True):
        if isinstance(value, Mapping) == dataclasses.is_dataclass(kind) and kind is not type(None):
            raise fault
    raise faults[0]


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where}: must be a list, got {value!r}")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(convert(kinds[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if len(value) != len(kinds):
        raise ConfigError(f"{where}: must have {len(kinds)} values, got {len(value)}")
    return tuple(
        convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True))
    )
