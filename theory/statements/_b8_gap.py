"""B8 for other measures: how much KL a tempering spends above the optimum, with certificates.

Minimise KL(q||b) over laws q with D(q) >= D(q_a), D(q) = sum phi(q_i), phi concave: a convex
problem whose optimum solves log q + 1 - log b + nu - mu phi'(q) = 0 with mu >= 0 (for Simpson,
phi = q - q^2: log q + 2 mu q = log b + const).  Newton finds it in floats; what counts is checked
afterwards in Arb balls, so the solver need not be trusted:

- above: a feasible law (the solution mixed with a little of the uniform law);
- below: the Lagrangian.  For any nu and mu >= 0 the optimum is at least
  sum_i min_x h_i(x) - nu + mu d with h_i(x) = x log(x/b_i) + nu x - mu phi(x) convex on [0, 1],
  and h_i(x) >= h_i(q_i) - |h_i'(q_i)| there, by the tangent at the solution.

Renyi-2 entropy and the distinct answers in 2 draws have Simpson's level sets, hence the same
optimum and gap; this and Simpson's equation are checked in :mod:`._b8_simpson`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from diffsmooth.theory.statements import _balls as arb
from diffsmooth.theory.statements import _tabular as tab


@dataclass(frozen=True)
class Measure:
    """Distinct answers in k draws, sum 1 - (1-q)^k; k = 2 is Simpson's index plus 1."""

    k: int

    @property
    def name(self) -> str:
        return "Simpson, Renyi-2, distinct-in-2" if self.k == 2 else f"distinct-in-{self.k}"

    def phi(self, x: Any) -> Any:
        return 1 - (1 - x) ** self.k

    def slope(self, x: Any) -> Any:
        return self.k * (1 - x) ** (self.k - 1)

    def curvature(self, x: Any) -> Any:
        return -self.k * (self.k - 1) * (1 - x) ** (self.k - 2)


@dataclass(frozen=True)
class Optimum:
    """The cheapest law (floats) with a given diversity, its multipliers, its divergence."""

    law: tab.Array
    mu: float
    nu: float
    divergence: float


def cheapest(log_base: tab.Array, measure: Measure, target: float, a: float) -> Optimum:
    """Solve the KKT system from the tempered law with exponent ``a`` by damped Newton steps.

    Raises ArithmeticError if the residual does not reach 1e-11.
    """
    size = len(log_base)
    x = np.concatenate([np.exp(tab.tempered(log_base, a)), [0.0, 0.0]])

    def residual(x: tab.Array) -> tab.Array:
        q, mu, nu = x[:size], x[size], x[size + 1]
        stationary = np.log(q) + 1 - log_base + nu - mu * measure.slope(q)
        return np.concatenate([stationary, [measure.phi(q).sum() - target, q.sum() - 1]])

    for _ in range(100):
        value = residual(x)
        norm = float(np.max(np.abs(value)))
        if norm < 1e-13:
            break
        q, mu = x[:size], x[size]
        jacobian = np.zeros((size + 2, size + 2))
        jacobian[:size, :size] = np.diag(1 / q - mu * measure.curvature(q))
        jacobian[:size, size] = -measure.slope(q)
        jacobian[:size, size + 1] = 1
        jacobian[size, :size] = measure.slope(q)
        jacobian[size + 1, :size] = 1
        step = np.linalg.solve(jacobian, -value)
        scale = 1.0
        while scale > 1e-8:
            trial = x + scale * step
            if np.all(trial[:size] > 0) and np.max(np.abs(residual(trial))) < norm:
                break
            scale /= 2
        x = x + scale * step
        if scale <= 1e-8:
            break
    error = float(np.max(np.abs(residual(x))))
    if not error < 1e-11:
        raise ArithmeticError(f"Newton left a KKT residual of {error:.3g} for {measure.name}")
    law = x[:size]
    divergence = float(law @ (np.log(law) - log_base))
    return Optimum(law, float(x[size]), float(x[size + 1]), divergence)


def _rational(x: float) -> Fraction:
    """The float itself, exactly."""
    return Fraction(x)


def bracket(base: Sequence[Fraction], a: Fraction, measure: Measure) -> tuple[Any, Any, Any]:
    """Balls (low, high, KL of the tempering): the gap of q_a lies between low and high."""
    b = arb.balls(base)
    q_a = arb.tempered(b, arb.ball(a))
    target = arb.add([measure.phi(x) for x in q_a])
    log_base = np.log([float(x) for x in base])
    found = cheapest(log_base, measure, float(target.mid()), float(a))
    spent = arb.divergence(q_a, b)
    # Above: a law of rationals with sum exactly 1, at least as diverse as q_a.
    raw = [_rational(float(x)) for x in found.law]
    mass, eps = sum(raw, Fraction(0)), Fraction(1, 10**10)
    law = arb.balls([(1 - eps) * x / mass + eps / len(raw) for x in raw])
    if not arb.add([measure.phi(x) for x in law]) > target:
        raise ArithmeticError("the mixed solution is not certainly feasible")
    above = arb.divergence(law, b)
    mu, nu = arb.ball(_rational(found.mu)), arb.ball(_rational(found.nu))
    if not mu >= 0:
        raise ArithmeticError("the multiplier is negative: the constraint does not bind")
    terms = []
    for x, base_i in zip(arb.balls(raw), b, strict=True):
        value = x * (x / base_i).log() + nu * x - mu * measure.phi(x)
        slope = (x / base_i).log() + 1 + nu - mu * measure.slope(x)
        terms.append(value - abs(slope))
    below = arb.add(terms) - nu + mu * target
    return spent - above, spent - below, spent
