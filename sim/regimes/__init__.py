"""Regimes by string id: ``bandit`` is the default cell of its family, ``bandit/7`` the eighth of
its sweep."""

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


def regime(identity: str) -> Regime:
    """The regime of that id.  Raises ValueError on an unknown name or an index out of range."""
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


__all__ = ["REGIMES", "Regime", "Training", "identities", "regime"]
