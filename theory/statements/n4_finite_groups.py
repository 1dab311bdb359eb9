r"""N4. How close the clock of GRPO with a finite group comes to its limit.

Proof, for all G >= 2 and 0 < C < 1.  v = C(1-C), x = k/G, y = x(1-x)/v, so that
g_G(C)/sqrt(v) = E sqrt(y), and E y = 1 - 1/G.
For s = sqrt(y):  (1 + s^2)/2 - s = (1-s)^2/2 >= 0  and
s - (3 s^2 - s^4)/2 = s (s-1)^2 (s+2)/2 >= 0.
Taking means, with m_2 = E (y-1)^2 and (3y - y^2)/2 = 1 + (y-1)/2 - (y-1)^2/2:
1 - 1/(2G) - m_2/2 <= E sqrt(y) <= 1 - 1/(2G).
m_2 = (1-4v)(G-2)/(G^2 v) + 3/G^2 + (1-6v)/(G^3 v) by the moments of the binomial law (a polynomial
identity in G and C), and m_2 <= 1/(G v).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import comb
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """Bounds on the relative gap 1 - g_G/sqrt(v); second(G, v): m_2."""

    second: Formula = lambda G, v: (
        (1 - 4 * v) * (G - 2) / (G**2 * v) + 3 / G**2 + (1 - 6 * v) / (G**3 * v)
    )
    least: Formula = lambda G: 1 / (2 * G)
    most: Formula = lambda G, v: (1 + 1 / v) / (2 * G)


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """The two certificates; m_2 from the cumulants of the binomial law."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    s, c, size = sp.symbols("s C G", positive=True)
    v = c * (1 - c)
    # Central moments of k/G from the cumulants G v, G v (1-2C), G v (1-6v) of k.
    m2, m3 = v / size, v * (1 - 2 * c) / size**2
    m4 = (3 * (size * v) ** 2 + size * v * (1 - 6 * v)) / size**4
    # x(1-x) - v = (1-2C) d - d^2 with d = x - C.
    square = (1 - 2 * c) ** 2 * m2 - 2 * (1 - 2 * c) * m3 + m4
    return symbolic.zero(
        {
            "upper certificate": sp.expand((1 + s**2) / 2 - s - (1 - s) ** 2 / 2),
            "lower certificate": sp.expand(
                s - (3 * s**2 - s**4) / 2 - s * (s - 1) ** 2 * (s + 2) / 2
            ),
            "mean of y": sp.cancel((v - m2) / v - 1 + 2 * claim.least(size)),
            "m_2": sp.cancel(square / v**2 - claim.second(size, v)),
        },
        [s, c, size],
        "certificates and moments",
        where=lambda p: p[c] < 1,
    )


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """All G >= 2, all C: m_2 <= 1/(G v), and the bounds that follow."""
    import z3

    from diffsmooth.theory.verify import smt

    size, v, s, mean = z3.Reals("G v s E_root")
    given = [size >= 2, v > 0, 4 * v <= 1]
    return together(
        lambda: smt.prove(
            [s >= 0], [2 * s <= 1 + s * s, 2 * s >= 3 * s * s - s * s * s * s], "certificates"
        ),
        lambda: smt.prove(given, claim.second(size, v) <= 1 / (size * v), "m_2 <= 1/(G v)"),
        lambda: smt.prove(
            [
                *given,
                mean <= 1 - 1 / (2 * size),
                mean >= 1 - 1 / (2 * size) - claim.second(size, v) / 2,
                claim.second(size, v) <= 1 / (size * v),
            ],
            [1 - mean >= claim.least(size), 1 - mean <= claim.most(size, v)],
            "the gap between its bounds",
        ),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """m_2 as a polynomial in C for each G; the clock's square against the bounds at G = 2 and 3."""
    from diffsmooth.theory.verify import exact

    def moments(size: int) -> Callable[[], Outcome]:
        def residual(C: Any) -> list[Any]:
            v = C * (1 - C)
            total = mean = Fraction(0)
            for k in range(size + 1):
                chance = comb(size, k) * C**k * (1 - C) ** (size - k)
                y = Fraction(k, size) * (1 - Fraction(k, size))
                total += chance * (y - v) ** 2
                mean += chance * y
            claimed = claim.second(Fraction(size), v) * v * v
            return [total - claimed, mean - v * (1 - 2 * claim.least(Fraction(size)))]

        return lambda: exact.polynomial_identity(residual, ["C"], f"G = {size}")

    def small(size: int, C: Fraction) -> list[Fraction]:
        """G = 2 and 3: sqrt(k(G-k)) takes one non-zero value, so the clock squared is rational."""
        v = C * (1 - C)
        weight = sum(
            (comb(size, k) * C**k * (1 - C) ** (size - k) for k in range(1, size)), Fraction(0)
        )
        square = Fraction(size - 1, size**2) * weight**2 / v  # (g/sqrt(v))^2
        low, high = 1 - claim.most(Fraction(size), v), 1 - claim.least(Fraction(size))
        return [high**2 - square, square - max(low, Fraction(0)) ** 2]

    grid = [{"size": g, "C": Fraction(i, 12)} for g in (2, 3) for i in range(1, 12)]
    return together(
        *(moments(size) for size in range(2, 12 if budget.deep else 7)),
        lambda: exact.inequality(small, grid, "G = 2, 3", strict=False),
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's clock between the bounds."""
    from hypothesis import strategies as st

    from diffsmooth.theory.gradients import grpo_clock
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[float, int]) -> tuple[float, float]:
        c, size = instance
        v = c * (1 - c)
        gap = 1 - float(grpo_clock(c, size)) * v**0.5
        bound = 64 * (size + 8) * EPS
        return least(gap - claim.least(size), claim.most(size, v) - gap) / bound, 1.0

    return random.for_all(
        st.tuples(st.floats(0.001, 0.999), st.integers(2, 48)),
        margin,
        budget,
        "library clock (in units of the error bound)",
        show=lambda t: f"C = {t[0]:.4g}, G = {t[1]}",
    )


def draw(axes: Axes) -> None:
    """The relative gap at three C against G, with its bounds at C = 1/2."""
    import numpy as np

    from diffsmooth.theory.gradients import grpo_clock

    sizes = np.unique(np.geomspace(2, 64, 8).astype(int))
    for c, colour, dash in ((0.5, "#0072B2", "-"), (0.1, "#009E73", "-."), (0.01, "#D55E00", "--")):
        gap = [1 - float(grpo_clock(c, int(g))) * (c * (1 - c)) ** 0.5 for g in sizes]
        axes.loglog(sizes, gap, color=colour, ls=dash, label=f"C = {c}")
    axes.loglog(sizes, 1 / (2 * sizes), color="black", ls=":", label="1/(2G)")
    axes.set_xticks([2, 4, 8, 16, 32, 64], ["2", "4", "8", "16", "32", "64"])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("group size G")
    axes.set_ylabel("relative gap to the clock of large groups")
    axes.legend()


STATEMENT = Statement(
    id="N4",
    title="How close GRPO's clock with a finite group comes to its limit",
    source="new",
    reference="derived for this project; sharpens A6",
    assumptions=("GRPO as in A6, G >= 2, 0 < C < 1, v = C(1-C)",),
    latex=(
        r"\frac{1}{2G} \leq 1 - \frac{g_G(C)}{\sqrt{v}} \leq \frac{1}{2G}\left(1+\frac{1}{v}"
        r"\right),\qquad v = C(1-C)"
        "\n\n"
        r"1 - \frac{g_G(C)}{\sqrt{v}} \leq \frac{1}{2G}+\frac{m_2}{2},\qquad"
        r" m_2 = \frac{(1-4v)(G-2)}{G^2 v}+\frac{3}{G^2}+\frac{1-6v}{G^3 v}"
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="all G, all C"),
        Method("smt", check_smt, note="all G >= 2, all C in (0, 1)"),
        Method("exact", check_exact, note="G in 2..6 (..11 deep), all C"),
        Method("random", check_random, note="library, G in 2..48, C in [.001, .999]"),
    ),
    mutants=(
        Mutant(
            "the gap is at least 1/G",
            replace(CLAIM, least=lambda G: 1 / G),
            by=("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "the upper bound does not depend on C",
            replace(CLAIM, most=lambda G, v: 1 / G + 0 * v),
            by=("smt", "exact", "random"),
        ),
        Mutant(
            "the fourth moment of a normal law",
            replace(
                CLAIM,
                second=lambda G, v: (1 - 4 * v) * (G - 2) / (G**2 * v) + 3 / G**2,
            ),
            by=("symbolic", "exact"),
        ),
    ),
    limits="Where G C(1-C) is below about 1 the bounds are loose: most groups are of one kind.",
    figure=draw,
)
