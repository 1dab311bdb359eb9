r"""A3. The softmax policy-gradient flow, solved: one common shift of the reciprocal weights.

Proof, for any number of trajectories.
1. theta_i' = dC/dtheta_i = pi_i (1 - C) on S and -pi_i C on F.  With w = exp(theta) and W = sum w
   this is d(1/w_i)/dt = -(1 - C)/W on S and C/W on F: the same number for the whole part.
2. dC/dt = |grad C|^2 = C^2 (1-C)^2 (sum q^2 + sum f^2), so C rises, and with sum q^2 >= 1/M and
   sum f^2 >= 1/N the speed of 1/(1-C) is at least k C(0)^2, k = 1/M + 1/N: by the mean value
   theorem 1/(1-C) >= 1/(1-C(0)) + k C(0)^2 t, and C -> 1.
3. c(t) cannot exceed u_1 = min_S 1/w(0) (the weights stay finite: |theta'| <= 1).  Let e^x =
   u_1/(u_1 - c) be what the leader is multiplied by; the others on S are by less.  The sum of theta
   is conserved, so sum_F theta falls by G <= M x, and by the means' inequality (log z <= z - 1,
   summed over z_j = w_j/mean) W_F >= N g e^{-G/N}, g the geometric mean of w(0) on F.  With
   W_S <= W_S(0) e^x this is x (1 + M/N) >= log(N g/W_S(0)) + logit C: by 2 x -> inf, c -> u_1, and
   u_1 - c falls at least like t^{-N/(M+N)}.
4. So 1 - q(top) <= m-th part of (u_1 - c) sum 1/(u_i - u_1) -> 0: complete collapse
   onto argmax_S b, evenly where several are equal.
5. c grows, and w_i is multiplied by u_i/(u_i - c), more the likelier i is: q(t) majorises q(s) for
   t > s.  On F: v_j/(v_j + d), less the likelier j is, and the order survives: f flattens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._gibbs import positivity
from diffsmooth.theory.statements._softmax import Lumped, bottom_mass_grows, top_mass_grows
from diffsmooth.theory.statements._steps import identities, together
from diffsmooth.theory.statements._tabular import EPS, LogitBase, logit_bases
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest, least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """u = 1/w at time 0; c and d are the two shifts; C and W are correctness and total weight.

    correct(u, c), incorrect(u, d)
        1/w at time t.
    c_speed(C, W), d_speed(C, W)
        dc/dt and dd/dt.
    gain_rate(C, s_q, s_f)
        dC/dt, with s_q = sum q^2, s_f = sum f^2.
    trailing(u_1, u_i, c)
        A bound on q_i/q_1 for every i behind the leader 1.
    failing(u_1, c, W_F)
        A bound on 1 - C, with W_F the weight of F at time 0.
    arrival(C, k)
        A bound on the speed of 1/(1 - C), with C at time 0 and k = 1/M + 1/N.
    ahead(M, N, r)
        A bound on x = log u_1/(u_1 - c), with r = log(N g/W_S(0)) + logit C.
    """

    correct: Formula = lambda u, c: u - c
    incorrect: Formula = lambda u, d: u + d
    c_speed: Formula = lambda C, W: (1 - C) / W
    d_speed: Formula = lambda C, W: C / W
    gain_rate: Formula = lambda C, s_q, s_f: C**2 * (1 - C) ** 2 * (s_q + s_f)
    trailing: Formula = lambda u_1, u_i, c: (u_1 - c) / (u_i - u_1)
    failing: Formula = lambda u_1, c, W_F: (u_1 - c) * W_F
    arrival: Formula = lambda C, k: C**2 * k
    ahead: Formula = lambda M, N, r: r * N / (M + N)


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """Step 1 for a trajectory of S and one of F among any others; step 2; conservation."""
    import sympy as sp

    from diffsmooth.theory.statements._moments import Law
    from diffsmooth.theory.verify import symbolic

    steps: dict[str, Any] = {}
    shift = sp.Symbol("shift", positive=True)
    for correct, inverse, speed in (
        (True, claim.correct, claim.c_speed),
        (False, claim.incorrect, claim.d_speed),
    ):
        pair = Lumped.pair(correct)
        c = pair.correctness
        flow = -pair.slope(c, pair.w_i) / pair.w_i
        u = sp.Symbol("u", positive=True)
        claimed = sp.diff(inverse(u, shift), shift) * speed(c, pair.mass)
        name = "S" if correct else "F"
        steps[f"d(1/w)/dt on {name}"] = sp.cancel(flow - claimed)
        steps[f"start on {name}"] = inverse(u, sp.Integer(0)) - u
    # Sums over the parts as formal moments: x = q_i under q on S, f_j under f on F.
    x, big_c = sp.symbols("x C", positive=True)
    on_s, on_f = Law("q", (x,)), Law("f", (x,))
    up, down = big_c * x * (1 - big_c), -(1 - big_c) * x * big_c
    # A sum over S of squares is E_q of (square/q).
    steps["sum of theta is conserved"] = sp.expand(
        on_s.mean(sp.cancel(up / x)) + on_f.mean(sp.cancel(down / x))
    )
    norm = on_s.mean(sp.cancel(up**2 / x)) + on_f.mean(sp.cancel(down**2 / x))
    steps["dC/dt = |grad C|^2"] = sp.expand(
        norm - claim.gain_rate(big_c, on_s.mean(x), on_f.mean(x))
    )
    s_q, s_f, mean = sp.symbols("s_q s_f mean", positive=True)
    rate = sp.diff(1 / (1 - big_c), big_c) * claim.gain_rate(big_c, s_q, s_f)
    steps["speed of 1/(1-C)"] = sp.cancel(rate - big_c**2 * (s_q + s_f))
    # z - 1 - log z = z phi(1/z) >= 0 with phi of ``positivity``; z = w_j/mean averages 1 - 1 = 0.
    z = sp.Symbol("z", positive=True)
    phi = (1 / z) * sp.log(1 / z) - 1 / z + 1
    steps["log z <= z - 1"] = sp.expand(z - 1 - sp.log(z) - sp.expand_log(z * phi))
    weights = Law("F, uniformly", (x,))
    steps["the means' inequality, summed"] = sp.expand(
        weights.mean(x / mean - 1) - (weights.mean(x) / mean - 1)
    )
    symbols = [*pair.symbols, shift, u, big_c, on_s.mean(x), on_f.mean(x), s_q, s_f, z, mean]
    return together(
        lambda: symbolic.zero(steps, symbols, "reciprocal weights shift together"),
        lambda: identities(positivity(), "x log x - x + 1 >= 0"),
    )


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Steps 4 and 5: pairs of trajectories and lumps, hence every number of trajectories."""
    import z3

    from diffsmooth.theory.verify import smt

    u, v, s, t, w_f = z3.Reals("u v s t W_F")
    later = [s >= 0, s < t]
    live = [claim.correct(u, t) > 0, claim.correct(v, t) > 0]
    on_s = [claim.correct(x, at) for x in (u, v) for at in (s, t)]
    on_f = [claim.incorrect(x, at) for x in (u, v) for at in (s, t)]
    mean, m = z3.Reals("mean_square M")
    start, now, s_q, s_f = z3.Reals("C_0 C s_q s_f")
    n, x, fall, rest = z3.Reals("N x G W_S(0)")
    log_s, log_f, log_g, log_n = z3.Reals("log_W_S log_W_F log_g log_N")
    return together(
        lambda: smt.prove(
            # u < v: i is likelier.  w_i(t)/w_i(s) > w_j(t)/w_j(s) with w = 1/(u - c).
            [u > 0, v > u, *later, u > t, *live],
            on_s[0] * on_s[3] > on_s[1] * on_s[2],
            "on S the likelier is multiplied by more",
        ),
        top_mass_grows,
        lambda: smt.prove(
            [u > 0, v > u, *later],
            [on_f[0] * on_f[3] < on_f[1] * on_f[2], on_f[1] < on_f[3]],
            "on F the likelier is multiplied by less and stays the likelier",
        ),
        bottom_mass_grows,
        lambda: smt.prove(
            [u > 0, v > u, t >= 0, u > t, claim.correct(u, t) > 0, claim.correct(v, t) > 0],
            claim.correct(u, t) <= claim.trailing(u, v, t) * claim.correct(v, t),
            "a trailing trajectory falls behind the leader at least so far",
        ),
        lambda: smt.prove(
            # W_S >= 1/(u_1 - c) and W_F(t) <= W_F; 1 - C = W_F/(W_S + W_F).
            [u > 0, t >= 0, u > t, w_f > 0, v * claim.correct(u, t) >= 1, s > 0, s <= w_f],
            s <= claim.failing(u, t, w_f) * (v + s),
            "1 - C is bounded by what is left of the leader's reciprocal",
        ),
        lambda: smt.prove(
            # 0 <= sum (q_i - 1/M)^2 = sum q^2 - 2/M + 1/M.
            [m >= 1, mean - 2 / m + 1 / m >= 0],
            mean >= 1 / m,
            "sum q^2 >= 1/M",
        ),
        lambda: smt.prove(
            [start > 0, now >= start, now < 1, s_q > 0, s_f > 0],
            [
                claim.gain_rate(now, s_q, s_f) > 0,
                claim.gain_rate(now, s_q, s_f) >= claim.arrival(start, s_q + s_f) * (1 - now) ** 2,
                claim.arrival(start, s_q + s_f) > 0,
            ],
            "C rises, and 1/(1-C) at least linearly",
        ),
        lambda: smt.prove(
            # w_i(t)/w_i(0) = u_i/(u_i - c) with u <= v: the others on S grow by less.
            [u > 0, v >= u, t >= 0, *live],
            u * claim.correct(v, t) >= v * claim.correct(u, t),
            "the leader of S grows most",
        ),
        lambda: smt.prove(
            [
                *(m >= 1, n >= 1, fall <= m * x, log_s <= rest + x),
                n * log_f >= n * (log_n + log_g) - fall,
            ],
            x >= claim.ahead(m, n, log_n + log_g - rest + (log_s - log_f)),
            "the leader's growth follows the odds: c -> u_1, at a rate",
        ),
        lambda: smt.prove(
            [m >= 1, n >= 1, s > 0], claim.ahead(m, n, s) > 0, "and grows without bound with them"
        ),
    )


