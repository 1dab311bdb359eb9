"""The orbit of the exact policy-gradient flow and the time along it: theory.md A3 as a quadrature.

In units of the likeliest weight of each part, rho = b/max b on S and sigma = b/max b on F, the
orbit is one number x >= 0, the growth of the likeliest correct logit:

    log w_i - log b_i = -log(1 - rho_i + rho_i e^{-x})              on S,
                      = -log(1 - sigma_i + sigma_i e^y)             on F,

with y(x) fixed by the conserved sum of the logits.  Time is then an integral of a positive analytic
function, t = int h dx with h = W^2 e^{-x}/(w(F) max b_S), and t is inverted on the last panel: no
differential equation is solved, so nothing is stiff, and the blow-up in finite "time" of a policy
with C = 1e-300 is an ordinary stretch of x.

Every variable is a logarithm.  Relative error of t: that of h, about eps times the largest
log-weight (1.5e-13 at b = 1e-300), plus _TAIL a panel.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from diffsmooth.theory.clocks import ClockLike, log_speed
from diffsmooth.theory.policy import Bool, Float, logsumexp

#: Gauss-Legendre nodes a panel, and the longest panel in x and in y.  h is analytic but for
#: singularities at Im x = pi: on 1.5 the error falls by 8.5^-32 (8.5^-16 between the nodes).
_NODES = 16
_PANEL = 1.5
#: Largest admitted last Legendre coefficient of h, relative to the largest; longer panels are cut.
_TAIL = 1e-12
#: What rounding leaves of those coefficients, per unit of the log-weights that h is made of.
_ROUNDING = 16 * float(np.finfo(np.float64).eps)
#: Entries evaluated at once: 16 nodes of a large policy are taken one by one.
_CHUNK = 2_000_000
#: Where e^-x nears the subnormal numbers: from here on by logs alone.
_STEEP = 600.0
_EPS = float(np.finfo(np.float64).eps)


class Orbit:
    """Position (x, y), both (B,), on the orbits of policies log b (B, K) with correct sets (B, K).

    Columns of one kind throughout the batch are kept on their own side only.
    """

    def __init__(self, log_b: Float, correct: Bool) -> None:
        self.correct = correct
        shared = bool(np.all(correct == correct[:1]))
        self._columns = (
            (np.flatnonzero(correct[0]), np.flatnonzero(~correct[0])) if shared else None
        )
        self.right, self.wrong = (self._side(log_b, part) for part in (True, False))
        self.top, self.other_top = self.right.max(axis=1), self.wrong.max(axis=1)
        below = self.right - self.top[:, None]
        self.rho, self.rest = np.exp(below), -np.expm1(below)  # 1 - rho: 0 for the winners
        self.log_sigma = self.wrong - self.other_top[:, None]
        self.sigma = np.exp(self.log_sigma)
        # 1 - sigma and the odds in logs: at y > 745 nothing else is left of them.
        with np.errstate(divide="ignore"):
            self.log_rest = np.log1p(-self.sigma)
        self.log_odds = self.log_sigma - self.log_rest
        self.x, self.y = np.zeros(len(log_b)), np.zeros(len(log_b))
        self.largest = np.max(np.abs(log_b), axis=1)

    def _side(self, log_b: Float, part: bool) -> Float:
        if self._columns is None:
            return np.where(self.correct == part, log_b, -np.inf)
        return log_b[:, self._columns[0 if part else 1]]

    def log_weights(self) -> Float:
        """(B, K) log w at the present position."""
        everyone = np.arange(len(self.x))
        right = self.right + self._gain(self.x, everyone)
        wrong = self.wrong - self._loss(self.y, everyone)
        if self._columns is None:
            return np.where(self.correct, right, wrong)
        out = np.empty(self.correct.shape)
        out[:, self._columns[0]], out[:, self._columns[1]] = right, wrong
        return out

    def advance(self, t: float, clock: ClockLike | None = None) -> None:
        """Move every policy of the batch by time t > 0.

        Raises ValueError if the clock is not positive and finite, or not smooth.
        """
        rows = np.arange(len(self.x))
        left = np.full(len(rows), np.log(t))
        longest = np.full(len(rows), np.inf)
        while rows.size:
            x, y = self.x[rows], self.y[rows]
            first = self._log_h(x[None], y[None], rows, clock)[0]
            with np.errstate(over="ignore"):
                need = np.exp(left - first)
            length = np.minimum(_PANEL / np.maximum(self._slope(x, y, rows), 1.0), 2 * need)
            length = np.minimum(length, longest[rows])
            h = np.exp(self._log_h_at(x + length * _U[:, None], x, y, rows, clock) - first)
            series = _TO_LEGENDRE @ h
            tail = np.abs(series[-2:]).max(axis=0) / np.abs(series).max(axis=0)
            smooth = tail <= _TAIL + _ROUNDING * (self.largest[rows] + x)
            if np.any(~smooth & (length < 1e-6 * (1 + x))):
                raise ValueError(
                    "clock: not smooth enough along the orbit; near C = 1 a function of C alone "
                    "has no digits of 1 - C: give a diffsmooth.theory.clocks.Clock"
                )
            longest[rows[~smooth]] = length[~smooth] / 2
            if not np.any(smooth):
                continue
            through = length * series[0]
            ends = smooth & (through >= need)
            passes = smooth & ~ends
            share = np.ones(len(rows))
            if np.any(ends):
                # 2 need, unless a panel or (at times below 1e-308) zero is shorter.
                part = np.divide(need, length, out=np.full(len(rows), 0.5), where=length > 0)
                share[ends] = _invert(series[:, ends], part[ends])
            moved, start = rows[smooth], x[smooth]
            new = start + (length * share)[smooth]
            self.y[moved] = self._conserve(new[None], start, y[smooth], moved)[0]
            self.x[moved] = new
            longest[moved] *= 2
            left[passes] += np.log1p(-through[passes] / need[passes])
            left, rows = left[~ends], rows[~ends]

    def _gain(self, x: Float, rows: NDIndex) -> Float:
        """-log(1 - rho + rho e^{-x}), (..., B, M), in the form that keeps the digits."""
        rho, rest, at = self.rho[rows], self.rest[rows], x[..., None]
        near = x < 0.5
        if np.all(near):
            return np.asarray(-np.log1p(rho * np.expm1(-at)))
        if np.max(x) < _STEEP:
            far = -np.log(rest + rho * np.exp(-at))
        else:
            with np.errstate(divide="ignore"):
                far = -np.logaddexp(np.log(rest), np.log(rho) - at)
        if not np.any(near):
            return np.asarray(far)
        close = -np.log1p(rho * np.expm1(-np.minimum(at, 1.0)))
        return np.asarray(np.where(near[..., None], close, far))

    def _loss(self, y: Float, rows: NDIndex) -> Float:
        """log(1 - sigma + sigma e^y), (..., B, N)."""
        if np.max(y) < _STEEP:
            return np.asarray(np.log1p(self.sigma[rows] * np.expm1(y)[..., None]))
        return np.asarray(np.logaddexp(self.log_rest[rows], self.log_sigma[rows] + y[..., None]))

    def _slope(self, x: Float, y: Float, rows: NDIndex) -> Float:
        """dl/dx; it falls along the orbit."""
        rho = self.rho[rows]
        with np.errstate(over="ignore", invalid="ignore"):  # winners: 0 times inf
            behind = self.rest[rows] * np.exp(x)[..., None]
        up = np.sum(rho / (rho + np.where(np.isnan(behind), 0.0, behind)), axis=-1)
        return np.asarray(up / self._loss_slope(y, rows))

    def _loss_slope(self, y: Float, rows: NDIndex) -> Float:
        return np.asarray(np.sum(expit(self.log_odds[rows] + y[..., None]), axis=-1))

    def _conserve(self, x: Float, x0: Float, y0: Float, rows: NDIndex) -> Float:
        """(..., B) the y at x >= x0 that keeps the sum of logits, from (x0, y0) on the orbit.

        sum_F is convex and increasing in y and the tangent of y(x) lies above it: Newton's method
        falls monotonically onto the root.  A last step d leaves d^2/2.
        """
        target = np.sum(self._gain(x, rows), axis=-1)
        y = y0 + self._slope(x0, y0, rows) * (x - x0)
        for _ in range(60):
            step = (np.sum(self._loss(y, rows), axis=-1) - target) / self._loss_slope(y, rows)
            y = np.maximum(y - step, 0.0)
            if np.all(step * step <= _EPS * y):
                break
        return np.asarray(y)

    def _log_h(self, x: Float, y: Float, rows: NDIndex, clock: ClockLike | None) -> Float:
        """(..., B) log dt/dx."""
        right = logsumexp(self.right[rows] + self._gain(x, rows))
        wrong = logsumexp(self.wrong[rows] - self._loss(y, rows))
        total = np.logaddexp(right, wrong)
        out = 2 * total - x - wrong - self.top[rows]
        if clock is not None:
            # Each from the other's odds: neither log C nor log(1-C) loses digits at its end.
            odds = right - wrong
            out = out - log_speed(clock, -np.logaddexp(0.0, -odds), -np.logaddexp(0.0, odds))
        return np.asarray(out)

    def _log_h_at(
        self, nodes: Float, x0: Float, y0: Float, rows: NDIndex, clock: ClockLike | None
    ) -> Float:
        """log h at nodes (n, B), each from (x0, y0); in chunks if the policies are large."""
        if nodes.size * self.correct.shape[1] <= _CHUNK:
            return self._log_h(nodes, self._conserve(nodes, x0, y0, rows), rows, clock)
        out = np.empty(nodes.shape)
        for n in range(len(nodes)):
            # From node to node: the nearer the start, the fewer Newton steps.
            y0 = self._conserve(nodes[n], x0, y0, rows)
            x0 = nodes[n]
            out[n] = self._log_h(x0, y0, rows, clock)
        return out


NDIndex = np.ndarray[tuple[int], np.dtype[np.intp]]

_S, _WEIGHTS = np.polynomial.legendre.leggauss(_NODES)
#: The nodes on [0, 1].
_U = (1 + _S) / 2
#: Values at the nodes to Legendre coefficients.
_TO_LEGENDRE = (
    np.polynomial.legendre.legvander(_S, _NODES - 1).T
    * _WEIGHTS
    * (2 * np.arange(_NODES)[:, None] + 1)
    / 2
)


def _invert(series: Float, need: Float) -> Float:
    """(B,) u in (0, 1] with int_0^u of the Legendre series (16, B), stretched to [0, 1] = need."""
    integral = np.polynomial.legendre.legint(series, lbnd=-1, axis=0) / 2
    low, high = np.zeros(len(need)), np.ones(len(need))
    u = np.minimum(need / series[0], 1.0)
    for _ in range(100):
        excess = np.polynomial.legendre.legval(2 * u - 1, integral, tensor=False) - need
        low, high = np.where(excess <= 0, u, low), np.where(excess >= 0, u, high)
        slope = np.polynomial.legendre.legval(2 * u - 1, series, tensor=False)
        new = u - excess / slope
        new = np.where((new > low) & (new < high), new, 0.5 * (low + high))
        if np.all(np.abs(new - u) <= 2 * _EPS * u):
            break
        u = new
    return np.asarray(u)
