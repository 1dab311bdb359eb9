"""Certified engine: Arb balls (outward rounding) with branch and bound.

A ball that is wholly positive proves positivity on a whole box.  The mean-value form
``f(m) + grad f(X) . (X - m)`` beats plain interval extension by orders of magnitude, and where a
partial derivative keeps its sign the box collapses to one face.  At most three variables.

Example::

    >>> import sympy as sp
    >>> x = sp.Symbol("x", positive=True)
    >>> f, gradient = differentiable(x - sp.log(x) - sp.Rational(1, 2), [x])
    >>> positive(f, {"x": ("1/10", 10)}, "x - log x > 1/2", gradient).verdict
    'proved'
    >>> f, gradient = differentiable(x - sp.log(x) - 2, [x])
    >>> positive(f, {"x": ("1/10", 10)}, "x - log x > 2", gradient).verdict
    'refuted'
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import count
from typing import Any

from diffsmooth.theory.verify.core import Outcome

Function = Callable[..., Any]
Gradient = Callable[..., Sequence[Any]]
Bounds = tuple[Fraction, Fraction]

_PRECISION = 96  # bits; boxes stay far wider than 2^-96


def positive(
    f: Function,
    box: Mapping[str, tuple[Any, Any]] | Sequence[tuple[Any, Any]],
    detail: str,
    gradient: Gradient | None = None,
    max_boxes: int = 100_000,
    *,
    strict: bool = True,
) -> Outcome:
    """Certify ``f(*arbs) > 0`` (>= 0 if not ``strict``) on every point of a closed box.

    ``box`` gives (low, high) for each variable: ints, Fractions or strings like "1/10"; floats are
    refused.  ``gradient(*arbs)`` returns the partial derivatives, in the order of the variables.
    A non-finite ball (log of a ball that touches 0) is never positive: its box is split.

    "refuted" only where the ball at a single rational point is certainly <= 0 (< 0 if not
    ``strict``); running out of ``max_boxes`` is "undecided".
    """
    from flint import arb, ctx

    names, start = _read_box(box)
    floor = float("inf")
    with ctx.workprec(_PRECISION):
        tie = count()
        heap: list[tuple[float, int, tuple[Bounds, ...]]] = [(0.0, next(tie), start)]
        boxes = 0
        while heap:
            # Smallest lower bound first: a false claim is found where it is worst.
            _, _, current = heapq.heappop(heap)
            boxes += 1
            middle = tuple((lo + hi) / 2 for lo, hi in current)
            at_middle = f(*(_ball(m, m) for m in middle))
            if at_middle <= 0 if strict else at_middle < 0:
                return _refuted(names, middle, at_middle, detail, strict)
            value, current, smear = _bound(f, gradient, current, middle, at_middle)
            if value > 0 if strict else value >= 0:
                floor = min(floor, float(value.lower()))
                continue
            if boxes >= max_boxes:
                return Outcome(
                    "undecided",
                    f"{detail}: budget of {max_boxes} boxes spent, {len(heap) + 1} are left;"
                    f" near {_show(names, middle)} the value is {at_middle.str(6)}",
                )
            widths = [float(hi - lo) * w for (lo, hi), w in zip(current, smear, strict=True)]
            axis = max(range(len(widths)), key=widths.__getitem__)
            lo, hi = current[axis]
            if lo == hi:
                axis = max(range(len(current)), key=lambda i: current[i][1] - current[i][0])
                lo, hi = current[axis]
            if lo == hi:
                point = tuple(lo for lo, _ in current)
                at_point = f(*(_ball(m, m) for m in point))
                if at_point <= 0 if strict else at_point < 0:
                    return _refuted(names, point, at_point, detail, strict)
                return Outcome(
                    "undecided",
                    f"{detail}: at {_show(names, point)} the value is {at_point.str(6)},"
                    f" whose sign {_PRECISION} bits do not decide",
                )
            key = float(value.lower()) if value.is_finite() else float("-inf")
            cut = (lo + hi) / 2
            for half in ((lo, cut), (cut, hi)):
                child = (*current[:axis], half, *current[axis + 1 :])
                heapq.heappush(heap, (key, next(tie), child))
        assert isinstance(at_middle, arb)
    bound = f" >= {floor:.3g}" if floor > 0 else ""
    return Outcome("proved", f"{detail}: {boxes} boxes certified{bound}", residual=floor)


def _bound(
    f: Function,
    gradient: Gradient | None,
    box: tuple[Bounds, ...],
    middle: tuple[Fraction, ...],
    at_middle: Any,
) -> tuple[Any, tuple[Bounds, ...], list[float]]:
    """Enclose ``min f`` on a box: (ball, box that holds the minimum, sensitivity per axis)."""
    balls = [_ball(lo, hi) for lo, hi in box]
    flat = [1.0] * len(box)
    value = f(*balls)
    if value > 0 or gradient is None:
        return value, box, flat
    slopes = list(gradient(*balls))
    if len(slopes) != len(box):
        raise ValueError(f"certified: the gradient has {len(slopes)} entries, not {len(box)}")
    if not all(s.is_finite() for s in slopes):
        return value, box, flat
    mean = at_middle
    for slope, x, m in zip(slopes, balls, middle, strict=True):
        mean += slope * (x - _ball(m, m))
    if not value.is_finite() or mean.lower() > value.lower():
        value = mean
    # Monotone in a variable: the minimum over the box lies on one face.
    reduced = tuple(
        (lo, lo) if s >= 0 else (hi, hi) if s <= 0 else (lo, hi)
        for s, (lo, hi) in zip(slopes, box, strict=True)
    )
    if reduced != box and not value > 0:
        face = f(*(_ball(lo, hi) for lo, hi in reduced))
        if face.is_finite() and face.lower() > value.lower():
            value = face
    return value, reduced, [float(abs(s).upper()) for s in slopes]


def _ball(low: Fraction, high: Fraction) -> Any:
    from flint import arb, fmpq

    def exact(x: Fraction) -> Any:
        return arb(fmpq(x.numerator, x.denominator))

    if low == high:
        return exact(low)
    ball = exact(low).union(exact(high))
    # A radius has 30 bits, so [0, 1] would come out as [-1e-9, 1]: cut what is below 0 again.
    return ball.nonnegative_part() if low >= 0 else ball


def _read_box(
    box: Mapping[str, tuple[Any, Any]] | Sequence[tuple[Any, Any]],
) -> tuple[list[str], tuple[Bounds, ...]]:
    named = (
        list(box.items())
        if isinstance(box, Mapping)
        else [(f"x{i}", bounds) for i, bounds in enumerate(box)]
    )
    if not named:
        raise ValueError("certified: box is empty; nothing would be certified")
    result = []
    for name, bounds in named:
        if any(isinstance(b, float) for b in bounds):
            raise TypeError(f"certified: bounds {bounds} of {name} hold a float; use '1/10'")
        low, high = (Fraction(str(b)) for b in bounds)
        if low > high:
            raise ValueError(f"certified: bounds of {name} are reversed: {low} > {high}")
        result.append((low, high))
    return [n for n, _ in named], tuple(result)


def _refuted(
    names: Sequence[str], point: Sequence[Fraction], value: Any, detail: str, strict: bool
) -> Outcome:
    return Outcome(
        "refuted",
        f"{detail}: not {'> 0' if strict else '>= 0'} everywhere",
        residual=float(value.mid()),
        counterexample=f"at {_show(names, point)} the value is {value.str(6)}",
    )


def _show(names: Sequence[str], point: Sequence[Fraction]) -> str:
    return ", ".join(f"{n} = {v}" for n, v in zip(names, point, strict=True))


def differentiable(expr: Any, symbols: Sequence[Any]) -> tuple[Function, Gradient]:
    """The function and gradient of a sympy expression, ready for ``positive``."""
    return lambdify(expr, symbols), lambdify([expr.diff(s) for s in symbols], symbols)


def lambdify(expr: Any, symbols: Sequence[Any]) -> Function:
    """Compile a sympy expression (or a list of them) to a function of Arb balls.

    Rationals are printed as exact quotients, never as floats; a Float raises ``TypeError``.
    Known: + - * / powers, exp, log, sqrt, sin, cos, sinh, cosh, tanh, Abs, pi, E.
    """
    import sympy as sp

    many = isinstance(expr, list | tuple)
    exprs = [sp.sympify(e) for e in (expr if many else [expr])]
    for e in exprs:
        if e.has(sp.Float):
            raise TypeError(f"certified.lambdify: {e} holds a Float; use Rational")
        unknown = e.free_symbols - set(symbols)
        if unknown:
            raise ValueError(f"certified.lambdify: {sorted(map(str, unknown))} are not arguments")
    shared, reduced = sp.cse(exprs, symbols=sp.numbered_symbols("t_", cls=sp.Dummy))
    names = {s: f"x{i}" for i, s in enumerate(symbols)}
    lines = []
    for i, (temporary, sub) in enumerate(shared):
        lines.append(f"    t{i} = {_print(sub, names)}")
        names[temporary] = f"t{i}"
    values = [_print(e, names) for e in reduced]
    result = f"[{', '.join(values)}]" if many else values[0]
    arguments = ", ".join(f"x{i}" for i in range(len(symbols)))
    source = "\n".join([f"def compiled({arguments}):", *lines, f"    return {result}", ""])
    from flint import arb, fmpq

    scope: dict[str, Any] = {"arb": arb, "fmpq": fmpq, "power": power}
    exec(compile(source, "<certified.lambdify>", "exec"), scope)
    function: Function = scope["compiled"]
    return function


def power(x: Any, n: int) -> Any:
    """``x**n`` for an integer n; python-flint's own ``**`` is nan on balls that contain 0."""
    from flint import arb

    if n < 0:
        return 1 / power(x, -n)
    if n == 0:
        return arb(1)
    half = power(x, n // 2)
    square = (half * half).nonnegative_part()
    return square * x if n % 2 else square


_METHODS = ("exp", "log", "sin", "cos", "sinh", "cosh", "tanh")


def _print(e: Any, names: Mapping[Any, str]) -> str:
    import sympy as sp

    if e in names:
        return names[e]
    if isinstance(e, sp.Rational):
        return f"arb({e.p})" if e.q == 1 else f"arb(fmpq({e.p}, {e.q}))"
    if e is sp.pi:
        return "arb.pi()"
    if e is sp.E:
        return "arb.const_e()"
    args = [_print(a, names) for a in e.args]
    if isinstance(e, sp.Add):
        return "(" + " + ".join(args) + ")"
    if isinstance(e, sp.Mul):
        return "(" + " * ".join(args) + ")"
    if isinstance(e, sp.Pow):
        base, exponent = e.args
        if isinstance(exponent, sp.Integer):
            return f"power({args[0]}, {int(exponent)})"
        if base is sp.E:
            return f"({args[1]}).exp()"
        if exponent == sp.Rational(1, 2):
            return f"({args[0]}).sqrt()"
        return f"(({args[1]}) * ({args[0]}).log()).exp()"
    if isinstance(e, sp.Abs):
        return f"abs({args[0]})"
    if e.func.__name__ in _METHODS and len(args) == 1:
        return f"({args[0]}).{e.func.__name__}()"
    raise TypeError(f"certified.lambdify: cannot print {e.func.__name__} exactly")
