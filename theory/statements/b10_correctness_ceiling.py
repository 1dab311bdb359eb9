"""B10: with an entropy bonus alone correctness stays below a ceiling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from diffsmooth.theory.statements import _balls as arb
from diffsmooth.theory.statements import _gibbs, _logs
from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._steps import identities, rational_identities, together
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement

Number = Any


@dataclass(frozen=True)
class Ceiling:
    """``correctness(M, N, E)`` with E = e^(1/g); ``log_weight(r, g)`` of the optimum.

    ``inverse(C, M, N)``: the E that a wanted correctness needs.
    """

    correctness: Callable[[Number, Number, Number], Number] = lambda m, n, e: m * e / (m * e + n)
    log_weight: Callable[[Number, Number], Number] = lambda r, g: r / g
    inverse: Callable[[Number, Number, Number], Number] = lambda c, m, n: c * n / ((1 - c) * m)


def _symbolic(claim: Ceiling, budget: Budget) -> Outcome:
    """Gibbs' identity for each trajectory, and the count of weights: M of e^(1/g), N of 1."""
    import sympy as sp

    g, m, n, e = sp.symbols("g M N E", positive=True)
    r, u = sp.symbols("r u", real=True)
    c = claim.correctness(m, n, e)
    return identities(
        {
            "the objective": _gibbs.term(r - g * u, g, claim.log_weight(r, g), u),
            "C": c - m * sp.exp(sp.log(e)) / (m * e + n),
            "what is missing": 1 - c - n / (m * e + n),
            "E for a wanted C": claim.inverse(c, m, n) - e,
        },
        "the ceiling",
    )


def _smt(claim: Ceiling, budget: Budget) -> Outcome:
    """All real M, N > 0 and E > 1."""
    import z3

    from diffsmooth.theory.verify import smt

    m, n, e, e2 = z3.Reals("M N E E2")
    given = [m > 0, n > 0, e > 1]
    c = claim.correctness(m, n, e)
    return together(
        partial(smt.prove, given, [c < 1, c * (m + n) > m], "M/(M+N) < C < 1"),
        partial(
            smt.prove,
            [*given, e2 > e],
            claim.correctness(m, n, e2) > c,
            "C rises with e^(1/g): the weaker the bonus, the higher the ceiling",
        ),
    )


def _exact(claim: Ceiling, budget: Budget) -> Outcome:
    """The optimum against arbitrary rational policies; 1/g = log E is formal."""

    def residuals(m: int, n: int, e: Fraction, pi: list[Fraction]) -> dict[str, Fraction]:
        c = Fraction(claim.correctness(Fraction(m), Fraction(n), e))
        best = [c / m] * m + [(1 - c) / n] * n

        def objective(i: int, u: _logs.Logs) -> _logs.Logs:
            reward = claim.log_weight(_logs.log(e), Fraction(1)) if i < m else _logs.Logs()
            return reward - u

        return _gibbs.named(
            {
                "J* - J = g KL(pi||pi*)": _gibbs.shortfall(objective, best, pi),
                "E for a wanted C": _logs.Logs(claim.inverse(c, m, n) - e),
            }
        )

    instances = [
        {"m": m, "n": n, "e": e, "pi": pi}
        for m in (1, 2, 4)
        for n in (1, 3, 5)
        for e in (Fraction(11, 10), Fraction(3), Fraction(50))
        for pi in _gibbs.policies(tab.RationalBase((1,) * m, (1,) * n, 1), 2, budget.seed + m + n)
    ]
    return rational_identities(residuals, instances, "the optimum against arbitrary policies")


def _certified(claim: Ceiling, budget: Budget) -> Outcome:
    """The ceiling where it bites: one solution among a million, g >= .08."""
    from diffsmooth.theory.verify import certified

    def below(g: Any) -> Any:
        e = (1 / g).exp()
        return arb.ball("4/5") - claim.correctness(arb.ball(2), arb.ball(10**6), e)

    return certified.positive(
        below,
        {"g": ("2/25", 1)},
        "M = 2, N = 10^6: C < .8 for every g in [.08, 1]",
    )


