r"""E1. What every reward-only rule really maximises: a utility of correctness, over prompts.

Proof, for any number of trajectories.  Condition on the number k of correct answers in the group:
the correct ones are draws from q and the incorrect ones from f, and their scores have means
grad C / C and -grad C / (1-C) (A6).  So the expected gradient is u'(C) grad C with
u' = E_k[(k/G) A+(k)]/C - E_k[((G-k)/G) A-(k)]/(1-C), k ~ Bin(G, C).  As (k/G) times the
probability of k in G draws is C times that of k - 1 in G - 1 draws,

    u'(C) = E[A+(m+1) - A-(m)],  m ~ Bin(G-1, C):

a polynomial whose Bernstein coefficients say what being right rather than wrong is worth when m of
the *other* answers are right.  Coefficients that fall in m make u concave, whatever C.
If a group's advantages add up to 0 then, the same way with G - 2 draws,
u'(C) = (1 - 1/G) E[A+(n) - A-(n)], n - 1 ~ Bin(G-2, C).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product
from math import comb, inf
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements import _e1_every_group as every_group
from diffsmooth.theory.statements._e1_view import draw, table
from diffsmooth.theory.statements._reward_only import (
    ADVANTAGES,
    CLOSED,
    CURVATURES,
    FLAT,
    LIMIT_CURVATURES,
    LIMIT_VALUES,
    LIMITS,
    VALUES,
    WEIGHTS,
    Formula,
    rules,
)
from diffsmooth.theory.statements._softmax import Lumped
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, least

if TYPE_CHECKING:
    from diffsmooth.theory.rules import RewardOnly


def _marginal(plus: Formula, minus: Formula, G: int, C: Any) -> Any:
    return sum(
        comb(G - 1, m) * C**m * (1 - C) ** (G - 1 - m) * (plus(m + 1) - minus(m)) for m in range(G)
    )


@dataclass(frozen=True)
class Claim:
    """marginal(plus, minus, G, C): u'(C) of a rule with those advantages; closed: u' rule by rule.

    values and curvatures: u and -u''/u' of the same rules; weights: (k/G) A+(k) of the rules whose
    advantages add up to 0; limits, limit_values, limit_curvatures: u', u and -u''/u' for large
    groups; advantages: (A+, A-) by definition.
    grpo_square(n, G), focal_square(n, G): squares of the coefficients of u' in its zero-sum form,
    up to a factor, for GRPO and F-GRPO; maxrl_step(m, G): the coefficient m >= 1 of MaxRL;
    pkpo_gap(m, G, K, binomial): the coefficient m of PKPO; pass_at_k_square(f, G, F): the square of
    Pass@k training's with f answers wrong, F the chance that k of the group's are all wrong.
    """

    marginal: Formula = _marginal
    closed: Mapping[str, Formula] = field(default_factory=lambda: CLOSED)
    values: Mapping[str, Formula] = field(default_factory=lambda: VALUES)
    curvatures: Mapping[str, Formula] = field(default_factory=lambda: CURVATURES)
    weights: Mapping[str, Formula] = field(default_factory=lambda: WEIGHTS)
    limits: Mapping[str, Formula] = field(default_factory=lambda: LIMITS)
    limit_values: Mapping[str, Formula] = field(default_factory=lambda: LIMIT_VALUES)
    limit_curvatures: Mapping[str, Formula] = field(default_factory=lambda: LIMIT_CURVATURES)
    advantages: Mapping[str, Formula] = field(default_factory=lambda: ADVANTAGES)
    grpo_square: Formula = lambda n, G: 1 / (n * (G - n))
    maxrl_step: Formula = lambda m, G: G / (m + 1)
    focal_square: Formula = lambda n, G: (G - n) / n
    pkpo_gap: Formula = lambda m, G, K, binomial: (
        K * binomial(G - 1 - m, K - 1) / binomial(G - 1, K - 1)
    )
    pass_at_k_square: Formula = lambda f, G, F: G**2 * F / (f**2 * (1 - F))


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """Symbolic G, k and any number of trajectories; closed utilities differentiate to u'."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    k, n, c, x, y = sp.symbols("k n C A_plus A_minus", positive=True)
    size = sp.Symbol("G", positive=True, integer=True)
    binom = sp.binomial
    steps: dict[str, Any] = {
        "a correct answer's others": sp.gammasimp(
            (binom(size, k) * k / size / binom(size - 1, k - 1)).rewrite(sp.gamma)
        )
        - 1,
        "an incorrect answer's others": sp.gammasimp(
            (binom(size, k) * (size - k) / size / binom(size - 1, k)).rewrite(sp.gamma)
        )
        - 1,
    }
    symbols: list[Any] = [k, n, c, x, y, size]
    for correct in (True, False):
        pair = Lumped.pair(correct)
        p = pair.correctness
        share = pair.prob(pair.w_i) / (p if correct else 1 - p)
        on_s = (share if correct else 0) - pair.prob(pair.w_i)
        on_f = (0 if correct else share) - pair.prob(pair.w_i)
        slope = pair.slope(p, pair.w_i)
        part = "S" if correct else "F"
        steps[f"score of a correct answer, coordinate in {part}"] = sp.cancel(on_s - slope / p)
        steps[f"score of an incorrect answer, coordinate in {part}"] = sp.cancel(
            on_f + slope / (1 - p)
        )
        symbols += [s for s in pair.symbols if s not in symbols]
    for group in (2, 3, 5):
        ups = sp.symbols(f"up1:{group + 1}", real=True)
        downs = sp.symbols(f"down0:{group}", real=True)
        # The definition, term by term, against the polynomial.
        defined = sum(
            binom(group, j)
            * c**j
            * (1 - c) ** (group - j)
            * (
                (sp.Rational(j, group) * ups[j - 1] / c if j else 0)
                - (sp.Rational(group - j, group) * downs[j] / (1 - c) if j < group else 0)
            )
            for j in range(group + 1)
        )
        claimed = claim.marginal(
            lambda j, ups=ups: ups[j - 1], lambda j, downs=downs: downs[j], group, c
        )
        steps[f"definition = polynomial, G = {group}"] = sp.expand(
            sp.cancel(sp.expand(defined * c * (1 - c)) - sp.expand(claimed * c * (1 - c)))
        )
        gaps = [up - down for up, down in zip(ups, downs, strict=True)]
        falling = (group - 1) * sum(
            binom(group - 2, m) * c**m * (1 - c) ** (group - 2 - m) * (gaps[m + 1] - gaps[m])
            for m in range(group - 1)
        )
        steps[f"u'' from neighbouring coefficients, G = {group}"] = sp.expand(
            sp.diff(claimed, c) - falling
        )
        # Advantages that add up to 0: A-(n) = -n A+(n)/(G - n), and 0 in groups of one kind.
        balance = {
            down: -sp.Rational(j, group - j) * ups[j - 1] if j else 0
            for j, down in enumerate(downs)
        } | {ups[-1]: 0}
        mixed = sp.Rational(group - 1, group) * sum(
            binom(group - 2, j - 1)
            * c ** (j - 1)
            * (1 - c) ** (group - 1 - j)
            * (ups[j - 1] - downs[j])
            for j in range(1, group)
        )
        steps[f"zero-sum form, G = {group}"] = sp.expand(
            (claimed - mixed).subs(balance, simultaneous=True)
        )
        symbols += [*ups, *downs]
    big_k = sp.Symbol("K", positive=True)
    # Large groups: u' is the derivative of u, and the curvature is that of log u'.
    for name, slope_of in claim.limits.items():
        slope = slope_of(c, big_k)
        rise = sp.diff(claim.limit_values[name](c, big_k, sp), c)
        bend = sp.diff(slope, c) / slope + claim.limit_curvatures[name](c, big_k)
        if name == "pass-at-k":  # squares stay rational
            rise, slope = rise**2, slope**2
        steps[f"{name}, G to infinity: u"] = sp.simplify(rise - slope)
        steps[f"{name}, G to infinity: -u''/u'"] = sp.simplify(bend)
    # Finite groups, k symbolic where the rule has one.
    for name, slope_of in claim.closed.items():
        for group in (2, 6):
            at = (c, sp.Integer(group), big_k)
            slope, value = sp.sympify(slope_of(*at)), sp.sympify(claim.values[name](*at))
            bend = sp.diff(slope, c) + slope * claim.curvatures[name](*at)
            steps[f"{name}, G = {group}: u'"] = sp.simplify(sp.diff(value, c) - slope)
            steps[f"{name}, G = {group}: u(0)"] = value.subs(c, 0)
            steps[f"{name}, G = {group}: -u''/u'"] = sp.simplify(bend)
    return together(
        lambda: symbolic.zero(
            steps,
            [*dict.fromkeys([*symbols, big_k])],
            "u' of every reward-only rule",
            where=lambda p: p[c] < 1 and p[size] > p[k],
        ),
        lambda: every_group.symbolic(claim.pkpo_gap, claim.maxrl_step, claim.pass_at_k_square),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """The rules on exact numbers: closed forms as polynomials in C, every group drawn."""
    import sympy as sp

    from diffsmooth.theory import utilities
    from diffsmooth.theory.verify import exact

    def value(x: Any) -> Fraction:
        if not getattr(x, "is_Rational", False):
            raise TypeError(f"not an exact rational advantage: {x!r}")
        return Fraction(int(x.p), int(x.q))

    def table(rule: RewardOnly, size: int) -> tuple[list[Fraction], list[Fraction]]:
        pairs = [rule.two_values(j, size, exact=True) for j in range(size + 1)]
        return [value(a) for a, _ in pairs], [value(b) for _, b in pairs]

    def closed(name: str, size: int, big_k: int) -> Callable[[], Outcome]:
        plus, minus = table(rules(big_k, exact=True)[name], size)

        def residual(C: Any) -> Any:
            claimed = claim.marginal(plus.__getitem__, minus.__getitem__, size, C)
            return claimed - claim.closed[name](C, size, big_k)

        return lambda: exact.polynomial_identity(
            residual, ["C"], f"{name}, G = {size}, k = {big_k}"
        )

    def library(name: str, C: Fraction, size: int, big_k: int) -> list[Fraction]:
        """The library's u, u' and curvature on Fractions, without any rounding."""
        rule = rules(big_k, exact=True)[name]
        tables = (
            (utilities.utility, claim.values),
            (utilities.utility_derivative, claim.closed),
            (utilities.curvature, claim.curvatures),
        )
        return [
            value(sp.sympify(function(rule, C, size))) - table[name](C, size, big_k)
            for function, table in tables
        ]

    def drawn(name: str, weights: tuple[int, ...], successes: int, size: int) -> list[Fraction]:
        """Expected group gradient over all groups, against u'(C) grad C."""
        plus, minus = table(rules(2, exact=True)[name], size)
        pi = [Fraction(w, sum(weights)) for w in weights]
        c = sum(pi[:successes], Fraction(0))
        gradient = [Fraction(0)] * len(pi)
        for answers in product(range(len(pi)), repeat=size):
            hits = sum(y < successes for y in answers)
            chance = Fraction(1)
            for y in answers:
                chance *= pi[y]
            for y in answers:
                a = (plus if y < successes else minus)[hits]
                for i in range(len(pi)):
                    gradient[i] += chance * a / size * (int(i == y) - pi[i])
        slope = claim.marginal(plus.__getitem__, minus.__getitem__, size, c)
        return [
            g - slope * p * ((i < successes) - c)
            for i, (g, p) in enumerate(zip(gradient, pi, strict=True))
        ]

    def squares(size: int) -> list[Fraction]:
        """GRPO and F-GRPO: gap A+ - A- squared, against the claimed shape of the coefficients."""
        out = []
        for name, shape in (("grpo", claim.grpo_square), ("f-grpo", claim.focal_square)):
            rule = rules(2, exact=True)[name]
            gaps = []
            for j in range(1, size):
                up, down = rule.two_values(j, size, exact=True)
                gaps.append(value(sp.expand((up - down) ** 2)) / shape(Fraction(j), size))
            out += [g - gaps[0] for g in gaps]
        return out

    sizes = range(3, 8 if budget.deep else 6)
    groups = [
        {"name": name, "weights": w, "successes": s, "size": 3}
        for name in CLOSED
        for w, s in (((3, 1, 2), 2), ((1, 4), 1))
    ]
    points = [
        {"name": name, "C": at, "size": size, "big_k": 2}
        for name in CLOSED
        for size in sizes
        for at in (Fraction(1, 7), Fraction(1, 2), Fraction(5, 6))
    ]
    whole = together(
        *(closed(name, size, 2) for name in CLOSED for size in sizes),
        closed("pkpo", 5, 3),
        lambda: exact.identity(library, points, "u, u', -u''/u' of the library"),
        lambda: exact.identity(drawn, groups, "all groups"),
        lambda: exact.identity(squares, [{"size": g} for g in range(2, 8)], "coefficients"),
        lambda: every_group.exact(claim.pkpo_gap, claim.maxrl_step, claim.pass_at_k_square),
    )
    return whole.told(
        f"{len(CLOSED)} rules in closed form as polynomials in C, with u and -u''/u'; "
        "all groups of 3 drawn; GRPO's and F-GRPO's coefficients"
    )


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Curvature for every group size: the Bernstein coefficients fall (concave), or turn once."""
    import z3

    from diffsmooth.theory.verify import smt

    n, size = z3.Reals("n G")
    inside = [n >= 1, n + 2 <= size]
    return together(
        lambda: smt.prove(
            [n >= 1, n + 1 <= size - 1, size >= 2],
            claim.maxrl_step(n + 1, size) < claim.maxrl_step(n, size),
            "MaxRL: coefficients G/(m+1) fall, m >= 1",
        ),
        lambda: smt.prove(
            [size >= 2],
            size - 1 >= claim.maxrl_step(z3.RealVal(1), size),
            "MaxRL: the coefficient G - 1 at m = 0 is not below the next",
        ),
        lambda: smt.prove(
            inside,
            claim.focal_square(n + 1, size) < claim.focal_square(n, size),
            "F-GRPO (gamma = 1): coefficients fall",
        ),
        lambda: smt.prove(
            inside,
            [
                (claim.grpo_square(n + 1, size) < claim.grpo_square(n, size)) == (2 * n + 1 < size),
                claim.grpo_square(n, size) == claim.grpo_square(size - n, size),
            ],
            "GRPO: coefficients fall up to G/2 and rise as much after it, so u'' changes sign "
            "once, at C = 1/2",
        ),
        lambda: every_group.smt(claim.pass_at_k_square),
    )


def check_certified(claim: Claim, budget: Budget) -> Outcome:
    """u'' itself at G = 8 with Arb balls: Pass@4 training concave, GRPO concave then convex."""
    import sympy as sp
    from flint import arb, fmpq

    from diffsmooth.theory.verify import certified

    c = sp.Symbol("C", positive=True)

    def ball(x: Any) -> Any:
        """A rational, or a rational times a square root."""
        rational, root = sp.sympify(x).as_coeff_Mul()
        inside = sp.Rational(root**2)
        return arb(fmpq(rational.p, rational.q)) * arb(fmpq(inside.p, inside.q)).sqrt()

    def horner(coefficients: list[Any], at: Any) -> Any:
        out = arb(0)
        for a in coefficients:
            out = out * at + a
        return out

    def curvature(name: str, sign: int, low: str, high: str) -> Callable[[], Outcome]:
        rule = rules(4, exact=True)[name]
        pairs = [rule.two_values(j, 8, exact=True) for j in range(9)]
        slope = claim.marginal(lambda j: pairs[j][0], lambda j: pairs[j][1], 8, c)
        second = sp.Poly(sign * sp.diff(slope, c), c)
        balls = [
            sum((ball(t) for t in sp.Add.make_args(sp.expand(a))), arb(0))
            for a in second.all_coeffs()
        ]
        return lambda: certified.positive(
            lambda x: horner(balls, x),
            {"C": (low, high)},
            f"{name}: {'-' if sign < 0 else ''}u'' > 0",
            slopes=True,
            max_boxes=20_000,
        )

    return together(
        curvature("pass-at-k", -1, "0", "95/100"),
        curvature("grpo", -1, "0", "49/100"),
        curvature("grpo", 1, "51/100", "1"),
        curvature("f-grpo", -1, "0", "1"),
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's u, u', u'', curvature and limits against the formulas, rule by rule."""
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory import utilities
    from diffsmooth.theory.gradients import reward_only_gradient
    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.verify import random

    nodes, node_weights = np.polynomial.legendre.leggauss(8)

    def margin(instance: tuple[str, int, float, int]) -> tuple[float, float]:
        name, size, c, big_k = instance
        big_k = min(big_k, size - (name == "pkpo-loo"))
        rule = rules(big_k)[name]
        pairs = [rule.two_values(j, size) for j in range(size + 1)]
        top = 1 + max(abs(float(x)) for pair in pairs for x in pair)
        plus, minus = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]

        def slope(at: Any) -> Any:
            return claim.marginal(plus.__getitem__, minus.__getitem__, size, at)

        # The degree is at most 11: eight nodes integrate it exactly, and u(0) = 0.
        area = float(c / 2 * (node_weights @ (slope(c * (nodes + 1) / 2) + 0 * nodes)))
        gaps = [plus[m + 1] - minus[m] for m in range(size)]
        second = (size - 1) * sum(
            comb(size - 2, m) * c**m * (1 - c) ** (size - 2 - m) * (gaps[m + 1] - gaps[m])
            for m in range(size - 1)
        )
        first = float(slope(c))
        curved = float(utilities.curvature(rule, c, size))
        library = {
            "u": (utilities.utility(rule, c, size), area),
            "u'": (utilities.utility_derivative(rule, c, size), first),
            "u''": (utilities.utility_second_derivative(rule, c, size), second),
            # curvature * u' + u'' = 0, free of the division's conditioning
            "curvature": (-curved * first, second) if first else (float(np.isnan(curved)), 1.0),
        }
        # Binomial weights: 2G roundings; sums of G terms up to (G - 1) largest gaps.
        bound = 32 * size * (size + 8) * EPS * top * size
        # the division by u' and back
        bounds = dict.fromkeys(library, bound) | {
            "curvature": bound * (1 + (abs(second / first) if first else inf))
        }
        checks = [-abs(float(a) - float(b)) / bounds[key] for key, (a, b) in library.items()]
        # The table that the report shows.  Its GRPO and F-GRPO divide by s + 1e-6, which moves an
        # advantage by a part 1e-6/s at most, s >= sqrt(G-1)/G in mixed groups.
        moved_by = 2e-6 * size * top if name in ("grpo", "f-grpo") else 0.0
        for row in utilities.table(c, size, big_k) if name in claim.limits else ():
            if row.name == name:
                loose = bound + moved_by
                checks.append(-abs(float(row.utility) - area) / loose)
                checks.append(-abs(float(row.derivative) - first) / loose)
                if first:
                    off = abs(float(row.curvature) * first + second)
                    checks.append(-off / (bounds["curvature"] / bound * 2 * size * loose))
        # The same polynomial in powers of C, exactly.
        exact_gaps, exact_c = [Fraction(x) for x in gaps], Fraction(c)
        powers = utilities.power_basis(exact_gaps)
        direct = sum(x * exact_c**m for m, x in enumerate(powers))
        checks.append(0.0 if direct == utilities.bernstein(exact_gaps, exact_c) else -inf)
        # Two trajectories: grad C is C(1-C) along the correct one's logit.
        policy = Policy.from_probs([c, 1 - c], [True, False])
        moved = float(reward_only_gradient(policy, rule, size)[0])
        checks.append(-abs(moved - first * c * (1 - c)) / bound)
        # A single answer: u' is constant, at the end of the interval too.
        for at in (c, 0.0):
            single = utilities.utility_second_derivative(rules()["vanilla"], at, 1)
            checks.append(-abs(float(single)) / EPS)
        # The rule's own advantages, by definition: many rules share one expected gradient.
        for j in range(size + 1):
            up, down = claim.advantages[name](j, size, big_k)
            # Of a kind that the group lacks the advantage is 0.
            checks.append(-abs(plus[j] - (up if j else 0)) / bound)
            checks.append(-abs(minus[j] - (down if j < size else 0)) / bound)
        if name in claim.closed:
            checks.append(-abs(first - float(claim.closed[name](c, size, big_k))) / bound)
        if name in claim.weights:
            mean = sum(
                comb(size, k) * c**k * (1 - c) ** (size - k) * claim.weights[name](k, size, big_k)
                for k in range(size + 1)
            )
            v = c * (1 - c)
            checks.append(-abs(first - mean / v) / (bound / v))
        if name in claim.limits:
            limit = float(claim.limits[name](c, big_k))
            found = utilities.limit(name, big_k)
            # 1 - (1-C)^k is formed by a subtraction: relative error up to eps/(k C).
            slack = 64 * (1 + big_k) * EPS
            checks.append(
                -abs(float(found.derivative(c)) - limit) / (slack * limit / (c * (1 - c)))
            )
            # u too: arcsin sqrt x magnifies the error of x = 1 - (1-C)^k by 1/sqrt(x (1-x)).
            x = 1 - (1 - c) ** big_k
            size_u = 1 + abs(math.log(c)) + (x * (1 - x)) ** -0.5
            u = claim.limit_values[name](c, big_k, math)
            checks.append(-abs(float(found.value(c)) - u) / (slack * size_u))
            if name != "maxrl":
                checks.append(-abs(float(found.value(0.0))) / EPS)
            if name in FLAT:
                checks.append(-abs(float(found.derivative(0.0)) - limit) / slack)
        if name in claim.curvatures and first:  # a u' of 0 is for the closed form above to refute
            bend = float(claim.curvatures[name](c, size, big_k))
            checks.append(-abs(curved - bend) / (bound * (1 + abs(bend)) / first))
        return least(*checks), 1.0

    return random.for_all(
        st.tuples(
            st.sampled_from(list(rules())),
            st.integers(2, 12),
            st.floats(0.01, 0.99),
            st.integers(1, 6),
        ),
        margin,
        budget,
        "library utilities (in units of the error bound)",
        show=lambda t: f"{t[0]}, G = {t[1]}, C = {t[2]:.4g}, k = {min(t[3], t[1])}",
        examples=3000 if budget.deep else 250,
    )


