r"""A5. Mirror descent and the natural gradient with the exact reward never touch q.

Proof, for any number of trajectories.  Mirror descent multiplies every correct trajectory by the
same e^eta and renormalises: ratios inside S, and inside F, stay.  The natural gradient v solves
F v = grad C with the Fisher matrix F = diag(pi) - pi pi^T; v = r does, since
(F r)_i = pi_i (r_i - C), and it is unique up to a constant, which softmax does not see.  So
theta' = r: q and f stand still and logit C grows at speed 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS, LogitBase, logit_bases
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """velocity(r, p): the natural gradient of a trajectory with reward r and probability p, up to
    a constant; logit_speed(c): d logit C/dt; multiplier(r, e, p): factor of a mirror-descent step.
    """

    velocity: Formula = lambda r, p: r
    multiplier: Formula = lambda r, e, p: 1 + r * (e - 1)
    logit_speed: Formula = lambda c: 1


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """The Fisher equation and the speeds, with two trajectories of each part and two lumps."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    # Two trajectories of S and two of F, and a lump of each: any number with these roles.  The
    # velocity of a lump is that of its members, which all have the same reward; ``many`` is the
    # probability that a member of the lump has.
    s1, s2, f1, f2, rest_s, rest_f = masses = sp.symbols("s1 s2 f1 f2 S F", positive=True)
    many_s, many_f, e = sp.symbols("many_S many_F e", positive=True)
    total = sum(masses)
    probs = [m / total for m in masses]
    rewards = [1, 1, 0, 0, 1, 0]
    c = (s1 + s2 + rest_s) / total
    members = [*probs[:4], many_s, many_f]
    v = [claim.velocity(r, p) for r, p in zip(rewards, members, strict=True)]
    mean = sum(p * x for p, x in zip(probs, v, strict=True))
    steps: dict[str, Any] = {}
    for k, name in enumerate(("S1", "S2", "F1", "F2")):
        steps[f"Fisher equation on {name}"] = probs[k] * (v[k] - mean) - probs[k] * (rewards[k] - c)
    steps["log-odds on S"] = v[0] - v[1]
    steps["log-odds on F"] = v[2] - v[3]
    # d logit C/dt = E_q v - E_f v.
    on_s = (s1 * v[0] + s2 * v[1] + rest_s * v[4]) / (s1 + s2 + rest_s)
    on_f = (f1 * v[2] + f2 * v[3] + rest_f * v[5]) / (f1 + f2 + rest_f)
    steps["d logit C/dt"] = on_s - on_f - claim.logit_speed(c)
    moved = [p * claim.multiplier(r, e, m) for p, r, m in zip(probs, rewards, members, strict=True)]
    steps["mirror step on S"] = moved[0] * probs[1] - moved[1] * probs[0]
    steps["mirror step on F"] = moved[2] * probs[3] - moved[3] * probs[2]
    steps["mirror step of the odds of C"] = (moved[0] + moved[1] + moved[4]) * (
        probs[2] + probs[3] + probs[5]
    ) - e * (probs[0] + probs[1] + probs[4]) * (moved[2] + moved[3] + moved[5])
    return symbolic.zero(
        {k: sp.cancel(x) for k, x in steps.items()},
        [*masses, many_s, many_f, e],
        "natural gradient and mirror descent",
    )


