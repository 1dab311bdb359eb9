r"""D2. pass@k sees correctness only, and a spread of correctness over prompts lowers it.

Proof, for all k and any number of prompts.  With x = 1 - C and y its mean over the prompts,
x^k - y^k - k y^(k-1) (x - y) = (x - y)^2 Q_k,  Q_k = sum_{j<=k-2} (j+1) y^j x^(k-2-j),
by induction (Q_2 = 1, Q_{k+1} = x Q_k + k y^(k-1)).  Taking the mean over prompts, pass@k of the
mean minus the mean pass@k is E[(C - mean)^2 Q_k] >= 0; the last term of Q_k and 0 <= x, y <= 1 give
(k-1) y^(k-2) Var C <= deficit <= k (k-1)/2 Var C, which is Var C exactly for k = 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


def _quotient(k: int, x: Any, y: Any) -> Any:
    return sum((j + 1) * y**j * x ** (k - 2 - j) for j in range(k - 1))


@dataclass(frozen=True)
class Claim:
    """value(C, k): pass@k on one prompt; quotient(k, x, y): Q_k; grow(k, Q, x, y): Q_{k+1};
    lower(k, y, var), upper(k, var): bounds on the deficit.
    """

    value: Formula = lambda C, k: 1 - (1 - C) ** k
    quotient: Formula = _quotient
    grow: Formula = lambda k, Q, x, y: x * Q + k * y ** (k - 1)
    lower: Formula = lambda k, y, var: (k - 1) * y ** (k - 2) * var
    upper: Formula = lambda k, var: var * k * (k - 1) / 2


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """The certificate by induction on a symbolic k, and its first members directly."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    k, x, y, q = sp.symbols("k x y Q", positive=True)

    def remainder(n: Any) -> Any:
        """value at y (linearised) minus value at x, with C = 1 - x."""
        linear = claim.value(1 - y, n) - sp.diff(claim.value(1 - y, n), y) * (y - x)
        return linear - claim.value(1 - x, n)

    # Suppose remainder(k) = (x-y)^2 Q; then x^k is this much, and remainder(k+1) follows.
    power = sp.Symbol("power", positive=True)  # stands for x^k
    at_k = power - y**k - k * y ** (k - 1) * (x - y)
    at_next = power * x - y ** (k + 1) - (k + 1) * y**k * (x - y)
    solved = sp.solve(sp.Eq(at_k, (x - y) ** 2 * q), power)[0]
    steps: dict[str, Any] = {
        "induction": sp.simplify(
            sp.expand((at_next.subs(power, solved) - (x - y) ** 2 * claim.grow(k, q, x, y)) / y**k)
        ),
        "remainder is x^k - y^k - k y^(k-1)(x-y)": sp.expand(remainder(k) - at_k.subs(power, x**k)),
    }
    for n in range(2, 8):
        steps[f"k = {n}"] = sp.expand(remainder(n) - (x - y) ** 2 * claim.quotient(n, x, y))
        steps[f"growth to k = {n + 1}"] = sp.expand(
            claim.quotient(n + 1, x, y) - claim.grow(n, claim.quotient(n, x, y), x, y)
        )
    return symbolic.zero(steps, [k, x, y, q], "explicit certificate")


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Signs and bounds of Q by induction, and transfers between two prompts for k <= 4."""
    import z3

    from diffsmooth.theory.verify import smt

    x, y, k, q, low, var, a, b, t = z3.Reals("x y k Q y_power var C1 C2 t")
    unit = [x >= 0, x <= 1, y >= 0, y <= 1]

    def transfer(n: int) -> Callable[[], Outcome]:
        moved = claim.value(a + t, n) + claim.value(b - t, n)
        return lambda: smt.prove(
            [a >= 0, a < b, b <= 1, t > 0, t < b - a],
            moved > claim.value(a, n) + claim.value(b, n),
            f"moving correctness from a solved to an unsolved prompt raises pass@{n}",
        )

    return together(
        lambda: smt.prove(unit, claim.quotient(2, x, y) == 1, "Q_2 = 1"),
        lambda: smt.prove(
            # y_power stands for y^(k-1) <= y^(k-2); from Q_k to Q_{k+1} = x Q_k + k y^(k-1).
            [*unit, k >= 2, low >= 0, low <= 1, q >= 0, q <= k * (k - 1) / 2],
            [x * q + k * low >= k * low, x * q + k * low <= (k + 1) * k / 2],
            "k y^(k-1) <= Q_{k+1} <= k (k+1)/2",
        ),
        lambda: smt.prove(
            # The same bounds as the claim states them, at k = 2, 3, 4.
            [*unit, var > 0],
            [
                z3.And(
                    claim.quotient(n, x, y) * var >= claim.lower(n, y, var),
                    claim.quotient(n, x, y) * var <= claim.upper(n, var),
                )
                for n in (2, 3, 4)
            ],
            "the stated bounds, k <= 4",
        ),
        *(transfer(n) for n in (2, 3, 4)),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Draws enumerated on one prompt; deficits over prompts in rational arithmetic."""
    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def draws(weights: tuple[int, ...], successes: int, k: int) -> Fraction:
        """P(some draw is correct): whatever the law inside S, only C enters."""
        pi = [Fraction(w, sum(weights)) for w in weights]
        hit = Fraction(0)
        for answers in product(range(len(pi)), repeat=k):
            chance = Fraction(1)
            for y in answers:
                chance *= pi[y]
            hit += chance * any(y < successes for y in answers)
        claimed: Fraction = claim.value(sum(pi[:successes], Fraction(0)), k)
        return hit - claimed

    def deficits(rates: tuple[Fraction, ...], k: int) -> list[Fraction]:
        n = len(rates)
        mean = sum(rates, Fraction(0)) / n
        var = sum(((c - mean) ** 2 for c in rates), Fraction(0)) / n
        deficit = claim.value(mean, k) - sum((claim.value(c, k) for c in rates), Fraction(0)) / n
        certificate = (
            sum(((c - mean) ** 2 * claim.quotient(k, 1 - c, 1 - mean) for c in rates), Fraction(0))
            / n
        )
        return [
            deficit - claim.lower(k, 1 - mean, var),
            claim.upper(k, var) - deficit,
            deficit - certificate,
            certificate - deficit,
        ]

    single = [
        {"weights": w, "successes": s, "k": k}
        for w, s in (((3, 1), 1), ((2, 2, 1), 2), ((4, 0, 1), 2), ((1, 1, 5, 2), 3))
        for k in (1, 2, 3)
    ]
    many = [
        {"rates": tuple(Fraction(rng.randint(0, 12), 12) for _ in range(size)), "k": k}
        for size in (2, 2, 3, 5, 9)
        for k in (2, 3, 4, 8, 16)
    ]
    return together(
        lambda: exact.identity(draws, single, "pass@k sees C only"),
        lambda: exact.inequality(deficits, many, "deficit over prompts", strict=False),
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's exact pass@k: value, certificate and bounds in floating point."""
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory.passk import pass_at_k_exact
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[list[float], int]) -> tuple[float, float]:
        values, k = instance
        rates = np.array(values)
        library = np.asarray(pass_at_k_exact(rates, k), dtype=float)
        mean, var = float(rates.mean()), float(rates.var())
        deficit = float(pass_at_k_exact(mean, k)) - float(library.mean())
        # A power of a number in [0, 1] with relative error eps, and a mean of them.
        bound = 8 * (k + rates.size + 4) * EPS
        certificate = float(np.mean((rates - mean) ** 2 * claim.quotient(k, 1 - rates, 1 - mean)))
        slack = bound * (1 + k * k)
        return least(
            -float(np.abs(library - claim.value(rates, k)).max()) / bound,
            -abs(deficit - certificate) / slack,
            (deficit - float(claim.lower(k, 1 - mean, var))) / slack,
            (float(claim.upper(k, var)) - deficit) / slack,
        ), 1.0

    return random.for_all(
        st.tuples(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12), st.integers(2, 64)),
        margin,
        budget,
        "library pass@k over prompts (in units of the error bound)",
    )


