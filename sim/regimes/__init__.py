"""Regimes by string id: ``bandit`` is the default cell of its family, ``bandit/7`` the eighth of
its sweep, ``bandit/7@survive=1`` the same with another chance that a solution passes at test."""

from __future__ import annotations

import difflib

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
    """The regime of that id.

    Raises ValueError on an unknown name, an index out of range, or a ``survive`` that is no number
    in (0, 1] or that the regime does not have.
    """
    identity, at, setting = identity.partition("@")
    if at:
        key, _, value = setting.partition("=")
        try:
            chance = float(value)
        except ValueError:
            chance = float("nan")
        if key != "survive" or not 0 < chance <= 1:
            raise ValueError(f"{identity}@{setting}: allowed is @survive=x with 0 < x <= 1")
        return regime(identity).surviving(chance)
    name, slash, index = identity.partition("/")
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


def identities(names: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Ids of all cells of the named regimes (all if none is named), in order.

    Raises ValueError on an unknown name.
    """
    for name in names:
        regime(name)
    return tuple(
        f"{name}/{i}" for name in (names or REGIMES) for i in range(len(REGIMES[name].sweep()))
    )


__all__ = ["REGIMES", "SURVIVE", "Regime", "Training", "identities", "regime"]