def _instances(seed: int) -> Iterator[dict[str, Any]]:
    rng = Random(seed)
    for size in (1, 2, 2, 3, 4, 5, 6, 6):
        u = sorted(Fraction(rng.randint(2, 12), rng.randint(1, 3)) for _ in range(size))
        yield {"u": tuple(u), "first": u[0] * Fraction(1, 3), "then": u[0] * Fraction(9, 10)}


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Rational flows: every partial sum of the ordered law, on S and on F, and the leader bound."""
    from diffsmooth.theory.verify import exact

    def law(inverse: Formula, u: tuple[Fraction, ...], shift: Fraction) -> list[Fraction]:
        weights = [1 / inverse(x, shift) for x in u]
        return sorted((w / sum(weights) for w in weights), reverse=True)

    def margins(u: tuple[Fraction, ...], first: Fraction, then: Fraction) -> list[Fraction]:
        before, after = (list(accumulate(law(claim.correct, u, c))) for c in (first, then))
        sharper = [b - a for a, b in zip(before, after, strict=True)]
        before, after = (list(accumulate(law(claim.incorrect, u, d))) for d in (first, then))
        flatter = [a - b for a, b in zip(before, after, strict=True)]
        q = [1 / claim.correct(x, then) for x in u]
        bound = [
            claim.trailing(u[0], x, then) - w / q[0] for x, w in zip(u, q, strict=True) if x > u[0]
        ]
        return sharper + flatter + bound

    return exact.inequality(
        margins, _instances(budget.seed), "majorisation along the flow", strict=False
    )


#: Right-hand side evaluations of the comparison below, and the tolerance of one step.
_ODE_TOLERANCE = 1e-12


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's closed-form flow against a Runge-Kutta solution of theta' = grad C.

    The field has Lipschitz constant 1 in the maximum norm (its Jacobian's rows sum to at most
    2 pi (1 - pi) + 2 pi C (1 - C) <= 1), so local errors of tau a step give at most
    steps * tau * e^t.
    """
    import numpy as np
    from hypothesis import strategies as st
    from scipy.integrate import solve_ivp

    from diffsmooth.theory.flows import softmax_pg_flow
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[LogitBase, float]) -> tuple[float, float]:
        base, time = instance
        logits, mask = base.logits, base.mask
        policy = base.policy()
        # Log-probs from the library; the conserved sum of theta fixes the scale of the weights.
        log_pi = np.asarray(softmax_pg_flow(policy, time).log_probs)
        theta = log_pi - log_pi.mean() + logits.mean()

        def field(_: float, x: Any) -> Any:
            pi = np.exp(x - np.logaddexp.reduce(x))
            return pi * (mask - pi[mask].sum())

        solved = solve_ivp(
            field, (0.0, time), logits, method="DOP853", rtol=_ODE_TOLERANCE, atol=_ODE_TOLERANCE
        )
        size = 1 + float(np.abs(solved.y).max())
        tolerance = solved.t.size * 4 * _ODE_TOLERANCE * size * float(np.exp(time))
        error = float(np.abs(theta - solved.y[:, -1]).max())
        # The shifts: claim.correct(u, c) = 1/w(t) for one common c, relative to 1/w(t).
        shifts = _spread(claim.correct, logits[mask], theta[mask])
        other = _spread(claim.incorrect, logits[~mask], theta[~mask])
        rounding = 64 * EPS * (2 * size + logits.size)
        slack = tolerance + rounding
        return -largest(error, shifts, other) / slack, 1.0

    return together(
        lambda: random.for_all(
            st.tuples(logit_bases(width=2.0), st.floats(0.05, 4.0)),
            margin,
            budget,
            "library flow (in units of the error bound)",
            show=lambda t: f"{t[0]}, t = {t[1]:.4g}",
            examples=400 if budget.deep else 40,
        ),
        lambda: random.for_all(
            st.tuples(
                st.integers(0, 10**6),
                st.integers(3, 6),
                st.one_of(st.floats(-3.0, 307.0), st.just(307.0)),
            ),
            lambda t: _late(claim, *t),
            budget,
            "batches with different correct sets, at any time",
            show=lambda t: f"seed {t[0]}, K = {t[1]}, t = 10^{t[2]:.4g}",
            examples=200 if budget.deep else 25,
        ),
        lambda: random.for_all(
            st.tuples(
                st.floats(-10, 10), st.integers(1, 5), st.integers(1, 5), st.floats(-3.0, 12.0)
            ),
            lambda t: _tied(*t),
            budget,
            "the clock where q and f are uniform",
            show=lambda t: f"logit C = {t[0]:.4g}, M = {t[1]}, N = {t[2]}, t = 10^{t[3]:.4g}",
            examples=200 if budget.deep else 25,
        ),
        lambda: random.for_all(
            st.tuples(logit_bases(), st.floats(-3.0, 12.0)),
            lambda t: _rates(claim, t[0], 10.0 ** t[1]),
            budget,
            "how far C and the leader must have come",
            show=lambda t: f"{t[0]}, t = 10^{t[1]:.4g}",
        ),
        lambda: random.for_all(
            st.tuples(logit_bases(), st.sampled_from([0.1, 1.0, 4.0]), st.floats(0.01, 15.0)),
            lambda t: _timed(claim, *t),
            budget,
            "the clock against a quadrature along the shift",
            show=lambda t: f"{t[0]} times {t[1]:g}, the leader multiplied by e^{t[2]:.4g}",
            examples=200 if budget.deep else 25,
        ),
    )


