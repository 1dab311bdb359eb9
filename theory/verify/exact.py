"""Exact engine: rational arithmetic, no rounding at all.

``identity`` and ``inequality`` evaluate a claim on given instances (they "hold").
``polynomial_identity`` *proves*: it works the claim out on indeterminates, as polynomials or
quotients of polynomials, and looks at the coefficients.

Example::

    >>> from fractions import Fraction
    >>> polynomial_identity(lambda x, y: (x + y) ** 2 - x * x - 2 * x * y - y * y,
    ...                     ["x", "y"], "binomial").verdict
    'proved'
    >>> inequality(lambda x: x * x - x, [{"x": Fraction(1, 2)}], "x^2 > x").verdict
    'refuted'
"""

from __future__ import annotations

import random as pyrandom
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from numbers import Rational
from typing import Any

from diffsmooth.theory.verify.domains import Domain, Indeterminates, Instances
from diffsmooth.theory.verify.polynomial import Quotient, indeterminates
from diffsmooth.theory.verify.receipts import Engine, Outcome

_ENGINE = Engine("exact")

Instance = Mapping[str, Any]

#: A margin beyond the range of floats is not told.
_LARGEST = 10**300

#: Rational points at which a polynomial is compared with the function it came from.
_SPOT_CHECKS = 10


def identity(f: Callable[..., Any], instances: Iterable[Instance], detail: str) -> Outcome:
    """``f(**instance)`` (a rational number or a sequence of them) must be 0 on every instance.

    Says "holds"; to prove, use ``polynomial_identity``.  The counterexample reported is the one
    that is shortest to write.  Raises ``TypeError`` when ``f`` returns a float.
    """
    return _sample(f, instances, detail, lambda v: v == 0, claim="= 0", size=abs)


def inequality(
    f: Callable[..., Any], instances: Iterable[Instance], detail: str, *, strict: bool = True
) -> Outcome:
    """``f(**instance)`` must be > 0 (``strict``) or >= 0 on every instance; says "holds"."""
    if strict:
        return _sample(f, instances, detail, lambda v: v > 0, claim="> 0", size=None)
    return _sample(f, instances, detail, lambda v: v >= 0, claim=">= 0", size=None)


def polynomial_identity(f: Callable[..., Any], variables: Sequence[str], detail: str) -> Outcome:
    """Prove that a polynomial, or a quotient of polynomials, is identically 0.

    ``f`` is called once with an indeterminate for each name in ``variables`` and returns what has
    to be 0 (one value or a sequence): it may add, multiply, divide and raise to integer powers,
    and mix in ints and Fractions.  The degrees are computed, and so are the divisors: the identity
    holds wherever none of them vanishes.  ``f`` is evaluated at rational points as well, and must
    take the value of its polynomial there.

    "refuted" with a rational point at which it is not 0.  Raises ``TypeError`` for an operation
    that is none on polynomials (a comparison, ``max``, ``abs``, ``int``, a float, a branch), for
    degrees in place of names, and for a value that is no polynomial; ``ValueError`` for no
    variable.
    """
    if isinstance(variables, Mapping | str):
        raise TypeError(
            f"exact: variables is {variables!r}; give a list of names: degrees are computed"
        )
    names = list(variables)
    symbols = indeterminates(names)
    result = f(**dict(zip(names, symbols, strict=True)))
    values = list(result) if isinstance(result, list | tuple) else [result]
    if not values:
        raise ValueError(f"exact: {detail}: the claim returned no value")
    for v in values:
        if isinstance(v, bool) or not isinstance(v, Quotient | Rational):
            raise TypeError(
                f"exact: {detail}: the claim returned {v!r} ({type(v).__name__}), no polynomial"
            )
    computation = symbols[0].computation
    domain = Indeterminates(
        tuple(names), tuple(computation.degrees), tuple(sorted(computation.divisors))
    )
    open_ = any(not v.is_zero if isinstance(v, Quotient) else v != 0 for v in values)
    failing = _spot_checks(f, names, values, wanted=open_)
    if failing is not None:
        return _refuted([failing], f, detail, "= 0", domain)
    return _ENGINE.issue(
        "proved",
        f"{detail}: every coefficient is 0",
        decided=[f"{detail}: {len(values)} polynomial(s) = 0"],
        domain=domain,
        cases=len(values),
        residual=0.0,
    )


