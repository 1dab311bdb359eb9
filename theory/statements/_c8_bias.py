r"""C8's bias of the log share, to O(n^-2) with constants, for every 0 < q <= 1 and n >= 1.

With k = 1 + B, B ~ Bin(n-1, q), psi(k) = H_{k-1} - gamma and P = (1-q)^n:

1. r_k = log k - psi(k) - 1/(2k) lies in [0, 1/(12 k^2)].  As gamma is the limit of H_{k-1} - log k,
   r_k = sum_{j>=k} a(1/j) with a(x) = x/2 + x/(2(1+x)) - log(1+x), and
   0 <= a(x) <= (x^2 - (x/(1+x))^2)/12, which telescopes: both sides are 0 at x = 0 and their
   derivatives are x^2/(2 (1+x)^2) and x^4/(6 (1+x)^3) for x >= 0.
2. E psi(k) - log q = psi(n) + T with T = sum_{i>=n} (1-q)^i/i: one more draw raises E H_B by
   q E[1/(1+B)], and -log q = sum_{i>=1} (1-q)^i/i.  Termwise 1/i <= 1/n: 0 <= T <= P/(nq).
3. E[1/k] = (1-P)/(nq), by C(n-1,b)/(b+1) = C(n,b+1)/n.
4. E[1/k^2] <= 2 E[1/(k(k+1))] <= 2/(n(n+1) q^2), by C(n-1,b)/((b+1)(b+2)) = C(n+1,b+2)/(n(n+1)).

So bias - (1-q)/(2nq) = [T - P/(2nq)] + E r_k - r_n, whose parts are at most P/(2nq), 1/(6n(n+1)q^2)
and 1/(12 n^2) in size; the last two have opposite signs and the third is the smaller bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from diffsmooth.theory.statements._steps import identities, together
from diffsmooth.theory.verify.core import Outcome

#: (q, n) -> the leading term of the bias.
Leading = Callable[[Any, Any], Any]
#: (q, n, (1-q)^n) -> a bound on what is left.
Remainder = Callable[[Any, Any, Any], Any]


def log_share(q: Any, n: int, log: Callable[[Any], Any]) -> Any:
    """E[log((1+B)/n)], B ~ Bin(n-1, q), exactly, in the arithmetic of ``log``."""
    return sum(
        (log(k + 1) * (math.comb(n - 1, k) * q**k * (1 - q) ** (n - 1 - k)) for k in range(1, n)),
        -log(n),
    )


def symbolic(leading: Leading) -> Outcome:
    """Steps 1 to 4 for any k, b and n, and the sum of the parts."""
    import sympy as sp

    x, q = sp.symbols("x q", positive=True)
    k, b, n = sp.symbols("k b n", positive=True, integer=True)
    a = x / 2 + x / (2 * (1 + x)) - sp.log(1 + x)
    upper = (x**2 - (x / (1 + x)) ** 2) / 12
    psi_n, tail, power, mean_r, r_n = sp.symbols("psi_n T P E[r_k] r_n", real=True)
    bias = (psi_n + tail) + (1 - power) / (2 * n * q) + mean_r - (psi_n + 1 / (2 * n) + r_n)

    def termwise(left: Any, right: Any) -> Any:
        return sp.combsimp(sp.gammasimp((left / right).rewrite(sp.gamma))) - 1

    binom = sp.binomial
    return identities(
        {
            "r_k - r_(k+1) = a(1/k)": sp.expand_log(
                sp.log(k)
                - sp.log(k + 1)
                + 1 / k
                - 1 / (2 * k)
                + 1 / (2 * (k + 1))
                - (1 / (2 * k) + 1 / (2 * (k + 1)) - sp.log((k + 1) / k)),
                force=False,
            ),
            "a at x = 1/k": a.subs(x, 1 / k)
            - (1 / (2 * k) + 1 / (2 * (k + 1)) - sp.log(1 + 1 / k)),
            "a(0)": a.subs(x, 0),
            "a' = x^2/(2 (1+x)^2)": sp.diff(a, x) - x**2 / (2 * (1 + x) ** 2),
            "upper(0)": upper.subs(x, 0),
            "(upper - a)' = x^4/(6 (1+x)^3)": sp.diff(upper - a, x) - x**4 / (6 * (1 + x) ** 3),
            "upper telescopes": upper.subs(x, 1 / k) - (1 / k**2 - 1 / (k + 1) ** 2) / 12,
            "E[1/(1+B)] termwise": termwise(binom(n - 1, b) / (b + 1), binom(n, b + 1) / n),
            "E[1/((1+B)(2+B))] termwise": termwise(
                binom(n - 1, b) / ((b + 1) * (b + 2)), binom(n + 1, b + 2) / (n * (n + 1))
            ),
            "one more draw": q * (1 - power) / (n * q) - (1 / n - power / n),
            "geometric tail": (1 - q) ** n / q * (1 - (1 - q)) - (1 - q) ** n,
            "the parts": bias - leading(q, n) - (tail - power / (2 * n * q) + mean_r - r_n),
        },
        "bias of the log share, every n and q",
    )


def smt(leading: Leading, remainder: Remainder) -> Outcome:
    """Signs of the derivatives, 1/k^2 <= 2/(k(k+1)), and the parts put together."""
    import z3

    from diffsmooth.theory.verify import smt as engine

    x, k, q, n, power = z3.Reals("x k q n P")
    tail, mean_r, r_n, bias = z3.Reals("T mean_r r_n bias")
    return together(
        lambda: engine.prove(
            [x >= 0],
            [x**2 / (2 * (1 + x) ** 2) >= 0, x**4 / (6 * (1 + x) ** 3) >= 0],
            "0 <= a(x) <= upper(x): both rise from 0",
        ),
        lambda: engine.prove([k >= 1], 1 / (k * k) <= 2 / (k * (k + 1)), "1/k^2 <= 2/(k(k+1))"),
        lambda: engine.prove(
            [
                q > 0,
                q <= 1,
                n >= 1,
                power >= 0,
                tail >= 0,
                tail * (n * q) <= power,
                mean_r >= 0,
                mean_r * (6 * n * (n + 1) * q * q) <= 1,
                r_n >= 0,
                r_n * (12 * n * n) <= 1,
                # the identity "the parts", times 2nq
                bias * (2 * n * q) == 1 - q + (tail + mean_r - r_n) * (2 * n * q) - power,
            ],
            [
                bias <= leading(q, n) + remainder(q, n, power),
                bias >= leading(q, n) - remainder(q, n, power),
            ],
            "|bias - leading| <= remainder",
        ),
    )


def certified(leading: Leading, remainder: Remainder) -> Outcome:
    """The bound itself on q in [1/50, 9/10], without the steps, for n = 2, 4, 8."""
    from flint import arb

    from diffsmooth.theory.verify import certified as engine

    def gap(n: int, side: int) -> Callable[[Any], Any]:
        def at(q: Any) -> Any:
            left = log_share(q, n, lambda v: arb(v).log()) - q.log() - leading(q, n)
            return remainder(q, n, (1 - q) ** n) - side * left

        return at

    box = {"q": ("1/50", "9/10")}
    return together(
        *(
            lambda n=n, side=side: engine.positive(
                gap(n, side), box, f"{'upper' if side > 0 else 'lower'} remainder, n = {n}"
            )
            for n in (2, 4, 8)
            for side in (1, -1)
        )
    )
