"""B6: tempering orders policies by majorisation, and every diversity measure with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

from diffsmooth.theory.statements import _logs
from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import identities, together
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, least

Number = Any
Measure = Callable[[tab.Array], float]

#: Schur-concave measures of a law, written out here and compared with the library's.
MEASURES: dict[str, Measure] = {
    "shannon": lambda q: float(-np.sum(q * np.log(q))),
    "renyi 1/2": lambda q: float(2 * np.log(np.sum(np.sqrt(q)))),
    "renyi 0": lambda q: float(np.log(np.sum(q > 0))),
    "renyi 2": lambda q: float(-np.log(np.sum(q**2))),
    "renyi inf": lambda q: float(-np.log(np.max(q))),
    "simpson": lambda q: float(1 - np.sum(q**2)),
    "effective number": lambda q: float(1 / np.sum(q**2)),
    "minus variance": lambda q: float(-np.mean((q - 1 / len(q)) ** 2)),
    "distinct in 5": lambda q: float(np.sum(1 - (1 - q) ** 5)),
}


@dataclass(frozen=True)
class Tempering:
    """The formulas of B6, with V the variance of log b_S under q_a.

    ``top(A', A, B', B)``: the sign that makes a difference of partial sums of q_a' and q_a >= 0,
    where A, B are the weights b^a of the top k and of the rest, A', B' the weights b^a'.
    """

    entropy_slope: Callable[[Number, Number], Number] = lambda a, v: -a * v
    kl_slope: Callable[[Number, Number], Number] = lambda a, v: (a - 1) * v
    top: Callable[[Number, Number, Number, Number], Number] = lambda a1, a, b1, b: (
        a1 / (a1 + b1) - a / (a + b)
    )
    falls_until: Fraction = Fraction(1)
    measures: Mapping[str, Measure] = field(default_factory=lambda: MEASURES)


def _symbolic(claim: Tempering, budget: Budget) -> Outcome:
    """Identities for any number of trajectories; psi(a) = log S_S(a), its derivatives cumulants."""
    import sympy as sp

    a, d, x, y = sp.symbols("a d x y", positive=True)
    v, v2 = sp.symbols("v v2", real=True)
    big1, big, small1, small = sp.symbols("A1 A B1 B", positive=True)
    psi = sp.Function("psi")(a)
    mean, variance = psi.diff(a), psi.diff(a, 2)
    entropy = psi - a * mean  # -E_a[a v - psi]
    divergence = a * mean - psi - (mean - psi.subs(a, 1))  # E_a[(a v - psi) - (v - psi(1))]
    k0, k1, k2, at_1 = sp.symbols("psi psi' V psi(1)", real=True)

    def slope(f: Any) -> Any:
        """The derivative in a, with psi's own derivatives written as its cumulants."""
        jet = [(psi.subs(a, 1), at_1), (variance, k2), (mean, k1), (psi, k0)]
        return sp.diff(f, a).subs(jet)

    law = Law("q_a", [v])
    weight = sp.exp(a * v)
    # psi' = E[v], psi'' = E[v^2] - E[v]^2 from the derivatives of S = sum e^(a v).
    s0, s1, s2 = sp.symbols("S S' S''", positive=True)
    return identities(
        {
            "dH/da": slope(entropy) - claim.entropy_slope(a, k2),
            "dKL/da": slope(divergence) - claim.kl_slope(a, k2),
            "S' term by term": sp.diff(weight, a) - v * weight,
            "S'' term by term": sp.diff(weight, a, 2) - v**2 * weight,
            "psi'' from S, S', S''": (s2 * s0 - s1**2) / s0**2 - (s2 / s0 - (s1 / s0) ** 2),
            "a variance is half the mean square of differences": law.covariance(v, v)
            - law.pair([v2], (v - v2) ** 2) / 2,
            "partial sums": claim.top(big1, big, small1, small)
            - (big1 * small - big * small1) / ((big1 + small1) * (big + small)),
            "a pair (top x, other y) of the numerator": sp.powsimp(
                sp.expand(x ** (a + d) * y**a - x**a * y ** (a + d))
            )
            - sp.powsimp(sp.expand(x**a * y**a * (x**d - y**d))),
        },
        "tempering",
    )


