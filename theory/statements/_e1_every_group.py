r"""E1's closed forms and curvatures for every group size G and every k, term by term.

u'(C) = sum_m C(G-1,m) C^m (1-C)^(G-1-m) gap(m), gap(m) = A+(m+1) - A-(m).

- PKPO, with any of its baselines: gap = K C(G-1-m,K-1)/C(G-1,K-1), and C(G-1,m) gap = K C(G-K,m).
  The binomial theorem leaves K (1-C)^(K-1), whose derivative is -K (K-1) (1-C)^(K-2).
- MaxRL: gap = G/(m+1), less 1 at m = 0, and C(G-1,m) G/(m+1) = C(G,m+1): the sum is
  (1 - (1-C)^G)/C - (1-C)^(G-1) = sum_{j<G-1} (1-C)^j.
- Zero-sum rules: u' = (1-1/G) sum_n C(G-2,n-1) C^(n-1) (1-C)^(G-1-n) D(n), D = A+ - A-.
- Pass@k training, f = G - n answers wrong, F = C(f,K)/C(G,K): D^2 = G^2 F/(f^2 (1-F)), and
  F(f)/F(f-1) = f/(f-K).  D rises with f, as (f-1)^2 > f (f-K) and 1/(1-F) rises with F; it is 0
  for f < K.
- GRPO: D(n) = D(G-n) falls up to G/2, so the coefficients d of u'' are odd about the middle; the
  weights of i and N-i (N = G-3) differ by the factor ((1-C)/C)^(N-2i).
- d/dC of a Bernstein polynomial of degree N: N C(N-1,.) times the differences of coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb
from typing import Any

from diffsmooth.theory.statements._reward_only import rules
from diffsmooth.theory.statements._steps import identities, together
from diffsmooth.theory.verify.core import Outcome

#: (m, G, K, binomial) -> what being right rather than wrong is worth under PKPO.
PkpoGap = Callable[[Any, Any, Any, Callable[[Any, Any], Any]], Any]
#: (f, G, F) -> D^2 of Pass@k training with f answers wrong.
PassAtKSquare = Callable[[Any, Any, Any], Any]
MaxRLStep = Callable[[Any, Any], Any]


def symbolic(pkpo_gap: PkpoGap, maxrl_step: MaxRLStep, pass_at_k: PassAtKSquare) -> Outcome:
    """Every identity above, with symbolic G, k and m."""
    import sympy as sp

    m, size, big_k, wrong, n = sp.symbols("m G K f n", positive=True, integer=True)
    c = sp.Symbol("C", positive=True)
    power, chance, up = sp.symbols("P F A_plus", positive=True)
    binom = sp.binomial

    def termwise(left: Any, right: Any) -> Any:
        return sp.gammasimp((left / right).rewrite(sp.gamma)) - 1

    # A zero-sum rule with values A+ and A-: k A+ + (G - k) A- = 0.
    down = -n * up / (size - n)
    gap = up - down
    bernstein = c**m * (1 - c) ** (size - m)
    slope = m * c ** (m - 1) * (1 - c) ** (size - m) - (size - m) * c**m * (1 - c) ** (size - m - 1)
    # F' of Pass@k training: all wrong among K - 1 others, seen from one of the f wrong answers.
    others = binom(wrong - 1, big_k - 1) / binom(size - 1, big_k - 1)
    fail = binom(wrong, big_k) / binom(size, big_k)
    return identities(
        {
            "PKPO termwise": termwise(
                binom(size - 1, m) * pkpo_gap(m, size, big_k, binom), big_k * binom(size - big_k, m)
            ),
            "PKPO's exponents": sp.expand((size - 1 - m) - (big_k - 1) - (size - big_k - m)),
            "PKPO's slope falls": sp.diff(big_k * (1 - c) ** (big_k - 1), c)
            + big_k * (big_k - 1) * (1 - c) ** (big_k - 2),
            "MaxRL termwise": termwise(
                binom(size - 1, m) * maxrl_step(m, size), binom(size, m + 1)
            ),
            "MaxRL: 1 less at m = 0": maxrl_step(sp.Integer(0), size) - 1 - (size - 1),
            "MaxRL's two sums": (1 - power * (1 - c)) / c - power - (1 - power) / c,
            "a geometric sum": sp.cancel((1 - power * (1 - c) - (1 - power)) / c - power),
            "zero sum: A+": termwise(
                binom(size - 1, n - 1) * up, (size - 1) / size * binom(size - 2, n - 1) * gap
            ),
            "zero sum: A-": termwise(
                binom(size - 1, n) * -down, (size - 1) / size * binom(size - 2, n - 1) * gap
            ),
            "a Bernstein polynomial's derivative": sp.diff(bernstein, c) - slope,
            "its first coefficient": termwise(binom(size, m) * m, size * binom(size - 1, m - 1)),
            "its second coefficient": termwise(
                binom(size, m) * (size - m), size * binom(size - 1, m)
            ),
            "Pass@k: F' = F G/f": termwise(others, fail * size / wrong),
            "Pass@k: F(f)/F(f-1)": termwise(
                binom(wrong, big_k) / binom(wrong - 1, big_k), wrong / (wrong - big_k)
            ),
            # D = F'/s with s^2 = F (1-F)
            "Pass@k: D squared": sp.simplify(
                (chance * size / wrong) ** 2 / (chance * (1 - chance))
                - pass_at_k(wrong, size, chance)
            ),
        },
        "every group size and every k, term by term",
    )


def smt(pass_at_k: PassAtKSquare) -> Outcome:
    """Signs: Pass@k training's coefficients rise with f; GRPO's pairs; PKPO's curvature."""
    import z3

    from diffsmooth.theory.verify import smt as engine

    wrong, big_k, chance = z3.Reals("f K F")
    left, right, power, fall = z3.Reals("weight_i weight_(N-i) ((1-C)/C)^(N-2i) d_i")
    one = z3.RealVal(1)
    return together(
        lambda: engine.prove(
            [big_k >= 2, wrong > big_k],
            (wrong - 1) * (wrong - 1) > wrong * (wrong - big_k),
            "Pass@k training, k >= 2: F/f^2 rises with f",
        ),
        lambda: engine.prove(
            # F is F(f-1); F(f) = F f/(f-K) is below 1 while one answer is right.
            [big_k >= 2, wrong > big_k, chance > 0, chance * wrong < wrong - big_k],
            pass_at_k(wrong, one, chance * wrong / (wrong - big_k))
            > pass_at_k(wrong - 1, one, chance),
            "and D^2 with it, for every G and k",
        ),
        lambda: engine.prove(
            [power >= 1, right >= 0, left == power * right, fall <= 0],
            # d_(N-i) = -d_i
            fall * left - fall * right <= 0,
            "GRPO, C <= 1/2: each pair of coefficients of u'' adds up to at most 0",
        ),
        lambda: engine.prove(
            [big_k >= 1, power >= 0], -big_k * (big_k - 1) * power <= 0, "PKPO is concave, k >= 1"
        ),
    )


