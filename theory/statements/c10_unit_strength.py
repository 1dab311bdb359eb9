r"""C10. A strength with a unit: smoothing measured by the advantage of a correct answer.

Centred smoothing of relative strength mu has g = mu A+, A+ the advantage of a correct answer.  Then
the logit of i in S moves by C A+ q_i (1 - mu (log q_i + H)) = C A+ e^-H push(x_i), with
x_i = q_i e^H and push(x) = x (1 - mu log x).

1. push'(x) = 1 - mu - mu log x: it rises below log x* = (1-mu)/mu and falls above.  Of two answers
   below x* the likelier gains on the other; above x* the rarer does.  A vanished answer (x -> 0)
   loses to every answer with log x < 1/mu.
2. So at a rest point the x_i have at most two values: each is taken once on either side.
3. By C5, dH(q)/dt >= 0 iff mu >= K1/E, a mean of (1 - e^-w)/w over w_i: 1 near uniformity.
4. Two correct answers with log-odds z: log(q_1/q_2) moves in proportion to
   tanh(z/2) - mu (z/2)/cosh(z/2)^2, positive iff mu < sinh(z)/z, which rises with z from 1.  So
   mu = 1 ("unit", no strength to tune) never stops the collapse of two answers, it only slows it:
   near uniformity to z' ~ z^3/12 from z/2.  mu > 1 equalises them iff |z| < z*(mu),
   sinh(z*)/z* = mu, and loses them beyond.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import identities, together
from diffsmooth.theory.statements._weighted import EPS, WeightedPolicy, strengths, weighted_policies
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """push(x, log_x, mu) on a correct answer, x = q e^H; turn(mu): log x* where it turns.

    critical(K1, E): the relative strength at which H(q) stands still; two(sinh, z): the same for
    two answers.  cubic: at mu = 1 two answers drift apart at the rate cubic z^3 (A+ = C = 1).
    """

    push: Formula = lambda x, log_x, mu: x * (1 - mu * log_x)
    turn: Formula = lambda mu: (1 - mu) / mu
    critical: Formula = lambda k1, e: k1 / e
    two: Formula = lambda sinh, z: sinh / z
    cubic: Fraction = Fraction(1, 12)


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """The push and its slope; C5 in the new unit; two answers in closed form."""
    import sympy as sp

    x, mu, a, q_i = sp.symbols("x mu A q_i", positive=True)
    z = sp.Symbol("z", positive=True)
    log_q, h = sp.symbols("l H", real=True)
    steps: dict[str, Any] = {
        # A (log q_i + H) is the centred term; e^H from both sides.
        "push in x": sp.expand(
            q_i * (a - mu * a * (log_q + h)) * sp.exp(h)
            - a * claim.push(q_i * sp.exp(h), log_q + h, mu)
        ),
        "where it turns": sp.diff(claim.push(x, sp.log(x), mu), x).subs(sp.log(x), claim.turn(mu)),
        "its slope is one log": sp.diff(claim.push(x, sp.log(x), mu), x)
        - (1 - mu - mu * sp.log(x)),
    }
    # dH/dt = -sum v-weighted speeds: v_i = -q (log q + H), speed q (1 - mu (log q + H)).
    y, ell = sp.symbols("q l", real=True)
    law = Law("q", (y, ell))
    w = ell - law.mean(ell)
    rate = law.mean(-w * (y - mu * y * w))
    k1, e = law.covariance(ell, y), law.mean(y * w**2)
    steps["dH(q)/dt = mu E - K1"] = sp.expand(rate - (mu * e - k1))
    steps["critical"] = sp.cancel(claim.critical(k1, e) - k1 / e)
    # Two answers: q = e^(+-z/2)/(2 cosh(z/2)), log q_1 + H = q_2 z, log q_2 + H = -q_1 z.
    one, two = (sp.exp(s * z / 2) / (sp.exp(z / 2) + sp.exp(-z / 2)) for s in (1, -1))
    drift = one * (1 - mu * two * z) - two * (1 + mu * one * z)
    sinh = (sp.exp(z) - sp.exp(-z)) / 2
    steps["two answers rest"] = sp.simplify(drift.subs(mu, claim.two(sinh, z)))
    steps["drift falls with mu"] = sp.simplify(sp.diff(drift, mu) + 2 * one * two * z)
    steps["sinh z/z rises"] = sp.expand(
        sp.diff(sinh / z, z) * z**2 - (z * (sp.exp(z) + sp.exp(-z)) / 2 - sinh)
    )
    steps["and its numerator"] = sp.expand(
        sp.diff(z * (sp.exp(z) + sp.exp(-z)) / 2 - sinh, z) - z * sinh
    )
    series = sp.series(drift.subs(mu, 1), z, 0, 4).removeO()
    cubic = sp.Rational(claim.cubic.numerator, claim.cubic.denominator)
    steps["unit strength: cubic drift"] = sp.expand(series - cubic * z**3)
    return identities(steps, "any number of correct answers; two in closed form")


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Who gains: signs of the slope on either side of the turn, and of a vanished answer."""
    import z3

    from diffsmooth.theory.verify import smt

    mu, log_x, x, sinh, z = z3.Reals("mu log_x x sinh_z z")
    slope = 1 - mu - mu * log_x
    return together(
        lambda: smt.prove(
            [mu > 0],
            [
                (slope > 0) == (log_x < claim.turn(mu)),
                (slope < 0) == (log_x > claim.turn(mu)),
            ],
            "the push rises below x* and falls above",
        ),
        lambda: smt.prove(
            [mu > 0, x > 0],
            (claim.push(x, log_x, mu) > 0) == (log_x * mu < 1),
            "a vanished answer loses to every answer with log x < 1/mu",
        ),
        lambda: smt.prove(
            [z > 0, sinh > z], claim.two(sinh, z) > 1, "unit strength is too little for two answers"
        ),
    )


