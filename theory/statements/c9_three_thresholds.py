"""C9: what smoothing moves at which strength: diversity, then vanishing answers, then C."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._weighted import (
    EPS,
    Vector,
    WeightedPolicy,
    strengths,
    weighted_policies,
)
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest, least


class Sums(NamedTuple):
    """k1 = Cov_q(log q, q), e = sum q^2 (log q + H)^2, s2 = sum q^2, f2 = sum f^2."""

    k1: Any
    e: Any
    s2: Any
    f2: Any


@dataclass(frozen=True)
class Thresholds:
    """Strengths over 1-C at which H(q), vanishing correct answers, and C change direction."""

    entropy: Callable[[Sums], Any]
    vanishing: Callable[[Sums], Any]
    correctness: Callable[[Sums], Any]


CLAIM = Thresholds(
    entropy=lambda s: s.k1 / s.e,
    vanishing=lambda s: s.s2 / s.k1,
    correctness=lambda s: (s.s2 + s.f2) / s.k1,
)


def _derivation(claim: Thresholds, _: Budget) -> Outcome:
    """The flow theta' = pi (A - E_pi A) with the centred term, for any number of trajectories.

    Each rate is affine in g and must vanish at its threshold; the rate of a vanishing answer is
    the limit q_i -> 0, where q_i log q_i -> 0 as well.
    """
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    x, log_q, y, c, g = sp.symbols("q l f C g", real=True)
    q_i, log_i = sp.symbols("q_i l_i", real=True)
    law, wrong = Law("q", (x, log_q)), Law("f", (y,))
    h = -law.mean(log_q)
    ell = log_q + h
    sums = Sums(law.mean(x * ell), law.mean(x * ell**2), law.mean(x), wrong.mean(y))
    on_s, on_f = c * x * (1 - c - g * ell), -(1 - c) * y * c
    entropy = -law.mean((on_s - law.mean(on_s)) * (log_q + 1))
    own = c * ((1 - c) * q_i - g * (q_i * log_i + q_i * h))
    vanishing = (own - law.mean(on_s)).subs({q_i * log_i: 0}).subs(q_i, 0)
    correctness = c * (1 - c) * (law.mean(on_s) - wrong.mean(on_f))
    exprs = {
        "dH/dt": entropy - c * (g * sums.e - (1 - c) * sums.k1),
        "d log q_i/dt, q_i -> 0": vanishing - c * (g * sums.k1 - (1 - c) * sums.s2),
        "dC/dt": correctness - c**2 * (1 - c) * ((1 - c) * (sums.s2 + sums.f2) - g * sums.k1),
        "dH/dt at its threshold": entropy.subs(g, (1 - c) * claim.entropy(sums)),
        "vanishing at its threshold": vanishing.subs(g, (1 - c) * claim.vanishing(sums)),
        "dC/dt at its threshold": correctness.subs(g, (1 - c) * claim.correctness(sums)),
    }
    exprs = {name: sp.together(sp.expand(e)) for name, e in exprs.items()}
    free = sorted(set().union(*(e.free_symbols for e in exprs.values())), key=str)
    return symbolic.zero(exprs, free, "any number of trajectories")


def _lumped(claim: Thresholds, _: Budget) -> Outcome:
    """The order of the three, from Cauchy-Schwarz S2 E >= K1^2 (C5: a sum over pairs)."""
    import z3

    from diffsmooth.theory.verify import smt

    k1, e, s2, f2, g, c = z3.Reals("K1 E S2 F2 g C")
    sums = Sums(k1, e, s2, f2)
    setting = [k1 > 0, e > 0, s2 > 0, f2 > 0, s2 * e >= k1 * k1, c > 0, c < 1, g >= 0]
    low, middle, high = (
        (1 - c) * f(sums) for f in (claim.entropy, claim.vanishing, claim.correctness)
    )
    return together(
        lambda: smt.prove(setting, [low > 0, low <= middle, middle < high], "the order"),
        lambda: smt.prove(
            setting,
            [
                (g * e - (1 - c) * k1 >= 0) == (g >= low),
                (g * k1 - (1 - c) * s2 > 0) == (g > middle),
                ((1 - c) * (s2 + f2) - g * k1 > 0) == (g < high),
            ],
            "the sign of each rate",
        ),
    )


def _exact(claim: Thresholds, budget: Budget) -> Outcome:
    """Rational sums with any rational log q_i: Cauchy-Schwarz needs no more of them."""
    from fractions import Fraction
    from random import Random

    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def gaps(q: Any, f: Any, logs: Any) -> list[Fraction]:
        law = [Fraction(x, sum(q)) for x in q]
        h = -sum((x * v for x, v in zip(law, logs, strict=True)), Fraction(0))
        k1 = sum((x * x * (v + h) for x, v in zip(law, logs, strict=True)), Fraction(0))
        e = sum((x * x * (v + h) ** 2 for x, v in zip(law, logs, strict=True)), Fraction(0))
        s2 = sum((x * x for x in law), Fraction(0))
        f2 = sum((Fraction(x, sum(f)) ** 2 for x in f), Fraction(0))
        sums = Sums(k1, e, s2, f2)
        low, middle = claim.entropy(sums), claim.vanishing(sums)
        high = claim.correctness(sums)
        return [low, middle - low, high - middle, (high - middle) * k1 - f2 + Fraction(1, 10**9)]

    def instance(size: int) -> dict[str, Any]:
        q = sorted(rng.sample(range(1, 30), size))
        # Increasing like a logarithm, so that K1 > 0 as it is for the true one.
        logs = [Fraction(-20 // k, 3) for k in range(1, size + 1)]
        return {"q": q, "f": [rng.randint(1, 5) for _ in range(3)], "logs": logs}

    instances = [instance(size) for size in (2, 3, 4, 6, 9) for _ in range(4)]
    return exact.inequality(gaps, instances, "0 < g* < g_vanishing < g_C")


def _certified(claim: Thresholds, _: Budget) -> Outcome:
    """Two answers of probabilities x and 1-x, u = log-odds: the order on a whole interval."""
    from flint import arb

    from diffsmooth.theory.verify import certified

    def sums(u: Any) -> Sums:
        x = 1 / (1 + (-u).exp())
        y = 1 / (1 + u.exp())
        return Sums(x * y * u * (x - y), 2 * x * x * y * y * u * u, x * x + y * y, arb(1) / 4)

    return together(
        lambda: certified.positive(
            lambda u: claim.vanishing(sums(u)) / claim.entropy(sums(u)) - 2,
            {"u": ("1/10", 6)},
            "|S| = 2: g_vanishing > 2 g*",
        ),
        lambda: certified.positive(
            lambda u: claim.correctness(sums(u)) - claim.vanishing(sums(u)),
            {"u": ("1/10", 6)},
            "|S| = 2, sum f^2 = 1/4: g_C > g_vanishing",
        ),
    )


def _library(claim: Thresholds, budget: Budget) -> Outcome:
    """The rule on exactly weighted groups: dC/dt and d log q_i/dt of every correct answer."""
    from hypothesis import strategies as st

    from diffsmooth.theory.rules import DrGRPO, Smoothed, SmoothingTerm
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[WeightedPolicy, float]) -> tuple[float, float]:
        weighted, factor = instance
        pi, right = weighted.probs, weighted.correct
        c = float(pi[right].sum())
        q, f = pi[right] / c, pi[~right] / (1 - c)
        ell = np.log(q) - float(q @ np.log(q))
        sums = Sums(float(q @ (q * ell)), float(q @ (q * ell * ell)), float(q @ q), float(f @ f))
        if sums.k1 < 1e-6:
            return 0.0, 0.0  # q uniform: nothing to smooth
        high = float(claim.correctness(sums))
        g = factor * (1 - c) * high
        rule = Smoothed(DrGRPO(), SmoothingTerm(g, 0.0, centring="correct"))
        step = weighted.gradient(rule(weighted.batch()))
        d_c = float(pi[right] @ step[right]) - c * float(pi @ step)
        d_log_q = step[right] - float(q @ step[right])
        base = float(claim.vanishing(sums)) * sums.k1 * (1 - c)
        # dC/dt is affine in g with its zero at the threshold; so is the limit of d log q_i.
        scale = c**2 * (1 - c) ** 2 * (sums.s2 + sums.f2)
        worst = abs(d_c - scale * (1 - factor))
        expected = c * (q * ((1 - c) - g * ell) + g * sums.k1 - base)
        worst = largest(worst, float(np.abs(d_log_q - expected).max()))
        # log q is accurate to its size times K eps; K1 >= 1e-6 keeps g below 2e6.
        top = 1 + float(np.abs(np.log(pi)).max())
        return -worst, 64 * (weighted.rows.size + 8) * EPS * (1 + g) * top

    return random.for_all(
        st.tuples(weighted_policies(5, 3, 12), strengths(2)),
        margin,
        budget,
        "rule on exactly weighted groups",
        show=lambda x: f"{x[0]}, g_p = {x[1]} g_C",
    )


def _adversarial(claim: Thresholds, budget: Budget) -> Outcome:
    """Bring the three thresholds together: 4 correct answers, |logits| <= 8."""
    from diffsmooth.theory.verify import adversarial

    def margin(x: Vector) -> float:
        z = np.clip(x, -8, 8)
        log_q = z - np.logaddexp.reduce(z)
        q = np.exp(log_q)
        ell = log_q - float(q @ log_q)
        sums = Sums(float(q @ (q * ell)), float(q @ (q * ell * ell)), float(q @ q), 0.1)
        if sums.k1 < 1e-9:
            return float("inf")  # q uniform up to rounding
        low, middle = claim.entropy(sums), claim.vanishing(sums)
        return least(1 - low / middle, claim.correctness(sums) / middle - 1)

    # K1 >= 1e-9 is accurate to 1e-6, and so are the ratios.
    return adversarial.minimise(
        margin,
        lambda rng: rng.normal(size=4),
        budget,
        "1 - g*/g_vanishing and g_C/g_vanishing - 1",
        4e-6,
        evaluations=300,
    )


def _figure(ax: Any) -> None:
    """One leading answer and three equal followers: the thresholds against the leader's share."""
    lead = np.linspace(0.27, 0.97, 141)
    q = np.stack([lead, *[(1 - lead) / 3] * 3])
    ell = np.log(q) - (q * np.log(q)).sum(axis=0)
    sums = Sums((q * q * ell).sum(0), (q * q * ell**2).sum(0), (q * q).sum(0), 0.25)
    curves = (
        (claim_name, f(sums), style, colour)
        for (claim_name, f), style, colour in zip(
            (
                (r"$g_C$: above it $C$ falls", CLAIM.correctness),
                (r"$g_{\mathrm{v}}$: above it vanishing answers grow", CLAIM.vanishing),
                (r"$g^*$: above it $H(q)$ rises", CLAIM.entropy),
            ),
            (":", "--", "-"),
            ("#009E73", "#D55E00", "#0072B2"),
            strict=True,
        )
    )
    for name, value, style, colour in curves:
        ax.plot(lead, value, style, color=colour, lw=2, label=name)
    ax.set_yscale("log")
    ax.set_xlabel("share of the leading one of 4 correct answers")
    ax.set_ylabel(r"strength $g_p/(1-C)$")
    ax.legend(fontsize="small")


