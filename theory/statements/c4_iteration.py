"""C4: re-anchoring the reference at every step, and when one step from the base does the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import (
    Array,
    LogitBase,
    log_sum,
    logit_bases,
    rounding,
)
from diffsmooth.theory.statements._weighted import EPS, Vector
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest


@dataclass(frozen=True)
class Iteration:
    """After T steps q ~ ``b_S^exponent(a, T)`` with a = 1 - g_p/beta (on F: a' = 1 + g_n/beta).

    The odds of S against F are ``e^d_T sum_S b^a_T / sum_F b^a'_T``; ``gain(a^T, beta, g_p)`` is
    the claimed lower bound of d_T for g_n = 0 and 0 <= a <= 1.  ``sign``: of the shortfall of the
    iterated centred rule against its one-shot form (a sum of Bregman divergences, below one).
    """

    exponent: Callable[[Any, Any], Any]
    gain: Callable[[Any, Any, Any], Any]
    sign: int = 1


CLAIM = Iteration(exponent=lambda a, steps: a**steps, gain=lambda a_t, beta, g: (1 - a_t) / g)


def _symbolic(claim: Iteration, _: Budget) -> Outcome:
    """Induction over T for any trajectory, and the centred rule's correctness as Bregman terms."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    log_b, x, z, h = sp.symbols("log_b x z h", real=True)
    beta, g, g_n = sp.symbols("beta g_p g_n", positive=True)
    steps = sp.Symbol("T", positive=True, integer=True)
    a, a_n = 1 - g / beta, 1 + g_n / beta
    # pi_T = e^x b^(exponent); one step adds rule/beta and subtracts log Z = z.
    before = claim.exponent(a, steps) * log_b + x
    after = claim.exponent(a, steps + 1) * log_b + (a * x + 1 / beta - z)
    before_n = claim.exponent(a_n, steps) * log_b + x
    after_n = claim.exponent(a_n, steps + 1) * log_b + (a_n * x - z)
    # Phi(s) = log sum b_S^s; the centred step from exponent s to u multiplies the odds of S by
    # e^(1/beta) E_q exp((a-1)(log q + H)) and that factor is a Bregman divergence of Phi.
    s, u, w = sp.symbols("s u w", positive=True)
    phi = sp.Function("Phi")

    def divergence(to: Any, frm: Any) -> Any:
        slope = sp.diff(phi(h), h).subs(h, frm)
        return phi(to) - phi(frm) - (to - frm) * slope

    slope_s, slope_u = (sp.diff(phi(h), h).subs(h, v) for v in (s, u))
    # log q = s log b - Phi(s), -H = s Phi'(s) - Phi(s); E_q b^((a-1)s) = e^(Phi(as) - Phi(s)).
    factor = phi(u) - phi(s) - (u - s) * slope_s
    chain = divergence(w, s) - divergence(w, u) - divergence(u, s)
    exprs = {
        "induction on S": sp.powsimp(sp.expand(after - (before + (1 - g * before) / beta - z))),
        "induction on F": sp.powsimp(sp.expand(after_n - (before_n + g_n * before_n / beta - z))),
        "start": claim.exponent(a, 0) - 1,
        "centred factor": factor - divergence(u, s),
        "three points": chain - (w - u) * (slope_u - slope_s),
    }
    point = [log_b, x, z, beta, g, g_n, steps]
    return symbolic.zero(exprs, point, "one step for any trajectory")


def _invariant(claim: Iteration, _: Budget) -> Outcome:
    """g_n = 0, 0 <= a < 1: x_T <= (1-a^T)/g_p keeps d rising, so d_T reaches its bound.

    ``power`` stands for a^T, ``z`` for log Z >= 0: the rule is >= 0 everywhere, so Z >= sum pi = 1.
    """
    import z3

    from diffsmooth.theory.verify import smt

    a, beta, g, x, y, z, d, power, v, s, u = z3.Reals("a beta g x y z d aT v slope_s slope_u")
    setting = [beta > 0, g > 0, a >= 0, a * beta == beta - g, power >= 0, power <= 1, z >= 0]
    room = (1 - power) / g
    return together(
        lambda: smt.prove(
            [*setting, x <= room],
            a * x + 1 / beta - z <= (1 - a * power) / g,
            "x_T <= (1 - a^T)/g_p is kept",
        ),
        lambda: smt.prove(
            [*setting, x <= room, d == x - y, d >= claim.gain(power, beta, g)],
            (a * x + 1 / beta - z) - (y - z) >= claim.gain(a * power, beta, g),
            "d_T >= gain is kept",
        ),
        lambda: smt.prove(
            [*setting, x == 0, y == 0],
            [
                (a * x + 1 / beta - z) - (y - z) >= claim.gain(a, beta, g),
                claim.gain(a, beta, g) > 0,
            ],
            "d_1 >= gain > 0",
        ),
        lambda: smt.prove(
            # Phi' rises (Phi is convex): going down from s to u, then on to v.
            [v <= u, u <= s, z3.Real("Phi_u") <= z3.Real("Phi_s")],
            claim.sign * (v - u) * (z3.Real("Phi_u") - z3.Real("Phi_s")) >= 0,
            "several centred steps raise the odds by no more than one",
        ),
    )


def _certified(claim: Iteration, _: Budget) -> Outcome:
    """With g_n > 0 the closure fails: two steps, then no one-shot strength reaches the policy.

    S = p (1/3, 2/3), F = (1-p) (2, 1, ..., 1)/17 with sixteen trajectories, g_p = 0 and
    g_n = beta = 1.  q and f are not uniform, so they fix the exponents 1 and 4 of a one-shot rule,
    and only 1/beta' = d_2 = 2 + log Z_1 is left: it is negative.
    """
    from flint import arb

    from diffsmooth.theory.verify import certified

    def shortfall(p: Any) -> Any:
        z_1 = p * arb(1).exp() + (1 - p) * (1 - p) * 19 / 289
        return -(2 + z_1.log())

    def bound(p: Any, a: Any) -> Any:
        # |S| = |F| = 1, beta = 1, g_p = 1 - a: d_2 = 2 - g_p x_1, x_1 = 1 - log(p^a e + 1 - p).
        g = 1 - a
        z_1 = (a * p.log()).exp() * arb(1).exp() + 1 - p
        return 2 - g * (1 - z_1.log()) - claim.gain(a * a, arb(1), g)

    return together(
        lambda: certified.positive(
            shortfall, {"p": ("1/10000", "1/50")}, "g_n = beta: d_2 < 0, out of one-shot reach"
        ),
        lambda: certified.positive(
            bound, {"p": ("1/20", "19/20"), "a": (0, "3/4")}, "g_n = 0: d_2 > gain"
        ),
    )


def _exact(claim: Iteration, budget: Budget) -> Outcome:
    """Rational iterations: a in {-1, 0, 1}, a' in {1, 2, 3}, e^(1/beta) any rational > 1."""
    from fractions import Fraction
    from random import Random

    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def residual(b: Any, n: int, *, a: int, a_n: int, e: Fraction, steps: int) -> list[Fraction]:
        mass = sum(b)
        start = [Fraction(x, mass) for x in b]
        pi = start
        for _ in range(steps):
            weights = [x**a * e if i < n else x**a_n for i, x in enumerate(pi)]
            total = sum(weights, Fraction(0))
            pi = [x / total for x in weights]
        top, wrong = claim.exponent(a, steps), claim.exponent(a_n, steps)
        return [pi[i] * start[0] ** top - pi[0] * start[i] ** top for i in range(1, n)] + [
            pi[i] * start[n] ** wrong - pi[n] * start[i] ** wrong for i in range(n, len(b))
        ]

    instances = [
        {
            "b": [rng.randint(1, 7) for _ in range(n + m)],
            "n": n,
            "a": a,
            "a_n": a_n,
            "e": Fraction(rng.randint(3, 9), 2),
            "steps": steps,
        }
        for n, m in ((1, 1), (2, 2), (4, 3))
        for a in (-1, 0, 1)
        for a_n in (1, 2, 3)
        for steps in (1, 2, 3)
    ]
    return exact.identity(residual, instances, "q and f after T steps")


def _iterate(base: Array, n: int, *, beta: float, g_p: float, g_n: float, steps: int) -> Array:
    """The definition: T mirror steps, the rule object evaluated anew each time; (K,) log-probs."""
    from diffsmooth.theory.rules import GroupBatch, Reinforce, Smoothed, SmoothingTerm

    rule = Smoothed(Reinforce(), SmoothingTerm(g_p, g_n))
    log_pi = base - log_sum(base)
    correct = np.arange(base.size) < n
    reward, group = correct.astype(np.float64), np.zeros(base.size, dtype=np.int64)
    for _ in range(steps):
        log_pi = log_pi + rule(GroupBatch(reward, correct, group, log_pi)) / beta
        log_pi = log_pi - log_sum(log_pi)
    return log_pi


def _library(claim: Iteration, budget: Budget) -> Outcome:
    """optima.iterated against the definition; where g_n = 0, against its one-shot twin."""
    from hypothesis import strategies as st

    from diffsmooth.theory import optima
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[LogitBase, float, float, float, int]) -> tuple[float, float]:
        base, beta, share, g_n, steps = instance
        g_p = share * beta
        policy, n = base.policy(), len(base.correct)
        found = optima.iterated(policy, beta, g_p, g_n, steps=steps).log_probs
        defined = _iterate(base.logits, n, beta=beta, g_p=g_p, g_n=g_n, steps=steps)
        log_b = base.logits - log_sum(base.logits)
        worst = float(np.abs(found - defined).max())
        for part, exponent in (
            (slice(0, n), claim.exponent(1 - share, steps)),
            (slice(n, None), claim.exponent(1 + g_n / beta, steps)),
        ):
            law, start = found[part], log_b[part]
            worst = largest(
                worst, float(np.abs((law - law[0]) - exponent * (start - start[0])).max())
            )
        gap = 0.0
        if g_n == 0 and share > 0:
            a_t = claim.exponent(1 - share, steps)
            d = (found[0] - a_t * log_b[0]) - (found[n] - log_b[n])
            gap = float(claim.gain(a_t, beta, g_p)) - float(d)
            twin = optima.smoothing(policy, 1 / d, (1 - a_t) / d, 0.0).log_probs
            worst = largest(worst, float(np.abs(twin - found).max()))
        # T steps, each scaling the error by at most 1 + g_n/beta.
        growth = steps * (1 + g_n / beta) ** steps
        size = len(base.logits)
        bound = 4 * growth * rounding(size, base.spread + (1 + steps) / beta + steps)
        return -largest(worst, gap), bound

    return random.for_all(
        st.tuples(
            logit_bases(4, 3.0),
            st.sampled_from([0.5, 1.0, 2.0, 4.0]),
            st.sampled_from([0.0, 0.25, 0.5, 1.0]),
            st.sampled_from([0.0, 0.0, 0.5, 1.0]),
            st.integers(1, 4),
        ),
        margin,
        budget,
        "optima.iterated, and its one-shot twin",
        show=lambda x: f"{x[0]}, beta = {x[1]}, g_p/beta = {x[2]}, g_n = {x[3]}, T = {x[4]}",
    )


