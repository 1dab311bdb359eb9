"""C2: at its optimum differential smoothing trades nothing: all correct, uniformly spread."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from diffsmooth.theory.statements._logs import Logs, entropy, log
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import log_sigmoid, log_sum, shannon
from diffsmooth.theory.statements._weighted import EPS, Vector
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, least


class Point(NamedTuple):
    """A policy through what J sees of it, with the strengths and log M.

    ``deficit`` = log M - H(q), ``c_log_c`` = C log C, ``f_log_f`` = (1-C) log(1-C): the caller
    chooses the arithmetic (sympy, z3, formal logarithms, balls, floats).
    """

    c: Any
    deficit: Any
    h_f: Any
    c_log_c: Any
    f_log_f: Any
    g_p: Any
    g_n: Any
    log_m: Any

    @property
    def h_wrong(self) -> Any:
        """H_F = -sum_F pi log pi."""
        return self.h_f * (1 - self.c) - self.f_log_f


@dataclass(frozen=True)
class GlobalMaximum:
    """The gap of J below its claimed maximum: C = 1 and q uniform on the M correct trajectories.

    ``gap``: J* - J exactly.  ``bound``: a lower bound of it whose terms are all >= 0 and vanish
    together only at the maximum.
    """

    gap: Callable[[Point], Any]
    bound: Callable[[Point], Any]


def _gap(at: Point) -> Any:
    h_s = (at.log_m - at.deficit) * at.c - at.c_log_c
    return (1 + at.g_p + at.g_n) * (1 - at.c) + (at.log_m - h_s) * at.g_p + at.h_wrong * at.g_n


def _bound(at: Point) -> Any:
    slope = at.log_m * at.g_p + (1 + at.g_n)
    return slope * (1 - at.c) + at.deficit * (at.g_p * at.c) + at.h_wrong * at.g_n


CLAIM = GlobalMaximum(gap=_gap, bound=_bound)


def _objective(c: Any, h_q: Any, h_f: Any, *, g_p: Any, g_n: Any, log: Any) -> Any:
    """J of C1 in the coordinates (C, q, f)."""
    return (1 + g_p + g_n) * c + g_p * c * (h_q - log(c)) - g_n * (1 - c) * (h_f - log(1 - c))


def _symbolic(claim: GlobalMaximum, _: Budget) -> Outcome:
    """The gap is what it says; no interior stationary point; the entropy bonus stops short of 1."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    c, g_p, g_n, g = sp.symbols("C g_p g_n g", positive=True)
    h_q, h_f, log_m = sp.symbols("H_q H_f logM", real=True)
    m, n = sp.symbols("M N", positive=True)
    j = _objective(c, h_q, h_f, g_p=g_p, g_n=g_n, log=sp.log)
    top = (1 + g_p + g_n) + g_p * log_m  # C log C -> 0 at C = 1, and the incorrect part is gone
    gap = claim.gap(
        Point(c, log_m - h_q, h_f, c * sp.log(c), (1 - c) * sp.log(1 - c), g_p, g_n, log_m)
    )
    bonus = c + g * (c * (sp.log(m) - sp.log(c)) + (1 - c) * (sp.log(n) - sp.log(1 - c)))
    ceiling = m * sp.exp(1 / g) / (m * sp.exp(1 / g) + n)
    inside = {c: sp.Rational(1, 3)}
    return symbolic.zero(
        {
            "J* - J minus gap": top - j - gap,
            "dJ/dC": sp.diff(j, c) - 1 - g_p * (h_q - sp.log(c)) - g_n * (h_f - sp.log(1 - c)),
            "entropy bonus is stationary at its ceiling": sp.simplify(
                sp.diff(bonus, c).subs(c, ceiling)
            ),
        },
        [c, h_q, h_f, log_m, g_p, g_n, m, n, g],
        "identities in (C, H(q), H(f))",
        where=lambda point: point.get(c, inside[c]) < 1,
    )


def _lumped(claim: GlobalMaximum, _: Budget) -> Outcome:
    """gap >= bound >= 0 from two facts about the logarithm: C log C >= C - 1, and it is <= 0."""
    import z3

    from diffsmooth.theory.verify import smt

    c, d, h_f, clc, flf, g_p, g_n, log_m = z3.Reals("C d H_f ClogC FlogF g_p g_n logM")
    facts = [
        c > 0,
        c <= 1,
        d >= 0,
        d <= log_m,
        h_f >= 0,
        g_p > 0,
        g_n >= 0,
        clc >= c - 1,
        clc <= 0,
        flf <= 0,
        flf >= -c,
    ]
    point = Point(c, d, h_f, clc, flf, g_p, g_n, log_m)
    gap, bound = claim.gap(point), claim.bound(point)
    return smt.prove(
        facts,
        [gap >= bound, bound >= 0, z3.Implies(bound == 0, z3.And(c == 1, d == 0))],
        "J* - J >= (1 + g_n + g_p log M)(1 - C) + g_p C (log M - H(q)) + g_n H_F",
    )


