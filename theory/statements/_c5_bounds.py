r"""C5's two-sided bound, proved for any number of correct answers.

With w_i = log q_i + H(q) and phi(w) = (1 - e^-w)/w: sum_i q_i w_i = 0, so for every constant s

    K1 = sum_i q_i (q_i - s) w_i = sum_i q_i^2 w_i^2 phi(w_i)   with s = e^-H = q_i e^-w_i,

and E = sum_i q_i^2 w_i^2.  So K1/E is a mean of phi(w_i) with weights q_i^2 w_i^2, and phi falls on
the whole line: -w^2 phi'(w) = D(w) = 1 - (1+w) e^-w, D(0) = 0, D'(w) = w e^-w, so by the mean value
theorem D(w) = w (t w) e^(-t w) for some 0 < t < 1, which is positive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import identities, together
from diffsmooth.theory.verify.core import Outcome

#: phi(w, e^-w).
Phi = Callable[[Any, Any], Any]


def mean_of_phi(phi: Phi) -> Outcome:
    """K1 and E as one weighted sum (formal moments, termwise), and the derivative of phi."""
    import sympy as sp

    x, log_q, s, fall = sp.symbols("q l s e^-w", real=True)
    w = sp.Symbol("w", real=True, nonzero=True)
    law = Law("q", (x, log_q))
    ell = log_q - law.mean(log_q)  # w, as a coordinate: log q + H(q)
    real_phi = phi(w, sp.exp(-w))
    excess = 1 - (1 + w) * sp.exp(-w)
    return identities(
        {
            "K1 = E_q[(q - s) w] for every s": sp.expand(
                law.covariance(log_q, x) - law.mean((x - s) * ell)
            ),
            "termwise, s = q e^-w": (x - x * fall) * w - x * w**2 * phi(w, fall),
            "-w^2 phi' = 1 - (1+w) e^-w": sp.diff(real_phi, w) * w**2 + excess,
            "its derivative is w e^-w": sp.diff(excess, w) - w * sp.exp(-w),
            "its value at 0": excess.subs(w, 0),
            "phi(-v) = (e^v - 1)/v": phi(-w, sp.exp(w)) - (sp.exp(w) - 1) / w,
        },
        "g*/(1-C) is a mean of phi(w_i), any number of correct answers",
    )


def between_extremes(sharpening: Callable[[Any], Any], centred: Callable[[Any], Any]) -> Outcome:
    """phi falls, a weighted mean lies between its extremes, and so does the threshold.

    ``sharpening`` and ``centred`` map (K1, E, a) to the two sides of dH(q)/dt = 0.
    """
    import z3

    from diffsmooth.theory.verify import smt

    w, t, power, weight, value, low, high = z3.Reals("w t e^-tw weight phi_i phi_max phi_min")
    k1, e, a, g = z3.Reals("K1 E a g")
    point = (k1, e, a)
    return together(
        lambda: smt.prove(
            [w != 0, t > 0, t < 1, power > 0],
            w * (t * w) * power > 0,
            "-w^2 phi'(w) > 0 for all w != 0 (mean value theorem): phi falls",
        ),
        lambda: smt.prove(
            [weight >= 0, low <= value, value <= high],
            [low * weight <= value * weight, value * weight <= high * weight],
            "each term of the mean",
        ),
        lambda: smt.prove(
            [
                e > 0,
                a > 0,
                low > 0,
                low * e <= k1,
                k1 <= high * e,
                g * centred(point) == sharpening(point),
            ],
            [low * a <= g, g <= high * a],
            "summed: phi(w_max) <= g*/(1-C) <= phi(w_min)",
        ),
    )