def _smt(claim: Tempering, budget: Budget) -> Outcome:
    """Any number of trajectories: b^(a'-a) >= t on the top k and <= t on the rest, t = b_k^(a'-a).

    Then A' >= t A and B' <= t B, which is all that the partial sums see; a = 0 is included.
    """
    import z3

    from diffsmooth.theory.verify import smt

    a1, a, b1, b, t = z3.Reals("A1 A B1 B t")
    slope, v = z3.Reals("a V")
    return together(
        partial(
            smt.prove,
            [a > 0, b >= 0, t > 0, a1 >= t * a, b1 >= 0, b1 <= t * b],
            claim.top(a1, a, b1, b) >= 0,
            "every partial sum of the ordered law rises with a",
        ),
        partial(
            smt.prove,
            [slope > 0, v > 0],
            claim.entropy_slope(slope, v) < 0,
            "H(q_a) falls strictly where log b_S is not constant",
        ),
        partial(
            smt.prove,
            [v > 0, slope < z3.Q(claim.falls_until.numerator, claim.falls_until.denominator)],
            claim.kl_slope(slope, v) < 0,
            "KL(q_a||b_S) falls, for negative a too, up to a = 1",
        ),
        partial(
            smt.prove,
            [v > 0, slope > z3.Q(claim.falls_until.numerator, claim.falls_until.denominator)],
            claim.kl_slope(slope, v) > 0,
            "and rises from there on",
        ),
    )


def _instances(budget: Budget) -> Iterator[dict[str, Any]]:
    for base in tab.rational_bases(80 if budget.deep else 25, budget.seed, largest=7):
        for j in range(2 * base.d):
            yield {"base": base, "j": j}


def _exact(claim: Tempering, budget: Budget) -> Outcome:
    """Consecutive tempered laws q_(j/d), q_((j+1)/d): partial sums, entropy and KL, unrounded."""
    from diffsmooth.theory.verify import exact

    def margins(base: tab.RationalBase, j: int) -> list[Fraction]:
        masses = sorted(base.correct, reverse=True)
        low = [Fraction(m) ** j for m in masses]
        high = [Fraction(m) ** (j + 1) for m in masses]
        partial_sums = [
            claim.top(a1, a, sum(high) - a1, sum(low) - a)
            for a1, a in zip(accumulate(high), accumulate(low), strict=True)
        ]
        uniform = len(set(masses)) == 1
        q, q1, base_law = base.q(j), base.q(j + 1), base.q(base.d)
        entropy = (_logs.entropy(q) - _logs.entropy(q1)).sign()
        change = (_logs.divergence(q1, base_law) - _logs.divergence(q, base_law)).sign()
        # Half-integer tempering lies between: the sign of the slope there.
        middle = Fraction(2 * j + 1, 2 * base.d)
        expected = claim.kl_slope(middle, 0 if uniform else 1)
        falling = claim.entropy_slope(middle, 0 if uniform else 1)
        sign = (expected > 0) - (expected < 0)
        drop = (falling > 0) - (falling < 0)
        return [
            *partial_sums,
            Fraction(-abs(entropy + drop)),
            Fraction(-abs(change - sign)),
            -(_logs.entropy(q) - _logs.log(len(q))).size() if j == 0 else Fraction(0),
        ]

    return exact.inequality(margins, _instances(budget), "tempered laws", strict=False)


