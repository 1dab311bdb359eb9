"""On what a verdict holds, as data: each engine fills in its kind, and the kind writes the text.

Nobody words a domain: what is displayed beside a verdict is ``str(receipt.domain)``.

Example::

    >>> from fractions import Fraction
    >>> str(Box((("C", Fraction(1, 20), Fraction(1)), ("u", Fraction(0), Fraction(8)))))
    'C in [1/20, 1], u in [0, 8]'
    >>> laws = [{"n": n, "q": [Fraction(1, n)] * n} for n in (2, 5)]
    >>> str(Instances.of(laws))
    '2 instances: n in 2..5; q: 2..5 entries in [1/5, 1/2]'
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Integral, Rational, Real
from typing import Any

#: Values that are not numbers are listed up to so many, and then counted.
_LISTED = 4


class Domain:
    """Where a verdict holds; every kind writes itself with ``str``."""

    def __str__(self) -> str:
        raise NotImplementedError


def written(domains: Iterable[Domain]) -> str:
    """Several domains as one text: each once, polynomials in the same variables together."""
    kinds: dict[Any, Domain] = {}
    for domain in domains:
        if not isinstance(domain, Indeterminates):
            kinds[str(domain)] = domain
            continue
        key = (domain.names, domain.divisors)
        before = kinds.get(key, domain)
        assert isinstance(before, Indeterminates)
        highest = tuple(map(max, before.degrees, domain.degrees))
        kinds[key] = dataclasses.replace(domain, degrees=highest)
    return "; ".join(map(str, kinds.values()))


@dataclass(frozen=True)
class Symbols(Domain):
    """Every value of sympy symbols that their assumptions allow."""

    symbols: tuple[tuple[str, str], ...]
    """(name, what its assumptions say: "> 0", "real", "integer >= 1", ...)."""
    functions: tuple[str, ...] = ()
    """Names of undefined functions: any that can be differentiated."""

    @classmethod
    def of(cls, exprs: Iterable[Any], symbols: Iterable[Any] = ()) -> Symbols:
        """The free symbols of expressions, and ``symbols`` beside them."""
        from sympy.core.function import AppliedUndef

        exprs = list(exprs)
        free = set(symbols).union(*(e.free_symbols for e in exprs))
        functions = {str(f.func) for e in exprs for f in e.atoms(AppliedUndef)}
        named = sorted((str(s), _assumed(s)) for s in free)
        return cls(tuple(named), tuple(sorted(functions)))

    def __str__(self) -> str:
        kinds: dict[str, list[str]] = {}
        for name, kind in self.symbols:
            kinds.setdefault(kind, []).append(name)
        parts = [f"{', '.join(names)} {kind}" for kind, names in sorted(kinds.items())]
        if self.functions:
            parts.append(f"any smooth {', '.join(self.functions)}")
        return "all " + "; ".join(parts) if parts else "no symbol is left"


def _assumed(symbol: Any) -> str:
    """All that was assumed of a symbol when it was made: "> 0", "integer >= 0", "complex"."""
    given = {k for k, v in symbol._assumptions_orig.items() if v} - {"commutative"}
    denied = {k for k, v in symbol._assumptions_orig.items() if v is False}
    sign = next((text for word, text in _SIGNS.items() if word in given), "")
    given -= set(_SIGNS)
    if sign:
        given.discard("real")
    words = [*sorted(given), *(f"not {k}" for k in sorted(denied)), sign]
    return " ".join(w for w in words if w) or "complex"


#: The strongest first; each implies real.
_SIGNS = {
    "zero": "= 0", "positive": "> 0", "negative": "< 0", "nonnegative": ">= 0",
    "nonpositive": "<= 0",
}  # fmt: skip


@dataclass(frozen=True)
class Indeterminates(Domain):
    """Every value of the variables of polynomials, where no divisor vanishes."""

    names: tuple[str, ...]
    degrees: tuple[int, ...]
    """The highest degree in each variable that the computation met."""
    divisors: tuple[str, ...] = ()

    def __str__(self) -> str:
        degrees = ", ".join(f"{d} in {n}" for n, d in zip(self.names, self.degrees, strict=True))
        text = f"all {', '.join(self.names)}"
        if self.divisors:
            text += f" with {' and '.join(f'{d} not 0' for d in self.divisors)}"
        return f"{text} (polynomials of degree at most {degrees})"


@dataclass(frozen=True)
class Reals(Domain):
    """All reals that meet conditions, as given to an SMT solver."""

    names: tuple[str, ...]
    conditions: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"all real {', '.join(self.names)}" if self.names else "one case (no variable)"
        return f"{text} with {', '.join(self.conditions)}" if self.conditions else text


@dataclass(frozen=True)
class Box(Domain):
    """A closed box with rational corners: (name, low, high) for each variable."""

    bounds: tuple[tuple[str, Fraction, Fraction], ...]

    def __str__(self) -> str:
        return ", ".join(
            f"{n} = {lo}" if lo == hi else f"{n} in [{lo}, {hi}]" for n, lo, hi in self.bounds
        )


@dataclass(frozen=True)
class Point(Domain):
    """One instance, enclosed in balls, and the premises that were certain there."""

    quantities: int
    premises: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = f" with {', '.join(self.premises)}" if self.premises else ""
        return f"one instance, {self.quantities} quantities in balls{more}"


@dataclass(frozen=True)
class Search(Domain):
    """What an optimiser tried: points inside the domain, and points outside that it skipped."""

    dimensions: tuple[int, int]
    restarts: int
    points: int
    outside: int

    def __str__(self) -> str:
        low, high = self.dimensions
        size = f"{low}" if low == high else f"{low}..{high}"
        text = f"{self.points} points in {size} dimensions, {self.restarts} restarts"
        return text + (f", {self.outside} more outside the domain" if self.outside else "")


@dataclass(frozen=True)
class Trials(Domain):
    """Independent draws, and the confidence level of the interval made of them."""

    count: int
    level: float

    def __str__(self) -> str:
        return f"{self.count} independent draws, {100 * self.level:g} % interval"


@dataclass
class _Seen:
    """What was seen at one place of the instances."""

    low: Any = None
    high: Any = None
    sizes: tuple[int, int] | None = None
    others: dict[str, None] = field(default_factory=dict)
    whole: bool = True

    def number(self, value: Any) -> None:
        self.whole = self.whole and isinstance(value, Integral)
        self.low = value if self.low is None or value < self.low else self.low
        self.high = value if self.high is None or value > self.high else self.high

    def size(self, n: int) -> None:
        low, high = self.sizes or (n, n)
        self.sizes = (min(low, n), max(high, n))

    def __str__(self) -> str:
        text = []
        if self.low is not None:
            low, high = _number(self.low), _number(self.high)
            text.append(
                f"= {low}" if low == high
                else f"in {low}..{high}" if self.whole
                else f"in [{low}, {high}]"
            )  # fmt: skip
        if self.others:
            listed = len(self.others) <= _LISTED
            text.append(", ".join(self.others) if listed else f"{len(self.others)} values")
        return " or ".join(text)


@dataclass(frozen=True)
class Instances(Domain):
    """Instances that were tried: how many, and the range of every part of them."""

    count: int
    ranges: tuple[tuple[str, str], ...]
    skipped: int = 0
    """Instances on which nothing was compared."""

    @classmethod
    def of(cls, instances: Iterable[Any], skipped: int = 0) -> Instances:
        """Read the ranges off the instances (mappings, dataclasses, sequences, numbers)."""
        seen: dict[str, _Seen] = {}
        count = 0
        for instance in instances:
            count += 1
            if isinstance(instance, tuple):  # what belongs together, each at its own place
                for i, part in enumerate(instance, start=1):
                    _read(seen, f"part {i}", part)
            else:
                _read(seen, "", instance)
        return cls(count, tuple(_lines(seen)), skipped)

    def __str__(self) -> str:
        text = f"{self.count} instance{'' if self.count == 1 else 's'}"
        if self.skipped:
            text += f" compared, {self.skipped} skipped"
        ranges = [f"{name}{'' if r.startswith(('in ', '= ')) else ':'} {r}".strip(": ")
                  for name, r in self.ranges]  # fmt: skip
        return text + (f": {'; '.join(ranges)}" if ranges else "")


def _read(seen: dict[str, _Seen], path: str, value: Any) -> None:
    here = seen.setdefault(path, _Seen())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for f in dataclasses.fields(value):
            _read(seen, _join(path, f.name), getattr(value, f.name))
    elif isinstance(value, Mapping):
        for key, part in value.items():
            _read(seen, _join(path, str(key)), part)
    elif isinstance(value, bool | str | bytes) or value is None:
        here.others[repr(value)] = None
    elif isinstance(value, Real) and not math.isnan(value):
        here.number(value)
    elif isinstance(value, Sequence):
        here.size(len(value))
        for part in value:
            _read(seen, path + "[]", part)
    elif hasattr(value, "tolist"):  # NumPy arrays and scalars
        _read(seen, path, value.tolist())
    else:
        here.others[type(value).__name__] = None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _lines(seen: Mapping[str, _Seen]) -> Iterator[tuple[str, str]]:
    """One (name, range) for each place; the entries of a sequence are told beside its size."""
    for path, here in seen.items():
        if path.endswith("[]"):
            continue
        text = " or ".join(filter(None, (str(here), _entries(seen, path))))
        if text:
            yield path, text


def _entries(seen: Mapping[str, _Seen], path: str) -> str:
    """The sizes of a sequence and what is in it; empty for what is none."""
    sizes = seen[path].sizes
    if sizes is None:
        return ""
    low, high = sizes
    size = f"{low}" if low == high else f"{low}..{high}"
    inner = f"{path}[]"
    if inner not in seen:
        return f"{size} entries"
    nested = _entries(seen, inner)
    return f"{size} entries {seen[inner]}{'of ' if nested else ''}{nested}".rstrip()


def _number(value: Any) -> str:
    if isinstance(value, Rational):
        exact = str(value)
        return exact if len(exact) <= 12 else f"{float(value):.4g}"
    return f"{float(value):.4g}"