def _late(claim: Claim, seed: int, size: int, decades: float) -> tuple[float, float]:
    """Every row of a batch is on its own orbit, however long the time (the clock apart)."""
    import numpy as np

    from diffsmooth.theory.flows import softmax_pg_flow
    from diffsmooth.theory.policy import Policy

    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(3, size)) * rng.choice([0.0, 0.1, 1.0, 8.0, 100.0])
    masks = rng.random((3, size)) < rng.choice([0.2, 0.5, 0.8])
    masks[:, 0], masks[:, 1] = (True, False, True), (False, True, False)
    # Correct answers that start at e^-700 must grow, and incorrect ones fall, by the more.
    logits = logits - np.where(masks, rng.choice([0.0, 300.0, 700.0]), 0.0)
    log_pi = softmax_pg_flow(Policy.from_logits(logits, masks), 10.0**decades).log_probs
    theta = log_pi - log_pi.mean(axis=1, keepdims=True) + logits.mean(axis=1, keepdims=True)
    worst = 0.0
    for start, now, mask in zip(logits, theta, masks, strict=True):
        rounding = 64 * EPS * (2 * (1 + float(np.abs(now).max() + np.abs(start).max())) + size)
        shifts = _spread(claim.correct, start[mask], now[mask])
        other = _spread(claim.incorrect, start[~mask], now[~mask])
        worst = largest(worst, shifts / rounding, other / rounding)
    return -worst, 1.0