def _adversarial(claim: Iteration, budget: Budget) -> Outcome:
    """Minimise d_T - gain with g_n = 0: 2 correct and 2 incorrect trajectories, T = 3."""
    from diffsmooth.theory.verify import adversarial

    def margin(x: Vector) -> float:
        base = np.clip(x[:4], -12, 12)
        beta = float(np.exp(np.clip(x[4], -1.5, 2)))
        a = float(1 / (1 + np.exp(-np.clip(x[5], -6, 3))))
        final = _iterate(base, 2, beta=beta, g_p=(1 - a) * beta, g_n=0.0, steps=3)
        log_b = base - log_sum(base)
        d = (final[0] - a**3 * log_b[0]) - (final[2] - log_b[2])
        return float(d - claim.gain(a**3, beta, (1 - a) * beta))

    # Three steps on log-probs below 25 + 3/beta, each a handful of roundings.
    return adversarial.minimise(
        margin,
        lambda rng: rng.normal(size=6) * 2,
        budget,
        "d_3 - gain",
        3 * 64 * 50 * EPS,
        evaluations=250,
    )


STATEMENT = Statement(
    id="C4",
    title="Iterated smoothing: a geometric exponent, and one step that does the same",
    source="corrected",
    reference="theory.md C4; arXiv 2511.19942, App. B.3",
    assumptions=(
        "pi_{t+1} proportional to pi_t exp(rule_t / beta) with the reference re-anchored at pi_t",
        "literal rule 1 - g_p log pi_t on S, g_n log pi_t on F",
        "a = 1 - g_p/beta, a' = 1 + g_n/beta",
    ),
    latex=(
        r"q_T\propto b_S^{\;a^T},\qquad f_T\propto b_F^{\;a'^T},\qquad"
        r" \frac{C_T}{1-C_T}=e^{d_T}\,\frac{\sum_S b^{a^T}}{\sum_F b^{a'^T}}"
        "\n\n"
        r"One step from $b$ reaches the same policy iff $d_T>0$, with $\beta'=1/d_T$, "
        r"$g_p'=(1-a^T)/d_T$ and $g_n'=(a'^T-1)/d_T$.  For $g_n=0$ and $0\leq a<1$ it always does:"
        "\n\n"
        r"d_T\;\geq\;\frac{1-a^T}{g_p}>0,\qquad g_p'\leq g_p"
        "\n\n"
        r"The centred rule, with $\Phi(s)=\log\sum_S b^s$ and its Bregman divergence $D_\Phi$:"
        "\n\n"
        r"\mathrm{logit}\,C_T=\mathrm{logit}\,p+\frac{T}{\beta}+\sum_{t<T}D_\Phi(a^{t+1},a^t),"
        r"\qquad \sum_{t<T} D_\Phi(a^{t+1},a^t)\leq D_\Phi(a^T,1)"
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", _symbolic, note="any number of trajectories and of steps (induction)"),
        Method(
            "smt",
            _invariant,
            note="any number of trajectories and steps: the invariant, g_n = 0, 0 <= a < 1",
        ),
        Method(
            "certified",
            _certified,
            note="p in [1/10000, 1/50]; p in [1/20, 19/20], a in [0, 3/4], T = 2",
        ),
        Method(
            "exact", _exact, note="81 rational iterations, a in {-1, 0, 1}, a' in {1, 2, 3}, T <= 3"
        ),
        Method("random", _library, note="library, 2..8 trajectories, T <= 4"),
        Method("adversarial", _adversarial, note="|S| = |F| = 2, T = 3"),
    ),
    mutants=(
        Mutant(
            "T steps of strength g add up: exponent 1 - T g/beta",
            replace(CLAIM, exponent=lambda a, steps: 1 - steps * (1 - a)),
            ("symbolic", "exact", "random"),
        ),
        Mutant(
            "the one-shot twin keeps T/beta: d_T >= T-fold gain",
            replace(CLAIM, gain=lambda a_t, beta, g: (1 - a_t) / g + 1 / beta),
            ("smt", "certified", "random", "adversarial"),
        ),
        Mutant(
            "several centred steps raise the odds by more than one",
            replace(CLAIM, sign=-1),
            "smt",
        ),
    ),
    limits=(
        "Exact expectations and the exact mirror step.  For g_p > beta (a < 0) each step reverses "
        "the order of the correct answers; the exponent law still holds, the bound is not claimed."
    ),
    correction=(
        "theory.md has the exponent right and reserves closure under iteration for the centred "
        "family.  With g_n = 0 and g_p <= beta the literal family is closed as well: T steps equal "
        "one step with a smaller beta' and no larger strength g_p' (so the paper's 'equivalent "
        "after re-parametrisation' is exact there).  With g_n > 0 it is not: certified instance, "
        "two steps, out of reach of every one-shot rule.  And the centred family is closed only "
        "thanks to its free constant: with the mean itself as the constant the one-shot form is "
        "pushed further up in correctness than the iteration, by the gap of the divergences."
    ),
)
