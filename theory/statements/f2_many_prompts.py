r"""F2. Smoothing many prompts together raises the C-weighted diversity; a single one may fall.

u_x = Phi_x^T v_x = dH(q_x)/dw.  Centred smoothing of strength g on every prompt moves w by
g sum_x C_x u_x (F1), so dH(q_z)/dt = g u_z . sum_x C_x u_x and, the weights C_x as they stand,

    sum_x C_x dH(q_x)/dt = g |sum_x C_x u_x|^2 >= 0.

No promise for a single prompt: with two prompts, one shared parameter and u_y of the other sign,
dH(q_y)/dt < 0 iff C_x |u_x| > C_y |u_y|.
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
from diffsmooth.theory.statements._weighted import EPS, WeightedPolicy, weighted_policies
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """single(u_z, move): a prompt's rate, move = sum_x C_x u_x; weighted(move): their C-weighted
    sum, both per unit of g and for one parameter; falls(C_x, u_x, C_y, u_y): when y's H(q) falls
    (two prompts, one parameter, u of opposite signs)."""

    single: Formula = lambda u, move: u * move
    weighted: Formula = lambda move: move * move
    falls: Formula = lambda c_x, u_x, c_y, u_y: c_x * abs(u_x) > c_y * abs(u_y)


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """Any number of prompts: sums over prompts as formal moments, one parameter at a time."""
    import sympy as sp

    c, u = sp.symbols("C u", real=True)
    prompts = Law("prompts", (c, u))
    move = prompts.mean(c * u)
    return identities(
        {
            "the C-weighted sum is a square": sp.expand(
                prompts.mean(c * claim.single(u, sp.Symbol("move"))).subs("move", move)
                - claim.weighted(move)
            )
        },
        "any number of prompts and parameters",
    )


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """The sum is a square for every parameter; when a single prompt falls."""
    import z3

    from diffsmooth.theory.verify import smt

    c_x, c_y, u_x, u_y, move = z3.Reals("C_x C_y u_x u_y move")

    def size(t: Any) -> Any:
        return z3.If(t >= 0, t, -t)

    inside = [c_x > 0, c_x <= 1, c_y > 0, c_y <= 1]
    weight = c_x * size(u_x) > c_y * size(u_y)
    return together(
        lambda: smt.prove([c_x > 0], claim.weighted(move) >= 0, "each parameter adds a square"),
        lambda: smt.prove(
            [*inside, u_x > 0, u_y < 0],
            (claim.single(u_y, c_x * u_x + c_y * u_y) < 0) == weight,
            "two prompts, one parameter: the other falls iff the first outweighs it",
        ),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Rational gradients of prompts with up to three parameters: the sum, and who falls."""
    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def residual(c: list[Fraction], u: list[list[int]]) -> list[Fraction]:
        size = len(u[0])
        move = [
            sum((x * row[d] for x, row in zip(c, u, strict=True)), Fraction(0)) for d in range(size)
        ]
        rates = [
            sum((claim.single(Fraction(row[d]), move[d]) for d in range(size)), Fraction(0))
            for row in u
        ]
        total = sum((x * rate for x, rate in zip(c, rates, strict=True)), Fraction(0))
        return [total - sum((claim.weighted(m) for m in move), Fraction(0))]

    def two(c_x: Fraction, u_x: int, c_y: Fraction, u_y: int) -> int:
        move = c_x * u_x + c_y * u_y
        return int((claim.single(u_y, move) < 0) == claim.falls(c_x, u_x, c_y, u_y))

    many = [
        {
            "c": [Fraction(rng.randint(1, 9), 10) for _ in range(n)],
            "u": [[rng.randint(-4, 4) for _ in range(d)] for _ in range(n)],
        }
        for n in (1, 2, 3, 6)
        for d in (1, 2, 3)
    ]
    pairs = [
        {"c_x": Fraction(a, 10), "u_x": x, "c_y": Fraction(b, 10), "u_y": -y}
        for a in (1, 5, 9)
        for b in (1, 5, 9)
        for x, y in ((1, 1), (1, 3), (4, 1))
    ]
    return together(
        lambda: exact.identity(residual, many, "the C-weighted sum of the rates"),
        lambda: exact.inequality(two, pairs, "who falls, of two prompts with one parameter"),
    )


