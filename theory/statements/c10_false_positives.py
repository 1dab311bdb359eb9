"""C10: a verifier that errs: smoothing raises rare false positives to the level of solutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import log_sum
from diffsmooth.theory.statements._weighted import EPS, Vector
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement


@dataclass(frozen=True)
class FalsePositives:
    """What the verifier accepts: M solutions and v false positives, b on all of them.

    ``slope``: d/da log odds of the false positives against the solutions in the law ~ b^a, as a
    function of their mean log b under that law (false positives first).  ``limit(M, v)``: share of
    true solutions at the maximum of the smoothing objective (C2).  ``rate(g)``: of the log-odds of
    a false positive against a solution under the natural gradient (C3).
    """

    slope: Callable[[Any, Any], Any]
    limit: Callable[[Any, Any], Any]
    rate: Callable[[Any], Any]


CLAIM = FalsePositives(
    slope=lambda false, true: false - true,
    limit=lambda m, v: m / (m + v),
    rate=lambda g: -g,
)


def _symbolic(claim: FalsePositives, _: Budget) -> Outcome:
    """The slope as a derivative of two partition functions, and the natural-gradient rate."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    a, g, mean = sp.symbols("a g mean", real=True)
    x = sp.symbols("x_1:6", real=True)  # log b: two false positives, three solutions
    weights = [sp.exp(a * v) for v in x]
    false, true = weights[:2], weights[2:]
    odds = sp.log(sum(false)) - sp.log(sum(true))
    mean_false = sum(w * v for w, v in zip(false, x[:2], strict=True)) / sum(false)
    mean_true = sum(w * v for w, v in zip(true, x[2:], strict=True)) / sum(true)
    # Any number: Z(a) = M E_uniform[e^(a x)], so Z'/Z is the tilted mean; w stands for e^(a x).
    w, value = sp.symbols("w x", real=True)
    law = Law("uniform", (w, value))
    tilted = law.mean(w * value) / law.mean(w)
    derivative = law.mean(sp.diff(sp.exp(a * value), a).subs(sp.exp(a * value), w)) / law.mean(w)
    exprs = {
        "slope, 2 false and 3 true": sp.diff(odds, a) - claim.slope(mean_false, mean_true),
        "tilted mean, any number": derivative - tilted,
        "natural gradient": (-g * x[0] - mean) - (-g * x[2] - mean) - claim.rate(g) * (x[0] - x[2]),
        "uniform over what is accepted": claim.limit(sp.Symbol("M"), sp.Symbol("v"))
        - sp.Symbol("M") / (sp.Symbol("M") + sp.Symbol("v")),
    }
    free = sorted(set().union(*(sp.sympify(e).free_symbols for e in exprs.values())), key=str)
    return symbolic.zero(exprs, free, "partition functions")


def _lumped(claim: FalsePositives, _: Budget) -> Outcome:
    """Rare false positives: every one at most as likely as every solution.  Means obey the same."""
    import z3

    from diffsmooth.theory.verify import smt

    false, true, top, bottom = z3.Reals("mean_V mean_S max_V min_S")
    x, y, t, m, v, g = z3.Reals("share_S odds_V t M v g")
    return together(
        lambda: smt.prove(
            [false <= top, top <= bottom, bottom <= true],
            claim.slope(false, true) <= 0,
            "the odds of rare false positives fall with a, so smoothing (a < 1) raises them",
        ),
        lambda: smt.prove(
            # b^a ratios in [0, 1]: v of them against M ones that are each at least as large.
            [t > 0, y >= 0, y <= v * t, x >= m * t, m >= 1, v >= 0],
            x / (x + y) >= claim.limit(m, v),
            "no a in [0, 1] brings the share of solutions below M/(M+v)",
        ),
        lambda: smt.prove(
            [g > 0, x < y],
            (-g * x) - (-g * y) == claim.rate(g) * (x - y),
            "natural gradient: any pair",
        ),
    )


