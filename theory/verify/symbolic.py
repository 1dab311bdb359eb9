"""Symbolic engine: sympy reduces every expression of a claim to zero.

Fit for identities; inequalities need an explicit certificate (a sum of squares, say) whose
identity is then checked here.  A refutation is a rational point at which the expression is not
zero, found on its own and not inferred from a failed simplification.

Example::

    >>> import sympy as sp
    >>> x, y = sp.symbols("x y", positive=True)
    >>> zero([(x + y) ** 2 - x**2 - 2 * x * y - y**2], [x, y], "binomial").verdict
    'proved'
    >>> zero([sp.log(x * y) - sp.log(x)], [x, y], "a dropped log").verdict
    'refuted'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from diffsmooth.theory.verify.domains import Symbols
from diffsmooth.theory.verify.receipts import Engine, Outcome

_ENGINE = Engine("symbolic")

#: Rational trial values, small and readable first; two coprime scales so that symmetric
#: cancellations (x = 1, x = y) do not hide a difference.
_TRIALS = ("1/2", "2", "1/3", "3/7", "5/3", "1/5", "7/2", "1/11")
_MAX_POINTS = 24

#: An expression with more nodes than this is told by its size.
_SHOWN_NODES = 60


def zero(
    exprs: Any | Iterable[Any] | Mapping[str, Any],
    symbols: Sequence[Any],
    detail: str,
    *,
    where: Callable[[Mapping[Any, Any]], bool] | None = None,
) -> Outcome:
    """Say "proved" iff sympy reduces each expression to 0 for all values of ``symbols``.

    ``exprs`` is one expression, several, or a mapping from the name of a proof step to its
    expression; an ``Eq`` or a ``Matrix`` is taken apart.  ``where`` restricts the points tried for
    a refutation (``{symbol: Rational} -> bool``) where the symbols' own assumptions do not say
    everything; the proof never uses it: the receipt's domain is what the assumptions allow.
    Give a condition such as 0 < C < 1 to the proof by its parameter, C = 1/(1 + r) with r > 0.

    Raises ``TypeError`` for an expression that holds a Float: a rounded constant proves nothing;
    and for a Python Boolean or a string: what ``==`` found was not reduced here.
    """
    import sympy as sp

    steps = list(_steps(exprs))
    if not steps:
        raise ValueError("symbolic.zero: exprs is empty; nothing would be proved")
    domain = Symbols.of((expr for _, expr in steps), symbols)
    decided = [f"{name}: {_shown(expr)} = 0" for name, expr in steps]
    open_steps = []
    for name, expr in steps:
        if expr.has(sp.Float):
            raise TypeError(
                f"symbolic.zero: {name} holds a Float ({sorted(map(str, expr.atoms(sp.Float)))});"
                " use Rational"
            )
        if _reduces(expr, _CHEAP):
            continue
        # A wrong identity is refuted before the expensive normal forms are tried on it.
        found = _nonzero_point(expr, symbols, where)
        if found is not None:
            point, value = found
            text = ", ".join(f"{s} = {v}" for s, v in point.items()) or "no free symbol"
            return _ENGINE.issue(
                "refuted",
                f"{detail}: {name} is not 0",
                decided=[f"{name}: {_shown(expr)} = 0"],
                domain=domain,
                cases=1,
                residual=float(abs(value)),
                counterexample=f"at {text} {name} is {sp.N(value, 6)}, not 0",
            )
        if not _reduces(expr, _EXPENSIVE):
            open_steps.append(name)
    if open_steps:
        names = ", ".join(open_steps)
        return _ENGINE.issue(
            "undecided",
            f"{detail}: sympy does not reduce {names}, no point found",
            decided=decided,
            domain=domain,
            cases=len(steps),
        )
    return _ENGINE.issue(
        "proved",
        f"{detail}: {len(steps)} expression(s) reduce to 0",
        decided=decided,
        domain=domain,
        cases=len(steps),
        residual=0.0,
    )


def _shown(expr: Any) -> str:
    import sympy as sp

    nodes = sum(1 for _ in zip(range(_SHOWN_NODES + 1), sp.preorder_traversal(expr), strict=False))
    return str(expr) if nodes <= _SHOWN_NODES else f"an expression in {_names(expr)}"


def _names(expr: Any) -> str:
    return ", ".join(sorted(map(str, expr.free_symbols)))


def _steps(exprs: Any) -> Iterator[tuple[str, Any]]:
    import sympy as sp

    if isinstance(exprs, Mapping):
        named = list(exprs.items())
    elif isinstance(exprs, sp.Basic | sp.MatrixBase | int | str):
        named = [("the expression", exprs)]
    else:
        named = [(f"expression {i}", e) for i, e in enumerate(exprs, start=1)]
    for name, raw in named:
        if isinstance(raw, bool | str):
            raise TypeError(f"symbolic.zero: {name} is {raw!r}, not an expression")
        expr = sp.sympify(raw)
        if isinstance(expr, sp.MatrixBase):
            for k, entry in enumerate(expr):
                yield f"{name}[{k}]", sp.sympify(entry)
        elif isinstance(expr, sp.Equality):
            yield name, expr.lhs - expr.rhs
        elif expr is sp.true:
            yield name, sp.Integer(0)
        elif expr is sp.false:
            yield name, sp.Integer(1)
        else:
            yield name, expr


def _together(e: Any) -> Any:
    import sympy as sp

    return sp.expand(sp.numer(sp.together(sp.expand(e))))


def _logs(e: Any) -> Any:
    import sympy as sp

    return _together(sp.expand_log(sp.powsimp(e)))


def _cancel(e: Any) -> Any:
    import sympy as sp

    return sp.cancel(sp.powsimp(sp.expand(e)))


def _simplify(e: Any) -> Any:
    import sympy as sp

    return sp.expand(sp.expand_log(sp.simplify(e)))


def _exponentials(e: Any) -> Any:
    import sympy as sp

    return sp.simplify(e.rewrite(sp.exp))


_CHEAP = (_together, _logs)
_EXPENSIVE = (_cancel, _simplify, _exponentials)


def _reduces(expr: Any, attempts: Sequence[Callable[[Any], Any]]) -> bool:
    """Whether a normal form is 0; ``simplify`` alone is slow and sometimes weaker than these."""
    done = expr.doit()
    return any(attempt(done) == 0 for attempt in attempts)


def _nonzero_point(
    expr: Any, symbols: Sequence[Any], where: Callable[[Mapping[Any, Any]], bool] | None
) -> tuple[dict[Any, Any], Any] | None:
    import sympy as sp

    tried = 0
    for k, values in enumerate(_grid(len(symbols))):
        point = {}
        for symbol, text in zip(symbols, values, strict=True):
            value = sp.Rational(text)
            if symbol.is_integer:
                value = sp.Integer(value.p)
            # Every third time a symbol of unknown sign is negative.
            if symbol.is_negative or (k % 3 == 2 and symbol.is_nonnegative is None):
                value = -value
            point[symbol] = value
        if where is not None and not where(point):
            continue
        tried += 1
        value = expr.subs(point).doit()
        number = sp.N(value, 30)
        # evalf keeps track of its own accuracy: a number with significant digits is not zero.
        if number.is_number and number.is_finite and abs(number) > sp.Float("1e-25", 30):
            return point, number
        if tried >= _MAX_POINTS:
            return None
    return None


def _grid(n: int) -> Iterator[tuple[str, ...]]:
    """Distinct values first (a shift for each symbol), then the whole grid."""
    k = len(_TRIALS)
    for shift in range(k):
        for stride in (1, 3):
            yield tuple(_TRIALS[(shift + stride * i) % k] for i in range(n))
    yield from product(_TRIALS, repeat=n)
