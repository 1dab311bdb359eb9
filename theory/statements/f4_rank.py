r"""F4. With r shared parameters the diversity of r prompts can be steered, not of r + 1.

u_x = Phi_x^T v_x = dH(q_x)/dw, in r dimensions.  Any update moves w by some m and each diversity by
u_x . m (to first order).

- n <= r prompts with independent u_x: their Gram matrix M is positive definite, and the per-prompt
  strengths s with M s = b give every wished vector b of rates: m = sum_x s_x u_x.
- r + 1 prompts need not: take u_1, .., u_r independent and u_0 = -sum u_x.  Then the rates of all
  r + 1 add up to 0 under every update whatever: if one rises another falls.

Attained for every r: v != 0 (q not uniform), so features Phi = v u^T/|v|^2 have Phi^T v = u.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np

from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import identities, together
from diffsmooth.theory.statements._weighted import EPS
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """last(u): the direction of prompt r + 1, from those of r others; features(v, u, square): an
    entry of Phi with Phi^T v = u, square = |v|^2; bound(r): prompts that can be steered."""

    last: Formula = lambda u: [-sum(column) for column in zip(*u, strict=True)]
    features: Formula = lambda v, u, square: v * u / square
    bound: Formula = lambda r: r


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """r + 1 rates add to 0 under any update (r = 1, 2, 3); features of any wished direction."""
    import sympy as sp

    steps: dict[str, Any] = {}
    for r in (1, 2, 3):
        u = [[sp.Symbol(f"u{x}{d}", real=True) for d in range(r)] for x in range(r)]
        m = [sp.Symbol(f"m{d}", real=True) for d in range(r)]
        rates = [sum(a * b for a, b in zip(row, m, strict=True)) for row in [*u, claim.last(u)]]
        steps[f"r = {r}: the rates add to 0"] = sp.expand(sum(rates))
    v, u_d, of_v = sp.symbols("v u |v|^2", real=True)
    answers = Law("answers", (v,))
    square = answers.mean(v**2)
    steps["features of a wished direction"] = sp.cancel(
        answers.mean(v * sp.expand(claim.features(v, u_d, of_v))).subs(of_v, square) - u_d
    )
    return identities(steps, "any update, any number of answers")


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Two independent directions: every pair of rates has its strengths; three need not."""
    import z3

    from diffsmooth.theory.verify import smt

    a, b, c, d, p, q, s, t = z3.Reals("a b c d p q s t")
    # Gram matrix of (a, b) and (c, d); the strengths by Cramer's rule.
    m11, m12, m22 = a * a + b * b, a * c + b * d, c * c + d * d
    det = a * d - b * c
    rise, fall = z3.Reals("rate_1 rate_2")
    third = claim.last([[rise], [fall]])[0]
    return together(
        lambda: smt.prove(
            [det != 0], m11 * m22 - m12 * m12 > 0, "independent directions: det M = det^2 > 0"
        ),
        lambda: smt.prove(
            [
                m11 * m22 - m12 * m12 != 0,
                s * (m11 * m22 - m12 * m12) == p * m22 - q * m12,
                t * (m11 * m22 - m12 * m12) == q * m11 - p * m12,
            ],
            [
                (m11 * s + m12 * t - p) * (m11 * m22 - m12 * m12) == 0,
                (m12 * s + m22 * t - q) * (m11 * m22 - m12 * m12) == 0,
            ],
            "two prompts: strengths for every wished pair of rates",
        ),
        lambda: smt.prove(
            [rise > 0, fall > 0], third < 0, "the third prompt falls where the others rise"
        ),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Rational directions, r in 1..5: steering r prompts, and r + 1 that cannot all rise."""
    import sympy as sp

    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def independent(r: int) -> list[list[int]]:
        while True:
            u = [[rng.randint(-3, 3) for _ in range(r)] for _ in range(r)]
            if sp.Matrix(u).det() != 0:
                return u

    def steer(u: list[list[int]], b: list[int]) -> list[Fraction]:
        gram = sp.Matrix(u) * sp.Matrix(u).T
        n = claim.bound(len(u))
        s = gram[:n, :n].LUsolve(sp.Matrix(b[:n]))
        move = sp.Matrix(u[:n]).T * s
        rates = sp.Matrix(u) * move
        return [Fraction(int(x.p), int(x.q)) - w for x, w in zip(rates, b, strict=True)]

    def together_all(u: list[list[int]], m: list[int]) -> list[Fraction]:
        rows = [*u, claim.last(u)]
        return [
            sum(
                (Fraction(sum(a * b for a, b in zip(row, m, strict=True))) for row in rows),
                Fraction(0),
            )
        ]

    cases: list[dict[str, Any]] = [
        {"u": independent(r), "b": [rng.randint(1, 5) for _ in range(r)]} for r in (1, 2, 3, 4, 5)
    ]
    updates = [
        {"u": case["u"], "m": [rng.randint(-5, 5) for _ in case["u"]]}
        for case in cases
        for _ in range(2)
    ]
    return together(
        lambda: exact.identity(steer, cases, "r prompts get the rates they wish"),
        lambda: exact.identity(together_all, updates, "the rates of r + 1 prompts add to 0"),
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """Policies with the features of the construction: the library's directions are as wished."""
    from hypothesis import strategies as st

    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.shared import diversity_direction, entropy_gradient
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[int, int]) -> tuple[float, float]:
        r, seed = instance
        rng = np.random.default_rng(seed)
        u = rng.normal(size=(r, r))
        wished = np.vstack([u, np.array(claim.last(u.tolist()))])
        move = rng.normal(size=r)
        rates, worst = [], 0.0
        for row in wished:
            policy = Policy.from_logits(rng.normal(size=5), np.arange(5) < 3)
            v = entropy_gradient(policy)
            phi = np.array([[claim.features(x, y, float(v @ v)) for y in row] for x in v])
            found = diversity_direction(policy, phi)
            worst = largest(worst, np.abs(found - row))
            rates.append(float(found @ move))
        worst = largest(worst, abs(sum(rates)) / (1 + float(np.abs(move).max()) * r))
        return -worst, 256 * (r + 8) ** 2 * EPS * (1 + float(np.abs(wished).max()))

    return random.for_all(
        st.tuples(st.integers(1, 5), st.integers(0, 10**6)),
        margin,
        budget,
        "library directions of the construction",
        show=lambda t: f"r = {t[0]} (seed {t[1]})",
    )


