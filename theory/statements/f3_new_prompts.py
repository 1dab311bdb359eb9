r"""F3. How much of smoothing reaches prompts that were not trained on.

w = C u = C Phi^T v of a prompt.  Centred smoothing of n training prompts at mean weight moves the
parameters by (g/n) sum_x w_x, so a prompt z gains C_z dH(q_z)/dt = (g/n) w_z . sum_x w_x.  Let
prompts be drawn alike and independently given the parameters, mean w = a, total variance of w = s.

- new z:       E = g a.a = g |a|^2 >= 0;
- trained z (the mean over the n): E = g |mean of w_x|^2 = g (|a|^2 + s/n).

So the share that reaches new prompts is 1/(1 + s/(n |a|^2)): the squared mean diversity gradient
against its spread over prompts.  Without the weights C_z a new prompt's mean rate is
g E[u_z] . a, which can be negative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
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
    """Mean C-weighted rates per unit of g, for one parameter; a = E w, s = Var w, n prompts.

    new(a, s, n), trained(a, s, n); share(mean, spread, n): new over trained, mean = |a|^2 and
    spread = s summed over parameters; unweighted(mean_u, a): a new prompt's mean rate.
    """

    new: Formula = lambda a, s, n: a * a
    trained: Formula = lambda a, s, n: a * a + s / n
    share: Formula = lambda mean, spread, n: 1 / (1 + spread / (n * mean))
    unweighted: Formula = lambda mean_u, a: mean_u * a


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """Independent prompts as independent copies: means of products are products of means."""
    import sympy as sp

    w, copy, u = sp.symbols("w w2 u", real=True)
    n = sp.Symbol("n", positive=True)
    law = Law("prompt", (w,))
    a = law.mean(w)
    s = law.mean(w**2) - a**2
    # (1/n) sum_x E[w_z w_x] for z apart; (1/n^2) sum_xy E[w_x w_y]: n equal pairs, n (n-1) others.
    apart = law.pair((copy,), w * copy)
    joint = Law("prompt and weight", (u, w))
    free = joint.pair(sp.symbols("u2 w2", real=True), u * copy)
    mean, spread = sp.symbols("mean spread", positive=True)
    return identities(
        {
            "new": sp.expand(n * apart / n - claim.new(a, s, n)),
            "trained": sp.expand(
                (n * law.mean(w**2) + n * (n - 1) * apart) / n**2 - claim.trained(a, s, n)
            ),
            "share": sp.simplify(
                claim.new(1, 0, n) * mean / (mean + spread / n) - claim.share(mean, spread, n)
            ),
            "unweighted": sp.expand(free - claim.unweighted(joint.mean(u), joint.mean(w))),
        },
        "any law of prompts, any n",
    )


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Signs and order: new prompts gain on average, and less than trained ones."""
    import z3

    from diffsmooth.theory.verify import smt

    a, s, n, mean, spread = z3.Reals("a s n mean spread")
    inside = [s >= 0, n >= 1]
    return together(
        lambda: smt.prove(
            inside,
            [claim.new(a, s, n) >= 0, claim.new(a, s, n) <= claim.trained(a, s, n)],
            "0 <= new <= trained, each parameter",
        ),
        lambda: smt.prove(
            [mean > 0, spread >= 0, n >= 1],
            [
                claim.share(mean, spread, n) > 0,
                claim.share(mean, spread, n) <= 1,
                claim.share(mean, spread, 2 * n) >= claim.share(mean, spread, n),
            ],
            "the share lies in (0, 1] and rises with the number of prompts",
        ),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Every training set of n prompts from a small population, and every new prompt."""
    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def residual(c: list[Fraction], u: list[int], n: int) -> list[Fraction]:
        w = [x * y for x, y in zip(c, u, strict=True)]
        size = len(w)
        a = sum(w, Fraction(0)) / size
        s = sum((x * x for x in w), Fraction(0)) / size - a * a
        new = trained = plain = Fraction(0)
        for drawn in product(range(size), repeat=n):
            move = sum((w[x] for x in drawn), Fraction(0)) / n
            trained += sum((w[x] for x in drawn), Fraction(0)) / n * move
            new += sum(w, Fraction(0)) / size * move
            plain += sum(map(Fraction, u), Fraction(0)) / size * move
        sets = size**n
        mean_u = sum(map(Fraction, u), Fraction(0)) / size
        out = [
            new / sets - claim.new(a, s, n),
            trained / sets - claim.trained(a, s, n),
            plain / sets - claim.unweighted(mean_u, a),
        ]
        if a:
            out.append(new / trained - claim.share(a * a, s, n))
        return out

    def against(c: list[Fraction], u: list[int]) -> Fraction:
        """Minus the unweighted mean rate of a new prompt: two kinds of prompts."""
        a = sum((x * y for x, y in zip(c, u, strict=True)), Fraction(0)) / len(u)
        return Fraction(-claim.unweighted(Fraction(sum(u), len(u)), a))

    cases = [
        {
            "c": [Fraction(rng.randint(1, 9), 10) for _ in range(size)],
            "u": [rng.randint(-3, 4) for _ in range(size)],
            "n": n,
        }
        for size in (1, 2, 3)
        for n in (1, 2, 4)
    ]
    return together(
        lambda: exact.identity(residual, cases, "means over all training sets"),
        lambda: exact.inequality(
            against,
            [{"c": [Fraction(9, 10), Fraction(1, 10)], "u": [1, -2]}],
            "unweighted, new prompts can lose on average",
        ),
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's rates on prompts with shared features, trained and new, over all draws."""
    from hypothesis import strategies as st

    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.shared import diversity_direction, smoothing_rates
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[int, int, int]) -> tuple[float, float]:
        kinds, size, seed = instance
        rng = np.random.default_rng(seed)
        phi = [rng.normal(size=(5, size)) for _ in range(kinds)]
        mask = np.arange(5) < 3
        policies = [Policy.from_logits(rng.normal(size=5), mask) for _ in range(kinds)]
        c = np.exp([float(p.log_C) for p in policies])
        w = c[:, None] * np.array(
            [diversity_direction(p, f) for p, f in zip(policies, phi, strict=True)]
        )
        a, s, n = w.mean(axis=0), w.var(axis=0), 2
        new, trained = [], []
        for x, y in product(range(kinds), repeat=n):
            for z in range(kinds):  # trained on x and y, asked of z
                rates = smoothing_rates(
                    [policies[i] for i in (x, y, z)], [phi[i] for i in (x, y, z)]
                )
                # the library trains on all three: take out what z did to itself
                own = float(c[z] * (diversity_direction(policies[z], phi[z]) ** 2).sum())
                new.append(c[z] * (rates[2] - own) / n)
            pair = smoothing_rates([policies[i] for i in (x, y)], [phi[i] for i in (x, y)])
            trained.append((c[x] * pair[0] + c[y] * pair[1]) / n**2)
        claimed = (sum(claim.new(a, s, n)), sum(claim.trained(a, s, n)))
        worst = largest(
            abs(float(np.mean(new)) - claimed[0]), abs(float(np.mean(trained)) - claimed[1])
        )
        scale = (1 + max(float(np.abs(f).max()) for f in phi)) ** 2 * 25
        return -worst, 256 * (kinds + 8) * EPS * scale

    return random.for_all(
        st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6)),
        margin,
        budget,
        "library rates over all training pairs and new prompts",
        show=lambda t: f"{t[0]} kinds of prompts, {t[1]} features (seed {t[2]})",
    )


