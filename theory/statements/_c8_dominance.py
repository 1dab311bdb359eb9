"""B7 over classes: an entropy-regularised policy is dominated by a centred quotient DS policy.

The policy has correctness C, q ∝ b_S^a, f ∝ b_F^a and class law Q.  Its rival keeps C, takes b_F
and tempers the class masses B of b_S with an exponent a', the law inside each class being that of
b.  If H(Q) >= H(B), a' <= 1 is such that H(Q') = H(Q); if not, a' = 1 (no smoothing) already has
H(Q') = H(B) > H(Q).  In both cases

    KL(policy) - KL(rival) = C [KL(Q||Q')/a' + (1/a' - 1) (H(Q) - H(Q')) + inside]
                             + (1-C) KL(f||b_F)

with ``inside`` = sum_c Q_c KL(q|c || b|c), and no term is negative (with a' = 1 the second is 0).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import identities
from diffsmooth.theory.verify.core import Budget, Outcome, least

#: (exponent of the entropy-regularised policy, matching exponent of the classes) -> the rival's.
Exponent = Callable[[Any, Any], Any]


def symbolic(inside: Any) -> Outcome:
    """The identity, for any number of classes, wordings and incorrect answers."""
    import sympy as sp

    a, c = sp.symbols("a C", positive=True)
    log_class, log_x, log_b, log_y, w, z = sp.symbols("logQ logx logB logy w z", real=True)
    zeta, log_c, log_1c, log_p, log_1p = sp.symbols("zeta l_C l_1C l_p l_1p", real=True)
    q, f = Law("q", (log_class, log_x, log_b, log_y)), Law("f", (w, z))
    rival = Law("q'", (log_b, log_y))
    log_rival = a * log_b - zeta  # log Q' of the class; inside it the law is b's
    policy = c * q.mean(log_c + log_class + log_x - log_p - log_b - log_y)
    policy += (1 - c) * f.mean(log_1c + w - log_1p - z)
    paid = c * rival.mean(log_c + log_rival - log_p - log_b) + (1 - c) * (log_1c - log_1p)
    between = q.mean(log_class - log_rival)
    rise = rival.mean(log_rival) - q.mean(log_class)  # H(Q) - H(Q')
    gain = between / a + (1 / a - 1) * rise + inside * q.mean(log_x - log_y)
    claimed = c * gain + (1 - c) * f.mean(w - z)
    return identities({"policy minus rival": sp.expand(policy - paid - claimed)}, "B7 over classes")


def smt() -> Outcome:
    """The two cases: the rival is at least as diverse over classes, and costs no more."""
    import z3

    from diffsmooth.theory.verify import smt as engine

    h, h_base, h_rival, a, c = z3.Reals("H(Q) H(B) H(Q') a' C")
    between, inside, wrong = z3.Reals("K(Q||Q') inside K_F")
    gain = between / a + (1 / a - 1) * (h - h_rival) + inside
    return engine.prove(
        [
            *(between >= 0, inside >= 0, wrong >= 0, c > 0, c < 1),
            z3.Or(
                z3.And(h >= h_base, h_rival == h, a > 0, a <= 1),
                z3.And(h < h_base, h_rival == h_base, a == 1),
            ),
        ],
        [h_rival >= h, c * gain + (1 - c) * wrong >= 0],
        "the rival over classes: no less diverse, no dearer",
    )


def random(exponent: Exponent, budget: Budget) -> Outcome:
    """The library's entropy-regularised policy against its quotient rival, by the library."""
    from hypothesis import strategies as st

    from diffsmooth.theory import optima
    from diffsmooth.theory.classes import class_log_masses, equalised
    from diffsmooth.theory.diversity import shannon
    from diffsmooth.theory.policy import Policy, kl
    from diffsmooth.theory.verify import random as engine

    def margin(instance: tuple[tab.LogitBase, list[int], float, float]) -> tuple[float, float]:
        base, labels, beta, g = instance
        b, split, right = base.policy(), len(base.correct), base.mask
        _, ids = np.unique(labels[:split], return_inverse=True)
        policy = optima.entropy_bonus(b, beta, g)
        own = beta / (beta + g)
        log_mass = class_log_masses(b.log_q[right], ids)
        h, h_base = (
            float(shannon(class_log_masses(law, ids)))
            for law in (policy.log_q[right], b.log_q[right])
        )
        matched = float(optima.temperature_for_entropy(log_mass, h)) if h > h_base else 1.0
        a = exponent(own, matched)
        law = equalised(b.log_q[right], ids, a)
        padded = np.full(right.size, -np.inf)
        padded[right] = law
        rival = Policy.from_parts(policy.logit_C, padded, b.log_f, right)
        # It is the optimum of centred quotient smoothing with g = (1 - a) beta, B1.
        reward = np.zeros(right.size)
        reward[right] = -(1 - a) * beta * log_mass[ids]
        optimum = optima.gibbs(b, reward, beta).log_q[right]
        saved = float(kl(policy, b)) - float(kl(rival, b))
        more = float(shannon(class_log_masses(law, ids))) - h
        rounding = tab.rounding(right.size, 2 * base.spread + 7 + abs(float(policy.logit_C)))
        # An error e of H moves a by at most e/(a V) and sqrt(2 e/V), V = Var log B <= spread^2/4,
        # and dKL/da = (a - 1) V.
        amplified = base.spread * (2 * rounding) ** 0.5
        if matched > 0:
            amplified = min(rounding / matched, amplified)
        same = np.array([abs(float(rival.logit_C - policy.logit_C)), np.abs(optimum - law).max()])
        return least(more, saved, -same), rounding + amplified

    return engine.for_all(
        st.tuples(
            tab.logit_bases(),
            st.lists(st.integers(0, 2), min_size=6, max_size=6),
            tab.decimals(0.2, 2),
            tab.decimals(0, 3),
        ),
        margin,
        budget,
        "the quotient rival of an entropy-regularised policy",
        show=lambda x: f"{x[0]}, classes {x[1][: len(x[0].correct)]}, beta = {x[2]}, g = {x[3]}",
    )
