r"""A1. Selection bias: likely correct answers are more often reinforced at all.

Proof, for any number of trajectories and draws.  The chance of never drawing i is multiplied by
1 - b_i at every draw, so P(i reinforced) = 1 - (1 - b_i)^n (induction on n).  For i and j in S the
normaliser of pi' cancels: log pi'_i/pi'_j - log b_i/b_j = (r^_i - r^_j)/beta; take expectations.
With x = 1 - b_j > y = 1 - b_i the bias is D(n) = (x^n - y^n)/beta: positive by induction, at most
x^n/beta -> 0, and D(n+1) - D(n) = (b_i y^n - b_j x^n)/beta can change sign only once, from + to -.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS, LogitBase, logit_bases
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """reinforced(b, n): chance of being drawn; bias(b_i, b_j, n): expected change of log-odds
    times beta; growth(b_i, b_j, x, y): bias(n+1) - bias(n) with x = (1-b_j)^n, y = (1-b_i)^n;
    peak(b_i, b_j, log): the real n at which the bias is largest.
    """

    reinforced: Formula = lambda b, n: 1 - (1 - b) ** n
    bias: Formula = lambda b_i, b_j, n: (1 - b_j) ** n - (1 - b_i) ** n
    growth: Formula = lambda b_i, b_j, x, y: b_i * y - b_j * x
    peak: Formula = lambda b_i, b_j, log: (
        log(log(1 - b_i) / log(1 - b_j)) / log((1 - b_j) / (1 - b_i))
    )


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """The induction over the draws, for a symbolic number of them."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    n = sp.Symbol("n", positive=True)
    x, y = sp.symbols("x y", positive=True)  # 1 - b_j and 1 - b_i
    b_i, b_j = 1 - y, 1 - x
    miss = 1 - claim.reinforced(b_i, n)
    stationary = sp.diff(claim.bias(b_i, b_j, n), n)
    # With y = exp(-r) and x = exp(-s) the derivative vanishes where exp((r - s) n) = r/s.
    r, s = sp.symbols("r s", positive=True)
    peak = claim.peak(1 - sp.exp(-r), 1 - sp.exp(-s), sp.log)
    at_peak = sp.expand_log(sp.expand(peak * (r - s)) - sp.log(r / s))
    steps = {
        "no draw": claim.reinforced(b_i, sp.Integer(0)),
        "one draw more": sp.expand(claim.reinforced(b_i, n + 1) - (1 - miss * (1 - b_i))),
        "bias is the difference": sp.expand(
            claim.bias(b_i, b_j, n) - (claim.reinforced(b_i, n) - claim.reinforced(b_j, n))
        ),
        "growth": sp.expand(
            claim.bias(b_i, b_j, n + 1)
            - claim.bias(b_i, b_j, n)
            - claim.growth(b_i, b_j, x**n, y**n)
        ),
        "derivative in n": sp.expand(stationary - (x**n * sp.log(x) - y**n * sp.log(y))),
        "stationary at the peak": sp.cancel(at_peak),
    }
    return symbolic.zero(
        steps, [n, x, y, r, s], "draws", where=lambda p: p[x] < 1 and p[y] < p[x] and p[s] < p[r]
    )


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Induction steps: X = (1-b_j)^n and Y = (1-b_i)^n stand for any number of draws n >= 1."""
    import z3

    from diffsmooth.theory.verify import smt

    b_i, b_j, x, y = z3.Reals("b_i b_j X Y")
    given = [b_j > 0, b_i > b_j, b_i + b_j <= 1]
    powers = [x > 0, y >= 0]
    return together(
        lambda: smt.prove(given, claim.bias(b_i, b_j, 1) > 0, "one draw: the likelier is favoured"),
        lambda: smt.prove(
            [*given, *powers, x > y],
            [x * (1 - b_j) > y * (1 - b_i), x * (1 - b_j) < x],
            "one draw more keeps the sign; the larger power shrinks geometrically",
        ),
        lambda: smt.prove(
            [*given, *powers, x > y, claim.growth(b_i, b_j, x, y) <= 0],
            claim.growth(b_i, b_j, x * (1 - b_j), y * (1 - b_i)) <= 0,
            "once the bias falls it goes on falling: one peak",
        ),
        lambda: smt.prove(
            given,
            [claim.bias(b_i, b_j, k) > 0 for k in (2, 3, 4)]
            + [claim.reinforced(b_i, k) > claim.reinforced(b_j, k) for k in (1, 2, 3, 4)]
            + [claim.bias(b_j, b_j, k) == 0 for k in (1, 2, 3)],
            "n <= 4 directly",
        ),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """All sequences of n draws among i, j and the rest: an identity of polynomials in b_i, b_j."""
    from diffsmooth.theory.verify import exact

    def step(n: int) -> Callable[[], Outcome]:
        def residual(b_i: Fraction, b_j: Fraction) -> list[Fraction]:
            chance = {"i": b_i, "j": b_j, "rest": 1 - b_i - b_j}
            drawn = odds = Fraction(0)
            for draws in product(chance, repeat=n):
                weight = Fraction(1)
                for y in draws:
                    weight *= chance[y]
                drawn += weight * ("i" in draws)
                odds += weight * (("i" in draws) - ("j" in draws))
            return [drawn - claim.reinforced(b_i, n), odds - claim.bias(b_i, b_j, n)]

        return lambda: exact.polynomial_identity(residual, ["b_i", "b_j"], f"n = {n}")

    return together(*(step(n) for n in range(1, 7 if budget.deep else 5)))


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's KL-regularised optimum, averaged over every sequence of three draws."""
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory.optima import vanilla
    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.verify import random

    n = 3

    def margin(instance: tuple[LogitBase, float]) -> tuple[float, float]:
        base, beta = instance
        logits, mask = base.logits, base.mask
        log_b = logits - np.logaddexp.reduce(logits)
        b = np.exp(log_b)
        draws = np.array(list(product(range(b.size), repeat=n)))
        chance = b[draws].prod(axis=1)
        drawn = np.zeros((len(draws), b.size), dtype=bool)
        np.put_along_axis(drawn, draws, True, axis=1)
        reinforced = drawn & mask
        some = reinforced.any(axis=1)
        rows = np.broadcast_to(log_b, (int(some.sum()), b.size))
        moved = np.tile(log_b, (len(draws), 1))
        moved[some] = np.asarray(vanilla(Policy(rows, reinforced[some]), beta).log_probs)
        mean = chance @ moved - log_b
        i = np.flatnonzero(mask)
        change = mean[i][:, None] - mean[i][None, :]
        expected = claim.bias(b[i][:, None], b[i][None, :], n) / beta
        worst = float(np.abs(change - expected).max())
        delta = (base.spread + b.size + 8) * EPS
        # log pi' is at most spread + 1/beta in size and averaged over all draws.
        bound = 8 * (1 + base.spread + 1 / beta) * (delta + len(draws) * EPS + n * delta)
        peak_error = 0.0
        top, low = float(b[i].max()), float(b[i].min())
        if top > low * 1.01:
            peak = float(claim.peak(top, low, np.log))
            around = [claim.bias(top, low, peak * s) for s in (0.9, 1.0, 1.1)]
            peak_error = largest(around[0], around[2]) - around[1]
        return -largest(worst / bound, peak_error / (64 * EPS)), 1.0

    return random.for_all(
        st.tuples(logit_bases(largest=3, width=2.0), st.floats(0.1, 10.0)),
        margin,
        budget,
        "library optimum after three draws (in units of the error bound)",
        show=lambda t: f"{t[0]}, beta = {t[1]:.4g}",
        examples=600 if budget.deep else 40,
    )