STATEMENT = Statement(
    id="F3",
    title="What smoothing gives to new prompts: the mean diversity gradient against its spread",
    source="new",
    reference="theory.md F3; the ratio of new to trained prompts is added here",
    assumptions=(
        "prompts drawn independently from one law given the parameters; w = C Phi^T v of a prompt",
        "rates at one moment, centred smoothing of strength g, mean over n training prompts",
    ),
    latex=(
        r"E\left[C_z\frac{dH(q_z)}{dt}\right] = g\,|a|^2\ \ (\mathrm{new}),\qquad"
        r" g\left(|a|^2+\frac{s}{n}\right)\ \ (\mathrm{trained}),\qquad"
        r" a=E\,w,\quad s=E|w-a|^2"
        "\n\n"
        r"\frac{\mathrm{new}}{\mathrm{trained}} = \frac{1}{1+s/(n|a|^2)}"
        "\n\n"
        r"New prompts gain on average, each weighted by its correctness; unweighted they can lose."
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="any law of prompts, any n (formal moments)"),
        Method("smt", check_smt, note="any number of parameters, one at a time"),
        Method("exact", check_exact, note="9 populations, every training set of up to 4 prompts"),
        Method("random", check_random, note="library, up to 4 kinds of prompts, 3 features"),
    ),
    mutants=(
        Mutant(
            "new prompts gain what trained ones do",
            replace(CLAIM, new=lambda a, s, n: a * a + s / n),
            by=("symbolic", "exact", "random"),
        ),
        Mutant(
            "the spread helps without being divided by n",
            replace(CLAIM, trained=lambda a, s, n: a * a + s),
            by=("symbolic", "exact", "random"),
        ),
        Mutant(
            "the share falls with the number of prompts",
            replace(CLAIM, share=lambda mean, spread, n: 1 / (1 + n * spread / mean)),
            by=("symbolic", "smt", "exact"),
        ),
        Mutant(
            "unweighted, new prompts gain as well",
            replace(CLAIM, unweighted=lambda mean_u, a: a * a),
            by=("symbolic", "exact"),
        ),
    ),
    limits=(
        "First order at one moment; 'drawn alike and independently given w' is the first step of "
        "training, or fresh prompts; trained prompts are later no longer such a draw."
    ),
)
