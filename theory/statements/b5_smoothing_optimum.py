"""B5: the optimum of differential smoothing, literal and centred."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
class Smoothing:
    """Exponents on S and F, logit C of the literal and of the centred rule.

    ``literal(log S_S(a), log S_F(a'), y)`` with y = 1/beta; ``centred(log S_S(a), log S_F(a'), y,
    (1-a) E_q[log b])`` without a constant; ``constant(beta, wanted, ends)``: the constant on S that
    moves the centred rule's logit C from where it ends to any wanted value.
    """

    correct: Callable[[Number, Number], Number] = lambda beta, g_p: 1 - g_p / beta
    incorrect: Callable[[Number, Number], Number] = lambda beta, g_n: 1 + g_n / beta
    literal: Callable[[Number, Number, Number], Number] = lambda ss, sf, y: ss - sf + y
    centred: Callable[[Number, Number, Number, Number], Number] = lambda ss, sf, y, shift: (
        ss - sf + y + shift
    )
    constant: Callable[[Number, Number, Number], Number] = lambda beta, wanted, ends: (
        beta * (wanted - ends)
    )


def _symbolic(claim: Smoothing, budget: Budget) -> Outcome:
    """Gibbs' identity for each trajectory: u = log pi, v = log b, m = E_q[log b] held fixed."""
    import sympy as sp

    beta, a = sp.symbols("beta a", positive=True)
    g_p, g_n = sp.symbols("g_p g_n", nonnegative=True)
    u, v, m, k, zeta, xi, log_p = sp.symbols("u v m kappa zeta xi l_p", real=True)
    on_s, on_f = claim.correct(beta, g_p), claim.incorrect(beta, g_n)
    wanted = sp.Symbol("wanted", real=True)
    q = Law("q_a", [v])  # log q_a = a v - zeta, zeta = log S_S(a)
    kl_s = q.mean(a * v - zeta - (v - log_p))
    ends = claim.centred(zeta, xi, 1 / beta, (1 - a) * q.mean(v))
    return identities(
        {
            "literal, on S": _gibbs.term(
                1 - g_p * v - beta * (u - v), beta, on_s * v + 1 / beta, u
            ),
            "literal, on F": _gibbs.term(g_n * v - beta * (u - v), beta, on_f * v, u),
            "centred, on S (a constant kappa in the reward)": _gibbs.term(
                1 + k - g_p * (v - m) - beta * (u - v),
                beta,
                on_s * v + (1 + k + g_p * m) / beta,
                u,
            ),
            "literal, masses": (zeta + 1 / beta) - xi - claim.literal(zeta, xi, 1 / beta),
            "centred, masses": (zeta + (1 + (1 - a) * beta * q.mean(v)) / beta) - xi - ends,
            "centred, g_n = 0: logit p + 1/beta - KL(q_a||b_S)": ends
            - ((log_p - xi) + 1 / beta - kl_s),
            "centred with a constant": (ends + claim.constant(beta, wanted, ends) / beta) - wanted,
        },
        "the optimum of differential smoothing",
    )


def _smt(claim: Smoothing, budget: Budget) -> Outcome:
    """Which exponents can occur."""
    import z3

    from diffsmooth.theory.verify import smt

    beta, g_p, g_n = z3.Reals("beta g_p g_n")
    a, sharp = claim.correct(beta, g_p), claim.incorrect(beta, g_n)
    return smt.prove(
        [beta > 0, g_p >= 0, g_n >= 0],
        [a <= 1, sharp >= 1, (a == 0) == (g_p == beta), (a < 0) == (g_p > beta)],
        "a <= 1 <= a': uniform at g_p = beta, order reversed beyond, f sharpened",
    )


def _instances(budget: Budget) -> Iterator[dict[str, Any]]:
    for base in tab.rational_bases(40 if budget.deep else 10, budget.seed):
        for j in range(-1, base.d + 1):
            for k in (base.d, base.d + 1):
                pi = next(_gibbs.policies(base, 1, budget.seed + j + 7 * k))
                yield {"base": base, "j": j, "k": k, "pi": pi}


