r"""E5. Replay keeps what it has seen and extinguishes the rest; smoothing beside it saves the rest.

The flow: theta' = pi (r - C) + lam (1_B/m - pi) - g pi (log q + H(q)) on S, without the last part
on F.  B: m verified correct answers, M - m others in S.

Alone (g = 0).  It is the gradient flow of J = C + lam mean_B log pi.  J rises and J <= 1, so pi
stays away from 0 on B and the path has finite energy: theta' -> 0 (its derivative is bounded).
On F theta' = -pi (C + lam): pi -> 0 there, C -> 1.  On S outside B theta' = pi (1 - C - lam),
which is then -lam pi: pi -> 0.  On B lam (1/m - pi) -> 0: q is uniform on B.

Beside smoothing (g > 0).  On F theta' = -pi (C + lam) still, so every such logit falls for ever.
If it converges, pi (C + lam) is integrable and pi -> 0; if it does not, then as the logits' sum is
constant some logit of S grows without bound, and pi -> 0 again: C -> 1 for every g >= 0, lam > 0.
At C = 1 a rest point with all of S alive has, with r = lam/g,

    unseen: log q_i = -H(q) - r;      seen: q_i log(q_i/y) = r/m  (y the unseen one's),

so u = log(x/y) solves u = r (1 + k e^-u), k = (M-m)/m: one solution, since the left side rises and
the right side falls, u = r + W(r k e^-r).  It is the maximum of lam mean_B log q + g H(q), which is
concave.  So the odds of an unseen answer depend on lam/g and the bank alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._softmax import Lumped
from diffsmooth.theory.statements._steps import identities, together
from diffsmooth.theory.statements._tabular import EPS
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """Speeds of the logits, and the equation of the rest point.

    wrong(pi, C, lam): on F.  unseen(pi, C, lam), seen(pi, C, lam, m): on S without smoothing.
    gap(u, r, k, fall): 0 at u = log(seen/unseen), fall = e^-u.
    """

    wrong: Formula = lambda pi, C, lam: -pi * (C + lam)
    unseen: Formula = lambda pi, C, lam: pi * (1 - C - lam)
    seen: Formula = lambda pi, C, lam, m: pi * (1 - C - lam) + lam / m
    gap: Formula = lambda u, r, k, fall: u - r * (1 + k * fall)


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """The gradient of J; the rest equations; Lambert's solution; the logits' sum."""
    import sympy as sp

    lam, m, k, r, g = sp.symbols("lam m k r g", positive=True)
    steps: dict[str, Any] = {}
    for correct in (True, False):
        pair = Lumped.pair(correct)
        w, c = pair.w_i, pair.correctness
        pi = pair.prob(w)
        slope = pair.slope(c, w)
        if correct:
            steps["dJ/dtheta, unseen"] = slope - lam * pi - claim.unseen(pi, c, lam)
            steps["dJ/dtheta, seen"] = slope + lam * (1 / m - pi) - claim.seen(pi, c, lam, m)
        else:
            steps["dJ/dtheta, wrong"] = slope - lam * pi - claim.wrong(pi, c, lam)
    # The logits' sum: reward and smoothing add to 0 by their means, replay as 1_B/m and pi both
    # have mass 1.
    x, log_x = sp.symbols("q l", real=True)
    q = Law("q", (x, log_x))
    steps["smoothing adds to 0"] = q.mean(log_x) - q.mean(q.mean(log_x))
    # The rest point at C = 1: H from m answers of mass X and k m of mass Y, Y = X e^-u.
    u, log_big = sp.symbols("u l_X", real=True)
    fall = sp.exp(-u)
    share = 1 / (m * (1 + k * fall))  # X
    entropy = -(m * share * log_big + k * m * share * fall * (log_big - u))
    unseen = -lam - g * (log_big - u + entropy)
    seen = lam * (1 / m - share) - g * share * (log_big + entropy)
    # unseen = 0 fixes H; then seen = 0 is the equation of u.
    steps["seen, once unseen rests"] = sp.simplify(
        (seen - share * unseen) / (g * share) + claim.gap(u, lam / g, k, fall)
    )
    # the two equations say one thing: mass-weighted they add to 0
    steps["the equations are one"] = sp.simplify(m * seen + k * m * share * fall * unseen)
    steps["the left side rises faster"] = sp.diff(claim.gap(u, r, k, fall), u) - (1 + r * k * fall)
    w = sp.Symbol("W", positive=True)  # W e^W = r k e^-r
    steps["Lambert"] = sp.simplify(
        claim.gap(r + w, r, k, sp.exp(-(r + w))).subs(k, w * sp.exp(w) * sp.exp(r) / r)
    )
    return identities(steps, "any number of answers, any bank")


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Signs: F falls for ever; at C = 1 the unseen fall; the only rest on B is uniform."""
    import z3

    from diffsmooth.theory.verify import smt

    pi, c, lam, m, u, r, k, fall = z3.Reals("pi C lam m u r k e^-u")
    inside = [pi > 0, pi < 1, lam > 0, m >= 1]
    return together(
        lambda: smt.prove(
            [*inside, c > 0, c < 1], claim.wrong(pi, c, lam) < 0, "a wrong answer's logit falls"
        ),
        lambda: smt.prove(
            [*inside, c > 1 - lam, c <= 1],
            claim.unseen(pi, c, lam) < 0,
            "once C > 1 - lam an unseen answer's logit falls",
        ),
        lambda: smt.prove(
            [lam > 0, m >= 1, pi >= 0, claim.unseen(pi, z3.RealVal(1), lam) == 0],
            pi == 0,
            "at C = 1 an unseen answer rests only at 0",
        ),
        lambda: smt.prove(
            [lam > 0, m >= 1, pi >= 0, claim.seen(pi, z3.RealVal(1), lam, m) == 0],
            pi * m == 1,
            "at C = 1 a seen answer rests only at 1/m",
        ),
        lambda: smt.prove(
            [r > 0, k >= 0, fall > 0, fall <= 1, claim.gap(u, r, k, fall) == 0],
            [u >= r, u <= r * (1 + k)],
            "the odds of an unseen answer lie between e^(-r (1+k)) and e^-r",
        ),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Speeds on rational policies against the definition pi (r - C) + lam (1_B/m - pi)."""
    from diffsmooth.theory.verify import exact

    def residual(right: list[int], wrong: list[int], m: int, lam: Fraction) -> list[Fraction]:
        mass = sum(right) + sum(wrong)
        c = Fraction(sum(right), mass)
        out = []
        for i, w in enumerate([*right, *wrong]):
            pi, correct = Fraction(w, mass), i < len(right)
            speed = pi * (correct - c) + lam * ((i < m) / Fraction(m) - pi)
            if not correct:
                claimed = claim.wrong(pi, c, lam)
            elif i < m:
                claimed = claim.seen(pi, c, lam, m)
            else:
                claimed = claim.unseen(pi, c, lam)
            out.append(speed - claimed)
        return out

    instances = [
        {"right": right, "wrong": [2, 3], "m": m, "lam": Fraction(lam, 20)}
        for right in ([1], [5, 1], [3, 1, 4, 1])
        for m in range(1, len(right) + 1)
        for lam in (1, 8, 30)
    ]
    return exact.identity(residual, instances, "speeds of the logits")


def check_certified(claim: Claim, budget: Budget) -> Outcome:
    """Two rest points enclosed: 2 of 4 answers seen, lam = .05, g = .05 and .2."""
    from flint import arb

    from diffsmooth.theory.verify import certified

    def gap(seen: str, r: str) -> Any:
        """The equation at u = log(x/y) with 2 x + 2 y = 1."""
        x = arb(seen)
        u = (x / (arb("0.5") - x)).log()
        return claim.gap(u, arb(r), 1, (-u).exp())

    return certified.separated(
        {
            "r = 1: below .3910": -gap("0.3910", "1"),
            "r = 1: above .3912": gap("0.3912", "1"),
            "r = 1/4: below .3011": -gap("0.3011", "0.25"),
            "r = 1/4: above .3013": gap("0.3013", "0.25"),
        },
        "q = (.391, .391, .109, .109) and (.301, .301, .199, .199)",
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's rest point solves the equation and the flow's own speeds vanish there."""
    import math

    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory.memory import replay_limit, replay_log_odds
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[int, int, float]) -> tuple[float, float]:
        m, unseen, r = instance
        odds = float(replay_log_odds(r, m, unseen))
        log_x, log_y = replay_limit(r, m, unseen)
        k = unseen / m
        off = abs(claim.gap(-odds, r, k, math.exp(odds)))
        worst = off / (64 * EPS * (1 + r) * (1 + k))
        q = np.exp(np.array([log_x] * m + [log_y] * unseen))
        log_q = np.array([log_x] * m + [log_y] * unseen)
        entropy = -float(q @ np.where(q > 0, log_q, 0.0))
        bank = np.arange(m + unseen) < m
        # lam = r, g = 1
        speed = r * (bank / m - q) - q * (log_q + entropy)
        bound = 256 * (m + unseen + 8) * EPS * (1 + r) * (1 + abs(odds))
        return -largest(worst, float(np.abs(speed).max()) / bound), 1.0

    return random.for_all(
        st.tuples(st.integers(1, 8), st.integers(1, 12), st.floats(0.01, 20)),
        margin,
        budget,
        "library rest point (in units of the error bound)",
        show=lambda t: f"{t[0]} seen, {t[1]} unseen, lam/g = {t[2]:.4g}",
    )