STATEMENT = Statement(
    id="F4",
    title="With r shared parameters r prompts can be steered, r + 1 need not",
    source="new",
    reference="theory.md F4",
    assumptions=(
        "u_x = dH(q_x)/dw in r dimensions (features of rank r); rates to first order",
        "strengths of smoothing that may differ by prompt, of either sign",
    ),
    latex=(
        r"u_1,\dots,u_n\ \mathrm{independent}\ (n\leq r):\quad M s=b,\ \ M_{xy}=u_x\cdot u_y,\ \ "
        r"\mathrm{gives\ every\ rate\ } b_x"
        "\n\n"
        r"u_0=-\sum_{x=1}^{r}u_x:\quad \sum_{x=0}^{r}\frac{dH(q_x)}{dt}=0\ \ "
        r"\mathrm{under\ every\ update}"
        "\n\n"
        r"So r is the largest number of prompts whose diversity can always be kept at once; "
        r"attained for every r."
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="r = 1, 2, 3; any number of answers"),
        Method("smt", check_smt, note="r = 2 and 1, all real directions"),
        Method("exact", check_exact, note="r in 1..5, rational directions"),
        Method("random", check_random, note="library, r in 1..5"),
    ),
    mutants=(
        Mutant(
            "the last prompt's direction is the sum",
            replace(CLAIM, last=lambda u: [sum(column) for column in zip(*u, strict=True)]),
            by=("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "one prompt less can be steered",
            replace(CLAIM, bound=lambda r: max(r - 1, 1)),
            by="exact",
        ),
        Mutant(
            "the features are not divided by the square",
            replace(CLAIM, features=lambda v, u, square: v * u),
            by=("symbolic", "random"),
        ),
    ),
    limits=(
        "First order at one moment; with one common strength fewer prompts may be kept (F2).  "
        "r + 1 prompts in another position can be kept together; the count says what cannot be "
        "promised."
    ),
)
