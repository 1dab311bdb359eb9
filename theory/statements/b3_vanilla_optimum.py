"""B3: the optimum of KL-regularised RL keeps the correct part as the base policy has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from diffsmooth.theory.statements import _gibbs, _logs
from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import identities, rational_identities
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement

Number = Any


@dataclass(frozen=True)
class Vanilla:
    """``exponent``: q and f are proportional to b^exponent; ``logit(logit p, 1/beta)`` of C.

    ``odds(p/(1-p), e^(1/beta))`` is the same as a polynomial in E = e^(1/beta).
    """

    exponent: Fraction = Fraction(1)
    logit: Callable[[Number, Number], Number] = lambda logit_p, y: logit_p + y
    odds: Callable[[Number, Number], Number] = lambda odds_p, e: odds_p * e


def _symbolic(claim: Vanilla, budget: Budget) -> Outcome:
    """Gibbs' identity for each trajectory (B1), then the masses: sums over S and F factor."""
    import sympy as sp

    beta, b, b2 = sp.symbols("beta b_i b_j", positive=True)
    u, v, log_p, log_1p = sp.symbols("u v l_p l_1p", real=True)
    a = sp.Rational(claim.exponent.numerator, claim.exponent.denominator)
    own = Law("b_S", [v])
    weight_s, weight_f = b * sp.exp(1 / beta), b  # of B1 with rho = r
    return identities(
        {
            "the objective on S": _gibbs.term(1 - beta * (u - v), beta, a * v + 1 / beta, u),
            "the objective on F": _gibbs.term(-beta * (u - v), beta, a * v, u),
            "q_i/q_j": sp.powsimp(weight_s / weight_s.subs(b, b2) - (b / b2) ** a),
            "f_i/f_j": weight_f / weight_f.subs(b, b2) - (b / b2) ** a,
            # log sum_S b e^(1/beta) = log p + 1/beta, whatever the number of trajectories.
            "logit C": (log_p + own.mean(1 / beta))
            - log_1p
            - claim.logit(log_p - log_1p, 1 / beta),
        },
        "the vanilla optimum",
    )


def _smt(claim: Vanilla, budget: Budget) -> Outcome:
    """Any number of trajectories: the masses of S and F are all that C sees."""
    import z3

    from diffsmooth.theory.verify import smt

    (p, wrong), assumptions = smt.lumps("p", "F")
    e = z3.Real("E")
    mass = p * e + wrong
    c = z3.Real("C")
    return smt.prove(
        [*assumptions, e > 1, c * mass == p * e],
        [
            c * wrong == claim.odds(p, e) * (1 - c),  # the odds of C, times F = 1 - p
            c > p,
            c < 1,
        ],
        "C/(1-C) = E p/(1-p) and p < C < 1",
    )


def _exact(claim: Vanilla, budget: Budget) -> Outcome:
    """The optimum written out, against arbitrary rational policies; y = log E is formal."""

    def residuals(base: tab.RationalBase, e: Fraction, pi: list[Fraction]) -> dict[str, Fraction]:
        law, split, y = base.law(), len(base.correct), _logs.log(e)
        c = base.p * e / (base.p * e + 1 - base.p)
        j = claim.exponent * base.d
        if j.denominator != 1:
            raise ValueError(f"exponent {claim.exponent} is no multiple of 1/{base.d}")
        best = base.join(c, base.q(int(j)), base.f(int(j)))

        def objective(i: int, u: _logs.Logs) -> _logs.Logs:
            return (y if i < split else _logs.Logs()) - (u - _logs.log(law[i]))

        gap = _gibbs.shortfall(objective, best, pi)
        return _gibbs.named(
            {
                "J* - J = beta KL(pi||pi*)": gap,
                "logit C": _logs.logit(c) - claim.logit(_logs.logit(base.p), y),
            }
        )

    instances = [
        {"base": base, "e": e, "pi": pi}
        for base in tab.rational_bases(60 if budget.deep else 16, budget.seed)
        for e in (Fraction(3, 2), Fraction(20))
        for pi in _gibbs.policies(base, 2, budget.seed)
    ]
    return rational_identities(residuals, instances, "the optimum against arbitrary policies")


def _random(claim: Vanilla, budget: Budget) -> Outcome:
    """The library's vanilla optimum and every measure of its correct part."""
    from hypothesis import strategies as st

    from diffsmooth.theory import diversity
    from diffsmooth.theory.optima import vanilla
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[tab.LogitBase, float]) -> tuple[float, float]:
        base, y = instance
        b, split = base.policy(), len(base.correct)
        best = vanilla(b, 1 / y)
        s, f = base.logits[:split], base.logits[split:]
        a = float(claim.exponent)
        error = _gibbs.deviation(
            [
                (np.asarray(best.log_q)[:split], tab.tempered(s, a)),
                (np.asarray(best.log_f)[split:], tab.tempered(f, a)),
                (best.logit_C, claim.logit(tab.log_sum(s) - tab.log_sum(f), y)),
                (diversity.shannon(best.log_q), tab.shannon(tab.tempered(s, 1.0))),
            ]
        )
        return -error, tab.rounding(len(base.logits), base.spread + y)

    strategy = st.tuples(tab.logit_bases(), tab.decimals(1 / 16, 16))
    return random.for_all(strategy, margin, budget, "the library's vanilla optimum")


