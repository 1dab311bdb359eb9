r"""N1: the exponents with explicit constants, at every time and for every clock.

Let u = 1/w(0) on S, u_1 its one least entry, v = 1/w(0) on F, x = u_1 - c(t) (A3).  With
odds(q) = (1 - q_1)/q_1 and odds(C) = (1 - C)/C = W_F/W_S:

    x sum_{i>1} 1/u_i <= odds(q) <= x sum_{i>1} 1/(u_i - u_1)                        (as q_i/q_1)
    1/x <= W_S <= M/x                                        (one is 1/x, none is more)
    N g <= W_F <= N R g,  g = (prod_F w)^(1/N),  R = max v/min v    (means; ratios on F fall)
    A B x/u_1 <= g^N <= B x/u_1,  B = prod_F w(0), A = prod_{i>1} (1 - u_1/u_i)   (conservation)

The powers odds(q)^(N+1) and odds(C)^N are both of order x^(N+1): x cancels from their ratio, which
stays between two numbers that only the base policy decides.  That is 1 - q_1 of order
(1-C)^(N/(N+1)).  And C >= 1/2 gives 1/(1-C) - 2 <= Phi <= 3/(1-C): 1 - C is of order 1/t.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import prod
from random import Random
from typing import Any

import numpy as np

from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.verify.core import Budget, Outcome, least

#: N -> powers of odds(q) and odds(C) whose ratio stays bounded from both sides.
Powers = Callable[[Any], tuple[Any, Any]]


def bounds(u: Sequence[Any], v: Sequence[Any]) -> tuple[Any, Any]:
    """Bounds on odds(q)^(N+1)/odds(C)^N; u[0] is the least entry of u, and the only one."""
    m, n, first, others = len(u), len(v), u[0], u[1:]
    base = 1 / prod(v[1:], start=v[0])
    left = prod((1 - first / a for a in others[1:]), start=1 - first / others[0])
    uneven = max(v) / min(v)
    low = sum(1 / a for a in others) ** (n + 1) * first / (n * uneven) ** n / base
    high = sum(1 / (a - first) for a in others) ** (n + 1) * first * m**n / n**n / (base * left)
    return low, high


def smt(potential: Callable[..., Any]) -> Outcome:
    """The inequalities of the chain, pair by pair, and Phi against 1/(1-C)."""
    import z3

    from diffsmooth.theory.verify import smt as engine

    v, w, d, c, logit = z3.Reals("v_j v_k d C logit")
    u1, ui, x = z3.Reals("u_1 u_i x")
    fail = 1 - c
    return together(
        lambda: engine.prove(
            [v > 0, w >= v, d >= 0],
            (w + d) * v <= w * (v + d),
            "ratios on F fall",
        ),
        lambda: engine.prove(
            [u1 > 0, ui > u1, x > 0, x <= u1],
            1 / (ui - u1 + x) <= 1 / x,
            "no weight on S above the leader's",
        ),
        lambda: engine.prove(
            # log y <= y - 1 at y = C/(1-C).
            [2 * c >= 1, c < 1, logit >= 0, logit <= c / fail - 1],
            [potential(c, fail, logit) * fail <= 3, potential(c, fail, logit) >= 1 / fail - 2],
            "Phi is of order 1/(1-C) beyond C = 1/2",
        ),
    )


def exact(powers: Powers, budget: Budget) -> Outcome:
    """Rational states of the flow: the last weight on F is what conservation asks for."""
    from diffsmooth.theory.verify import exact as engine

    rng = Random(budget.seed)

    def margins(
        u: tuple[Fraction, ...], v: tuple[Fraction, ...], d: Fraction, x: Fraction
    ) -> list[Fraction]:
        c = u[0] - x
        on_s, on_f = [1 / (a - c) for a in u], [1 / (b + d) for b in v]
        conserved = prod(a * w for a, w in zip([*u, *v], [*on_s, *on_f], strict=True))
        odds_q = sum(on_s[1:]) / on_s[0]
        odds_c = sum(on_f) / sum(on_s)
        power_q, power_c = powers(len(v))
        ratio = odds_q**power_q / odds_c**power_c
        low, high = bounds(u, v)
        return [ratio - low, high - ratio, conserved - 1, 1 - conserved]

    def case(m: int, n: int, x: Fraction) -> dict[str, Any]:
        u = sorted(rng.sample(range(2, 40), m))
        v = [Fraction(rng.randint(1, 20), rng.randint(1, 5)) for _ in range(n - 1)]
        d = Fraction(rng.randint(1, 4))
        u_1 = Fraction(u[0])
        x *= u_1
        # The share of the product on F that the last weight must bring; less than 1 for small x.
        share = prod((1 - (u_1 - x) / a for a in u), start=Fraction(1))
        share *= prod(((b + d) / b for b in v), start=Fraction(1))
        if share >= 1:
            raise ArithmeticError(f"no such state: x = {x} is too large")
        last = d * share / (1 - share)
        return {"u": tuple(map(Fraction, u)), "v": (*v, last), "d": d, "x": x}

    # x falls by 10^6 from one to the next: a wrong exponent is soon outside any fixed bounds.
    instances = [
        case(m, n, Fraction(1, 10**k))
        for m, n in ((2, 1), (3, 2), (4, 3), (6, 4))
        for k in (6, 12, 18)
    ]
    return engine.inequality(margins, instances, "explicit constants of the rate", strict=False)


def random(powers: Powers, budget: Budget) -> Outcome:
    """The library's flow under its own clock and GRPO's: one pair of bounds for both."""
    from hypothesis import strategies as st

    from diffsmooth.theory.flows import softmax_pg_flow
    from diffsmooth.theory.policy import Policy, logsumexp
    from diffsmooth.theory.rules import GRPO
    from diffsmooth.theory.utilities import utility_derivative
    from diffsmooth.theory.verify import random as engine

    rule = GRPO(eps=0)

    def margin(instance: tuple[tab.LogitBase, float, float, bool]) -> tuple[float, float]:
        base, lead, time, standardised = instance
        logits = base.logits.copy()
        split = len(base.correct)
        logits[0] = logits[:split].max() + lead  # a single leader
        start = Policy.from_logits(logits, base.mask)
        clock = (lambda c: utility_derivative(rule, c, 8)) if standardised else None
        moved = softmax_pg_flow(start, time, clock=clock)
        # A common factor of all weights cancels: powers N + 1 of u and -N, -1 of the rest.
        u, v = np.exp(-logits[:split]), np.exp(-logits[split:])
        low, high = bounds([u[0], *np.sort(u[1:])], list(v))
        log_q = moved.log_q[:split]
        power_q, power_c = powers(v.size)
        ratio = power_q * float(logsumexp(log_q[1:]) - log_q[0]) + power_c * float(moved.logit_C)
        # Log-probs of the flow to 1e-11 (its root), times the powers.
        error = (power_q + power_c) * 1e-9
        return least(ratio - float(np.log(low)), float(np.log(high)) - ratio), error

    return engine.for_all(
        st.tuples(
            tab.logit_bases(4, 2.0, 2),
            tab.decimals(0.1, 1.0),
            st.sampled_from([0.5, 10.0, 1e3, 1e6]),
            st.booleans(),
        ),
        margin,
        budget,
        "library flow, two clocks, within the same explicit constants",
        show=lambda t: f"{t[0]}, lead {t[1]}, t = {t[2]:g}, GRPO: {t[3]}",
        examples=400 if budget.deep else 60,
    )