STATEMENT = Statement(
    id="C9",
    title="Three thresholds: diversity, vanishing answers, correctness",
    source="new",
    reference="new; extends theory.md C5",
    assumptions=(
        "exact softmax policy-gradient flow, centred on-policy smoothing of strength g_p, g_n = 0",
        "q not uniform; a vanishing answer is a correct answer in the limit q_i -> 0",
    ),
    latex=(
        r"g^*=(1-C)\frac{K_1}{E}\;\leq\; g_v=(1-C)\frac{\sum q^2}{K_1}\;<\;"
        r"g_C=(1-C)\frac{\sum q^2+\sum f^2}{K_1}"
        "\n\n"
        r"Below $g^*$ diversity falls.  Between $g^*$ and $g_v$ the entropy $H(q)$ rises, yet a "
        r"correct answer that has almost vanished goes on vanishing.  Above $g_v$ even it grows; "
        r"above $g_C$ smoothing costs correctness."
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", _derivation, note="any number of trajectories (formal moments)"),
        Method("smt", _lumped, note="any number of trajectories, all 0 < C < 1, q not uniform"),
        Method("certified", _certified, note="|S| = 2, log-odds u in [1/10, 6]"),
        Method("exact", _exact, note="20 rational instances with 2..9 correct trajectories"),
        Method(
            "random",
            _library,
            note="rules on rational policies, 1..5 correct answers, g_p <= 2 g_C",
        ),
        Method("adversarial", _adversarial, note="4 correct answers, |logits| <= 8"),
    ),
    mutants=(
        Mutant(
            "vanishing answers grow as soon as diversity does",
            replace(CLAIM, vanishing=lambda s: s.k1 / s.e),
            ("symbolic", "smt", "certified", "exact", "random"),
        ),
        Mutant(
            "smoothing costs correctness as soon as vanishing answers grow",
            replace(CLAIM, correctness=lambda s: s.s2 / s.k1),
            ("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "twice the critical strength",
            replace(CLAIM, entropy=lambda s: 2 * s.k1 / s.e),
            ("symbolic", "smt"),
        ),
    ),
    limits=(
        "Signs of rates at one policy.  'Vanishing' is the limit: an answer of probability q_i "
        "grows iff q_i (1-C - g_p (log q_i + H(q))) > (1-C) sum q^2 - g_p K1.  Under the natural "
        "gradient every rare answer grows at any g_p > 0 (C3)."
    ),
    figure=_figure,
)