def _exact(claim: FalsePositives, budget: Budget) -> Outcome:
    """b ~ m^2 on what is accepted: a = 1, 1/2, 0 are rational; shares in order, above M/(M+v)."""
    from fractions import Fraction
    from random import Random

    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def shares(true: Sequence[int], false: Sequence[int]) -> list[Fraction]:
        found = [
            Fraction(sum(m**j for m in true), sum(m**j for m in (*true, *false))) for j in (2, 1, 0)
        ]
        floor = Fraction(claim.limit(Fraction(len(true)), Fraction(len(false))))
        # At a = 0 the share is the limit itself.
        tie = Fraction(1, 10**9)
        return [
            found[0] - found[1] + tie,
            found[1] - found[2] + tie,
            tie - abs(found[2] - floor),
        ]

    instances = [
        {
            "true": [rng.randint(5, 9) for _ in range(m)],
            "false": [rng.randint(1, 4) for _ in range(v)],
        }
        for m in (1, 2, 5)
        for v in (1, 3, 6)
        for _ in range(2)
    ]
    return exact.inequality(shares, instances, "share of true solutions falls as a falls")


def _certified(claim: FalsePositives, _: Budget) -> Outcome:
    """One solution and one false positive r times as likely: share at time t of the flow, g = 1."""
    from flint import arb

    from diffsmooth.theory.verify import certified

    def gap(log_r: Any, t: Any) -> Any:
        """Odds of the false positive at t minus those at 0 (log r < 0), in logs."""
        return log_r * ((claim.rate(arb(1)) * t).exp() - 1)

    return certified.positive(
        gap, {"log r": (-700, "-1/100"), "t": ("1/100", 8)}, "the false positive gains on it"
    )


def _library(claim: FalsePositives, budget: Budget) -> Outcome:
    """optima.smoothing with the verifier's S: log-odds of what is false, and their slope."""
    from hypothesis import strategies as st

    from diffsmooth.theory import optima
    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[list[float], list[float], float]) -> tuple[float, float]:
        true, false, a = instance
        logits = np.array([*true, *(min(true) - x for x in false), 0.0])
        accepted = np.arange(logits.size) < logits.size - 1
        policy = Policy.from_logits(logits, accepted)
        log_b = logits[:-1] - log_sum(logits[:-1])
        n = len(true)

        def odds(exponent: float) -> float:
            law = optima.smoothing(policy, 1.0, 1.0 - exponent, 0.0).log_probs[:-1]
            return log_sum(law[n:]) - log_sum(law[:n])

        def mean(part: slice, exponent: float) -> float:
            weights = exponent * log_b[part]
            return float(np.exp(weights - log_sum(weights)) @ log_b[part])

        step = 1e-4
        slope = (odds(a + step) - odds(a - step)) / (2 * step)
        expected = claim.slope(mean(slice(n, None), a), mean(slice(0, n), a))
        # Central difference: third derivatives are third cumulants, at most (2 range)^3.
        spread = float(np.ptp(log_b)) + 1
        tolerance = step**2 * (2 * spread) ** 3 + 200 * EPS * spread / step
        share = 1 / (1 + math.exp(odds(0.0)))
        worst = abs(share - claim.limit(n, len(false))) / (1e3 * EPS * spread)
        return 1 - max(abs(slope - expected) / tolerance, worst), 0.0

    part = st.lists(st.floats(0, 3), min_size=1, max_size=4)
    return random.for_all(
        st.tuples(part, part, st.floats(0.1, 0.99)), margin, budget, "library optima"
    )


