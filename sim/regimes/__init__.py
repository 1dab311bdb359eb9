"""Regimes by string id: ``bandit`` is the default cell of its family, ``bandit/7`` the eighth of
its sweep, ``bandit/7:survive=1`` the same with another chance that a solution passes at test."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any

from diffsmooth.records import own
from diffsmooth.sim.regimes.bandit import Bandit
from diffsmooth.sim.regimes.base import Regime, Training
from diffsmooth.sim.regimes.countdown import CountDown
from diffsmooth.sim.regimes.maze import Maze
from diffsmooth.sim.regimes.multiplicity import Multiplicity
from diffsmooth.sim.regimes.noisy import Noisy
from diffsmooth.sim.regimes.strategies import Strategies
from diffsmooth.sim.regimes.tree import Tree

REGIMES: dict[str, type[Regime]] = {
    r.name: r for r in (Bandit, Multiplicity, Strategies, Tree, CountDown, Maze, Noisy)
}


#: Values of ``survive`` in the map; at 1 nothing is voided, and the test is the training.
SURVIVE = (0.25, 0.5, 0.75, 1.0)


def regime(identity: str) -> Regime:
    """The regime of that id: ``name``, ``name/index``, either with ``:parameter=value,...``.

    (``@`` is read as ``:``.)  A regime of the user's own is ``path/to/file.py:Name``.

    Raises ValueError on an unknown name or parameter, an index out of
    range, or a value that the parameter cannot take.
    """
    if ".py:" in identity:
        file, _, rest = identity.partition(".py:")
        place, _, settings = rest.replace("@", ":", 1).partition(":")
        found = _own(f"{file}.py:{place}")
    else:
        place, _, settings = identity.replace("@", ":", 1).partition(":")
        found = _family(identity, place)
    given: dict[str, float] = {}
    for setting in filter(None, settings.split(",")):
        key, equals, text = setting.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not equals or not math.isfinite(value):
            raise ValueError(f"{identity}: {setting!r} is not parameter=number")
        if key in given:
            raise ValueError(f"{identity}: {key} is given twice")
        given[key] = value
    return _replaced(found, given, identity)


def configured(identity: str, parameters: Mapping[str, float]) -> str:
    """The id of the regime ``identity`` with ``parameters`` replaced, in one spelling.

    Raises ValueError as :func:`regime`, or for a parameter that ``identity`` sets already.
    """
    for name, value in parameters.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name}: must be a number, got {value!r}")
    settings = ",".join(f"{name}={_spelt(value)}" for name, value in sorted(parameters.items()))
    # The colon of a user's file is not that of the parameters.
    more = "," if ":" in identity.rpartition(".py:")[2] else ":"
    joined = identity + (more + settings if settings else "")
    regime(joined)
    return joined


def _spelt(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def identify(place: Regime) -> str:
    """The id of a regime object; its class is made known to this process.

    Raises ValueError where another regime has its name, or it differs from the defaults in
    something else than numbers.
    """
    kind = type(place)
    if REGIMES.setdefault(place.name, kind) is not kind:
        raise ValueError(f"{place.name}: another regime has this name")
    me: Any = place
    base: Any = kind()
    changed = {
        f.name: getattr(me, f.name)
        for f in dataclasses.fields(me)
        if getattr(me, f.name) != getattr(base, f.name)
    }
    return configured(place.name, changed)


def _own(spec: str) -> Regime:
    found = own.load(spec, "regime")
    made = found() if isinstance(found, type) else found
    if not isinstance(made, Regime):
        raise ValueError(f"{spec}: must be a Regime or a class of regimes, got {found!r}")
    return made


def _family(identity: str, place: str) -> Regime:
    name, slash, index = place.partition("/")
    if name not in REGIMES:
        near = difflib.get_close_matches(name, REGIMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown regime {name!r}{hint} Known: {', '.join(REGIMES)}")
    if not slash:
        return REGIMES[name]()
    cells = REGIMES[name].sweep()
    if not index.isdigit() or int(index) >= len(cells):
        raise ValueError(f"{identity}: {name} has the cells {name}/0 to {name}/{len(cells) - 1}")
    return cells[int(index)]


def _replaced(found: Regime, given: Mapping[str, float], identity: str) -> Regime:
    numbers = {
        f.name: getattr(found, f.name)
        for f in dataclasses.fields(found)  # type: ignore[arg-type]
        if isinstance(getattr(found, f.name), (int, float))
    }
    values: dict[str, float] = {}
    for name, value in given.items():
        if name == "survive":
            if not 0 < value <= 1:
                raise ValueError(f"{identity}: survive must lie in (0, 1], got {value:g}")
            found = found.surviving(value)
            continue
        if name not in numbers:
            near = difflib.get_close_matches(name, numbers, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ValueError(
                f"{identity}: {found.name} has no parameter {name!r}{hint} "
                f"Known: {', '.join(numbers)}"
            )
        whole = isinstance(numbers[name], int)
        if whole and not float(value).is_integer():
            raise ValueError(f"{identity}: {name} is a whole number, got {value:g}")
        values[name] = int(value) if whole else float(value)
    me: Any = found
    return dataclasses.replace(me, **values) if values else found


def identities(names: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Ids of all cells of the named regimes (all if none is named), in order.

    Raises ValueError on an unknown name.
    """
    for name in names:
        regime(name)
    return tuple(
        f"{name}/{i}" for name in (names or REGIMES) for i in range(len(REGIMES[name].sweep()))
    )


__all__ = [
    "REGIMES",
    "SURVIVE",
    "Regime",
    "Training",
    "configured",
    "identify",
    "identities",
    "regime",
]