def draw(axes: Axes) -> None:
    """The bias against the number of draws."""
    import numpy as np

    n = np.geomspace(1, 1000, 200)
    for b_i, b_j, colour, dash in (
        (0.2, 0.1, "#0072B2", "-"),
        (0.2, 0.01, "#D55E00", "--"),
        (0.02, 0.01, "#009E73", "-."),
    ):
        axes.semilogx(
            n, CLAIM.bias(b_i, b_j, n), color=colour, ls=dash, label=f"$b_i={b_i}$, $b_j={b_j}$"
        )
    axes.set_xlabel("answers drawn, n")
    axes.set_ylabel(r"$\beta\;\times$ expected change of log-odds")
    axes.legend()


STATEMENT = Statement(
    id="A1",
    title="Selection bias: likely answers are more often reinforced at all",
    source="paper",
    reference="arXiv 2511.19942; theory.md A1; the location of the peak is added here",
    assumptions=(
        "n >= 1 answers drawn independently from b; the reward is seen on drawn answers only, "
        "0 elsewhere",
        "the update is pi' proportional to b exp(r^/beta); i and j are correct",
    ),
    latex=(
        r"P(i\ \mathrm{reinforced}) = 1-(1-b_i)^n,\qquad"
        r" E\left[\log\frac{\pi^\prime_i}{\pi^\prime_j}\right] - \log\frac{b_i}{b_j}"
        r" = \frac{(1-b_j)^n-(1-b_i)^n}{\beta}"
        "\n\n"
        r"positive iff $b_i>b_j$; as a function of $n$ it has one peak, at "
        r"$n^\ast = \log\left(\frac{\log(1-b_i)}{\log(1-b_j)}\right)/\log\frac{1-b_j}{1-b_i}$, "
        r"and tends to 0."
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="any number of draws n (induction), any b_i, b_j"),
        Method("smt", check_smt, note="any n (induction step), any number of trajectories"),
        Method(
            "exact",
            check_exact,
            note="n <= 4 (6 under --deep), all b_i, b_j, any number of other trajectories",
        ),
        Method("random", check_random, note="library, n = 3, 2 to 6 trajectories"),
    ),
    mutants=(
        Mutant(
            "the rarer answer is favoured",
            replace(CLAIM, bias=lambda b_i, b_j, n: (1 - b_i) ** n - (1 - b_j) ** n),
            by=("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "draws add up: P = n b",
            replace(CLAIM, reinforced=lambda b, n: n * b),
            by=("symbolic", "exact"),
        ),
        Mutant(
            "the bias grows with n for ever",
            replace(CLAIM, growth=lambda b_i, b_j, x, y: b_i * x - b_j * y),
            by="symbolic",
        ),
        Mutant(
            "the peak is at 1/b_i",
            replace(CLAIM, peak=lambda b_i, b_j, log: 1 / b_i),
            by=("symbolic", "random"),
        ),
    ),
    limits=(
        "One update from b.  The likelier of two answers is favoured even if both are drawn "
        "with near certainty; what vanishes with n is the size of the bias."
    ),
    figure=draw,
)