def _random(claim: Tempering, budget: Budget) -> Outcome:
    """The library's tempered laws, measures and order."""
    from hypothesis import strategies as st

    from diffsmooth.theory import diversity
    from diffsmooth.theory.optima import (
        entropy_for_temperature,
        entropy_slope,
        temperature_for_entropy,
        tempered,
    )
    from diffsmooth.theory.verify import random

    library: dict[str, Callable[[tab.Array], Any]] = {
        "shannon": diversity.shannon,
        "renyi 1/2": lambda q: diversity.renyi(q, 0.5),
        "renyi 0": lambda q: diversity.renyi(q, 0.0),
        "renyi 2": lambda q: diversity.renyi(q, 2.0),
        "renyi inf": lambda q: diversity.renyi(q, np.inf),
        "simpson": diversity.simpson,
        "effective number": diversity.effective_number,
        "minus variance": diversity.neg_variance,
        "distinct in 5": lambda q: diversity.distinct_in_k(q, 5),
    }

    def margin(instance: tuple[list[float], float, float]) -> tuple[float, float]:
        logits, a, step = instance
        log_b = np.array(logits)
        low, high = (np.asarray(tempered(log_b, x)) for x in (a, a + step))
        values = []
        for name, measure in claim.measures.items():
            less, more = float(library[name](high)), float(library[name](low))
            values.append(more - less)  # every measure falls as a rises
            values += [-abs(measure(np.exp(low)) - more), -abs(measure(np.exp(high)) - less)]
        values.append(-float(np.max(np.abs(low - tab.tempered(log_b, a)))))
        # A trajectory without mass changes nothing (except the mean that a variance refers to).
        padded = np.append(low, -np.inf)
        values += [
            -abs(float(library[name](padded)) - float(library[name](low)))
            for name in claim.measures
            if name != "minus variance"
        ]
        widened = np.append(tempered(np.append(log_b, -np.inf), a)[:-1] - low, 0.0)
        values.append(-float(np.max(np.abs(widened))))
        values.append(0.0 if diversity.majorises(high, low) else -1.0)
        # The converse, where the largest mass differs by more than the order's own slack.
        apart = float(np.exp(high.max()) - np.exp(low.max())) > 1e-9
        values.append(-1.0 if apart and diversity.majorises(low, high) else 0.0)
        values.append(-abs(float(diversity.renyi(low, 1.0)) - float(diversity.shannon(low))))
        # Entropy as a function of the exponent, and back; the uniform law is a = 0.
        entropy = float(entropy_for_temperature(log_b, a))
        values.append(-abs(entropy - float(diversity.shannon(low))))
        # Its slope, with and without a trajectory that has no mass; |log b - mean| <= ptp log b.
        mean = float(np.exp(low) @ log_b)
        slope = claim.entropy_slope(a, float(np.exp(low) @ (log_b - mean) ** 2))
        for law in (log_b, np.append(log_b, -np.inf)):
            found = float(entropy_slope(law, a))
            values.append(-abs(found - slope) / (4 + 4 * float(np.ptp(log_b))))
        back = float(entropy_for_temperature(log_b, temperature_for_entropy(log_b, entropy)))
        values.append(-abs(back - entropy))
        values.append(-abs(float(temperature_for_entropy(log_b, float(np.log(len(log_b)))))))
        # Near order 1 the plain formula loses the digits of 1/(1 - alpha).
        direct = tab.log_sum(1.01 * low) / (1 - 1.01)
        values.append(-abs(float(diversity.renyi(low, 1.01)) - direct) / 100)
        # A large order: the sum of powers is far below 1.
        direct = tab.log_sum(40 * low) / (1 - 40)
        values.append(-abs(float(diversity.renyi(low, 40.0)) - direct) / 40)
        # A point mass that rounding has put above 1.
        values.append(-abs(float(diversity.distinct_in_k([4 * tab.EPS, -np.inf], 5)) - 1))
        # H - (alpha - 1) Var/2; the next term is below 1e-18 times 100^3.
        centred = low + entropy
        half = 0.5e-9 * float(np.exp(low) @ centred**2)
        for order, close in ((1 + 1e-9, entropy - half), (1 - 1e-9, entropy + half)):
            values.append(-abs(float(diversity.renyi(low, order)) - close))
        # Derivatives: 1/sum q^2 <= M and D_5 <= 5 q multiply the error of a log-mass by <= 2 M + 5.
        size = len(log_b)
        spread = float(np.ptp(log_b) * (a + step) + np.log(size))
        return least(*values), (2 * size + 5) * tab.rounding(size, spread)

    strategy = st.tuples(
        st.lists(tab.decimals(-6, 6), min_size=1, max_size=12),
        tab.decimals(0, 3),
        tab.decimals(0, 2),
    )
    return random.for_all(strategy, margin, budget, "the library's measures fall along tempering")