def _tied(logit: float, right: int, wrong: int, decades: float) -> tuple[float, float]:
    """q and f stay uniform and z = logit C obeys z' = k C(1-C), k = 1/M + 1/N.

    So e^z - e^{-z} + 2z grows by k t; its error is the quadrature's 1e-11 of k t and the rounding
    of z.
    """
    import numpy as np

    from diffsmooth.theory.flows import softmax_pg_flow
    from diffsmooth.theory.policy import Policy

    mask = np.arange(right + wrong) < right
    q, f = (np.full(mask.size, -np.log(float(m))) for m in (right, wrong))
    policy, t = Policy.from_parts(logit, q, f, mask), 10.0**decades
    path = softmax_pg_flow(policy, [t / 3, t])
    start, ends = float(policy.logit_C), path.logit_C
    grown = 2 * np.sinh(ends) + 2 * ends - (2 * np.sinh(start) + 2 * start)
    target = (1 / right + 1 / wrong) * np.array([t / 3, t])
    slopes = [(2 * np.cosh(z) + 2) * (1 + np.abs(z)) for z in (start, ends)]
    slack = 1e-11 * target + 64 * EPS * (slopes[0] + slopes[1])
    return -float(np.max(np.abs(grown - target) / slack)), 1.0


def _rates(claim: Claim, base: LogitBase, time: float) -> tuple[float, float]:
    """The two rates of steps 2 and 3 on the library's flow, in nats."""
    import numpy as np

    from diffsmooth.theory.flows import softmax_pg_flow

    policy, logits, mask = base.policy(), base.logits, base.mask
    late = softmax_pg_flow(policy, time)
    right, wrong = int(mask.sum()), int((~mask).sum())
    speed = claim.arrival(float(policy.C), 1 / right + 1 / wrong)
    arrived = -float(late.log_1mC) - float(np.logaddexp(-policy.log_1mC, np.log(speed * time)))
    theta = late.log_probs - late.log_probs.mean() + logits.mean()
    leader = int(np.argmax(np.where(mask, logits, -np.inf)))
    odds = np.log(wrong) + logits[~mask].mean() - np.logaddexp.reduce(logits[mask]) + late.logit_C
    ahead = float(theta[leader] - logits[leader]) - claim.ahead(right, wrong, float(odds))
    # The flow's time is exact to 1e-11, and d log(1-C)/d log t and dx/d log t are at most 1.
    rounding = 64 * EPS * (2 * (1 + float(np.abs(theta).max() + np.abs(logits).max())) + theta.size)
    return least(arrived, ahead), 1e-10 + rounding


