"""What a verdict is: receipts that only an engine can issue, and nothing that can be set by hand.

An engine (``symbolic``, ``exact``, ``smt``, ``certified``, ``random``, ``adversarial``) writes a
:class:`Receipt` for each thing it decided: what it was (expressions, goals, a function on a box),
on which domain, how many cases were really compared, with which residual.  An :class:`Outcome` is
a sequence of receipts; its verdict is the weakest of theirs and is stored nowhere.  ``together``
puts outcomes in sequence; ``Outcome.told`` words one anew and leaves its receipts alone.

While a method runs, :func:`session` keeps the list of what the engines issued, so that the runner
(``run.run_method``) can tell an outcome of this very run from one that was made elsewhere, and
notices a receipt that was left out.

This stops mistakes, not malice: Python keeps nobody from reaching into private names.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NoReturn, get_args

from diffsmooth.theory.verify.domains import Domain

Verdict = Literal["proved", "holds", "refuted", "undecided"]
EngineName = Literal["symbolic", "exact", "smt", "certified", "random", "adversarial"]

#: "proved" may be said only by these engines; the others sample and may say "holds".
PROVING: frozenset[str] = frozenset({"symbolic", "exact", "smt", "certified"})
#: No rounding error is larger: margins of large numbers are given in units of their bound.
LARGEST_BOUND = 1e6

GREEN: frozenset[str] = frozenset({"proved", "holds"})

_STRENGTH: dict[str, int] = {"refuted": 0, "undecided": 1, "holds": 2, "proved": 3}
_PACKAGE = __name__.rpartition(".")[0]
_FIELDS = (
    "engine", "verdict", "detail", "decided", "domain", "cases", "residual", "counterexample",
)  # fmt: skip


class Receipt:
    """One thing that one engine decided.  Read-only; made by an engine and by nobody else.

    ``detail`` is the name its caller gave the step; ``decided`` is what was decided, written by
    the engine: an expression that is 0, a goal, a function that is positive.  ``domain`` is where,
    as data that writes itself.  ``cases`` counts what was really compared (expressions, goals,
    boxes, instances, points).  ``residual`` is the largest deviation or smallest margin seen;
    beside "proved" and "holds" it is finite and not negative.  ``counterexample`` is for people.
    """

    __slots__ = _FIELDS
    engine: EngineName
    verdict: Verdict
    detail: str
    decided: tuple[str, ...]
    domain: Domain
    cases: int
    residual: float | None
    counterexample: str | None

    def __new__(cls, *_: Any, **__: Any) -> Receipt:
        raise TypeError("a Receipt is issued by an engine of theory/verify, never made by hand")

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a Receipt is read-only; {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Receipt is read-only; {name} cannot be deleted")

    def __repr__(self) -> str:
        return f"<{self.engine} {self.verdict}: {self.detail}; {self.domain}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker sends its receipts home; they stay what they were, and belong to no session.
        return _receipt, tuple(getattr(self, name) for name in _FIELDS)


def _receipt(*values: Any) -> Receipt:
    receipt = object.__new__(Receipt)
    for name, value in zip(_FIELDS, values, strict=True):
        object.__setattr__(receipt, name, value)
    return receipt


class Outcome:
    """What a method found: the receipts of its engine, in order.

    Verdict, detail, residual and counterexample are read from the receipts.  Made by an engine,
    by :func:`together` or by :meth:`told`; ``Outcome("proved", "...")`` raises ``TypeError``.
    """

    __slots__ = ("_text", "receipts")
    receipts: tuple[Receipt, ...]
    _text: str | None

    def __new__(cls, *_: Any, **__: Any) -> Outcome:
        raise TypeError(
            "an Outcome is made by an engine of theory/verify (symbolic.zero, exact.identity, "
            "smt.prove, certified.positive, random.for_all, ...), by together(...) of such "
            "outcomes or by outcome.told(text); a verdict cannot be set"
        )

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"an Outcome is read-only; {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an Outcome is read-only; {name} cannot be deleted")

    def __repr__(self) -> str:
        return f"<Outcome {self.verdict}: {self.detail}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _outcome, (self.receipts, self._text)

    @property
    def verdict(self) -> Verdict:
        """The weakest verdict among the receipts."""
        return weakest(self.receipts)

    @property
    def detail(self) -> str:
        """One line: the text of :meth:`told`, else that of the receipts."""
        failed = self._failed
        if failed is not None:
            return failed.detail
        return self._text if self._text is not None else "; ".join(r.detail for r in self.receipts)

    @property
    def residual(self) -> float | None:
        """Of the step that came closest to failing, where steps report one."""
        failed = self._failed
        if failed is not None:
            return failed.residual
        found = [r.residual for r in self.receipts if r.residual is not None]
        return min(found, key=abs) if found else None

    @property
    def counterexample(self) -> str | None:
        """The smallest failing instance, written out; None unless refuted."""
        failed = self._failed
        return None if failed is None else failed.counterexample

    @property
    def _failed(self) -> Receipt | None:
        """The receipt that decides against the whole, if one does."""
        verdict = self.verdict
        if verdict in GREEN:
            return None
        return next((r for r in self.receipts if r.verdict == verdict), None)

    def told(self, text: str) -> Outcome:
        """The same receipts with another ``detail``; what failed keeps its own words."""
        return _outcome(self.receipts, text)


def _outcome(receipts: Sequence[Receipt], text: str | None = None) -> Outcome:
    outcome = object.__new__(Outcome)
    object.__setattr__(outcome, "receipts", tuple(receipts))
    object.__setattr__(outcome, "_text", text)
    return outcome


def weakest(receipts: Sequence[Receipt]) -> Verdict:
    """The verdict of several receipts together; "undecided" of none."""
    verdicts = [r.verdict for r in receipts]
    return min(verdicts, key=_STRENGTH.__getitem__) if verdicts else "undecided"


def together(*steps: Callable[[], Outcome]) -> Outcome:
    """Run the steps of a proof in order, and stop at the first that is refuted.

    Raises ``ValueError`` without a step, and ``TypeError`` for a step that returns no outcome.
    """
    if not steps:
        raise ValueError("together: no step was given; nothing would be checked")
    receipts: list[Receipt] = []
    texts: list[str] = []
    for step in steps:
        outcome = step()
        if type(outcome) is not Outcome or not outcome.receipts:
            raise TypeError(f"together: a step returned {outcome!r}, not an engine's Outcome")
        receipts += outcome.receipts
        texts.append(outcome.detail)
        if outcome.verdict == "refuted":
            break
    return _outcome(receipts, "; ".join(texts))


_issued: ContextVar[list[Receipt] | None] = ContextVar("receipts issued in this method")


@contextmanager
def session() -> Iterator[list[Receipt]]:
    """Collect the receipts that engines issue inside the block, in order."""
    issued: list[Receipt] = []
    token = _issued.set(issued)
    try:
        yield issued
    finally:
        _issued.reset(token)


class Engine:
    """The right to issue receipts; each engine module makes its own, once, at import.

    Raises ``TypeError`` for a name that is no engine's or in any module but that engine's.
    """

    __slots__ = ("name",)

    def __init__(self, name: EngineName) -> None:
        owner = sys._getframe(1).f_globals.get("__name__")
        if name not in get_args(EngineName) or owner != f"{_PACKAGE}.{name}":
            raise TypeError(f"{owner} is not the engine {name!r}; only that may issue its receipts")
        self.name = name

    def issue(
        self,
        verdict: Verdict,
        detail: str,
        *,
        decided: Sequence[str],
        domain: Domain,
        cases: int,
        residual: float | None = None,
        counterexample: str | None = None,
    ) -> Outcome:
        """A receipt, as an outcome of one.

        Raises ``ValueError`` for an unknown verdict, for "proved" from an engine that samples, and
        for "proved" or "holds" of nothing (nothing decided, no case compared); ``ArithmeticError``
        for "proved" or "holds" beside a residual that is negative, infinite or nan.
        """
        if verdict not in _STRENGTH:
            raise ValueError(f"{verdict!r} is not a verdict; allowed: {', '.join(_STRENGTH)}")
        if not isinstance(domain, Domain):
            raise TypeError(f"{self.name}: the domain must be a Domain, not {domain!r}")
        if verdict == "proved" and self.name not in PROVING:
            raise ValueError(f'{self.name} only samples and cannot say "proved": {detail}')
        if verdict in GREEN:
            if cases < 1 or not decided:
                raise ValueError(f'"{verdict}" of nothing: {detail}: nothing was compared')
            if residual is not None and not 0 <= residual < math.inf:
                raise ArithmeticError(f'"{verdict}" with residual {residual}: {detail}')
        receipt = _receipt(
            self.name, verdict, detail, tuple(decided), domain, cases, residual, counterexample
        )
        issued = _issued.get(None)
        if issued is not None:
            issued.append(receipt)
        return _outcome([receipt])


def not_a_truth_value(value: Any, what: str) -> None:
    """Raise ``TypeError`` for a Python or NumPy Boolean where a number is compared."""
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        raise TypeError(f"{what} is {value!r}; must be a number, whose sign is compared")


def finite_bound(value: Any, what: str) -> float:
    """An error bound or tolerance as a float.

    Raises ``ValueError`` unless it is finite, not negative and at most ``LARGEST_BOUND``: an
    infinite bound forgives everything, nan compares with nothing, and 1e300 is no rounding error.
    """
    number = float(value)
    if not 0 <= number <= LARGEST_BOUND:
        raise ValueError(
            f"{what} is {number}; must be finite, >= 0 and at most {LARGEST_BOUND:g}"
            " (give a margin of large numbers in units of its bound)"
        )
    return number