def _spot_checks(
    f: Callable[..., Any], names: Sequence[str], values: Sequence[Any], *, wanted: bool
) -> Instance | None:
    """Evaluate ``f`` at rational points: the first at which it is not 0, searched if ``wanted``.

    Raises ``TypeError`` where ``f`` does not take the value of the polynomial it came to: it
    treats indeterminates in another way than numbers.
    """
    rng = pyrandom.Random(0)
    used = 0
    for k in range(400):
        # Small integers first: the point that is reported should be easy to read.
        reach = 40 * 1000 ** (k % 3)
        point = {
            n: Fraction(2 + k + i)
            if k < 4
            else Fraction(rng.randint(-reach, reach), rng.randint(1, 23))
            for i, n in enumerate(names)
        }
        try:
            found = _values(f, point)
            due = [v.at(point) if isinstance(v, Quotient) else v for v in values]
        except ZeroDivisionError:
            continue
        if found != due:
            raise TypeError(
                f"exact: at {show(point)} the claim is {show(found)}, but the polynomial it came"
                f" to is {show(due)}: it treats numbers and indeterminates differently"
            )
        used += 1
        if any(v != 0 for v in found):
            return point
        if used >= _SPOT_CHECKS and not wanted:
            return None
    raise ZeroDivisionError(f"exact: only {used} of 400 points in {names} could be evaluated")


def _sample(
    f: Callable[..., Any],
    instances: Iterable[Instance],
    detail: str,
    good: Callable[[Any], bool],
    *,
    claim: str,
    size: Callable[[Any], Any] | None,
) -> Outcome:
    used: list[Instance] = []
    failing: list[Instance] = []
    compared = 0
    extreme: Any = None
    for instance in instances:
        used.append(instance)
        values = _values(f, instance)
        compared += len(values)
        if not all(good(v) for v in values):
            failing.append(instance)
        worst = max(map(size, values)) if size else min(values)
        if extreme is None or (worst > extreme if size else worst < extreme):
            extreme = worst
    if not used or extreme is None:
        raise ValueError("exact: no instance was given; nothing would be checked")
    if failing:
        return _refuted(failing, f, detail, claim, Instances.of(failing))
    return _ENGINE.issue(
        "holds",
        f"{detail}: {claim} on {len(used)} exact instances",
        decided=[f"{detail}: {claim}"],
        domain=Instances.of(used),
        cases=compared,
        residual=_float(extreme) if abs(extreme) < _LARGEST else None,
    )


def _refuted(
    failing: Sequence[Instance],
    f: Callable[..., Any],
    detail: str,
    claim: str,
    domain: Domain,
) -> Outcome:
    smallest = min(failing, key=lambda instance: len(show(instance)))
    values = _values(f, smallest)
    text = ", ".join(map(str, values))
    more = f" ({len(failing)} instances fail)" if len(failing) > 1 else ""
    return _ENGINE.issue(
        "refuted",
        f"{detail}: must be {claim}{more}",
        decided=[f"{detail}: {claim}"],
        domain=domain,
        cases=len(failing),
        residual=_float(max(values, key=abs)),
        counterexample=f"at {show(smallest)} the value is {text}",
    )


def _values(f: Callable[..., Any], instance: Instance) -> list[Any]:
    result = f(**instance)
    values = list(result) if isinstance(result, list | tuple) else [result]
    if not values:
        raise ValueError(f"exact: the claim returned no value at {show(instance)}")
    for v in values:
        if isinstance(v, bool) or not isinstance(v, Rational):
            raise TypeError(
                f"exact: the claim returned {v!r} ({type(v).__name__}) at {show(instance)};"
                " only int and Fraction are exact"
            )
    return values


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def show(value: Any) -> str:
    """Write an instance for people: ``x = 1/2, b = (1/3, 2/3)``."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} = {show(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(show, value)) + ")"
    return str(value)