def _timed(claim: Claim, base: LogitBase, scale: float, x: float) -> tuple[float, float]:
    """t = int dc W/(1-C) = int dc W^2/W_F, c = u_1 (1 - e^-x), by adaptive quadrature in x.

    At each x the other shift d solves the conserved sum of theta; nothing of it is the library's.
    The library's flow over that time must bring the leader to the same x.
    """
    import numpy as np
    from scipy.integrate import quad
    from scipy.optimize import brentq

    from diffsmooth.theory.flows import softmax_pg_flow
    from diffsmooth.theory.policy import Policy

    logits, mask = base.logits * scale, base.mask
    u, v = np.exp(-logits[mask]), np.exp(-logits[~mask])
    first, other = float(u.min()), float(v.min())

    def duration(x: float) -> float:
        # dt/dx
        left = (u - first) + first * np.exp(-x)  # u - c, without cancellation
        grown = float(np.log(u / left).sum())
        # log(1 + d/min v) <= sum log(1 + d/v) <= N log(1 + d/min v).
        ends = [np.log(other) + np.log(np.expm1(s)) for s in (grown / v.size, grown)]
        d = np.exp(
            brentq(
                lambda y: float(np.log1p(np.exp(y) / v).sum()) - grown,
                ends[0] - 1e-9,
                ends[1] + 1e-9,
                xtol=1e-13,
            )
        )
        failing = float((1 / claim.incorrect(v, d)).sum())
        return float((float((1 / left).sum()) + failing) ** 2 / failing * first * np.exp(-x))

    time = float(quad(duration, 0.0, x, epsabs=0.0, epsrel=1e-11, limit=400)[0])
    late = softmax_pg_flow(Policy.from_logits(logits, mask), time)
    theta = late.log_probs - late.log_probs.mean() + logits.mean()
    leader = int(np.argmax(np.where(mask, logits, -np.inf)))
    found = float(theta[leader] - logits[leader])
    # Relative errors of 1e-11 in both times, 1e-12 in d; theta has rounding of its size.
    rounding = 64 * EPS * (2 * (1 + float(np.abs(theta).max() + np.abs(logits).max())) + theta.size)
    return -abs(found - x), 4e-11 * time / duration(x) + rounding