def _random(claim: Ceiling, budget: Budget) -> Outcome:
    """The library's entropy-regularised optimum at a = 0, whatever the base policy."""
    from hypothesis import strategies as st

    from diffsmooth.theory.optima import entropy_bonus
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[tab.LogitBase, float]) -> tuple[float, float]:
        base, y = instance
        m, n, split = len(base.correct), len(base.incorrect), len(base.correct)
        # B4: the base-surprisal form with g = beta is the bonus alone (exponent a = 0).
        policy = entropy_bonus(base.policy(), 1 / y, 1 / y, form="base")
        c = claim.correctness(m, n, float(np.exp(y)))
        error = _gibbs.deviation(
            [
                (np.exp(np.asarray(policy.log_C)), c),
                (np.asarray(policy.log_q)[:split], np.full(m, -np.log(m))),
                (np.asarray(policy.log_f)[split:], np.full(n, -np.log(n))),
                (policy.logit_C, np.log(m / n) + claim.log_weight(1.0, 1 / y)),
            ]
        )
        return -error, tab.rounding(m + n, base.spread + y)

    strategy = st.tuples(tab.logit_bases(), tab.decimals(1 / 16, 16))
    return random.for_all(strategy, margin, budget, "the library's optimum at a = 0")


def draw(ax: Any) -> None:
    """The ceiling against the strength of the bonus."""
    grid = np.linspace(0.03, 0.5, 200)
    claim = Ceiling()
    for m, n, dash, colour in (
        (100, 10**3, "-", "#0072B2"),
        (1, 10**3, "--", "#D55E00"),
        (1, 10**6, ":", "#009E73"),
    ):
        values = [claim.correctness(m, n, float(np.exp(1 / g))) for g in grid]
        ax.plot(grid, values, dash, color=colour, label=f"M = {m}, N = {n:,}")
    ax.set(xlabel="bonus $g$", ylabel="correctness $C$ at the optimum")
    ax.legend(fontsize="small")


STATEMENT = Statement(
    id="B10",
    title="The correctness ceiling of an entropy bonus alone",
    source="paper",
    reference="theory.md B10",
    assumptions=(
        "no KL term (beta = 0), bonus g > 0; M correct and N incorrect trajectories, M, N >= 1",
    ),
    latex=(
        r"$\max\;\mathrm{E}_\pi r+g\,H(\pi)$ has the optimum $q$, $f$ uniform and"
        r" $C=\frac{M e^{1/g}}{M e^{1/g}+N}<1$, whatever the base policy."
    ),
    claim=Ceiling(),
    methods=(
        Method("symbolic", _symbolic, note="any M, N, g > 0"),
        Method("smt", _smt, note="all real M, N > 0, e^(1/g) > 1"),
        Method("exact", _exact, note="M <= 4, N <= 5, arbitrary rational policies"),
        Method("certified", _certified, note="M = 2, N = 10^6, every g in [.08, 1]"),
        Method("random", _random, note="the library: M, N <= 6, 1/g in [1/16, 16]"),
    ),
    mutants=(
        Mutant(
            "correct and incorrect exchanged",
            Ceiling(correctness=lambda m, n, e: m / (m + n * e)),
            ("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "the numbers of trajectories forgotten",
            Ceiling(correctness=lambda m, n, e: e / (1 + e)),
            ("symbolic", "smt", "exact", "certified", "random"),
        ),
        Mutant(
            "the ceiling is 1",
            Ceiling(correctness=lambda m, n, e: (m * e + n) / (m * e + n)),
            ("symbolic", "smt", "certified", "random"),
        ),
    ),
    limits="An optimum without KL: the base policy plays no part. Smoothing has no ceiling (C2).",
    figure=draw,
)