def _exact(claim: Smoothing, budget: Budget) -> Outcome:
    """g_p/beta = 1 - j/d, g_n/beta = k/d - 1; 1/beta is the formal log that makes C rational."""

    def residuals(
        base: tab.RationalBase, j: int, k: int, pi: list[Fraction]
    ) -> dict[str, Fraction]:
        law, split, d = base.law(), len(base.correct), base.d
        g_p, g_n, e = 1 - Fraction(j, d), Fraction(k, d) - 1, Fraction(5, 2)
        # b^(j/d) = m^j / Z^(j/d): a reward e Z^((j-k)/d) on S leaves rational weights.
        y = _logs.log(e) + _logs.log(base.mass) * Fraction(j - k, d)
        one = Fraction(1)
        powers = (claim.correct(one, g_p) * d, claim.incorrect(one, g_n) * d)
        best = _logs.normalised(
            [e * Fraction(m) ** int(powers[0]) for m in base.correct]
            + [Fraction(m) ** int(powers[1]) for m in base.incorrect]
        )

        def objective(i: int, u: _logs.Logs) -> _logs.Logs:
            log_b = _logs.log(law[i])
            bonus = y - log_b * g_p if i < split else log_b * g_n
            return bonus - (u - log_b)

        c = sum(best[:split], Fraction(0))
        ss, sf = base.log_mass(base.correct, j), base.log_mass(base.incorrect, k)
        mean = _logs.total(x * _logs.log(b) for x, b in zip(base.q(j), law[:split], strict=True))
        ends = claim.centred(ss, sf, y, mean * g_p)
        # The definition: at the fixed point each term of the centred objective is constant.
        own = [
            y - (_logs.log(b) - mean) * g_p - (_logs.log(x) - _logs.log(b))
            for x, b in zip(base.q(j), law[:split], strict=True)
        ]
        wrong = [
            _logs.log(b) * g_n - (_logs.log(x) - _logs.log(b))
            for x, b in zip(base.f(k), law[split:], strict=True)
        ]
        return _gibbs.named(
            {
                "J* - J = beta KL(pi||pi*)": _gibbs.shortfall(objective, best, pi),
                "literal logit C": _logs.logit(c) - claim.literal(ss, sf, y),
                "centred q is stationary": _logs.total(x - own[0] for x in own),
                "centred logit C": own[0] - wrong[0] - ends,
            }
        )

    return rational_identities(residuals, _instances(budget), "the optimum as a rational law")


def _random(claim: Smoothing, budget: Budget) -> Outcome:
    """The library's smoothing optimum, literal and centred."""
    from hypothesis import strategies as st

    from diffsmooth.theory.optima import smoothing
    from diffsmooth.theory.verify import random

    def margin(
        instance: tuple[tab.LogitBase, float, float, float, float],
    ) -> tuple[float, float]:
        base, y, up, down, target = instance
        beta, b, split = 1 / y, base.policy(), len(base.correct)
        log_b = tab.tempered(base.logits, 1.0)
        s, f = log_b[:split], log_b[split:]
        g_p, g_n = up * beta, down * beta
        a, sharp = claim.correct(beta, g_p), claim.incorrect(beta, g_n)
        literal = smoothing(b, beta, g_p, g_n)
        centred = smoothing(b, beta, g_p, g_n, centred=True, logit_C=target)
        pairs: list[tuple[Any, Any]] = [
            (literal.logit_C, claim.literal(tab.log_sum(a * s), tab.log_sum(sharp * f), y)),
            (centred.logit_C, target),
            # With no value asked for, C is the vanilla optimum's.
            (
                smoothing(b, beta, g_p, g_n, centred=True).logit_C,
                tab.log_sum(s) - tab.log_sum(f) + y,
            ),
        ]
        for policy in (literal, centred):
            pairs += [
                (np.asarray(policy.log_q)[:split], tab.tempered(s, a)),
                (np.asarray(policy.log_f)[split:], tab.tempered(f, sharp)),
            ]
        magnitude = (1 + abs(a) + sharp) * base.spread + y + abs(target)
        return -_gibbs.deviation(pairs), tab.rounding(len(log_b), magnitude)

    strategy = st.tuples(
        tab.logit_bases(),
        tab.decimals(1 / 16, 16),
        tab.decimals(0, 2),
        tab.decimals(0, 2),
        tab.decimals(-9, 9),
    )
    return random.for_all(strategy, margin, budget, "the library's smoothing optimum")


def _adversarial(claim: Smoothing, budget: Budget) -> Outcome:
    """An optimiser tries to beat the claimed literal optimum."""
    from diffsmooth.theory.verify import adversarial

    correct = np.array([True, True, False, False])

    def margin(x: tab.Array) -> float:
        if np.max(np.abs(x)) > 6:
            return np.inf
        v, rival = tab.tempered(x[:4], 1.0), tab.tempered(x[4:8], 1.0)
        beta, g_p, g_n = float(np.exp(x[8] / 4)), float(x[9] ** 2) / 8, float(x[10] ** 2) / 8
        exponent = np.where(correct, claim.correct(beta, g_p), claim.incorrect(beta, g_n))
        best = tab.tempered(exponent * v + correct / beta, 1.0)
        terms = np.where(correct, 1 - g_p * v, g_n * v)
        return _gibbs.loss(lambda u: terms - beta * (u - v), best, rival)

    return adversarial.minimise(
        margin,
        lambda rng: rng.normal(size=11),
        budget,
        "no policy beats the claimed optimum",
        60 * tab.rounding(4, 400.0),
        evaluations=300,
    )