def _logarithm(claim: GlobalMaximum, _: Budget) -> Outcome:
    """The two facts themselves, with the equality case c = 1 peeled off: c = e^-u, u > 0."""
    from flint import arb

    from diffsmooth.theory.verify import certified

    # C log C - (C - 1) = 1 - e^-u - u e^-u, which vanishes to second order: divided by u^2 it is
    # the integral of s e^(-us) over s in [0, 1], and at least e^-u / 2.
    def second_order(u: Any) -> Any:
        return (arb(1) - (-u).exp() * (1 + u)) - u * u * (-u).exp() / 3

    def lower(c: Any) -> Any:
        zero, one = arb(0), arb(1)
        point = Point(c, zero, zero, c * c.log(), zero, one, zero, arb(4).log())
        return claim.gap(point) - claim.bound(point)

    return together(
        lambda: certified.positive(
            second_order, {"u": ("1/20", 30)}, "C log C > C - 1 with C = e^-u"
        ),
        lambda: certified.positive(
            lower, {"C": ("1/1000", "99/100")}, "gap > bound, M = 4, q uniform, g_p = 1, g_n = 0"
        ),
    )


def _exact(claim: GlobalMaximum, budget: Budget) -> Outcome:
    """Formal logarithms of rational policies: the sign of gap - bound is decided rigorously."""
    from fractions import Fraction
    from random import Random

    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def signs(right: Any, wrong: Any, g_p: Any, g_n: Any) -> list[int]:
        mass = sum(right) + sum(wrong)
        c = Fraction(sum(right), mass)
        q = [Fraction(x, sum(right)) for x in right]
        f = [Fraction(x, sum(wrong)) for x in wrong]
        log_m, h_f = log(len(right)), entropy(f)
        clc, flf = log(c) * c, log(1 - c) * (1 - c)
        d = log_m - entropy(q)
        point = Point(c, d, h_f, clc, flf, g_p, g_n, log_m)
        gap, bound = claim.gap(point), claim.bound(point)
        return [Logs.sign(gap + Logs()), Logs.sign(bound + Logs()), Logs.sign(gap - bound)]

    def instance(right: int, wrong: int) -> dict[str, Any]:
        return {
            "right": [rng.randint(1, 9) for _ in range(right)],
            "wrong": [rng.randint(1, 9) for _ in range(wrong)],
            "g_p": Fraction(rng.randint(1, 8), 4),
            "g_n": Fraction(rng.randint(0, 8), 4),
        }

    sizes = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 3), (6, 5)]
    return exact.inequality(
        signs, [instance(*size) for size in sizes for _ in range(3)], "gap, bound, gap - bound"
    )


def _adversarial(claim: GlobalMaximum, budget: Budget) -> Outcome:
    """Look for a policy, with 3 correct and 2 incorrect trajectories, above the claimed maximum."""
    from diffsmooth.theory.verify import adversarial

    def margin(x: Vector) -> float:
        lc, lf = log_sigmoid(float(x[0])), log_sigmoid(float(-x[0]))
        log_q, log_f = x[1:4] - log_sum(x[1:4]), x[4:6] - log_sum(x[4:6])
        g_p, g_n = math.exp(min(x[6], 3.0)), math.exp(min(x[7], 3.0))
        c, h_f, log_m = math.exp(lc), shannon(log_f), math.log(3)
        clc, flf = c * lc, math.exp(lf) * lf
        d = log_m - shannon(log_q)
        point = Point(c, d, h_f, clc, flf, g_p, g_n, log_m)
        gap, bound = claim.gap(point), claim.bound(point)
        return least(gap - bound, bound) / (1 + g_p + g_n)

    # Entropies of five numbers: each is off by fewer than 100 roundings of size log 3.
    return adversarial.minimise(
        margin,
        lambda rng: rng.normal(size=8),
        budget,
        "J* - J and its bound",
        400 * EPS,
        evaluations=400,
    )