def check_certified(claim: Claim, budget: Budget) -> Outcome:
    """Two answers: below the threshold they part, above it they meet; a whole range of log-odds."""
    from flint import arb

    from diffsmooth.theory.verify import certified

    def drift(z: Any, factor: str) -> Any:
        """At mu = factor times the claimed threshold, over z."""
        up, down = (z / 2).exp(), (-z / 2).exp()
        one, two = up / (up + down), down / (up + down)
        mu = arb(factor) * claim.two((z.exp() - (-z).exp()) / 2, z)
        h = -(one * one.log() + two * two.log())

        def push(q: Any) -> Any:
            return claim.push(q * h.exp(), q.log() + h, mu) * (-h).exp()

        return (push(one) - push(two)) / z

    return together(
        lambda: certified.positive(
            lambda z: drift(z, "0.9"), {"z": ("1/10", 6)}, "9/10 of the threshold: they part"
        ),
        lambda: certified.positive(
            lambda z: -drift(z, "1.1"), {"z": ("1/10", 6)}, "11/10 of the threshold: they meet"
        ),
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The rules on exactly weighted groups with g = mu A+, and the library's critical strength."""
    from hypothesis import strategies as st

    from diffsmooth.theory.critical import critical_strength
    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.rules import DrGRPO, Smoothed, SmoothingTerm
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[WeightedPolicy, float]) -> tuple[float, float]:
        weighted, mu = instance
        pi, mask = weighted.probs, weighted.correct
        c = float(pi[mask].sum())
        q = pi[mask] / c
        w = np.log(q) - float(q @ np.log(q))
        rule = Smoothed(DrGRPO(), SmoothingTerm(mu * (1 - c), 0.0, centring="correct"))
        speed = weighted.gradient(rule(weighted.batch()))[mask]  # A+ = 1 - C
        scale = c * (1 - c) * np.exp(float(q @ np.log(q)))
        claimed = scale * claim.push(np.exp(w), w, mu)
        worst = float(np.abs(speed - claimed).max())
        bound = 64 * (weighted.rows.size + 8) * EPS * (1 + mu) * (1 + np.log(100))
        k1, e = float(q @ (q * w)), float(q @ (q * w * w))
        checks = [worst / bound]
        if e > 1e-9:
            policy = Policy.from_logits(np.log(pi), mask)
            found = float(critical_strength(policy)) / (1 - c)
            ratio = float(claim.critical(k1, e))
            checks.append(abs(found - ratio) / (1e4 * EPS * (1 + abs(ratio)) * (1 + 1 / e)))
            if len(q) == 2:
                z = abs(float(np.log(q[0] / q[1])))
                off = abs(ratio - float(claim.two(np.sinh(z), z)))
                checks.append(off / (1e4 * EPS * (1 + ratio) * (1 + 1 / e)))
        return -largest(*checks), 1.0

    return random.for_all(
        st.tuples(weighted_policies(), strengths()),
        margin,
        budget,
        "rules with g = mu A+, library critical strength (in units of the error bound)",
        show=lambda t: f"{t[0]}, mu = {t[1]}",
    )


