r"""D1. The unbiased estimate of pass@k, its variance, and why it needs n >= k samples.

Proof, for all n, k and C.  C(n-c, k) C(n, c) = C(n, k) C(n-k, c), so the expectation of
C(n-c, k)/C(n, k) over c ~ Bin(n, C) is sum_c C(n-k, c) C^c (1-C)^(n-c) = (1-C)^k.
The estimate is the average over all k-subsets of "some answer is correct": two subsets that share j
answers are both wrong with probability (1-C)^(2k-j), which is the variance.  With n < k samples
every estimate has an expectation of degree at most n in C, but 1 - (1-C)^k has degree k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations, product
from math import comb
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


def _variance(n: int, k: int, fail: Any) -> Any:
    shared = sum(
        Fraction(comb(k, j) * comb(n - k, k - j), comb(n, k)) * fail ** (2 * k - j)
        for j in range(max(0, 2 * k - n), k + 1)
    )
    return shared - fail ** (2 * k)


@dataclass(frozen=True)
class Claim:
    """value(C, k): pass@k; estimate(n, c, k) from c correct among n; variance(n, k, 1-C);
    factor(k, i): the stable form multiplies 1 - factor over i = n-c+1 .. n.
    """

    value: Formula = lambda C, k: 1 - (1 - C) ** k
    estimate: Formula = lambda n, c, k: 1 - Fraction(comb(n - c, k), comb(n, k))
    variance: Formula = _variance
    factor: Formula = lambda k, i: k / i


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """Symbolic n, c, k: the two binomial identities, one step of the product, and the sums."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    n, c, k = sp.symbols("n c k", positive=True, integer=True)

    def factorial_form(e: Any) -> Any:
        return sp.gammasimp(e.rewrite(sp.gamma))

    binom = sp.binomial
    exchange = binom(n - c, k) * binom(n, c) / (binom(n, k) * binom(n - k, c))
    ratio = binom(n - c - 1, k) / binom(n - c, k)
    big_c = sp.Symbol("C", positive=True)
    steps: dict[str, Any] = {
        "C(n-c,k) C(n,c) = C(n,k) C(n-k,c)": factorial_form(exchange) - 1,
        "one factor of the stable product": sp.cancel(
            factorial_form(ratio) - (1 - claim.factor(k, n - c))
        ),
    }
    # The binomial theorem for the remaining sum, at given n - k.
    for rest in range(5):
        total = sum(comb(rest, i) * big_c**i * (1 - big_c) ** (rest - i) for i in range(rest + 1))
        steps[f"sum over n - k = {rest}"] = sp.expand(
            1 - total * (1 - big_c) ** 3 - claim.value(big_c, 3)
        )
    return symbolic.zero(steps, [n, c, k, big_c], "estimate", where=lambda p: p[n] > p[c] + p[k])


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Identities of polynomials in C for every n <= 6 and k <= n; the degree argument for n < k."""
    from diffsmooth.theory.verify import exact

    top = 10 if budget.deep else 6

    def moments(n: int, k: int) -> Callable[[], Outcome]:
        def residual(C: Fraction) -> list[Fraction]:
            mean = square = Fraction(0)
            for c in range(n + 1):
                chance = comb(n, c) * C**c * (1 - C) ** (n - c)
                mean += chance * claim.estimate(n, c, k)
                square += chance * claim.estimate(n, c, k) ** 2
            return [
                mean - claim.value(C, k),
                square - mean**2 - claim.variance(n, k, 1 - C),
            ]

        return lambda: exact.polynomial_identity(residual, ["C"], f"n = {n}, k = {k}")

    def subsets(n: int, right: int, k: int) -> Fraction:
        """The average over all k-subsets, counted."""
        hits = [any(i < right for i in s) for s in combinations(range(n), k)]
        claimed: Fraction = claim.estimate(n, right, k)
        return claimed - Fraction(sum(hits), len(hits))

    def difference(k: int) -> Fraction:
        """The k-th difference of pass@k: 0 for every polynomial of degree below k."""
        terms: Iterable[Fraction] = (
            (-1) ** i * comb(k, i) * claim.value(Fraction(i), k) for i in range(k + 1)
        )
        return abs(sum(terms, Fraction(0)))

    counts = [
        {"n": n, "right": c, "k": k}
        for n, c, k in product(range(1, 8), range(8), range(1, 8))
        if c <= n and k <= n
    ]
    whole = together(
        *(moments(n, k) for n in range(1, top + 1) for k in range(1, n + 1)),
        lambda: exact.identity(subsets, counts, "average over subsets"),
        lambda: exact.inequality(difference, [{"k": k} for k in range(1, 9)], "degree is k"),
    )
    return whole.told(
        f"mean and variance as polynomials in C, n <= {top}; subsets; no estimate from n < k"
    )


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """The plug-in estimate 1 - (1 - c/n)^k is too low: factor by factor, for all n, c, k."""
    import z3

    from diffsmooth.theory.verify import smt

    n, c, j, k, i = z3.Reals("n c j k i")
    return together(
        lambda: smt.prove(
            [n >= 1, c >= 0, c <= n, j >= 0, j <= n - 1],
            (n - c - j) * n <= (n - c) * (n - j),
            "(n-c-j)/(n-j) <= (n-c)/n: each factor of C(n-c,k)/C(n,k) is at most the plug-in's",
        ),
        lambda: smt.prove(
            [k >= 1, i >= k, n >= i],
            [1 - claim.factor(k, i) >= 0, 1 - claim.factor(k, i) < 1],
            "the factors of the stable product lie in [0, 1)",
        ),
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's estimate, variance and exact pass@k against the exact rational formulas."""
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory import passk
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[int, int, int, int]) -> tuple[float, float]:
        n, c, k, tenth = instance
        c, k = min(c, n), min(k, n)
        share = Fraction(tenth, 100)
        # A product of at most n factors, each with 2 roundings.
        bound = 8 * (n + 4) * EPS
        errors = [
            abs(float(passk.pass_at_k(n, c, k)) - float(claim.estimate(n, c, k))) / bound,
            abs(float(passk.pass_at_k_exact(float(share), k)) - float(claim.value(share, k)))
            / (8 * (k + 4) * EPS),
        ]
        # A chance is at most 1, and is 1 where fewer than k answers are wrong.
        library = float(passk.pass_at_k(n, c, k))
        if not library <= 1.0 or (n - c < k and library != 1.0):
            errors.append(2.0)
        # The variance sums at most k + 1 terms, each below 1, each with relative error ~ 2k eps
        # from the power and that of C itself.
        spread = float(passk.pass_at_k_variance(n, float(share), k))
        expected = float(claim.variance(n, k, 1 - share))
        errors.append(abs(spread - expected) / (64 * (n + 8) * (k + 8) * EPS))
        if 2 * k <= n:
            # The estimate from the samples is unbiased: its mean over c ~ Bin(n, C).
            chances = [float(comb(n, i) * share**i * (1 - share) ** (n - i)) for i in range(n + 1)]
            estimates = passk.pass_at_k_variance_estimate(n, np.arange(n + 1), k)
            errors.append(
                abs(float(estimates @ np.array(chances)) - expected) / (64 * (n + 8) ** 2 * EPS)
            )
        return -float(np.max(errors)), 1.0  # nan stays nan: Python's max would drop it

    return random.for_all(
        st.tuples(st.integers(1, 60), st.integers(0, 60), st.integers(1, 60), st.integers(0, 100)),
        margin,
        budget,
        "library estimate, variance and value (in units of the error bound)",
        show=lambda t: f"n = {t[0]}, c = {min(t[1], t[0])}, k = {min(t[2], t[0])}, C = {t[3]}/100",
    )