def _adversarial(claim: Vanilla, budget: Budget) -> Outcome:
    """An optimiser tries to beat the claimed optimum."""
    from diffsmooth.theory.verify import adversarial

    reward = np.array([1.0, 1.0, 0.0, 0.0])

    def margin(x: tab.Array) -> float:
        if np.max(np.abs(x)) > 8:
            return np.inf
        v, rival, beta = tab.tempered(x[:4], 1.0), tab.tempered(x[4:8], 1.0), np.exp(x[8] / 4)
        a = float(claim.exponent)
        logit = claim.logit(tab.log_sum(v[:2]) - tab.log_sum(v[2:]), float(1 / beta))
        best = np.concatenate(
            [
                tab.log_sigmoid(logit) + tab.tempered(v[:2], a),
                tab.log_sigmoid(-logit) + tab.tempered(v[2:], a),
            ]
        )
        return _gibbs.loss(lambda u: reward - beta * (u - v), best, rival)

    return adversarial.minimise(
        margin,
        lambda rng: rng.normal(size=9),
        budget,
        "no policy beats the claimed optimum",
        8 * tab.rounding(4, 40.0),
        evaluations=300,
    )


def _draw(ax: Any) -> None:
    """Correctness rises with 1/beta; the shares of the correct trajectories stand still."""
    from diffsmooth.theory.optima import vanilla
    from diffsmooth.theory.policy import Policy

    base = Policy.from_probs([0.12, 0.06, 0.02, 0.5, 0.3], np.arange(5) < 3)
    grid = np.linspace(0.05, 6.0, 60)
    best = [vanilla(base, 1 / float(y)) for y in grid]
    ax.plot(grid, [float(pi.C) for pi in best], "k-", lw=2, label="correctness $C$")
    for k, (colour, dash) in enumerate((("#0072B2", "--"), ("#D55E00", "-."), ("#009E73", ":"))):
        shares = [float(np.exp(pi.log_q[k])) for pi in best]
        ax.plot(grid, shares, dash, color=colour, label=f"$q_{k + 1}=b_S({k + 1})$")
    ax.set(xlabel=r"$1/\beta$", ylabel="probability", ylim=(0, 1))
    ax.legend(fontsize="small")


STATEMENT = Statement(
    id="B3",
    title="No collapse at the optimum of KL-regularised RL",
    source="paper",
    reference="theory.md B3",
    assumptions=("reward 1 on S and 0 on F, beta > 0, b > 0, S and F not empty",),
    latex=(
        r"\mathrm{argmax}\;C-\beta\,\mathrm{KL}(\pi\|b):\quad q=b_S,\quad f=b_F,\quad"
        r"\mathrm{logit}\,C=\mathrm{logit}\,p+\frac{1}{\beta}"
    ),
    claim=Vanilla(),
    methods=(
        Method("symbolic", _symbolic, note="any number of trajectories, all b > 0, beta > 0"),
        Method("smt", _smt, note="any number of trajectories (lumped), e^(1/beta) > 1"),
        Method("exact", _exact, note="rational policies with 2-10 trajectories"),
        Method("random", _random, note="the library: 2-12 trajectories, 1/beta in [1/16, 16]"),
        Method("adversarial", _adversarial, note="2 + 2 trajectories, base, rival and beta free"),
    ),
    mutants=(
        Mutant(
            "the optimum sharpens: q and f proportional to b^2",
            Vanilla(exponent=Fraction(2)),
            ("symbolic", "exact", "random", "adversarial"),
        ),
        Mutant(
            "the reward lowers C",
            Vanilla(logit=lambda logit_p, y: logit_p - y, odds=lambda odds_p, e: odds_p / e),
            ("symbolic", "smt", "exact", "random", "adversarial"),
        ),
        Mutant(
            "the base policy's odds are forgotten",
            Vanilla(logit=lambda logit_p, y: 0 * logit_p + y, odds=lambda odds_p, e: e),
            ("symbolic", "smt", "exact", "random", "adversarial"),
        ),
    ),
    limits=(
        "The optimum, not the path: sampling (A1) and the softmax geometry (A2-A4) do collapse q"
        " on the way, for the same objective."
    ),
    figure=_draw,
)