def _adversarial(claim: FalsePositives, budget: Budget) -> Outcome:
    """Share of true solutions against M/(M+v), a in [0, 1], rare false positives: 3 and 2."""
    from diffsmooth.theory.verify import adversarial

    def margin(x: Vector) -> float:
        true = np.clip(x[:3], -9, 9)
        false = float(true.min()) - np.abs(np.clip(x[3:5], -9, 9))
        a = 0.5 - 0.5 * math.cos(float(x[5]))
        share = 1 / (1 + math.exp(log_sum(a * false) - log_sum(a * true)))
        return share - float(claim.limit(3, 2))

    return adversarial.minimise(
        margin, lambda rng: rng.normal(size=6), budget, "share of solutions - M/(M+v)", 64 * EPS
    )


def _figure(ax: Any) -> None:
    """Four solutions, four false positives r times as likely: share of true solutions."""
    a = np.linspace(0, 1, 101)
    for log_r, style, colour in (
        (-1, "-", "#0072B2"),
        (-4, "--", "#D55E00"),
        (-12, ":", "#009E73"),
    ):
        share = 1 / (1 + np.exp(a * log_r))
        ax.plot(1 - a, share, style, color=colour, lw=2, label=rf"$b_V/b_S=e^{{{log_r}}}$")
    ax.axhline(0.5, color="0.5", lw=1, ls=(0, (1, 3)), label=r"$M/(M+v)$")
    ax.set_xlabel(r"smoothing $g_p/\beta=1-a$")
    ax.set_ylabel("share of true solutions among accepted answers")
    ax.legend(fontsize="small")


STATEMENT = Statement(
    id="C10",
    title="Verifier errors: smoothing lifts rare false positives to the level of solutions",
    source="new",
    reference="new; uses B5, C2, C3",
    assumptions=(
        "the verifier accepts M solutions and v false positives; all of them count as S",
        "rare: every false positive is at most as likely under b as every solution",
    ),
    latex=(
        r"\frac{d}{da}\log\frac{q_a(V)}{q_a(S)}=\mathrm{E}_{q_a(\cdot|V)}[\log b]-"
        r"\mathrm{E}_{q_a(\cdot|S)}[\log b]\;\leq\;0,\qquad q_a\propto b^a\ \mathrm{on}\ S\cup V"
        "\n\n"
        r"so smoothing ($a=1-g_p/\beta<1$) raises the share of false positives, never above its "
        r"limit: the share of true solutions stays at or above $M/(M+v)$ and reaches it at the "
        r"optimum of C2.  Under the natural gradient a false positive that is $r$ times as likely "
        r"as a solution has log-odds $e^{-g_p t}\log r$: however rare it began, it is level after "
        r"a time of order $\log\log(1/r)/g_p$."
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic", "any number (formal moments); 2 false positives and 3 solutions", _symbolic
        ),
        Method("smt", "any M >= 1, v >= 0 (lumped)", _lumped),
        Method("exact", "18 rational laws at a in {0, 1/2, 1}", _exact),
        Method("certified", "log r in [-700, -1/100], t in [1/100, 8], g = 1", _certified),
        Method("random", "library optima, 1..4 solutions and false positives", _library),
        Method("adversarial", "3 solutions, 2 rare false positives, any a in [0, 1]", _adversarial),
    ),
    mutants=(
        Mutant(
            "smoothing suppresses rare false positives",
            replace(CLAIM, slope=lambda false, true: true - false),
            ("symbolic", "smt", "random"),
        ),
        Mutant(
            "the limit keeps more of the solutions",
            replace(CLAIM, limit=lambda m, v: (m + v) / (m + 2 * v)),
            ("symbolic", "smt", "exact", "random", "adversarial"),
        ),
        Mutant(
            "false positives fall behind",
            replace(CLAIM, rate=lambda g: g),
            ("symbolic", "smt", "certified"),
        ),
    ),
    limits=(
        "Rare false positives only: one that is likelier than the solutions loses by smoothing. "
        "In the softmax flow an answer that has almost vanished needs a strength above g_v of C9 "
        "to come back, and in training it must be drawn first.  v counts accepted wordings: a "
        "verifier that can be fooled in many ways has a large v."
    ),
    figure=_figure,
)