def _draw(ax: Any) -> None:
    """Shares of the correct trajectories, and where literal and centred smoothing leave C."""
    from diffsmooth.theory.optima import smoothing
    from diffsmooth.theory.policy import Policy

    base = Policy.from_probs([0.24, 0.05, 0.01, 0.4, 0.3], np.arange(5) < 3)
    grid = np.linspace(0.0, 2.0, 81)
    s, f = base.log_probs[:3], base.log_probs[3:]
    literal = [smoothing(base, 1.0, float(g)) for g in grid]
    for k, (colour, dash) in enumerate((("#0072B2", "--"), ("#D55E00", "-."), ("#009E73", ":"))):
        shares = [float(np.exp(pi.log_q[k])) for pi in literal]
        ax.plot(grid, shares, dash, color=colour, label=f"$q_{k + 1}$, both forms")
    ax.plot(grid, [float(pi.C) for pi in literal], "k-", lw=2, label="$C$, literal")
    centred = []
    for g in grid:
        shift = g * float(np.exp(tab.tempered(s, 1 - g)) @ s)
        logit = Smoothing().centred(tab.log_sum((1 - g) * s), tab.log_sum(f), 1.0, shift)
        centred.append(np.exp(tab.log_sigmoid(logit)))
    ax.plot(grid[::5], centred[::5], "k-o", ms=4, mfc="white", label="$C$, centred (no constant)")
    ax.axvline(1.0, color="black", lw=0.8)
    ax.text(1.02, 0.02, r"uniform at $g_p=\beta$; the order turns", fontsize="small")
    ax.set(xlabel=r"strength $g_p/\beta$ ($\beta=1$, $g_n=0$)", ylabel="probability")
    ax.set_ylim(0, 1.02)
    ax.legend(fontsize="small", ncol=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


STATEMENT = Statement(
    id="B5",
    title="The optimum of differential smoothing",
    source="paper",
    reference="paper, Eq. 4; theory.md B5",
    assumptions=(
        "pi_ref = b; reward r - g_p log b on S and r + g_n log b on F, g_p, g_n >= 0, beta > 0",
        "centred: on S the term is g_p (log b - E_q[log b]), the mean held fixed at the optimum"
        " (a fixed point: as a function of pi the term has expectation 0)",
    ),
    latex=(
        r"$q\propto b_S^{1-g_p/\beta},\quad f\propto b_F^{1+g_n/\beta}$, literal and centred alike."
        "\n\n"
        r"Literal: $\mathrm{logit}\,C=\log\sum_S b^{1-g_p/\beta}-\log\sum_F b^{1+g_n/\beta}"
        r"+\frac{1}{\beta}$." + "\n\n"
        r"Centred, $g_n=0$: $\mathrm{logit}\,C=\mathrm{logit}\,p+\frac{1}{\beta}"
        r"-\mathrm{KL}(q\|b_S)$; with a constant $\kappa$ on $S$, $+\kappa/\beta$: any value."
    ),
    claim=Smoothing(),
    methods=(
        Method("symbolic", _symbolic, note="any number of trajectories, beta > 0, g_p, g_n >= 0"),
        Method("smt", _smt, note="all beta > 0, g_p, g_n >= 0"),
        Method(
            "exact", _exact, note="rational policies, g_p/beta in [0, 3/2], g_n/beta in [0, 1/2]"
        ),
        Method("random", _random, note="the library: 2-12 trajectories, g/beta in [0, 2]"),
        Method(
            "adversarial", _adversarial, note="2 + 2 trajectories, base, rival and strengths free"
        ),
    ),
    mutants=(
        Mutant(
            "smoothing sharpens the correct part",
            Smoothing(correct=lambda beta, g_p: 1 + g_p / beta),
            ("symbolic", "smt", "exact", "random", "adversarial"),
        ),
        Mutant(
            "smoothing flattens the incorrect part",
            Smoothing(incorrect=lambda beta, g_n: 1 - g_n / beta),
            ("symbolic", "smt", "exact", "random", "adversarial"),
        ),
        Mutant(
            "the literal rule leaves C where vanilla RL ends",
            Smoothing(literal=lambda ss, sf, y: y),
            ("symbolic", "exact", "random"),
        ),
        Mutant(
            "centring is ignored in C",
            Smoothing(centred=lambda ss, sf, y, shift: ss - sf + y),
            ("symbolic", "exact"),
        ),
    ),
    limits=(
        "pi_ref = b. With pi_ref = pi_old the fixed point is another (C1, C2). Without the constant"
        " the centred rule reaches logit C > logit p - KL(q||b_S) by beta alone, not any value."
    ),
    figure=_draw,
)
