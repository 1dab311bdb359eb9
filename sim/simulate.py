"""One regime, end to end, as a result: its table, its comparisons, its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsmooth import records
from diffsmooth.records import Table
from diffsmooth.sim.atlas import MATCHES, Standing, standings
from diffsmooth.sim.cells import REFERENCE, Cell, run_cell
from diffsmooth.sim.paths import Dynamics, check_dynamics, closed_remedies, linear_remedies
from diffsmooth.sim.regimes import Regime, configured, identify, regime
from diffsmooth.sim.remedies import REMEDIES, Remedy, named, register
from diffsmooth.theory.rules import Rule

if TYPE_CHECKING:
    import pyarrow as pa

#: At most this many remedies in one figure.
SHOWN = 8

#: What a table of standings shows.
COLUMNS = (
    "remedy",
    "strength",
    "rate",
    "value",
    "reference",
    "difference",
    "low",
    "high",
    "improvement",
    "reached",
)


@dataclass(frozen=True, eq=False)
class Simulation:
    """A cell that was run: ``cell`` says what, ``runs`` and ``frontier`` are its Arrow tables.

    ``table`` compares at matched pass@1; ``compare(at=...)`` elsewhere; ``plot()`` draws.
    """

    cell: Cell
    runs: pa.Table
    frontier: pa.Table

    @property
    def measure(self) -> str:
        """The regime's measure: what is compared."""
        return regime(self.cell.regime).primary

    def standings(self, at: str = "pass@1") -> list[Standing]:
        """Every remedy with its tuned trial and its paired difference to GRPO, the best first.

        Raises ValueError unless ``at`` is pass@1, kl, steps or frontier.
        """
        if at not in MATCHES:
            raise ValueError(f"at: must be one of {', '.join(MATCHES)}; got {at!r}")
        from diffsmooth.sim.figures import columns

        return standings(columns(self.runs), self.measure, at)

    def compare(self, at: str = "pass@1") -> Table:
        """The standings as a table: ``difference`` to GRPO with Student's 95 % interval.

        ``reached``: share of the compared seeds on which the matched level was reached; a remedy
        that reaches it on too few has lost.  Raises ValueError as :meth:`standings`.
        """
        return Table.of(
            [
                {
                    "remedy": s.remedy,
                    "strength": s.strength,
                    "rate": s.rate,
                    "value": s.value,
                    "reference": s.reference,
                    "difference": s.difference.value,
                    "low": s.difference.low,
                    "high": s.difference.high,
                    "improvement": s.improvement,
                    "reached": s.reached,
                    "seeds": s.seeds,
                    "measure": self.measure,
                    "at": at,
                }
                for s in self.standings(at)
            ],
            COLUMNS,
        )

    @cached_property
    def table(self) -> Table:
        """The comparison at matched pass@1."""
        return self.compare()

    def plot(self, path: str | PathLike[str] | None = None) -> Any:
        """The frontier: correctness against diversity along training, and pass@k at its end.

        Returns a matplotlib figure; it is also saved to ``path`` (PNG) where one is given.
        """
        from diffsmooth.sim import charts

        title = self.cell.regime
        return charts.frontier(
            self.frontier,
            self.shown,
            self.measure,
            title,
            None if path is None else Path(path),
        )

    @property
    def shown(self) -> dict[str, tuple[float, float]]:
        """The remedies to draw: the reference, then the best, at their tuned (strength, rate)."""
        return pick(self.standings())

    def __repr__(self) -> str:
        head = f"{self.cell.regime}, {self.cell.seeds} seeds: {self.measure} at matched pass@1"
        return f"{head}\n{self.table!r}"

    def _repr_html_(self) -> str:
        from html import escape

        head = f"{self.cell.regime}, {self.cell.seeds} seeds: {self.measure} at matched pass@1"
        return f"<p>{escape(head)}</p>{self.table._repr_html_()}"


def pick(table: list[Standing]) -> dict[str, tuple[float, float]]:
    """The remedies to draw: the reference, then the best, at their tuned (strength, rate)."""
    order = sorted(table, key=lambda s: s.remedy != REFERENCE)
    return {s.remedy: (s.strength, s.rate) for s in order[:SHOWN]}


def simulate(
    identity: str | Regime,
    names: Sequence[str | Remedy | Rule] = (),
    *,
    seeds: int = 32,
    dynamics: Dynamics = "sampled",
    device: str | None = None,
    out: str | PathLike[str] | None = None,
    parameters: Mapping[str, float] | None = None,
) -> Simulation:
    """Run one regime with the remedies named (all that can, if none is).

    Regimes and remedies by name, by ``path/to/file.py:Name``, or as objects.
    ``out``: a folder for the tables, where a run that is there is read.  Raises ValueError on an
    unknown regime, parameter, remedy or kind of dynamics.
    """
    check_dynamics(dynamics)
    identity = identity if isinstance(identity, str) else identify(identity)
    remedies = tuple(n if isinstance(n, str) else register(n) for n in names)
    allowed = tuple(REMEDIES) if dynamics == "sampled" else closed_remedies()
    if device is not None:
        allowed = linear_remedies()
    chosen = named(remedies) if remedies else allowed  # each once
    if REFERENCE not in chosen:
        chosen = (REFERENCE, *chosen)
    cell = Cell(configured(identity, parameters or {}), chosen, seeds, dynamics, device)
    if out is None:
        tables = run_cell(cell)
        return Simulation(cell, tables["runs"], tables["frontier"])
    from diffsmooth.sim.sweep import compute, path

    compute(Path(out), cell)
    read = {name: records.read_table(path(Path(out), cell, name)) for name in ("runs", "frontier")}
    return Simulation(cell, read["runs"], read["frontier"])