def draw(axes: Axes) -> None:
    """pass@k against k at equal pass@1 = .5 for three spreads of C over prompts."""
    import numpy as np

    k = np.arange(1, 65)
    for rates, colour, dash, name in (
        ((0.5,), "#0072B2", "-", "no spread"),
        ((0.2, 0.8), "#009E73", "-.", "C = .2 or .8"),
        ((0.0, 1.0), "#D55E00", "--", "C = 0 or 1"),
    ):
        axes.semilogx(
            k,
            np.mean([CLAIM.value(c, k) for c in rates], axis=0),
            color=colour,
            ls=dash,
            label=name,
        )
    axes.set_xlabel("k")
    axes.set_ylabel("pass@k at pass@1 = 0.5")
    axes.legend()


STATEMENT = Statement(
    id="D2",
    title="pass@k sees correctness only; a spread over prompts lowers it",
    source="new",
    reference="theory.md D2; certificate and two-sided bound added here",
    assumptions=(
        "k >= 1 independent answers a prompt; C_x in [0, 1] over any number of prompts",
        "training and test prompts and correct sets are the same (no shift; see E3)",
    ),
    latex=(
        r"\mathrm{pass@}k(x) = 1-(1-C_x)^k,\qquad 1-(1-\bar C)^k - E_x[\mathrm{pass@}k(x)]"
        r" = E_x\left[(C_x-\bar C)^2\,Q_k(1-C_x,\,1-\bar C)\right]"
        "\n\n"
        r"Q_k(x,y) = \sum_{j=0}^{k-2}(j+1)\,y^j x^{k-2-j},\qquad"
        r" (k-1)(1-\bar C)^{k-2}\,\mathrm{Var}\,C \leq \mathrm{deficit}"
        r" \leq \frac{k(k-1)}{2}\,\mathrm{Var}\,C"
        "\n\n"
        r"For $k=2$ the deficit is $\mathrm{Var}\,C$.  On one prompt the law $q$ of the correct "
        r"part does not enter."
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="all k >= 2 (induction), any number of prompts"),
        Method("smt", check_smt, note="bounds: all k (induction step); transfers: k <= 4, all C"),
        Method(
            "exact", check_exact, note="12 policies enumerated; 25 rational families, k up to 16"
        ),
        Method("random", check_random, note="library, 1 to 12 prompts, k in 2..64"),
    ),
    mutants=(
        Mutant(
            "spread raises pass@k",
            replace(CLAIM, quotient=lambda k, x, y: -_quotient(k, x, y)),
            by=("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "the deficit is k (k-1)/2 Var C at least",
            replace(CLAIM, lower=lambda k, y, var: var * k * (k - 1) / 2),
            by=("smt", "exact", "random"),
        ),
        Mutant(
            "pass@k is linear in C",
            replace(CLAIM, value=lambda C, k: C * k),
            by=("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "the induction drops the factor k",
            replace(CLAIM, grow=lambda k, Q, x, y: x * Q + y ** (k - 1)),
            by="symbolic",
        ),
    ),
    limits="Says what pass@k measures, not what training does to C_x: that is E1 to E3.",
    figure=draw,
)
