r"""N1. How fast the policy-gradient flow collapses.

Proof, for any number of trajectories.
1. dC/dt = C^2 (1-C)^2 (s_q + s_f) with s = sum of squares (A3).  With
   Phi(C) = 2 logit C + 1/(1-C) - 1/C, Phi' = 1/(C^2 (1-C)^2), so Phi(C(t)) - Phi(C(0)) is the
   integral of s_q + s_f.  s_q rises and s_f falls (A4), 1/M <= s_q <= 1, 1/N <= s_f <= 1: hence
   (s_q(0) + 1/N) t <= Phi(C(t)) - Phi(C(0)) <= (1 + s_f(0)) t, and 1 - C falls like 1/t.
2. With u = 1/w(0), u_1 the least on S and x = u_1 - c what is left of it (A3):
   w_i(0) x <= q_i/q_1 <= x/(u_i - u_1) for every i behind a single leader: 1 - q_1 is
   proportional to x.
3. The sum of theta is conserved, so prod_F w(t) = prod_F w(0) prod_S (1 - c w(0)); by the mean
   inequality W_F >= N (prod_F w(t))^(1/N).  On S the product is x w_1(0) times factors that stay
   between prod (1 - w_i(0)/w_1(0)) and 1.  So W_F is of order x^(1/N) and W_S of order 1/x:
   1 - C is of order x^(1 + 1/N), that is

       1 - q_1 is of order (1-C)^(N/(N+1))  and, by 1, of order t^(-N/(N+1)).

   With explicit constants, valid at every time: _n1_order.

   Eliminating t, the first holds for every clock: GRPO (A6) pays the same diversity for the same
   correctness.  With the clock of large groups, 1/sqrt(C(1-C)), Phi is 2 (2C-1)/sqrt(C(1-C)),
   1 - C falls like 1/t^2 and 1 - q_1 like t^(-2N/(N+1)): collapse is twice as fast in log t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements import _n1_order
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS, LogitBase, logit_bases
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """potential(C, F, logit), grpo_potential(C, root): Phi for the two clocks, F = 1 - C,
    logit = log C/F, root = sqrt(C(1-C)).  slow(s_q, N), fast(s_f): bounds on dPhi/dt.

    behind(w, x), ahead(u_1, u_i, x): bounds on q_i/q_1; conserved(c, w): factor on prod_F w from a
    trajectory of S with weight w at time 0.  powers(N): of (1 - q_1)/q_1 and of (1-C)/C, whose
    ratio stays between two positive constants.
    """

    potential: Formula = lambda C, F, logit: 2 * logit + 1 / F - 1 / C
    grpo_potential: Formula = lambda C, root: 2 * (2 * C - 1) / root
    slow: Formula = lambda s_q, N: s_q + 1 / N
    fast: Formula = lambda s_f: 1 + s_f
    behind: Formula = lambda w, x: w * x
    ahead: Formula = lambda u_1, u_i, x: x / (u_i - u_1)
    conserved: Formula = lambda c, w: 1 - c * w
    powers: Formula = lambda N: (N + 1, N)


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """The two potentials, and what conservation of the sum of theta makes of A3."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    r, w, c, n, t, scale = sp.symbols("r w c N t scale", positive=True)
    # C = 1/(1+r): all of 0 < C < 1, told to sympy by the sign of r; dC/dr = -1/(1+r)^2.
    big_c, fails = 1 / (1 + r), r / (1 + r)
    v = big_c * fails
    root = sp.sqrt(r) / (1 + r)

    def slope(phi: Any) -> Any:
        return -((1 + r) ** 2) * sp.diff(phi, r)

    # 1/w(t) = 1/w - c, so w(t)/w; the product over all trajectories is conserved.
    factor = 1 / (1 / w - c) / w
    # Leading orders: with W_F = N scale y^(-1/N) and C near 1, y = w_1(t) grows by y' = W_F.
    y = ((n + 1) * scale * t) ** (n / (n + 1))
    fail = n * scale * y ** (-1 / n) / y
    steps = {
        "Phi' = 1/(C(1-C))^2": slope(claim.potential(big_c, fails, -sp.log(r))) - 1 / v**2,
        "Phi' for the clock of large groups": slope(claim.grpo_potential(big_c, root))
        - 1 / root**3,
        "conservation": sp.cancel(factor * claim.conserved(c, w) - 1),
        "leading order of w_1": sp.log(sp.simplify(sp.diff(y, t)))
        - sp.log(n * scale * y ** (-1 / n)),
        "1 - C = N/((N+1) t)": sp.log(fail) - sp.log(n) + sp.log(n + 1) + sp.log(t),
    }
    return symbolic.zero(
        steps,
        [r, w, c, n, t, scale],
        "potentials, conservation, leading order",
        where=lambda p: p[c] * p[w] < 1,
    )


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Bounds: any number of trajectories."""
    import z3

    from diffsmooth.theory.verify import smt

    s_q, s_q0, s_f, s_f0, n, u1, ui, x = z3.Reals("s_q s_q0 s_f s_f0 N u_1 u_i x")
    big_c, root = z3.Reals("C root")
    return together(
        lambda: smt.prove(
            # s_q rises, s_f falls (A4); 1/N <= s_f, s_q <= 1.
            [n >= 1, s_q0 > 0, s_q >= s_q0, s_q <= 1, s_f >= 1 / n, s_f <= s_f0, s_f0 <= 1],
            [claim.slow(s_q0, n) <= s_q + s_f, s_q + s_f <= claim.fast(s_f0)],
            "speed of Phi between its bounds",
        ),
        lambda: smt.prove(
            # q_i/q_1 = (u_1 - c)/(u_i - c), x = u_1 - c, c >= 0.
            [u1 > 0, ui > u1, x > 0, x <= u1],
            [
                claim.behind(1 / ui, x) * (ui - u1 + x) <= x,
                x <= claim.ahead(u1, ui, x) * (ui - u1 + x),
            ],
            "what is left behind the leader, from both sides",
        ),
        lambda: smt.prove(
            [u1 > 0, ui > u1, x > 0, x <= u1],
            [
                claim.conserved(u1 - x, 1 / u1) * u1 == x,
                claim.conserved(u1 - x, 1 / ui) >= 1 - u1 / ui,
                claim.conserved(u1 - x, 1 / ui) <= 1,
            ],
            "factors of the conserved product",
        ),
        lambda: smt.prove(
            [big_c > 0, big_c < 1, root > 0, root * root == big_c * (1 - big_c), 2 * big_c > 1],
            claim.grpo_potential(big_c, root) * root <= 2,
            "Phi of the other clock is at most 2/sqrt(C(1-C)): 1 - C is of order 1/t^2",
        ),
        lambda: _n1_order.smt(claim.potential),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Rational flows: the conserved product, the mean inequality, bounds behind the leader."""
    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def margins(u: tuple[Fraction, ...], v: tuple[Fraction, ...], x: Fraction) -> list[Fraction]:
        c = u[0] - x
        law = [1 / (a - c) for a in u]
        out = []
        for a, w in zip(u[1:], law[1:], strict=True):
            share = w / law[0]
            out += [share - claim.behind(1 / a, x), claim.ahead(u[0], a, x) - share]
        # (W_F/N)^N >= prod_F w at any common shift d of F.
        for d in (Fraction(0), x, 7 * x):
            now = [1 / (b + d) for b in v]
            mean, geometric = sum(now) / len(now), Fraction(1)
            for w in now:
                geometric *= w
            out.append(mean ** len(now) - geometric)
        # The product on S in two ways.
        product = Fraction(1)
        for a, w in zip(u, law, strict=True):
            product *= claim.conserved(c, 1 / a) * w * a
        return [*out, product - 1, 1 - product]

    def case(m: int, n: int) -> dict[str, Any]:
        u = sorted({Fraction(rng.randint(1, 40), rng.randint(1, 5)) for _ in range(m)})
        v = tuple(Fraction(rng.randint(1, 20), rng.randint(1, 5)) for _ in range(n))
        return {"u": tuple(u), "v": v, "x": u[0] / rng.randint(2, 50)}

    instances = [case(m, n) for m, n in ((2, 1), (2, 2), (3, 4), (5, 3), (6, 6), (8, 2))]
    return together(
        lambda: exact.inequality(margins, instances, "bounds along rational flows", strict=False),
        lambda: _n1_order.exact(claim.powers, budget),
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's flow: Phi of its correctness against the bounds on the speed."""
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory.flows import softmax_pg_flow
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[LogitBase, float]) -> tuple[float, float]:
        base, time = instance
        policy, mask = base.policy(), base.mask
        moved = softmax_pg_flow(policy, time)
        values = []
        for p in (policy, moved):
            # C and 1 - C from their own logs: nothing cancels near 1.
            parts = (float(np.exp(p.log_C)), float(np.exp(p.log_1mC)))
            values.append(float(claim.potential(*parts, float(p.logit_C))))
        gained = values[1] - values[0]
        s_q = float(np.exp(2 * np.asarray(policy.log_q)[mask]).sum())
        s_f = float(np.exp(2 * np.asarray(policy.log_f)[~mask]).sum())
        wrong = int((~mask).sum())
        # Phi changes by delta C/(C(1-C))^2; correctness has relative error ~ 1e-11 (root finding)
        # plus rounding, of the smaller of C and 1 - C.
        delta = 1e-10 + 64 * (base.spread + mask.size + 8) * EPS
        bound = delta * sum(
            4 + 2 / float(np.exp(p.log_C)) + 2 / float(np.exp(p.log_1mC)) for p in (policy, moved)
        )
        return least(
            (gained - time * claim.slow(s_q, wrong)) / bound,
            (time * claim.fast(s_f) - gained) / bound,
        ), 1.0

    speed = random.for_all(
        st.tuples(logit_bases(width=2.0), st.floats(0.1, 300.0)),
        margin,
        budget,
        "library flow between the bounds (in units of the error bound)",
        show=lambda t: f"{t[0]}, t = {t[1]:.4g}",
        examples=400 if budget.deep else 60,
    )
    return together(lambda: speed, lambda: _n1_order.random(claim.powers, budget))


