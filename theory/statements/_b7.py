"""The mathematics of B7: the claim's formulas and the proof, step by step, for any size.

Notation: S_X(a) = sum over X of b^a; q_a, f_a the laws proportional to b_S^a, b_F^a; y = 1/beta
of the entropy-regularised policy in its base-surprisal form, whose exponent is a = 1 - g/beta.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

from diffsmooth.theory.statements._gibbs import positivity
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import identities, together
from diffsmooth.theory.verify.core import Outcome

Number = Any  # sympy, Logs, flint.arb, Fraction or float: one formula for all of them


@dataclass(frozen=True)
class Counterexample:
    """An entropy policy that no literal policy dominates, and what every literal policy costs."""

    correct: tuple[Fraction, ...] = (Fraction(3, 10), Fraction(1, 5))
    incorrect: tuple[Fraction, ...] = (Fraction(1, 4), Fraction(1, 4))
    a: Fraction = Fraction(1, 2)
    y: Fraction = Fraction(1, 20)
    entropy_correctness: Fraction = Fraction(512, 1000)
    entropy_kl: Fraction = Fraction(4, 1000)
    literal_correctness: Fraction = Fraction(665, 1000)
    literal_kl: Fraction = Fraction(55, 1000)


@dataclass(frozen=True)
class Dominance:
    """The formulas of B7.

    ``saving(C, KL(f_a||b_F))``: what the correct-only policy saves; ``forward_saving(p, .)`` the
    same in forward KL.  ``reach(log S_F(a), log S_F(1))``: the literal rule reaches that policy
    iff y exceeds it.  ``floor(log S_S(a), log S_F(1))``: infimum of logit C over the literal
    policies at least as diverse.  ``price(kl(C||p), C, KL(q_a||b_S))``: infimum of their KL, C at
    the floor.  ``dominated(y, reach, KL of the entropy policy, price)``: does some literal policy
    dominate?  ``coupled_reach(log S_F(a), log S_F(2-a))`` and
    ``coupled_extra(C, KL(f_(2-a)||b_F), KL(f_a||b_F))`` for g_n = g_p; ``coupled_skew`` times the
    third cumulant of log b_F times (1-a)^3 is the bracket of the latter to leading order.
    ``centred_logit(logit p, y, KL(q_a||b_S))``: where the centred rule without a constant ends.
    """

    saving: Callable[[Number, Number], Number] = lambda c, kl_f: (1 - c) * kl_f
    forward_saving: Callable[[Number, Number], Number] = lambda p, kl_f: (1 - p) * kl_f
    reach: Callable[[Number, Number], Number] = lambda sf_a, sf_1: sf_a - sf_1
    floor: Callable[[Number, Number], Number] = lambda ss_a, sf_1: ss_a - sf_1
    price: Callable[[Number, Number, Number], Number] = lambda kl_c, c, kl_s: kl_c + c * kl_s
    dominated: Callable[[Number, Number, Number, Number], bool] = lambda y, reach, kl, price: bool(
        y > reach or kl > price
    )
    coupled_reach: Callable[[Number, Number], Number] = lambda sf_a, sf_sharp: sf_a - sf_sharp
    coupled_extra: Callable[[Number, Number, Number], Number] = lambda c, sharp, flat: (
        (1 - c) * (sharp - flat)
    )
    coupled_skew: Fraction = Fraction(2, 3)
    centred_logit: Callable[[Number, Number, Number], Number] = lambda logit_p, y, kl_s: (
        logit_p + y - kl_s
    )
    counterexample: Counterexample = field(default_factory=Counterexample)


def prove(claim: Dominance) -> Outcome:
    """Every step of the proof as an identity; each holds for any number of trajectories."""
    return identities(
        {
            **_savings(claim),
            **positivity(),
            **_literal_rule(claim),
            **_monotone(claim),
            **_coupled(claim),
            **_centred(claim),
        },
        "the proof of B7",
    )


@dataclass(frozen=True)
class _Binary:
    """C = 1/(1+r) and p = 1/(1+s) with r, s > 0: all of 0 < C, p < 1, told to sympy by signs."""

    r: Any
    s: Any

    @classmethod
    def make(cls) -> _Binary:
        import sympy as sp

        return cls(*sp.symbols("r s", positive=True))

    @property
    def c(self) -> Any:
        return 1 / (1 + self.r)

    @property
    def logit_c(self) -> Any:
        import sympy as sp

        return -sp.log(self.r)

    @property
    def logit_p(self) -> Any:
        import sympy as sp

        return -sp.log(self.s)

    @property
    def kl(self) -> Any:
        """kl(C || p)."""
        import sympy as sp

        r, s = self.r, self.s
        return sp.log((1 + s) / (1 + r)) / (1 + r) + r / (1 + r) * sp.log(
            r * (1 + s) / (s * (1 + r))
        )

    def slope(self, expr: Any) -> Any:
        """The derivative in C of an expression in r: dC/dr = -1/(1+r)^2."""
        import sympy as sp

        return -((1 + self.r) ** 2) * sp.diff(expr, self.r)


def _savings(claim: Dominance) -> dict[str, Any]:
    """(i) The chain rule for both policies; u = log q, v = log b_S, w = log f, z = log b_F."""
    import sympy as sp

    c, p, u, v, w, z = sp.symbols("C p u v w z", real=True)
    log_c, log_1c, log_p, log_1p = sp.symbols("l_C l_1C l_p l_1p", real=True)
    q, f = Law("q", [u, v]), Law("f", [w, z])
    base_s, base_f = Law("b_S", [u, v]), Law("b_F", [w, z])
    correct = c * q.mean(log_c + u - log_p - v)
    entropy = correct + (1 - c) * f.mean(log_1c + w - log_1p - z)
    smoothed = correct + (1 - c) * (log_1c - log_1p)
    forward = p * base_s.mean(log_p + v - log_c - u)
    forward_entropy = forward + (1 - p) * base_f.mean(log_1p + z - log_1c - w)
    forward_smoothed = forward + (1 - p) * (log_1p - log_1c)
    return {
        "(i) saving in reverse KL": entropy - smoothed - claim.saving(c, f.mean(w - z)),
        "(i) saving in forward KL": forward_entropy
        - forward_smoothed
        - claim.forward_saving(p, base_f.mean(z - w)),
    }


def _literal_rule(claim: Dominance) -> dict[str, Any]:
    """(ii) Gibbs weights: b^a e^y on S for both; on F b^a (entropy) and b (literal, g_n = 0)."""
    import sympy as sp

    ss_a, sf_a, sf_1, y = sp.symbols("L_S(a) L_F(a) L_F(1) y", real=True)
    entropy_logit = ss_a + y - sf_a
    needed = y - claim.reach(sf_a, sf_1)  # the literal rule's own 1/beta, which must be > 0
    return {
        "(ii) the literal rule at 1/beta = y - reach": ss_a + needed - sf_1 - entropy_logit,
        "(ii) its infimum, 1/beta -> 0": ss_a + 0 - sf_1 - claim.floor(ss_a, sf_1),
    }


def _monotone(claim: Dominance) -> dict[str, Any]:
    """(iii) C rises and KL rises along every way from the infimum; sums over S, F term by term.

    d log S_X(a)/da = E[log b] < 0 because b < 1, so logit C falls in a and rises in g_n/beta and
    in 1/beta; kl(C||p) rises for C >= p; K(a) = KL(q_a||b_X) has K' = (a-1) Var, so it falls on
    (-inf, 1] whatever the sign of a.
    """
    import sympy as sp

    a, v = sp.symbols("a v", positive=True)
    kl_s = sp.Symbol("K_S", nonnegative=True)
    binary = _Binary.make()
    psi = sp.Function("psi")(a)  # log S_X(a): its derivatives are the cumulants of log b_X
    v2 = sp.Symbol("v2", real=True)
    pair = Law("q_a", [v])
    mass = sp.exp(a * v)
    price = claim.price(binary.kl, binary.c, kl_s)
    kl_a = a * psi.diff(a) - psi - (psi.diff(a) - psi.subs(a, 1))  # E_a[log q_a - log b_X]
    return {
        "a weight's derivative": sp.diff(mass, a) - v * mass,
        "price rises in C for C >= p": binary.slope(price)
        - (binary.logit_c - binary.logit_p + kl_s),
        "price rises in KL(q||b_S)": sp.diff(price, kl_s) - binary.c,
        "K' = (a - 1) psi''": sp.diff(kl_a, a) - (a - 1) * psi.diff(a, 2),
        "psi'' is a variance: half the mean square of differences": pair.covariance(v, v)
        - pair.pair([v2], (v - v2) ** 2) / 2,
    }


def _coupled(claim: Dominance) -> dict[str, Any]:
    """(iv) g_n = g_p: exponents a on S and 2 - a on F."""
    import sympy as sp

    ss_a, sf_a, sf_sharp, y = sp.symbols("L_S(a) L_F(a) L_F(2-a) y", real=True)
    c, kl_c, kl_s, sharp, flat = sp.symbols("C K_C K_S K_sharp K_flat", positive=True)
    u = sp.Symbol("u", nonnegative=True)
    k2, k3 = sp.symbols("kappa2 kappa3", real=True)
    needed = y - claim.coupled_reach(sf_a, sf_sharp)
    # psi''(1 + u) = kappa2 + kappa3 u + O(u^2); K(1+u) - K(1-u) has derivative u (psi'' - psi'').
    growth = u * ((k2 + k3 * u) - (k2 - k3 * u))
    return {
        "(iv) the coupled rule at 1/beta = y - reach": (ss_a + needed - sf_sharp)
        - (ss_a + y - sf_a),
        "(iv) what sharpening f costs": (kl_c + c * kl_s + (1 - c) * sharp)
        - (kl_c + c * kl_s + (1 - c) * flat)
        - claim.coupled_extra(c, sharp, flat),
        "(iv) to leading order": sp.integrate(growth, u)
        - sp.Rational(claim.coupled_skew.numerator, claim.coupled_skew.denominator) * k3 * u**3,
    }


def _centred(claim: Dominance) -> dict[str, Any]:
    """(i) The centred rule with no constant: weights b^a e^(y + (1-a) m) on S, m = E_q[log b]."""
    import sympy as sp

    a, y, v = sp.symbols("a y v", positive=True)
    binary = _Binary.make()
    log_p, log_1p, zeta = sp.symbols("l_p l_1p zeta", real=True)
    kl_s = sp.Symbol("K_S", nonnegative=True)
    q = Law("q_a", [v])  # v = log b; log q_a = a v - zeta with zeta = log S_S(a)
    divergence = q.mean(a * v - zeta - (v - log_p))
    logit = (zeta + y + (1 - a) * q.mean(v)) - log_1p
    slope = binary.slope(claim.price(binary.kl, binary.c, kl_s))
    limit = claim.centred_logit(binary.logit_p, 0, kl_s)  # y -> 0
    return {
        "(i) logit C of the centred rule": logit
        - claim.centred_logit(log_p - log_1p, y, divergence),
        "(i) its limit y -> 0 minimises the KL over C": slope - (binary.logit_c - limit),
    }


def order(claim: Dominance) -> Outcome:
    """The inequalities that the identities leave: z3 over the reals, any number of trajectories.

    The premises are the monotonicities of :func:`prove` and of B6: S_X falls in the exponent,
    kl(C||p) rises for C >= p, KL(q_a'||b_S) falls for a' <= 1.
    """
    import z3

    from diffsmooth.theory.verify import smt

    ss, ss_1, ss_low, sf, sf_1, sf_high = z3.Reals("S(a) S(1) S(a') F(a) F(1) F(1+x)")
    y, y_low, c, c_low, c_inf = z3.Reals("y y' C C' C_inf")
    kl_low, kl_inf, k_s, k_low, k_f = z3.Reals("kl(C') kl(C_inf) K_S K_S' K_F")
    masses = [ss_1 <= ss, ss <= ss_low, sf_1 <= sf, sf_high <= sf_1, y_low > 0]
    correct = [c > 0, c < 1, k_f >= 0]
    return together(
        partial(
            smt.prove,
            correct,
            [
                claim.saving(c, k_f) >= 0,
                (claim.saving(c, k_f) == 0) == (k_f == 0),
            ],
            "(i) the saving is >= 0, and 0 only where f_a = b_F",
        ),
        partial(
            smt.prove,
            masses,
            [
                ss_low - sf_high + y_low > claim.floor(ss, sf_1),
                claim.floor(ss, sf_1) >= ss_1 - sf_1,
                (y <= claim.reach(sf, sf_1)) == (ss - sf + y <= claim.floor(ss, sf_1)),
            ],
            "(iii) literal policies as diverse have C > C_inf >= p; pi_ent has C <= C_inf"
            " iff (ii) fails",
        ),
        partial(
            smt.prove,
            [
                *[kl_low >= kl_inf, kl_inf >= 0, c_low > c_inf, c_inf > 0, c_low < 1],
                *[k_low >= k_s, k_s >= 0, k_f >= 0],
            ],
            claim.price(kl_low, c_low, k_low) + (1 - c_low) * k_f
            >= claim.price(kl_inf, c_inf, k_s),
            "(iii) and cost at least the price",
        ),
        partial(
            smt.prove,
            masses,
            claim.coupled_reach(sf, sf_high) >= claim.reach(sf, sf_1),
            "(iv) the coupled rule's condition is the stronger one",
        ),
    )
