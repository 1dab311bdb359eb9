"""Stiff flows of many trajectories: Radau IIA collocation with a diagonal-plus-low-rank Jacobian.

Smoothing of strength g brings the law inside S to rest within a time 1/g and then moves as slowly
as the reward: an explicit solver takes steps of 1/g for ever.  A step here is the polynomial of
degree 9 that obeys the equation at the nine right Radau points (order 17, L-stable), found by
simplified Newton iterations in the eigenbasis of the collocation matrix (Hairer and Wanner,
Solving ODEs II, IV.8).  The Jacobian of a policy's flow is a diagonal plus a few outer products, so
that a solve costs as much as a few evaluations of the field, whatever the number of trajectories.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy.special import roots_jacobi

from diffsmooth.theory.policy import Float

_STAGES = 9
#: Largest admitted last Legendre coefficients of the state over a step, relative to 1 + |state|.
#: The end of a step is of order 17, its inside of order 9: the error there was 4e-15 at most.
_TAIL = 1e-9
_EPS = float(np.finfo(np.float64).eps)
_ITERATIONS = 12
#: Steps after which a flow counts as one that can't be followed: seconds, not minutes.
_STEPS = 5000


class Field(Protocol):
    """y' = field(y) for states (..., B, K)."""

    def __call__(self, t: Float, y: Float) -> Float:
        """(s, B, K) the speed at times t (s,) and states y (s, B, K)."""

    def jacobian(self, t: float, y: Float) -> tuple[Float, Float, Float]:
        """(D (B, K), U (B, K, R), V (B, K, R)): dy'/dy = diag D + U V^T at y (B, K), nearly."""


class Path:
    """A solution of y' = field(t, y) from y (B, K) at t = 0: nothing but the last state is kept."""

    def __init__(self, field: Field, start: Float) -> None:
        self.field, self.y, self.t = field, start, 0.0
        speed = field(np.zeros(1), start[None])[0]
        diagonal, u, v = field.jacobian(0.0, start)
        rate = np.abs(diagonal) + np.sum(np.abs(u), axis=-1) * np.max(np.abs(v), initial=0.0)
        #: The polynomial of the last step, to start the next one from, and its length.
        self.before: tuple[Float, float] | None = None
        # A hundredth of the shortest time in which anything moves.
        self.h = 0.01 / max(float(np.max(rate)), float(np.max(np.abs(speed))), 1e-300)

    def advance(self, t: float) -> Float:
        """The state a time t > 0 later.  Raises ValueError if it can't be followed that far."""
        end = self.t + t
        left = t
        for _ in range(_STEPS):
            h = min(self.h, left)
            if not self.t + h > self.t and h < left:
                break
            stages = self._solve(h)
            if stages is None:
                self.h = h / 4
                continue
            points = np.concatenate([self.y[None], stages])
            series = np.tensordot(_TO_LEGENDRE, points, axes=1)
            tail = float(np.max(np.abs(series[-2:]) / (1 + np.abs(self.y))))
            factor = 0.8 * (_TAIL / max(tail, 1e-300)) ** (1 / _STAGES)
            if tail > _TAIL and h > 1e-14 * self.t:
                self.h = h * max(factor, 0.1)
                continue
            self.y, self.t, left = stages[-1], self.t + h, left - h
            self.before = series, h
            if h >= self.h or factor < 1:
                self.h = h * min(factor, 5.0)
            if left <= 0:
                self.t = end
                return self.y
        raise ValueError(
            f"t: the flow could not be followed to {end:.6g}; it stopped at {self.t:.6g}"
        )

    def _solve(self, h: float) -> Float | None:
        """(s, B, K) the states at the nodes of a step of h; None if the iteration does not end."""
        times = self.t + h * _NODES
        diagonal, u, v = self.field.jacobian(self.t, self.y)
        speed = self.field(np.array([self.t]), self.y[None])[0]
        y = np.broadcast_to(self.y, (_STAGES, *self.y.shape))
        # The last step's polynomial goes on for about its own length.  Else the tangent is a good
        # guess on a slow path, and where the step outruns it, the state itself.
        if self.before is not None and h <= 1.6 * self.before[1]:
            at = 1 + 2 * _NODES * h / self.before[1]
            y = np.tensordot(np.polynomial.legendre.legvander(at, _STAGES), self.before[0], axes=1)
        elif h * np.max(np.abs(speed)) < 1:
            y = y + h * _NODES[:, None, None] * speed
        before = np.inf
        for _ in range(_ITERATIONS):
            with np.errstate(all="ignore"):
                slope = self.field(times, y)
                miss = self.y + h * np.tensordot(_A, slope, axes=1) - y
                step = _newton(miss, h, diagonal, u, v)
                size = float(np.max(np.abs(step) / (1 + np.abs(y))))
            if not np.isfinite(size) or size > 10 * before:
                return None
            y = y + step
            # Converging by a factor r a turn, r times the step is left; or rounding alone.
            left = size * min(size / before, 1.0) if np.isfinite(before) else size
            if left <= _EPS or (size <= 64 * _EPS and size > 0.3 * before):
                return y
            before = size
        return y if before <= 64 * _EPS else None


def _newton(miss: Float, h: float, diagonal: Float, u: Float, v: Float) -> Float:
    """(s, B, K) the solution of (1 - h A x J) step = miss."""
    turned = np.tensordot(_INVERSE, miss, axes=1)
    out = np.zeros(miss.shape)
    unit = np.eye(u.shape[-1])
    for at, (value, weight) in enumerate(zip(_VALUES, _WEIGHTS, strict=True)):
        if not weight:  # the conjugate of another
            continue
        scale = 1 / (1 - h * value * diagonal)
        plain = scale * turned[at]
        if u.shape[-1]:
            spread = scale[..., None] * u
            small = unit - h * value * np.einsum("bkr,bks->brs", v, spread)
            right = np.einsum("bkr,bk->br", v, plain)
            inner = np.linalg.solve(small, right[..., None])[..., 0]
            plain = plain + h * value * np.einsum("bkr,br->bk", spread, inner)
        out += weight * np.real(_VECTORS[:, at, None, None] * plain)
    return out


def _collocation() -> tuple[Float, Float]:
    """(nodes in (0, 1], A): A_jl is the integral of the l-th Lagrange polynomial up to c_j."""
    inner, _ = roots_jacobi(_STAGES - 1, 1, 0)
    s = np.append(inner, 1.0)
    legendre = np.polynomial.legendre
    to_series = np.linalg.inv(legendre.legvander(s, _STAGES - 1))
    integral = legendre.legint(to_series, lbnd=-1, axis=0) / 2
    return (1 + s) / 2, legendre.legval(s, integral).T


_NODES, _A = _collocation()
_VALUES, _VECTORS = np.linalg.eig(_A)
_INVERSE = np.linalg.inv(_VECTORS)
#: 1 for a real eigenvalue, 2 for one of a pair of conjugates, 0 for the other.
_WEIGHTS = np.where(_VALUES.imag == 0, 1.0, np.where(_VALUES.imag > 0, 2.0, 0.0))
_TO_LEGENDRE = np.linalg.inv(
    np.polynomial.legendre.legvander(np.concatenate([[-1.0], 2 * _NODES - 1]), _STAGES)
)