def check_softmax_differs(claim: Claim, budget: Budget) -> Outcome:
    """The plain softmax gradient of the same objective does move q: the geometry is the cause."""
    import z3

    from diffsmooth.theory.verify import smt

    x, y, rest_s, rest_f, e = z3.Reals("x y S F e")
    total = x + y + rest_s + rest_f
    given = [x > y, y > 0, rest_s >= 0, rest_f > 0, total == 1, e > 1]
    c = x + y + rest_s
    one = z3.RealVal(1)
    return together(
        lambda: smt.prove(
            given,
            [
                claim.velocity(one, x) - claim.velocity(one, y) == 0,
                claim.multiplier(one, e, x) * y * x == claim.multiplier(one, e, y) * x * y,
                one == claim.logit_speed(c),
            ],
            "natural gradient: i and j keep their odds, whatever the others",
        ),
        lambda: smt.prove(
            given, x * (1 - c) > y * (1 - c), "softmax gradient: the likelier of the two gains"
        ),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Rational policies: the Fisher system solved entry by entry, and three mirror steps."""
    from diffsmooth.theory.verify import exact

    def residual(weights: tuple[int, ...], successes: int, e: int) -> list[Fraction]:
        pi = [Fraction(w, sum(weights)) for w in weights]
        n = len(pi)
        c = sum(pi[:successes], Fraction(0))
        v = [Fraction(claim.velocity(int(k < successes), pi[k])) for k in range(n)]
        out = [
            sum((((i == j) * pi[i] - pi[i] * pi[j]) * v[j] for j in range(n)), Fraction(0))
            - pi[i] * ((i < successes) - c)
            for i in range(n)
        ]
        moved = pi
        for _ in range(3):
            moved = [claim.multiplier(int(k < successes), e, x) * x for k, x in enumerate(moved)]
            moved = [x / sum(moved) for x in moved]
        c_now = sum(moved[:successes], Fraction(0))
        out += [moved[k] / c_now - pi[k] / c for k in range(successes)]
        out.append(c_now / (1 - c_now) - e**3 * c / (1 - c))
        return out

    instances = [
        {"weights": w, "successes": s, "e": e}
        for w in ((1, 1), (3, 1, 2), (5, 2, 1, 1), (7, 1, 3, 2, 2, 9))
        for s in range(1, len(w))
        for e in (2, 5)
    ]
    return exact.identity(residual, instances, "Fisher equation and mirror steps")


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library: natural-gradient flow without smoothing; KL-regularised RL as a mirror step."""
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory.flows import natural_gradient_flow
    from diffsmooth.theory.optima import vanilla
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[LogitBase, float]) -> tuple[float, float]:
        base, time = instance
        policy, mask = base.policy(), base.mask
        worst = 0.0
        for moved in (natural_gradient_flow(policy, 0.0, 0.0, time), vanilla(policy, 1 / time)):
            speed = float(claim.logit_speed(float(policy.C)))
            pi = np.exp(np.asarray(policy.log_probs))
            drift = np.array(
                [float(claim.velocity(int(m), p)) for m, p in zip(mask, pi, strict=True)]
            )
            # log-odds against the first trajectory of the same part
            for part in (mask, ~mask):
                before = np.asarray(policy.log_probs)[part]
                after = np.asarray(moved.log_probs)[part]
                expected = time * (drift[part] - drift[part][0])
                change = (after - after[0]) - (before - before[0])
                worst = largest(worst, np.abs(change - expected))
            gained = float(moved.logit_C) - float(policy.logit_C)
            worst = largest(worst, abs(gained - time * speed))
        # Log-probs are at most spread + t in size, each formed with K + 8 roundings of that size.
        bound = 16 * (base.spread + time + 1) * (mask.size + 8) * EPS
        return -worst / bound, 1.0

    return random.for_all(
        st.tuples(logit_bases(), st.floats(0.05, 20.0)),
        margin,
        budget,
        "library flow and optimum (in units of the error bound)",
        show=lambda t: f"{t[0]}, t = {t[1]:.4g}",
    )


def draw(axes: Axes) -> None:
    """Entropy of q against correctness: falling under the softmax gradient, level otherwise."""
    import numpy as np

    from diffsmooth.theory import diversity
    from diffsmooth.theory.flows import natural_gradient_flow, softmax_pg_flow
    from diffsmooth.theory.policy import Policy

    base = Policy.from_logits(np.array([1.0, 0.6, 0.3, 0.0, 2.0, 1.0]), np.arange(6) < 4)
    plain = [softmax_pg_flow(base, t) for t in np.geomspace(0.1, 300.0, 25)]
    natural = [natural_gradient_flow(base, 0.0, 0.0, t) for t in np.linspace(0.0, 6.0, 25)]
    for path, colour, dash, name in (
        (plain, "#D55E00", "--", "softmax gradient"),
        (natural, "#0072B2", "-", "natural gradient"),
    ):
        axes.plot(
            [float(p.C) for p in path],
            [float(diversity.shannon(p.log_q)) for p in path],
            color=colour,
            ls=dash,
            label=name,
        )
    axes.set_xlabel("correctness C")
    axes.set_ylabel("entropy H(q) (nats)")
    axes.legend()


STATEMENT = Statement(
    id="A5",
    title="The objective does not ask for collapse: under the natural gradient q stands still",
    source="new",
    reference="theory.md A5; derived for this project",
    assumptions=(
        "finite set of trajectories, full support, reward 1 on S and 0 on F, known exactly",
        "mirror descent with KL, or the natural-gradient flow of C (Fisher metric of softmax)",
    ),
    latex=(
        r"F v = \nabla C,\quad F = \mathrm{diag}(\pi)-\pi\pi^{T}\quad\Rightarrow\quad v = r"
        r" + \mathrm{const},\qquad \frac{dq}{dt} = 0,\quad \frac{df}{dt} = 0,\quad"
        r" \frac{d\,\mathrm{logit}\,C}{dt} = 1"
        "\n\n"
        r"Collapse needs the softmax geometry (A2, A3, A4) or sampling (A1, N2)."
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="any number of trajectories (lumped)"),
        Method("smt", check_softmax_differs, note="any number of trajectories (lumped)"),
        Method("exact", check_exact, note="22 rational policies and steps, 2 to 6 trajectories"),
        Method("random", check_random, note="library, 2 to 12 trajectories, t in [.05, 20]"),
    ),
    mutants=(
        Mutant(
            "the plain softmax velocity",
            replace(CLAIM, velocity=lambda r, p: r * p),
            by=("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "logit C grows at speed C (1-C)",
            replace(CLAIM, logit_speed=lambda c: c * (1 - c)),
            by=("symbolic", "smt", "random"),
        ),
        Mutant(
            "the mirror step multiplies by 1 + pi (e - 1)",
            replace(CLAIM, multiplier=lambda r, e, p: 1 + r * p * (e - 1)),
            by=("symbolic", "smt", "exact"),
        ),
    ),
    limits="The reward is exact and every trajectory is updated; a sampled update drifts (N2).",
    figure=draw,
)