def draw(axes: Axes) -> None:
    """Share of the unseen answers at rest, against lam/g, for three banks."""
    import numpy as np

    from diffsmooth.theory.memory import replay_log_odds

    ratio = np.geomspace(0.02, 8, 200)
    for seen, unseen, colour, dash in (
        (1, 9, "#0072B2", "-"),
        (5, 5, "#009E73", "-."),
        (9, 1, "#D55E00", "--"),
    ):
        odds = np.exp(replay_log_odds(ratio, seen, unseen))
        share = unseen * odds / (seen + unseen * odds)
        axes.plot(ratio, share, color=colour, ls=dash, label=f"{seen} seen, {unseen} unseen")
    axes.set_xscale("log")
    axes.set_xlabel("strength of replay over strength of smoothing")
    axes.set_ylabel("probability of all unseen answers")
    axes.legend()


STATEMENT = Statement(
    id="E5",
    title="Memory alone extinguishes what it has not seen; with smoothing it survives",
    source="corrected",
    reference="theory.md E5; replay of verified answers: arXiv 2610.11064",
    assumptions=(
        "exact softmax flow of correctness, replay of a fixed bank B (m of M correct answers) with "
        "strength lam > 0, and centred smoothing g >= 0",
        "every answer has positive probability at the start",
    ),
    latex=(
        r"\dot\theta = \pi\,(r-C) + \lambda\left(\frac{1_B}{m}-\pi\right)"
        r" - g\,\pi\,(\log q+H(q))\,1_S:\qquad C\rightarrow 1"
        "\n\n"
        r"g=0:\ \ q\rightarrow\ \mathrm{uniform\ on\ }B;\qquad"
        r" g>0:\ \ \frac{q_{\mathrm{unseen}}}{q_{\mathrm{seen}}} = e^{-u},\quad"
        r" u = \rho+W(\rho k e^{-\rho}),\ \ \rho=\frac{\lambda}{g},\ \ k=\frac{M-m}{m}"
        "\n\n"
        r"The first is the only limit.  The second is the only rest point at $C=1$ with all of $S$ "
        r"alive, and the maximum of a concave function there: "
        r"$e^{-\rho(1+k)}\leq q_{\mathrm{unseen}}/q_{\mathrm{seen}}\leq e^{-\rho}$."
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="any number of answers, any bank (lumped)"),
        Method("smt", check_smt, note="any number of answers"),
        Method("exact", check_exact, note="21 rational policies, banks of 1 to 4 answers"),
        Method("certified", check_certified, note="two rest points, enclosed"),
        Method("random", check_random, note="library, up to 8 seen and 12 unseen answers"),
    ),
    mutants=(
        Mutant(
            "replay spares the wrong answers",
            replace(CLAIM, wrong=lambda pi, C, lam: pi * (lam - C)),
            by=("symbolic", "smt", "exact"),
        ),
        Mutant(
            "replay leaves the unseen alone",
            replace(CLAIM, unseen=lambda pi, C, lam: pi * (1 - C)),
            by=("symbolic", "smt", "exact"),
        ),
        Mutant(
            "a seen answer gains in proportion to its probability",
            replace(CLAIM, seen=lambda pi, C, lam, m: pi * (1 - C - lam + lam / m)),
            by=("symbolic", "smt", "exact"),
        ),
        Mutant(
            "the unseen fall by lam/g twice",
            replace(CLAIM, gap=lambda u, r, k, fall: u - 2 * r * (1 + k * fall)),
            by=("symbolic", "smt", "certified", "random"),
        ),
        Mutant(
            "the odds do not depend on how many are unseen",
            replace(CLAIM, gap=lambda u, r, k, fall: u - r),
            by=("symbolic", "certified", "random"),
        ),
    ),
    limits=(
        "The bank is fixed and the gradient exact.  That theta' falls to 0 along the flow is "
        "Barbalat's lemma, used in the proof and not checked here.  With g > 0 that the flow "
        "reaches its rest point is not proved (rest points on the boundary exist): it "
        "is seen in the tests' integrations.  Every answer has a logit of its own: else F1-F4."
    ),
    correction=(
        "The page's example for lam = g = .05 (two of four answers seen) had q = (.393, .393, "
        ".107, .107); the rest point is (.391, .391, .109, .109), enclosed here."
    ),
    figure=draw,
)