def _climb(claim: GlobalMaximum, budget: Budget) -> Outcome:
    """The library's flow climbs J: it never passes the maximum and the gap shrinks along it."""
    from hypothesis import strategies as st

    from diffsmooth.theory.gradients import smoothing_gradient
    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.verify import random

    def gap(policy: Any, g_p: float, g_n: float) -> float:
        lc, lf = float(policy.log_C), float(policy.log_1mC)
        log_q = policy.log_q[policy.correct]
        log_f = policy.log_f[~policy.correct]
        log_m = math.log(log_q.size)
        return float(
            claim.gap(
                Point(
                    math.exp(lc),
                    log_m - shannon(log_q),
                    shannon(log_f),
                    math.exp(lc) * lc,
                    math.exp(lf) * lf,
                    g_p,
                    g_n,
                    log_m,
                )
            )
        )

    def margin(instance: tuple[list[float], float, float]) -> tuple[float, float]:
        z, g_p, g_n = instance
        logits = np.array(z)
        correct = np.arange(5) < 3
        policy = Policy.from_logits(logits, correct)
        grad = smoothing_gradient(policy, g_p, g_n, centred=False)
        step = 1e-3
        after = Policy.from_logits(logits + step * grad, correct)
        slope = float(grad @ grad)
        # J's second derivative along a unit direction is at most 8 (1+g_p+g_n)(1+|log pi|).
        scale = (1 + g_p + g_n) * (1 + float(np.abs(policy.log_probs).max()))
        change = gap(policy, g_p, g_n) - gap(after, g_p, g_n) - step * slope
        tolerance = 8 * scale * step * step * slope + 200 * EPS * scale
        return least(tolerance - abs(change), gap(after, g_p, g_n) + 200 * EPS * scale), 0.0

    return random.for_all(
        st.tuples(
            st.lists(st.floats(-3, 3), min_size=5, max_size=5), st.floats(0.1, 2), st.floats(0, 2)
        ),
        margin,
        budget,
        "a step of the library's gradient closes the gap by |grad J|^2",
    )


STATEMENT = Statement(
    id="C2",
    title="At the optimum of smoothing there is no trade-off: C = 1 and q uniform",
    source="new",
    reference="theory.md C2; contrast B10 (entropy bonus) and A3 (vanilla)",
    assumptions=(
        "the objective J of C1 with g_p > 0, g_n >= 0, M correct trajectories",
        "maximum over all policies, boundary included: softmax policies only approach it",
    ),
    latex=(
        r"J^*-J\;\geq\;(1+g_n+g_p\log M)(1-C)+g_p\,C\,(\log M-H(q))+g_n\,H_F(\pi)\;\geq\;0"
        "\n\n"
        r"with equality iff $C=1$ and $q$ is uniform on the $M$ correct trajectories; no interior "
        r"point is stationary:"
        "\n\n"
        r"\frac{\partial J}{\partial C}=1+g_p\,(H(q)-\log C)+g_n\,(H(f)-\log(1-C))>1"
        "\n\n"
        r"An entropy bonus alone stops at $C=M e^{1/g}/(M e^{1/g}+N)<1$; for vanilla RL every $q$ "
        r"is optimal."
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", _symbolic, note="all C in (0,1), any q, f, M (through their entropies)"),
        Method(
            "smt",
            _lumped,
            note="any number of trajectories, all g_p > 0, g_n >= 0, given two facts on log",
        ),
        Method("certified", _logarithm, note="u in [1/20, 30]; C in [1/1000, 99/100] at M = 4"),
        Method("exact", _exact, note="18 rational policies with 2..11 trajectories"),
        Method(
            "adversarial", _adversarial, note="|S| = 3, |F| = 2, any policy and strengths up to e^3"
        ),
        Method("random", _climb, note="|S| = 3, |F| = 2, logits in [-3, 3]"),
    ),
    mutants=(
        Mutant(
            "a surplus in the bound: g_p (1 - C) more",
            replace(CLAIM, bound=lambda at: _bound(at) + at.g_p * (1 - at.c)),
            ("smt", "certified", "exact", "adversarial"),
        ),
        Mutant(
            "the incorrect part's entropy is rewarded",
            replace(CLAIM, bound=lambda at: _bound(at) - at.h_wrong * (2 * at.g_n)),
            ("smt", "exact", "adversarial"),
        ),
        Mutant(
            "J without the entropy of q: every q is optimal",
            replace(CLAIM, gap=lambda at: _gap(at) - at.deficit * (at.g_p * at.c)),
            ("symbolic", "smt", "random"),
        ),
    ),
    limits=(
        "The maximum lies on the boundary (C = 1): no softmax policy attains it, and the statement "
        "says nothing about how long the flow takes.  Interior points are never stationary, but "
        "faces of the simplex (some correct trajectory at probability 0) are invariant."
    ),
)