STATEMENT = Statement(
    id="E1",
    title="Every reward-only rule maximises a utility of correctness",
    source="new",
    reference="theory.md E1; the one-sum form, the closed forms and the curvatures are added here",
    assumptions=(
        "advantages depend on the group's rewards alone: A+(k) on correct and A-(k) on incorrect "
        "answers, k of G correct",
        "G independent on-policy answers, expected update, no clipping; eps of implementations 0",
    ),
    latex=(
        r"E[\mathrm{group\ gradient}] = u^\prime(C)\,\nabla C,\qquad"
        r" u^\prime(C) = E\left[A_+(m+1)-A_-(m)\right],\quad m\sim\mathrm{Bin}(G-1,C)"
        "\n\n"
        r"\mathrm{vanilla,\ RLOO,\ PSR,\ NSR}:\ 1;\quad \mathrm{Dr.\,GRPO}:\ 1-1/G;\quad"
        r" \mathrm{W\!-\!REINFORCE}:\ 1.1"
        "\n\n"
        r"\mathrm{MaxRL}:\ \sum_{j=0}^{G-2}(1-C)^j\ \rightarrow\ \frac{1}{C};\quad"
        r" \mathrm{PKPO}:\ k(1-C)^{k-1};\quad \mathrm{GRPO}:\ \frac{g_G(C)}{C(1-C)}\ \rightarrow\ "
        r"\frac{1}{\sqrt{C(1-C)}}"
        "\n\n"
        r"MaxRL, PKPO, F-GRPO ($\gamma=1$) and Pass@k training ($k\geq 2$) are concave for every "
        r"$G$.  GRPO is concave below $C=1/2$ and convex above it; for $G=2$ and $G=3$ it is "
        r"vanilla up to a constant.  PSR, NSR and vanilla have the same expected gradient."
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic",
            check_symbolic,
            note=(
                "any number of trajectories (lumped); all G, k, m term by term; "
                "sums for G = 2, 3, 5"
            ),
        ),
        Method(
            "exact",
            check_exact,
            note=(
                "10 rules in closed form, G in 3..5 (..7 deep), all C; groups of 3 drawn; every "
                "gap of PKPO, MaxRL and Pass@k training, G in 2..7"
            ),
        ),
        Method(
            "smt",
            check_smt,
            note="curvature of MaxRL, F-GRPO, GRPO, PKPO, Pass@k training: every size and k",
        ),
        Method(
            "certified",
            check_certified,
            note="u'' at G = 8: C in [0, .95], [0, .49], [.51, 1], [0, 1]",
        ),
        Method("random", check_random, note="library, 17 rules, G in 2..12, C in [.01, .99]"),
    ),
    mutants=(
        Mutant(
            "a correct answer is not counted in its own group",
            replace(
                CLAIM,
                marginal=lambda plus, minus, G, C: sum(
                    comb(G - 1, m) * C**m * (1 - C) ** (G - 1 - m) * (plus(m) - minus(m))
                    for m in range(G)
                ),
            ),
            by=("symbolic", "exact", "certified", "random"),
        ),
        Mutant(
            "incorrect answers push correctness up",
            replace(
                CLAIM,
                marginal=lambda plus, minus, G, C: sum(
                    comb(G - 1, m) * C**m * (1 - C) ** (G - 1 - m) * (plus(m + 1) + minus(m))
                    for m in range(G)
                ),
            ),
            by=("symbolic", "exact", "random"),
        ),
        Mutant(
            "Dr. GRPO is exactly vanilla",
            replace(CLAIM, closed={**CLOSED, "dr-grpo": lambda C, G, K: 1}),
            by=("exact", "random"),
        ),
        Mutant(
            "MaxRL maximises log C at every group size",
            replace(CLAIM, closed={**CLOSED, "maxrl": lambda C, G, K: 1 / C}),
            by=("symbolic", "exact", "random"),
        ),
        Mutant(
            "F-GRPO is GRPO",
            replace(CLAIM, weights={**WEIGHTS, "f-grpo": WEIGHTS["grpo"]}),
            by="random",
        ),
        Mutant(
            "GRPO with large groups maximises arcsin sqrt C",
            replace(CLAIM, limits={**LIMITS, "grpo": lambda C, K: 1 / (2 * (C * (1 - C)) ** 0.5)}),
            by="random",
        ),
        Mutant(
            "GRPO with large groups: u is half of what its slope says",
            replace(
                CLAIM,
                limit_values={**LIMIT_VALUES, "grpo": lambda C, K, f: f.asin(f.sqrt(C))},
            ),
            by=("symbolic", "random"),
        ),
        Mutant(
            "MaxRL is convex: it favours the prompts that are solved",
            replace(
                CLAIM,
                curvatures={
                    **CURVATURES,
                    "maxrl": lambda C, G, K: -CURVATURES["maxrl"](C, G, K),
                },
            ),
            by=("symbolic", "exact", "random"),
        ),
        Mutant(
            "GRPO with large groups is as curved above C = 1/2 as below it",
            replace(
                CLAIM,
                limit_curvatures={
                    **LIMIT_CURVATURES,
                    "grpo": lambda C, K: 1 / (2 * C * (1 - C)),
                },
            ),
            by="symbolic",
        ),
        Mutant(
            "PKPO counts the answer itself among the failures",
            replace(
                CLAIM,
                pkpo_gap=lambda m, G, K, binomial: K * binomial(G - m, K) / binomial(G, K),
            ),
            by=("symbolic", "exact"),
        ),
        Mutant(
            "Pass@k training divides by the variance",
            replace(CLAIM, pass_at_k_square=lambda f, G, F: G**2 / (f**2 * (1 - F) ** 2)),
            by=("symbolic", "exact"),
        ),
        Mutant(
            "Pass@k training's coefficients rise with the correct answers",
            replace(CLAIM, pass_at_k_square=lambda f, G, F: G**2 * (1 - F) / f**2),
            by=("symbolic", "smt", "exact"),
        ),
        Mutant(
            "GRPO's utility is concave",
            replace(CLAIM, grpo_square=lambda n, G: (G - n) / n),
            by=("exact", "smt"),
        ),
    ),
    limits=(
        "The expected gradient.  Rules with one utility (PSR, NSR, RLOO) still differ in variance, "
        "after several optimiser steps on one batch, and under clipping."
    ),
    figure=draw,
    table=table,
)