def draw(axes: Axes) -> None:
    """1 - q_1 against 1 - C along the flow, with the predicted slopes N/(N+1)."""
    import numpy as np

    from diffsmooth.theory.flows import softmax_pg_flow
    from diffsmooth.theory.policy import Policy

    for wrong, colour, dash in ((1, "#D55E00", "--"), (2, "#009E73", "-."), (8, "#0072B2", "-")):
        logits = np.concatenate([[1.0, 0.5, 0.0], np.full(wrong, 0.5)])
        base = Policy.from_logits(logits, np.arange(logits.size) < 3)
        path = [softmax_pg_flow(base, t) for t in np.geomspace(1.0, 1e4, 12)]
        fail = np.array([np.exp(float(p.log_1mC)) for p in path])
        lost = np.array([np.exp(np.asarray(p.log_q)[1:3]).sum() for p in path])
        axes.loglog(fail, lost, color=colour, ls=dash, label=f"N = {wrong}")
        axes.loglog(
            fail,
            lost[-1] * (fail / fail[-1]) ** (wrong / (wrong + 1)),
            color=colour,
            ls=":",
            lw=0.8,
        )
    axes.set_xlabel("1 - C")
    axes.set_ylabel(r"$1-q_1$ (dotted: slope N/(N+1))")
    axes.invert_xaxis()
    axes.legend()


