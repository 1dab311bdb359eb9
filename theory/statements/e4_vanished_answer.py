r"""E4. A vanished answer: smoothing needs a time of order 1/eps, replay one of order log 1/eps.

Two correct answers, the rarer at odds e^-y to the other, any wrong answers, C their joint mass.

Smoothing.  theta_1' - theta_2' = R (q_1 - q_2) - 2 g C q_1 q_2 log(q_1/q_2), R >= 0: the reward's
part, and the across part of literal smoothing (E2), only push the rarer answer down.  Hence
y' >= -2 g q_1 q_2 y >= -2 g y e^-y, as q_1 q_2 = e^-y/(1+e^-y)^2 <= e^-y, and going from y_0 to y_1
takes at least (e^y_0 - e^y_1)/(2 g y_0).  At C = 1 it takes at most 2 (e^y_0 - e^y_1)/(g y_1), as
q_1 q_2 >= e^-y/4.

Replay with both in the bank, at C = 1: y' = -lam (q_2 - q_1) = -lam tanh(y/2), so sinh(y/2) falls
like e^(-lam t/2): the time is (2/lam) log(sinh(y_0/2)/sinh(y_1/2)).

A sampled run sees the answer with chance at most N pi in N draws (Bernoulli), so a rule that reads
drawn answers only has nothing to work with before about 1/pi draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsmooth.theory.statements._steps import identities, together
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """closing(q_1, q_2, z): speed of log(q_1/q_2) from centred smoothing of strength 1, C = 1.

    least(e^y_0, e^y_1, y_0), most(e^y_0, e^y_1, y_1): bounds on the time, times g.
    replay(q_1, q_2): speed of log(q_1/q_2) under replay of strength 1; recall(sinh_0/sinh_1): time
    of replay times lam is 2 log of it.  unseen(N, pi): lower bound on the chance of no draw in N.
    """

    closing: Formula = lambda q_1, q_2, z: -2 * q_1 * q_2 * z
    least: Formula = lambda e_0, e_1, y_0: (e_0 - e_1) / (2 * y_0)
    most: Formula = lambda e_0, e_1, y_1: 2 * (e_0 - e_1) / y_1
    replay: Formula = lambda q_1, q_2: q_2 - q_1
    recall: Any = 2
    unseen: Formula = lambda n, pi: 1 - n * pi


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """Speeds of the log-odds, and the orbit of replay."""
    import sympy as sp

    z, c, y = sp.symbols("z C y", positive=True)
    one, two = (sp.exp(s * z / 2) / (sp.exp(z / 2) + sp.exp(-z / 2)) for s in (1, -1))
    # log q_1 + H = q_2 z and log q_2 + H = -q_1 z, as q_1 + q_2 = 1.
    smoothing = -one * (two * z) + two * (-one * z)
    # Reward: pi (1 - C) on S; across part of the literal form: a multiple of it (E2).
    q_1, q_2 = sp.symbols("q_1 q_2", positive=True)
    reward = c * q_1 * (1 - c) - c * q_2 * (1 - c)
    bank = (sp.Rational(1, 2) - q_1) - (sp.Rational(1, 2) - q_2)
    rate = claim.replay(sp.exp(y) / (1 + sp.exp(y)), 1 / (1 + sp.exp(y)))  # of y, q_1 the larger
    sinh = (sp.exp(y / 2) - sp.exp(-y / 2)) / 2
    return identities(
        {
            "log q_1 + H": sp.simplify(
                sp.expand_log(sp.log(one) - (one * sp.log(one) + two * sp.log(two))) - two * z
            ),
            "smoothing closes the gap": sp.simplify(smoothing - claim.closing(one, two, z)),
            "the reward opens it": sp.expand(reward - c * (1 - c) * (q_1 - q_2)),
            "replay": sp.expand(bank - claim.replay(q_1, q_2)),
            "d log sinh(y/2)/dt = -lam/claim": sp.simplify(
                sp.diff(sp.log(sinh), y) * rate + sp.Rational(1) / claim.recall
            ),
        },
        "two correct answers, any number of wrong ones",
    )


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """The bounds under the integral, and the induction of Bernoulli's inequality."""
    import z3

    from diffsmooth.theory.verify import smt

    s, y, y_0, y_1, e, pi, n, power = z3.Reals("e^-y y y_0 y_1 e^y pi N (1-pi)^N")
    q_1, q_2 = 1 / (1 + s), s / (1 + s)
    zero = z3.RealVal(0)
    return together(
        lambda: smt.prove(
            [s > 0, s <= 1, y > 0],
            [
                claim.closing(q_1, q_2, y) >= -2 * s * y,
                claim.closing(q_1, q_2, y) <= -s * y / 2,
            ],
            "between half of y e^-y and twice it",
        ),
        lambda: smt.prove(
            # the integrand e^y/(2 y) is at least d/dy of the bound, at most d/dy of the other
            [e > 0, y_1 > 0, y_1 <= y, y <= y_0],
            [
                e / (2 * y) >= claim.least(e, zero, y_0),
                2 * e / y <= claim.most(e, zero, y_1),
                claim.least(e, e, y_0) == 0,
                claim.most(e, e, y_1) == 0,
            ],
            "the bounds on the time, under the integral",
        ),
        lambda: smt.prove(
            [pi >= 0, pi <= 1, n >= 0, power >= claim.unseen(n, pi)],
            power * (1 - pi) >= claim.unseen(n + 1, pi),
            "no draw in N: the induction step",
        ),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """The chance of no draw, and speeds on rational odds."""
    from diffsmooth.theory.verify import exact

    def chance(n: int, pi: Fraction) -> Fraction:
        drawn = sum(
            (comb(n, k) * pi**k * (1 - pi) ** (n - k) for k in range(1, n + 1)), Fraction(0)
        )
        return Fraction((1 - drawn) - claim.unseen(n, pi))

    def speeds(q: Fraction) -> Fraction:
        return Fraction((Fraction(1, 2) - q) - (Fraction(1, 2) - (1 - q)) - claim.replay(q, 1 - q))

    return together(
        lambda: exact.inequality(
            chance,
            [{"n": n, "pi": Fraction(1, d)} for n in (1, 2, 5, 20) for d in (3, 10, 1000)],
            "no draw in N",
            strict=False,
        ),
        lambda: exact.identity(
            speeds, [{"q": Fraction(k, 12)} for k in (1, 3, 6, 11)], "replay's speed"
        ),
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's flow has not brought the answer back before the bound, and has soon after."""
    from hypothesis import strategies as st

    from diffsmooth.theory.flows import smoothing_flow
    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[int, int, bool, int]) -> tuple[float, float]:
        tens, halves, centred, wrong = instance
        y_0, g = tens / 10, halves / 2
        y_1 = y_0 / 2
        logits = np.array([0.0, -y_0, *([-float(wrong)] * 2)])
        policy = Policy.from_logits(logits, np.array([True, True, False, False]))
        time = float(claim.least(np.exp(y_0), np.exp(y_1), y_0)) / g
        late = smoothing_flow(policy, time, g, 0.0, centred=centred)
        log_q = np.asarray(late.log_q)[:2]
        return float(log_q[0] - log_q[1]) - y_1, 1e-6

    return random.for_all(
        st.tuples(st.integers(10, 50), st.integers(1, 6), st.booleans(), st.integers(0, 3)),
        margin,
        budget,
        "not back before the bound",
        show=lambda t: f"y_0 = {t[0] / 10}, g = {t[1] / 2}, {'centred' if t[2] else 'literal'}",
        examples=200 if budget.deep else 30,
    )


def check_certified(claim: Claim, budget: Budget) -> Outcome:
    """Times side by side for g = lam = 1, from eps to a share of a quarter: eps 1e-3 and 1e-6."""
    from flint import arb

    from diffsmooth.theory.verify import certified

    def odds(share: str) -> Any:
        return ((1 - arb(share)) / arb(share)).log()

    def times(eps: str) -> tuple[Any, Any]:
        y_0, y_1 = odds(eps), odds("0.25")
        smoothing = claim.least(y_0.exp(), y_1.exp(), y_0)
        half = [(y / 2).exp() - (-y / 2).exp() for y in (y_0, y_1)]
        return smoothing, claim.recall * (half[0] / half[1]).log()

    (slow, fast), (slower, faster) = times("0.001"), times("0.000001")
    return certified.separated(
        {
            "1e-3: smoothing takes 72 at least": slow - 72,
            "1e-3: replay takes 7 at most": 7 - fast,
            "1e-6: smoothing takes 36,000 at least": slower - 36000,
            "1e-6: replay takes 14 at most": 14 - faster,
        },
        "smoothing's least time against replay's",
    )


def draw(axes: Axes) -> None:
    """Time until the answer has a quarter of the correct mass, g = lam = 1."""
    eps = np.geomspace(1e-6, 0.1, 100)
    y_0, y_1 = np.log((1 - eps) / eps), np.log(3.0)
    axes.fill_between(
        eps,
        CLAIM.least(np.exp(y_0), 3.0, y_0),
        CLAIM.most(np.exp(y_0), 3.0, y_1),
        color="#0072B2",
        alpha=0.3,
        label="smoothing: between the bounds",
    )
    replay = CLAIM.recall * np.log(np.sinh(y_0 / 2) / np.sinh(y_1 / 2))
    axes.plot(eps, replay, color="#D55E00", ls="--", label="replay: exact")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("share of the vanished answer")
    axes.set_ylabel("time to a share of 1/4")
    axes.legend()


STATEMENT = Statement(
    id="E4",
    title="A vanished answer: smoothing keeps, it hardly revives; replay does",
    source="new",
    reference="theory.md E4; the constants and replay's exact time are added here",
    assumptions=(
        "two correct answers, the rarer at odds e^-y to the other; any number of wrong answers",
        "exact softmax flow: smoothing g > 0 (centred or literal) over any reward part that pushes "
        "in proportion to probability; replay lam > 0 with both answers in the bank, C = 1",
    ),
    latex=(
        r"\mathrm{smoothing}:\quad \frac{e^{y_0}-e^{y_1}}{2\,g\,y_0}\leq t\leq"
        r" \frac{2\,(e^{y_0}-e^{y_1})}{g\,y_1}\ \ (\mathrm{upper:}\ C=1)"
        "\n\n"
        r"\mathrm{replay}:\quad t=\frac{2}{\lambda}\log\frac{\sinh(y_0/2)}{\sinh(y_1/2)}"
        "\n\n"
        r"From a share $\epsilon$ smoothing needs a time of order $1/\epsilon$ up to a logarithm, "
        r"replay one of order $\log 1/\epsilon$.  In $N$ draws a sampled run sees the answer with "
        r"chance at most $N\pi$."
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="two correct answers, any wrong ones"),
        Method("smt", check_smt, note="all odds; any number of draws (induction)"),
        Method("exact", check_exact, note="12 pairs (N, pi), 4 odds"),
        Method("certified", check_certified, note="shares of 1e-3 and 1e-6"),
        Method("random", check_random, note="library flow, y_0 in [1, 5], centred and literal"),
    ),
    mutants=(
        Mutant(
            "smoothing pushes a rare answer as hard as any",
            replace(CLAIM, closing=lambda q_1, q_2, z: -2 * z),
            by=("symbolic", "smt"),
        ),
        Mutant(
            "smoothing needs ten times as long",
            replace(CLAIM, least=lambda e_0, e_1, y_0: 10 * (e_0 - e_1) / (2 * y_0)),
            by=("smt", "random"),
        ),
        Mutant(
            "smoothing revives in logarithmic time",
            replace(CLAIM, least=lambda e_0, e_1, y_0: y_0),
            by=("smt", "certified"),
        ),
        Mutant(
            "replay pushes a rare answer down",
            replace(CLAIM, replay=lambda q_1, q_2: q_1 - q_2),
            by=("symbolic", "exact"),
        ),
        Mutant("replay takes half the time", replace(CLAIM, recall=1), by="symbolic"),
        Mutant(
            "no draw is likelier than that",
            replace(CLAIM, unseen=lambda n, pi: 1 - n * pi / 2),
            by=("smt", "exact"),
        ),
    ),
    limits=(
        "Two correct answers.  With more the leaders level among themselves first, at a rate free "
        "of eps, and the vanished answer then waits as here (seen in integrations, not proved)."
    ),
    figure=draw,
)
