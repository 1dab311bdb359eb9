"""B8 for Simpson's index: which law is the cheapest, and which measures share its level sets.

With s = sum q^2: Simpson is 1 - s, Renyi-2 is -log s, the effective number 1/s, the distinct
answers in 2 draws 2 - s.  All fall with s, so one bound on s is a bound on each of them.

Let log q + 2 mu q = log b + const with mu >= 0.  Then for every law x on the same set

    KL(x||b) - KL(q||b) = KL(x||q) + mu sum (x - q)^2 + mu (sum q^2 - sum x^2),

so that no law at least as diverse costs less, and only q itself as little.  A tempering solves the
equation only if q takes at most two values: log q would be affine in q on three.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import identities, together
from diffsmooth.theory.verify.core import Budget, Outcome, largest, least

#: (log q, q, mu) -> log b + const at the optimum.
Stationary = Callable[[Any, Any, Any], Any]


def symbolic(stationary: Stationary) -> Outcome:
    """Sums over trajectories term by term, so for any number of them."""
    import sympy as sp

    x, q, mu = sp.symbols("x q mu", positive=True)
    log_b, log_x, log_q, nu, const = sp.symbols("log_b log_x log_q nu const", real=True)
    term = x * (sp.log(x) - log_b) + nu * x - mu * (x - x**2)
    condition = sp.diff(term, x) - (stationary(sp.log(x), x, mu) - log_b)
    base = stationary(log_q, q, mu) - const
    paid = x * (log_x - base) - q * (log_q - base)
    # Summed, const (x - q) is 0: both are laws.
    excess = x * (log_x - log_q) + mu * ((x - q) ** 2 + q**2 - x**2) + const * (x - q)
    law = Law("q", (q,))
    s = law.mean(q)
    return identities(
        {
            "the Lagrangian is stationary there: what is left is a constant": sp.diff(condition, x),
            "KL(x||b) - KL(q||b), each term": sp.expand(paid - excess),
            "distinct answers in 2 draws": law.mean(sp.cancel((1 - (1 - q) ** 2) / q)) - (2 - s),
        },
        "Simpson's optimum",
    )


def smt(stationary: Stationary) -> Outcome:
    """The optimum is one; equality; which temperings it can be; the common level sets."""
    import z3

    from diffsmooth.theory.verify import smt as engine

    kl, mu, square, rise, s, t = z3.Reals("K(x||q) mu square rise s t")
    paid = kl + mu * square + mu * rise
    x, y, z, log_x, log_y, log_z, a, const = z3.Reals("x y z log_x log_y log_z a const")
    solved = [
        stationary(log, value, mu) == log / a + const
        for log, value in ((log_x, x), (log_y, y), (log_z, z))
    ]
    return together(
        lambda: engine.prove(
            [kl >= 0, mu >= 0, square >= 0, rise >= 0],
            [paid >= 0, z3.Implies(paid == 0, kl == 0)],
            "no law at least as diverse in Simpson's sense is cheaper",
        ),
        lambda: engine.prove(
            # The tangent of log at y lies strictly above it at x and at z.
            [
                *(x > 0, x < y, y < z, a > 0, a < 1, mu >= 0),
                *(y * (log_x - log_y) < x - y, y * (log_z - log_y) < z - y),
            ],
            z3.Not(z3.And(solved)),
            "no tempering with three different probabilities solves it",
        ),
        lambda: engine.prove(
            [s > 0, s < t],
            [1 - s > 1 - t, 2 - s > 2 - t, 1 / s > 1 / t],
            "Simpson, distinct-in-2, effective number (and its log, Renyi-2) fall with sum q^2",
        ),
    )


def random(stationary: Stationary, budget: Budget) -> Outcome:
    """Any q and mu, the base for which q is optimal, any law as diverse; the library's measures."""
    from hypothesis import strategies as st

    from diffsmooth.theory import diversity
    from diffsmooth.theory.verify import random as engine

    def margin(instance: tuple[list[float], float, list[float]]) -> tuple[float, float]:
        logits, mu, noise = instance
        size = len(logits)
        log_q = tab.tempered(np.array(logits), 1.0)
        q = np.exp(log_q)
        log_b = tab.tempered(stationary(log_q, q, mu), 1.0)
        # Mixed with the uniform law a law grows as diverse as one likes, up to the uniform law.
        x, share = np.exp(tab.tempered(np.array(noise[:size]), 1.0)), 1.0
        while x @ x > q @ q and share > 1e-3:
            share /= 2
            x = share * x + (1 - share) / size
        if x @ x > q @ q:  # q is as good as uniform
            x = q
        paid = tab.relative(np.log(x), log_b) - tab.relative(log_q, log_b)
        gaps = (x - q) @ (x - q) + q @ q - x @ x
        identity = paid - tab.relative(np.log(x), log_q) - mu * float(gaps)
        log_s = float(np.log(q @ q))
        library = (
            diversity.simpson(log_q) - (1 - q @ q),
            diversity.renyi(log_q, 2.0) + log_s,
            np.log(diversity.effective_number(log_q)) + log_s,
            diversity.distinct_in_k(log_q, 2) - (2 - q @ q),
        )
        bound = tab.rounding(size, 10.0 + 2 * mu)
        return least(paid, -abs(identity), -largest(*(np.abs(v) for v in library))), bound

    return engine.for_all(
        st.tuples(
            st.lists(tab.decimals(-3, 3), min_size=2, max_size=8),
            tab.decimals(0, 6),
            st.lists(tab.decimals(-3, 3), min_size=8, max_size=8),
        ),
        margin,
        budget,
        "Simpson's cheapest law",
    )