def draw(axes: Axes) -> None:
    """Standard deviation of the estimate against C for several n, and the plug-in's bias."""
    import numpy as np

    c = np.linspace(0.0, 1.0, 101)
    for n, colour, dash in ((8, "#0072B2", "-"), (16, "#D55E00", "--"), (64, "#009E73", "-.")):
        spread = [max(float(_variance(n, 8, 1 - x)), 0.0) ** 0.5 for x in c]
        axes.plot(c, spread, color=colour, ls=dash, label=f"n = {n}")
    axes.set_xlabel("correctness C")
    axes.set_ylabel("standard deviation of the pass@8 estimate")
    axes.legend()


STATEMENT = Statement(
    id="D1",
    title="Unbiased pass@k: mean, variance, and n >= k samples",
    source="paper",
    reference="Chen et al. 2021 (the estimate); theory.md D1; variance in closed form added here",
    assumptions=("n independent answers to one prompt, c of them correct, 1 <= k <= n",),
    latex=(
        r"\widehat{\mathrm{pass@}k} = 1-\frac{C(n-c,k)}{C(n,k)} = 1-\prod_{i=n-c+1}^{n}"
        r"\left(1-\frac{k}{i}\right),\qquad E = 1-(1-C)^k"
        "\n\n"
        r"\mathrm{Var} = \sum_{j}\frac{C(k,j)\,C(n-k,k-j)}{C(n,k)}(1-C)^{2k-j} - (1-C)^{2k}"
        "\n\n"
        r"For $n<k$ no unbiased estimate exists; the plug-in $1-(1-c/n)^k$ is never above the "
        r"unbiased estimate."
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic",
            check_symbolic,
            note="all n, c, k (binomial identities; sums for n - k <= 4)",
        ),
        Method("exact", check_exact, note="n <= 6 (10 under --deep), all k <= n, all C"),
        Method("smt", check_smt, note="all n, c, k (factor by factor)"),
        Method("random", check_random, note="library, n <= 60"),
    ),
    mutants=(
        Mutant(
            "the plug-in estimate",
            replace(CLAIM, estimate=lambda n, c, k: 1 - (1 - Fraction(c, n)) ** k),
            by=("exact", "random"),
        ),
        Mutant(
            "the variance as if all subsets were independent",
            replace(CLAIM, variance=lambda n, k, fail: (fail**k - fail ** (2 * k)) / comb(n, k)),
            by=("exact", "random"),
        ),
        Mutant(
            "the stable product with k - 1",
            replace(CLAIM, factor=lambda k, i: (k - 1) / i),
            by="symbolic",
        ),
        Mutant(
            "pass@k is k C",
            replace(CLAIM, value=lambda C, k: k * C),
            by=("symbolic", "exact", "random"),
        ),
    ),
    limits=(
        "One prompt.  Answers to one prompt must be independent draws: beam search or shared "
        "prefixes break it."
    ),
    figure=draw,
)