def draw(axes: Axes) -> None:
    """The push against how likely an answer is, for three relative strengths."""
    log_x = np.linspace(-4, 2, 200)
    for mu, colour, dash in ((0.3, "#0072B2", "-"), (1.0, "#009E73", "-."), (2.0, "#D55E00", "--")):
        x = np.exp(log_x)
        axes.plot(log_x, CLAIM.push(x, log_x, mu), color=colour, ls=dash, label=f"mu = {mu:g}")
    axes.axhline(0.0, color="black", lw=0.8)
    axes.set_ylim(-4, 5)
    axes.set_xlabel(r"$\log q_i + H(q)$")
    axes.set_ylabel("push on the answer")
    axes.legend()


STATEMENT = Statement(
    id="C10",
    title="Smoothing in units of the advantage: what is compressed, what fades, and two answers",
    source="corrected",
    reference="theory.md C10; C5, C9",
    assumptions=(
        "centred smoothing with g = mu A+, A+ the advantage of a correct answer; g_n = 0",
        "exact on-policy softmax gradient; mu > 0",
    ),
    latex=(
        r"\dot\theta_i = C A_+ e^{-H}\,x_i\,(1-\mu\log x_i),\quad x_i=q_i e^{H(q)}:\qquad"
        r" \frac{dH(q)}{dt}\geq 0\ \ \mathrm{iff}\ \ \mu\geq\frac{K_1}{E}"
        "\n\n"
        r"Below $\log x^*=(1-\mu)/\mu$ the likelier of two answers gains, above it the rarer; an "
        r"answer near 0 loses to all with $\log x<1/\mu$.  Rest points have at most two levels."
        "\n\n"
        r"\mathrm{two\ answers,\ log\ odds\ } z:\ \ \mathrm{they\ meet\ iff}\ \ "
        r"\mu>\frac{\sinh z}{z};\qquad \mu=1:\ \dot z\approx\frac{z^3}{12}\,C A_+"
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="any number of answers; two in closed form"),
        Method("smt", check_smt, note="any number of answers"),
        Method("certified", check_certified, note="two answers, log-odds in [1/10, 6]"),
        Method("random", check_random, note="rules and library, 1 to 4 correct answers"),
    ),
    mutants=(
        Mutant(
            "smoothing pays the log itself",
            replace(CLAIM, push=lambda x, log_x, mu: x * (1 + mu * log_x)),
            by=("symbolic", "smt", "certified", "random"),
        ),
        Mutant(
            "the push turns at log x = 1/mu",
            replace(CLAIM, turn=lambda mu: 1 / mu),
            by=("symbolic", "smt"),
        ),
        Mutant(
            "unit strength suffices for two answers",
            replace(CLAIM, two=lambda sinh, z: z / sinh),
            by=("symbolic", "smt", "certified", "random"),
        ),
        Mutant(
            "two answers stand still at mu = 1", replace(CLAIM, cubic=Fraction(0)), by="symbolic"
        ),
        Mutant(
            "the critical relative strength is E/K1",
            replace(CLAIM, critical=lambda k1, e: e / k1),
            by=("symbolic", "random"),
        ),
    ),
    limits=(
        "Rates at one policy, exact gradients, logits of their own.  In a group the mean over the "
        "correct answers stands for the mean under q, and A+ is the group's."
    ),
    correction=(
        "The page says that mu = 1 is the critical strength at uniformity.  In the limit it is; "
        "but for two answers the threshold sinh(z)/z exceeds 1 everywhere else, so that unit "
        "strength lets them collapse, slowly (z' ~ z^3/12 instead of z/2)."
    ),
    figure=draw,
)
