"""Certified engine: Arb balls (outward rounding) with branch and bound.

A ball that is wholly positive proves positivity on a whole box.  The mean-value form
``f(m) + grad f(X) . (X - m)`` beats plain interval extension by orders of magnitude, and where a
partial derivative keeps its sign the box collapses to one face.  The derivatives are obtained from
the function itself (``slopes``), never given.  At most three variables.

Example::

    >>> positive(lambda x: 2 * x - 2 * x.log() - 1, {"x": ("1/10", 10)}, "x - log x > 1/2",
    ...          slopes=True).verdict
    'proved'
    >>> positive(lambda x: x - x.log() - 2, {"x": ("1/10", 10)}, "x - log x > 2").verdict
    'refuted'
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import count
from typing import Any

from diffsmooth.theory.verify.domains import Box, Point
from diffsmooth.theory.verify.receipts import Engine, Outcome
from diffsmooth.theory.verify.slopes import gradient, power

_ENGINE = Engine("certified")

Function = Callable[..., Any]
Bounds = tuple[Fraction, Fraction]

_PRECISION = 96  # bits; boxes stay far wider than 2^-96


def positive(
    f: Function,
    box: Mapping[str, tuple[Any, Any]] | Sequence[tuple[Any, Any]],
    detail: str,
    *,
    slopes: bool = False,
    max_boxes: int = 100_000,
    strict: bool = True,
) -> Outcome:
    """Certify ``f(*arbs) > 0`` (>= 0 if not ``strict``) on every point of a closed box.

    ``box`` gives (low, high) for each variable: ints, Fractions or strings like "1/10"; floats are
    refused.  ``f`` takes balls and returns a ball that encloses its values on them.  ``slopes``
    turns on the mean-value form: far fewer boxes, and derivatives that ``f`` is differentiated for
    (``verify.slopes``; ``TypeError`` for an operation unknown there).  A non-finite ball (log of a
    ball that touches 0) is never positive: its box is split.

    "refuted" only where the ball at a single rational point is certainly <= 0 (< 0 if not
    ``strict``); running out of ``max_boxes`` is "undecided".

    Raises ``TypeError`` where ``f`` returns something else than a ball, and ``ArithmeticError``
    where the ball of a box does not hold the value at a point inside it: ``f`` rounds (a float, a
    midpoint) and encloses nothing.
    """
    from flint import ctx

    names, start = _read_box(box)
    domain = Box(tuple((n, lo, hi) for n, (lo, hi) in zip(names, start, strict=True)))
    claim = f"{detail}: f {'> 0' if strict else '>= 0'}"
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
            at_middle = _value(f, [_ball(m, m) for m in middle])
            if at_middle <= 0 if strict else at_middle < 0:
                return _refuted(names, middle, at_middle, detail, strict)
            whole = current
            value, current, smear = _bound(f, slopes, current, middle, at_middle)
            if value.is_finite() and (value > 0 if strict else value >= 0):
                _check_enclosure(f, whole, names)
                floor = min(floor, float(value.lower()))
                continue
            if boxes >= max_boxes:
                return _ENGINE.issue(
                    "undecided",
                    f"{detail}: budget of {max_boxes} boxes spent, {len(heap) + 1} are left;"
                    f" near {_show(names, middle)} the value is {at_middle.str(6)}",
                    decided=[claim],
                    domain=domain,
                    cases=boxes,
                )
            widths = [float(hi - lo) * w for (lo, hi), w in zip(current, smear, strict=True)]
            axis = max(range(len(widths)), key=widths.__getitem__)
            lo, hi = current[axis]
            if lo == hi:
                axis = max(range(len(current)), key=lambda i: current[i][1] - current[i][0])
                lo, hi = current[axis]
            if lo == hi:
                point = tuple(lo for lo, _ in current)
                at_point = _value(f, [_ball(m, m) for m in point])
                if at_point <= 0 if strict else at_point < 0:
                    return _refuted(names, point, at_point, detail, strict)
                return _ENGINE.issue(
                    "undecided",
                    f"{detail}: at {_show(names, point)} the value is {at_point.str(6)},"
                    f" whose sign {_PRECISION} bits do not decide",
                    decided=[claim],
                    domain=domain,
                    cases=boxes,
                )
            key = float(value.lower()) if value.is_finite() else float("-inf")
            cut = (lo + hi) / 2
            for half in ((lo, cut), (cut, hi)):
                child = (*current[:axis], half, *current[axis + 1 :])
                heapq.heappush(heap, (key, next(tie), child))
    bound = f" >= {floor:.3g}" if floor > 0 else ""
    return _ENGINE.issue(
        "proved",
        f"{detail}: {boxes} boxes certified{bound}",
        decided=[claim],
        domain=domain,
        cases=boxes,
        residual=floor,
    )


def separated(
    margins: Mapping[str, Any], detail: str, *, given: Mapping[str, Any] | None = None
) -> Outcome:
    """Certify that balls computed for one instance are all > 0; ``margins`` names them.

    ``given`` are premises, balls that must be > 0 for the instance to say anything.  "refuted"
    where a margin is certainly <= 0, with its value; "undecided" where a ball reaches 0 or is not
    finite, or a premise is not certain.

    Raises ``ValueError`` for no margin and ``TypeError`` for anything but a ball.
    """
    if not margins:
        raise ValueError(f"certified.separated: {detail}: no margin; nothing would be certified")
    decided = [f"{name} > 0" for name in margins]
    premises = dict(given or {})
    domain = Point(len(margins) + len(premises), tuple(f"{name} > 0" for name in premises))
    open_ = [f"{n} = {ball.str(6)}" for n, ball in premises.items() if not _certain(ball)]
    if open_:
        return _ENGINE.issue(
            "undecided",
            f"{detail}: the premise does not hold for certain: {', '.join(open_)}",
            decided=decided,
            domain=domain,
            cases=len(premises),
        )
    for name, ball in margins.items():
        if _is_ball(ball) and ball <= 0:
            return _ENGINE.issue(
                "refuted",
                detail,
                decided=[f"{name} > 0"],
                domain=domain,
                cases=1,
                residual=float(ball.mid()),
                counterexample=f"{detail} is false: {name} is {ball.str(8)}, not > 0",
            )
    values = ", ".join(f"{name} = {ball.str(6)}" for name, ball in margins.items())
    green = all(_certain(ball) for ball in margins.values())
    return _ENGINE.issue(
        "proved" if green else "undecided",
        f"{detail}: {values}",
        decided=decided,
        domain=domain,
        cases=len(margins),
        residual=min(float(ball.lower()) for ball in margins.values()) if green else None,
    )


def _certain(ball: Any) -> bool:
    """Whether a ball is > 0 for certain; inf is not."""
    return _is_ball(ball) and bool(ball.is_finite() and ball > 0)


def _is_ball(value: Any) -> bool:
    from flint import arb

    if not isinstance(value, arb):
        raise TypeError(f"certified: {value!r} ({type(value).__name__}) is no ball (flint.arb)")
    return True


def _value(f: Function, at: Sequence[Any]) -> Any:
    value = f(*at)
    _is_ball(value)
    return value


def _check_enclosure(f: Function, box: tuple[Bounds, ...], names: Sequence[str]) -> None:
    """The ball of a box must hold the value at a point inside it, here one off its middle."""
    point = tuple(lo + (hi - lo) * Fraction(k + 2, 2 * k + 7) for k, (lo, hi) in enumerate(box))
    whole = _value(f, [_ball(lo, hi) for lo, hi in box])
    inside = _value(f, [_ball(p, p) for p in point])
    if whole.is_finite() and not whole.overlaps(inside):
        raise ArithmeticError(
            f"certified: f is {inside.str(8)} at {_show(names, point)}, outside of the ball"
            f" {whole.str(8)} that it returns for the box around; it encloses nothing"
        )


def _bound(
    f: Function,
    slopes: bool,
    box: tuple[Bounds, ...],
    middle: tuple[Fraction, ...],
    at_middle: Any,
) -> tuple[Any, tuple[Bounds, ...], list[float]]:
    """Enclose ``min f`` on a box: (ball, box that holds the minimum, sensitivity per axis)."""
    balls = [_ball(lo, hi) for lo, hi in box]
    flat = [1.0] * len(box)
    value = _value(f, balls)
    if not slopes or (value.is_finite() and value > 0):
        return value, box, flat
    derivatives = gradient(f, balls)
    if not all(s.is_finite() for s in derivatives):
        return value, box, flat
    mean = at_middle
    for slope, x, m in zip(derivatives, balls, middle, strict=True):
        mean += slope * (x - _ball(m, m))
    if not value.is_finite() or mean.lower() > value.lower():
        value = mean
    # Monotone in a variable: the minimum over the box lies on one face.
    reduced = tuple(
        (lo, lo) if s >= 0 else (hi, hi) if s <= 0 else (lo, hi)
        for s, (lo, hi) in zip(derivatives, box, strict=True)
    )
    if reduced != box and not value > 0:
        face = _value(f, [_ball(lo, hi) for lo, hi in reduced])
        if face.is_finite() and face.lower() > value.lower():
            value = face
    return value, reduced, [float(abs(s).upper()) for s in derivatives]


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
    return _ENGINE.issue(
        "refuted",
        f"{detail}: not {'> 0' if strict else '>= 0'} everywhere",
        decided=[f"{detail}: f {'> 0' if strict else '>= 0'}"],
        domain=Box(tuple((n, p, p) for n, p in zip(names, point, strict=True))),
        cases=1,
        residual=float(value.mid()),
        counterexample=f"at {_show(names, point)} the value is {value.str(6)}",
    )


def _show(names: Sequence[str], point: Sequence[Fraction]) -> str:
    return ", ".join(f"{n} = {v}" for n, v in zip(names, point, strict=True))


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
