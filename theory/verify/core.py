"""What a statement is, and what it means that a method decided it.

A statement carries a *claim*: an executable object (usually a frozen dataclass holding the
formulas of the claim as callables or sympy expressions).  Every method is a function of the
claim, so that a *mutant* is simply another claim given to the very same method.  A check that
passes a mutant is a defect.

Source: theory.md, "What 'verified' means".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Generic, Literal, TypeVar, get_args

from diffsmooth.theory.verify.receipts import (
    PROVING,
    EngineName,
    Outcome,
    Verdict,
    together,
)

__all__ = [
    "PROVING",
    "Budget",
    "Method",
    "MethodName",
    "Mutant",
    "Outcome",
    "Source",
    "Statement",
    "Table",
    "Verdict",
    "largest",
    "least",
    "together",
]

#: A method bears the name of the engine that decides it.
MethodName = EngineName
Source = Literal["paper", "new", "corrected"]

C = TypeVar("C")


@dataclass(frozen=True)
class Budget:
    """How much work a method may do: ``examples`` random instances, ``restarts`` of an optimiser.

    ``seed`` makes the random and adversarial methods repeatable.  Without ``shrink`` the random
    method stops at the first failing instance: enough for a mutant, which only has to be refuted
    (``shrink_mutants`` asks for minimal counterexamples there too).
    """

    deep: bool = False
    seed: int = 0
    shrink: bool = True
    shrink_mutants: bool = False

    @property
    def examples(self) -> int:
        return 2000 if self.deep else 150

    @property
    def restarts(self) -> int:
        return 64 if self.deep else 6


def largest(*values: Any) -> float:
    """The largest of numbers and arrays; nan if any is nan, which Python's ``max(0.0, nan)`` drops.

    Raises ``ValueError`` on an empty array or no value: nothing would be compared.
    """
    import numpy as np

    return float(np.max([np.max(v) for v in values]))


def least(*values: Any) -> float:
    """The least of numbers and arrays; nan if any is nan.  Raises as :func:`largest`."""
    import numpy as np

    return float(np.min([np.min(v) for v in values]))


@dataclass(frozen=True)
class Method(Generic[C]):
    """One way to decide a claim: a function of the claim, decided by the engine of that name.

    The domain of the verdict is not written here: the engines write it into their receipts from
    what they checked.  ``note`` is the author's reading of the steps ("any number of
    trajectories: the others are lumped") and is shown as a note.  ``deep`` methods run only under
    ``--deep``.  ``optional`` gives the reason why "undecided" by this method is not a failure.

    Raises ``ValueError`` for a name that is no engine's and ``TypeError`` for a check that cannot
    be called.
    """

    name: MethodName
    check: Callable[[C, Budget], Outcome]
    _: KW_ONLY
    note: str | None = None
    deep: bool = False
    optional: str | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(MethodName):
            raise ValueError(
                f"Method {self.name!r} is no engine; allowed: {', '.join(get_args(MethodName))}"
            )
        if not callable(self.check):
            raise TypeError(
                f"Method {self.name!r}: check is {self.check!r}, not a function of (claim, budget);"
                " domains are written by the engines, a remark goes to note="
            )
        for name, text in (("note", self.note), ("optional", self.optional)):
            if text is not None and not text.strip():
                raise ValueError(f"Method {self.name!r}: {name} is empty; leave it out")


@dataclass(frozen=True)
class Mutant(Generic[C]):
    """A wrong claim; ``by`` names the method(s) of the statement that must refute it."""

    name: str
    claim: C
    by: MethodName | tuple[MethodName, ...]


@dataclass(frozen=True)
class Table:
    """Numbers for the report, as plain text; the first cell of a row names it."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not self.rows or any(len(row) != len(self.head) for row in self.rows):
            raise ValueError(f"Table {self.caption!r}: every row needs {len(self.head)} cells")


@dataclass(frozen=True)
class Statement(Generic[C]):
    """One statement of theory.md: the claim, what it assumes, and how it is decided."""

    id: str
    title: str
    source: Source
    reference: str
    assumptions: tuple[str, ...]
    latex: str
    claim: C
    methods: Sequence[Method[C]]
    mutants: Sequence[Mutant[C]]
    limits: str
    correction: str | None = None
    figure: Callable[[Any], None] | None = field(default=None, compare=False)
    """Draws the statement's picture on a given ``matplotlib`` Axes."""
    table: Callable[[], Table] | None = field(default=None, compare=False)
    """Computes a table of numbers that the report shows beside the statement."""

    def __post_init__(self) -> None:
        if self.source == "corrected" and not self.correction:
            raise ValueError(f"{self.id}: a corrected statement must say what was wrong")
        if not self.methods or len(self.mutants) < 2:
            raise ValueError(f"{self.id}: needs at least one method and two mutants")
        names = {m.name for m in self.methods}
        for mutant in self.mutants:
            by = (mutant.by,) if isinstance(mutant.by, str) else mutant.by
            if not by or not set(by) <= names:
                raise ValueError(
                    f"{self.id}: mutant {mutant.name!r} is to be refuted by {by}, "
                    f"but the statement has only {sorted(names)}"
                )