def _spread(inverse: Formula, start: Any, theta: Any) -> float:
    """How far 1/w(t) is from ``inverse(1/w(0), shift)`` with the shift of the leader.

    Relative to the larger of 1/w(0) and 1/w(t), which is what rounding is relative to.
    """
    import numpy as np

    # Only ratios of weights matter: the largest 1/w is e^300, so that no difference overflows.
    largest_log = float(max(np.max(-start), np.max(-theta)))
    u, now = np.exp(300.0 - largest_log - start), np.exp(300.0 - largest_log - theta)
    # inverse is affine in the shift: recover it from the likeliest, whose 1/w it changes most.
    k = int(np.argmin(u))
    at_0, unit = inverse(u[k], 0.0), max(u[k], now[k])
    shift = (now[k] - at_0) / ((inverse(u[k], unit) - at_0) / unit)
    scale = np.maximum(u, now) + np.maximum(u[k], now[k])
    return float((np.abs(inverse(u, shift) - now) / scale).max())


def draw(axes: Axes) -> None:
    """The shares of four correct trajectories along the flow."""
    import numpy as np

    from diffsmooth.theory.flows import softmax_pg_flow
    from diffsmooth.theory.policy import Policy

    base = Policy.from_logits(np.array([1.0, 0.8, 0.4, 0.0, 1.0, 0.0]), np.arange(6) < 4)
    times = np.geomspace(0.1, 1000.0, 40)
    path = np.array([np.exp(softmax_pg_flow(base, t).log_q)[:4] for t in times])
    styles = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))
    for k, (colour, dash) in enumerate(styles):
        axes.semilogx(times, path[:, k], color=colour, ls=dash, label=f"$q_{k + 1}$")
    axes.set_xlabel("time of the flow")
    axes.set_ylabel("share of the correct part")
    axes.legend()