def check_certified(claim: Claim, budget: Budget) -> Outcome:
    """A smallest instance: two prompts of two correct answers and a wrong one, one feature each."""
    from flint import arb

    from diffsmooth.theory.verify import certified

    def direction(weights: tuple[int, int, int], feature: int) -> tuple[Any, Any]:
        """(C, u) of a policy whose first correct answer alone carries the shared feature."""
        pi = [arb(w) / sum(weights) for w in weights]
        c = pi[0] + pi[1]
        q = [x / c for x in pi[:2]]
        h = -sum((x * x.log() for x in q), arb(0))
        return c, feature * -q[0] * (q[0].log() + h)

    (c_x, u_x), (c_y, u_y) = direction((4, 1, 1), -1), direction((3, 1, 8), 1)
    move = c_x * u_x + c_y * u_y
    return certified.separated(
        {
            "x gains": claim.single(u_x, move),
            "y falls": -claim.single(u_y, move),
            "the C-weighted sum gains": claim.weighted(move),
        },
        "x = (4, 1 | 1)/6, y = (3, 1 | 8)/12 with one feature of opposite signs",
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's rates, and the rule's own update, for prompts that share parameters."""
    from hypothesis import strategies as st

    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.rules import SmoothingTerm
    from diffsmooth.theory.shared import diversity_direction, smoothing_rates
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[list[WeightedPolicy], int, int]) -> tuple[float, float]:
        prompts, size, seed = instance
        rng = np.random.default_rng(seed)
        phi = [rng.normal(size=(len(p.counts), size)) for p in prompts]
        policies = [Policy.from_logits(np.log(p.probs), p.correct) for p in prompts]
        term = SmoothingTerm(1.0, 0.0, centring="correct")
        pushes = [f.T @ p.gradient(term(p.batch())) for p, f in zip(prompts, phi, strict=True)]
        move = np.sum(pushes, axis=0)
        u = np.array([diversity_direction(p, f) for p, f in zip(policies, phi, strict=True)])
        c = np.array([float(p.probs[p.correct].sum()) for p in prompts])
        claimed = np.array(
            [sum(claim.single(x, m) for x, m in zip(row, move, strict=True)) for row in u]
        )
        rates = smoothing_rates(policies, phi)
        total = sum(claim.weighted(m) for m in move)
        worst = largest(np.abs(rates - claimed), abs(float(c @ rates) - float(total)))
        scale = (1 + max(float(np.abs(f).max()) for f in phi)) ** 2 * 64 * len(prompts) ** 2
        rows = sum(p.rows.size for p in prompts)
        return -worst, 64 * (rows + 8) * EPS * scale

    return random.for_all(
        st.tuples(
            st.lists(weighted_policies(3, 2), min_size=1, max_size=4),
            st.integers(1, 4),
            st.integers(0, 10**6),
        ),
        margin,
        budget,
        "library rates against the rule's update",
        show=lambda t: f"{len(t[0])} prompts, {t[1]} features (seed {t[2]})",
    )


STATEMENT = Statement(
    id="F2",
    title="Smoothing many prompts raises their C-weighted diversity, not each one's",
    source="new",
    reference="theory.md F2",
    assumptions=(
        "logits theta_x = Phi_x w, any features; centred smoothing of one strength on all prompts",
        "rates at one moment, the weights C_x as they stand",
    ),
    latex=(
        r"\frac{dH(q_z)}{dt} = g\,u_z\cdot\sum_x C_x u_x,\qquad u_x=\Phi_x^\top v_x,\qquad"
        r" \sum_x C_x\frac{dH(q_x)}{dt} = g\,\left|\sum_x C_x u_x\right|^2\geq 0"
        "\n\n"
        r"A single prompt may fall: two prompts with two correct answers each and one shared "
        r"parameter are enough."
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="any number of prompts and parameters"),
        Method("smt", check_smt, note="any number of parameters, one at a time"),
        Method("exact", check_exact, note="12 sets of up to 6 prompts, 27 pairs"),
        Method("certified", check_certified, note="the smallest counterexample"),
        Method("random", check_random, note="rules and library, 1 to 4 prompts and features"),
    ),
    mutants=(
        Mutant(
            "every prompt gains",
            replace(CLAIM, single=lambda u, move: abs(u) * abs(move)),
            by=("exact", "certified"),
        ),
        Mutant(
            "the weighted sum loses",
            replace(CLAIM, weighted=lambda move: -move * move),
            by=("symbolic", "smt", "exact", "certified", "random"),
        ),
        Mutant(
            "a prompt falls where it is the heavier one",
            replace(CLAIM, falls=lambda c_x, u_x, c_y, u_y: c_x * abs(u_x) < c_y * abs(u_y)),
            by="exact",
        ),
    ),
    limits=(
        "First order, and the weights C_x are held: along a path they move.  The reward's own push "
        "on each H(q_x) comes on top (F1)."
    ),
)