STATEMENT = Statement(
    id="N1",
    title="The rate of collapse: what the flow pays in diversity for correctness",
    source="new",
    reference="derived for this project from A3",
    assumptions=(
        "the flow of A3; s_q = sum q^2 and s_f = sum f^2 at time 0, N incorrect trajectories",
        "the rates: one likeliest correct trajectory (q_1), all others strictly behind it",
    ),
    latex=(
        r"\left(s_q+\frac{1}{N}\right)t \leq \Phi(C(t))-\Phi(C(0)) \leq (1+s_f)\,t,\qquad"
        r" \Phi(C) = 2\log\frac{C}{1-C}+\frac{1}{1-C}-\frac{1}{C}"
        "\n\n"
        r"1-C \sim \frac{N}{(N+1)\,t},\qquad 1-q_1 \propto t^{-N/(N+1)},\qquad"
        r" 1-q_1 \propto (1-C)^{N/(N+1)}"
        "\n\n"
        r"At every time the ratio of $\left(\frac{1-q_1}{q_1}\right)^{N+1}$ to "
        r"$\left(\frac{1-C}{C}\right)^{N}$ stays between two explicit constants of the base."
        "\n\n"
        r"The last relation does not depend on the clock: GRPO pays the same.  With the clock of "
        r"large groups $1-C$ falls like $t^{-2}$ and $1-q_1$ like $t^{-2N/(N+1)}$."
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic",
            check_symbolic,
            note="any number of trajectories; leading orders for symbolic N",
        ),
        Method("smt", check_smt, note="any number of trajectories, all times"),
        Method(
            "exact",
            check_exact,
            note=(
                "6 rational flows, up to 8 correct and 6 incorrect trajectories; the rate's "
                "constants "
                "in 12 states, x down to 10^-18"
            ),
        ),
        Method(
            "random",
            check_random,
            note="library, 2 to 12 trajectories, t in [.1, 300]; rate's constants up to t = 10^6",
        ),
    ),
    mutants=(
        Mutant(
            "the logit grows linearly, as under the natural gradient",
            replace(CLAIM, potential=lambda C, F, logit: logit),
            by=("symbolic", "random"),
        ),
        Mutant(
            "the incorrect part adds its full 1 to the slow bound",
            replace(CLAIM, slow=lambda s_q, N: s_q + 1),
            by=("smt", "random"),
        ),
        Mutant(
            "trailing answers fall behind twice as fast",
            replace(CLAIM, ahead=lambda u_1, u_i, x: x / (2 * (u_i - u_1))),
            by=("smt", "exact"),
        ),
        Mutant(
            "the product on F is not tied to S",
            replace(CLAIM, conserved=lambda c, w: 1 + c * w),
            by=("symbolic", "smt", "exact"),
        ),
        Mutant(
            "diversity is lost as fast as failure",
            replace(CLAIM, powers=lambda N: (N, N)),
            by=("exact", "random"),
        ),
    ),
    limits=(
        "Leading orders hold as t grows; for a finite group of G the clock stays below "
        "sqrt(G-1) near C = 1 (E1), so the faster rate of GRPO ends once 1 - C is below about 1/G."
    ),
    figure=draw,
)