STATEMENT = Statement(
    id="A3",
    title="Exact solution of the policy-gradient flow, and complete collapse",
    source="new",
    reference="theory.md A3; derived for this project",
    assumptions=(
        "finite set of trajectories, b > 0, S and F non-empty, reward 1 on S and 0 on F",
        "softmax logits, theta' = the exact policy gradient, no regularisation",
    ),
    latex=(
        r"\frac{1}{w_i(t)} = \frac{1}{w_i(0)} - c(t)\quad (i\in S),\qquad"
        r"\frac{1}{w_i(t)} = \frac{1}{w_i(0)} + d(t)\quad (i\in F),\qquad w = e^{\theta}"
        "\n\n"
        r"c^\prime = \frac{1-C}{\sum w},\qquad d^\prime = \frac{C}{\sum w},\qquad"
        r"\frac{dC}{dt} = C^2(1-C)^2\left(\sum_S q^2 + \sum_F f^2\right)"
        "\n\n"
        r"$C\to 1$ and $q(t)\to$ the uniform law on $\mathrm{argmax}_S\, b$; $q(t)$ majorises "
        r"$q(s)$ and $f(s)$ majorises $f(t)$ for $t>s$.  With $u=1/w(0)$, $u_1$ the smallest on "
        r"$S$: $q_i/q_1\leq (u_1-c)/(u_i-u_1)$ and $1-C\leq (u_1-c)\,W_F(0)$."
        "\n\n"
        r"Rates ($M$ correct, $N$ incorrect trajectories, $g$ the geometric mean of $w(0)$ on"
        r" $F$): $\frac{1}{1-C}\geq\frac{1}{1-C(0)}+C(0)^2\left(\frac{1}{M}+\frac{1}{N}\right)t$,"
        r" $\log\frac{u_1}{u_1-c}\geq\frac{N}{M+N}\left(\log\frac{N g}{W_S(0)}"
        r"+\mathrm{logit}\,C\right)$, so $c\to u_1$."
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic",
            check_symbolic,
            note="any number of trajectories (others lumped, or formal moments)",
        ),
        Method("smt", check_smt, note="any number of trajectories (pairs and lumps), all times"),
        Method("exact", check_exact, note="8 rational flows, parts of 1 to 6 trajectories"),
        Method(
            "random",
            check_random,
            note=(
                "library, 2 to 12 trajectories, t in [.05, 4] against an ODE, up to 10^12 "
                "against the"
                " rates and up to 10^307 against the shifts; the clock by quadrature"
            ),
        ),
    ),
    mutants=(
        Mutant(
            "the shift on S has the other sign (no collapse)",
            replace(CLAIM, correct=lambda u, c: u + c),
            by=("symbolic", "smt", "exact"),
        ),
        Mutant(
            "the logarithms shift instead of the reciprocals",
            replace(CLAIM, correct=lambda u, c: u * (1 - c)),
            by=("symbolic", "random"),
        ),
        Mutant(
            "the incorrect part sharpens too",
            replace(CLAIM, incorrect=lambda u, d: u - d),
            by=("symbolic", "smt", "exact"),
        ),
        Mutant(
            "correctness grows by C (1-C) as under the natural gradient",
            replace(CLAIM, gain_rate=lambda C, s_q, s_f: C * (1 - C)),
            by="symbolic",
        ),
        Mutant(
            "c and d run at the same speed",
            replace(CLAIM, c_speed=lambda C, W: C / W),
            by="symbolic",
        ),
        Mutant(
            "1/(1-C) gains C(0) k a unit of time, not C(0)^2 k",
            replace(CLAIM, arrival=lambda C, k: C * k),
            by="smt",
        ),
        Mutant(
            "the leader's growth is all of the odds'",
            replace(CLAIM, ahead=lambda M, N, r: r),
            by=("smt", "random"),
        ),
    ),
    limits=(
        "The expected flow: no sampling noise (A1, N2), no clipping, no shared parameters between "
        "trajectories.  The clock c(t) has no closed form for general b; its rate is N1's."
    ),
    figure=draw,
)