def _adversarial(claim: Tempering, budget: Budget) -> Outcome:
    """Search for a law and two exponents where some measure rises."""
    from diffsmooth.theory.verify import adversarial

    def margin(x: tab.Array) -> float:
        a, step = float(x[0] ** 2), float(x[1] ** 2)
        if np.max(np.abs(x)) > 5:
            return np.inf
        low, high = np.exp(tab.tempered(x[2:], a)), np.exp(tab.tempered(x[2:], a + step))
        drops = [
            measure(low) - measure(high)
            for name, measure in claim.measures.items()
            if name != "renyi 0"  # constant on full support: it would hide the others
        ]
        return least(*drops)

    return adversarial.minimise(
        margin,
        lambda rng: rng.normal(size=6),
        budget,
        "every measure falls",
        (2 * 4 + 5) * tab.rounding(4, 520.0),
        evaluations=300,
    )


def draw(ax: Any) -> None:
    """Entropy and cost of the tempered laws of one base law."""
    log_b = np.log(np.array([0.4, 0.25, 0.15, 0.1, 0.06, 0.04]))
    grid = np.linspace(-1, 4, 201)
    laws = [tab.tempered(log_b, float(a)) for a in grid]
    ax.plot(grid, [tab.shannon(q) for q in laws], "-", color="#0072B2", label=r"$H(q_a)$")
    ax.plot(
        grid,
        [tab.relative(q, log_b) for q in laws],
        "--",
        color="#D55E00",
        label=r"$\mathrm{KL}(q_a\|b_S)$",
    )
    ax.axvline(0, color="#777777", linestyle=":", label="$a = 0$: uniform")
    ax.axvline(1, color="#777777", linestyle="-.", label="$a = 1$: base policy")
    ax.set(xlabel="exponent $a$", ylabel="nats")
    ax.legend(fontsize="small")


STATEMENT = Statement(
    id="B6",
    title="Tempering lemma: a lower exponent is more diverse in every sense",
    source="new",
    reference="theory.md B6",
    assumptions=(
        "q_a ∝ b_S^a on a finite correct set, b_S > 0",
        "diversity: any Schur-concave function of the law",
    ),
    latex=(
        r"$0\leq a\leq a'\;\Rightarrow\; q_a\prec q_{a'}$, hence $D(q_a)\geq D(q_{a'})$ for every"
        r" Schur-concave $D$." + "\n\n"
        r"$\frac{d}{da}H(q_a)=-a\,\mathrm{Var}_{q_a}(\log b_S),\qquad"
        r"\frac{d}{da}\mathrm{KL}(q_a\|b_S)=(a-1)\,\mathrm{Var}_{q_a}(\log b_S)$" + "\n\n"
        r"so the cost falls on $(-\infty,1]$, is $0$ at $a=1$ and rises after; $a=0$ is uniform."
    ),
    claim=Tempering(),
    methods=(
        Method("symbolic", _symbolic, note="any number of trajectories, all b_S > 0, real a"),
        Method("smt", _smt, note="any number of trajectories (top k and rest lumped)"),
        Method("exact", _exact, note="rational laws, 1-7 trajectories, consecutive a = j/d"),
        Method("random", _random, note="the library: 1-12 trajectories, 0 <= a <= a' <= 5"),
        Method("adversarial", _adversarial, note="4 trajectories, eight measures"),
    ),
    mutants=(
        Mutant(
            "the order reversed",
            Tempering(top=lambda a1, a, b1, b: a / (a + b) - a1 / (a1 + b1)),
            ("symbolic", "smt", "exact"),
        ),
        Mutant(
            "the entropy's slope loses its factor a",
            Tempering(entropy_slope=lambda a, v: -v),
            "symbolic",
        ),
        Mutant(
            "the cost falls only down to a = 0",
            Tempering(kl_slope=lambda a, v: a * v, falls_until=Fraction(0)),
            ("symbolic", "exact"),
        ),
        Mutant(
            "the sum of squares counted as a diversity",
            Tempering(measures={**MEASURES, "simpson": lambda q: float(np.sum(q**2))}),
            ("random", "adversarial"),
        ),
    ),
    limits=(
        "Majorisation needs a >= 0 only for the order by b; at a < 0 the law favours the unlikely"
        " and H falls again. Strict unless b_S is uniform."
    ),
    figure=draw,
)