def exact(pkpo_gap: PkpoGap, maxrl_step: MaxRLStep, pass_at_k: PassAtKSquare) -> Outcome:
    """The gaps against the package's own rules, every m and k, G in 2..7; GRPO at G = 2, 3."""
    import sympy as sp

    from diffsmooth.theory.verify import exact as engine

    def value(x: Any) -> Fraction:
        x = sp.expand(sp.sympify(x))
        if not x.is_Rational:
            raise TypeError(f"not an exact rational: {x!r}")
        return Fraction(int(x.p), int(x.q))

    def values(name: str, G: int, K: int) -> list[tuple[Any, Any]]:
        rule = rules(K, exact=True)[name]
        return [rule.two_values(j, G, exact=True) for j in range(G + 1)]

    def pkpo(baseline: str, G: int, K: int) -> list[Fraction]:
        pairs = values(baseline, G, K)
        return [
            value(pairs[m + 1][0] - pairs[m][1]) - Fraction(pkpo_gap(m, Fraction(G), K, _choose))
            for m in range(G)
        ]

    def maxrl(G: int) -> list[Fraction]:
        pairs = values("maxrl", G, 1)
        return [
            value(pairs[m + 1][0] - pairs[m][1])
            - (Fraction(maxrl_step(Fraction(m), G)) - (1 if m == 0 else 0))
            for m in range(G)
        ]

    def pass_k(G: int, K: int) -> list[Fraction]:
        pairs, out = values("pass-at-k", G, K), []
        for right in range(1, G):
            fail = Fraction(comb(G - right, K), comb(G, K))
            gap = value((pairs[right][0] - pairs[right][1]) ** 2)
            out.append(gap - Fraction(pass_at_k(G - right, G, fail)))
            out.append(value((right * pairs[right][0] + (G - right) * pairs[right][1]) ** 2))
        return out

    def grpo(G: int) -> list[Fraction]:
        """GRPO's marginal is constant: the gaps of its zero-sum form are equal."""
        pairs = values("grpo", G, 1)
        squares = [value((pairs[n][0] - pairs[n][1]) ** 2) for n in range(1, G)]
        return [square - squares[0] for square in squares]

    sizes = range(2, 8)
    return together(
        lambda: engine.identity(
            pkpo,
            [
                {"baseline": name, "G": size, "K": k}
                for name in ("pkpo", "pkpo-none", "pkpo-loo")
                for size in sizes
                for k in range(1, size + (name != "pkpo-loo"))
            ],
            "PKPO's gaps",
        ),
        lambda: engine.identity(maxrl, [{"G": size} for size in sizes], "MaxRL's gaps"),
        lambda: engine.identity(
            pass_k,
            [{"G": size, "K": k} for size in sizes for k in range(1, size + 1)],
            "Pass@k training's gaps, squared, and the sum of a group",
        ),
        lambda: engine.identity(grpo, [{"G": 2}, {"G": 3}], "GRPO is vanilla up to a constant"),
    )


def _choose(n: Any, k: Any) -> Fraction:
    return Fraction(comb(int(n), int(k)))
