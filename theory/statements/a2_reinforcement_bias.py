r"""A2. Reinforcement bias: what is reinforced gains in proportion to its probability.

Proof of (b), for any number of trajectories.  With weights w = exp(theta) and
C = W_S / (W_S + W_F), one differentiation gives dC/dtheta_i = pi_i (1 - C) on S and -pi_i C on F;
the other trajectories enter only through the sums of their weights.  A step adds eta times this to
theta, and log-odds are differences of theta.

Sharpening.  On S the step multiplies i by exp(eta (1-C) pi_i), more the likelier i is, so the new q
majorises the old one for *every* eta > 0 (``top_mass_grows``).  On F the multipliers are antitone;
the old f majorises the new one as long as the order survives, and it does if eta <= 2/(C(1-C)),
in particular eta <= 8: log x - log y >= 2 (x - y)/(x + y) for x >= y, and x + y <= 1 - C.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._softmax import Lumped, bottom_mass_grows, top_mass_grows
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS, LogitBase, logit_bases
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest, least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """Formulas that Fractions, floats, sympy and z3 can all evaluate.

    gain(b, e, mass)
        What a reinforced trajectory of base probability b gains when the reinforced set has
        the given mass and every reinforced trajectory is multiplied by e = exp(1/beta).
    correct(eta, c, x, y), incorrect(eta, c, x, y)
        Change of the log-odds of two trajectories with probabilities x and y in one step.
    largest_step(c)
        Up to this step size the incorrect part flattens.
    """

    gain: Formula = lambda b, e, mass: b * (e / (1 + (e - 1) * mass) - 1)
    correct: Formula = lambda eta, c, x, y: eta * (1 - c) * (x - y)
    incorrect: Formula = lambda eta, c, x, y: -eta * c * (x - y)
    largest_step: Formula = lambda c: 2 / (c * (1 - c))


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """Differentiate C in the logits; the other trajectories are two lumps of weight."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    eta, b, e, mass = sp.symbols("eta b e mass", positive=True)
    steps: dict[str, Any] = {}
    symbols: list[Any] = [eta, b, e, mass]
    for correct, formula in ((True, claim.correct), (False, claim.incorrect)):
        pair = Lumped.pair(correct)
        c = pair.correctness
        change = eta * (pair.slope(c, pair.w_i) - pair.slope(c, pair.w_j))
        name = "log-odds on S" if correct else "log-odds on F"
        steps[name] = sp.cancel(change - formula(eta, c, pair.prob(pair.w_i), pair.prob(pair.w_j)))
        symbols += pair.symbols
    # log z >= 2 (z - 1)/(z + 1) for z >= 1: equal at 1, and the difference has this slope >= 0.
    z = sp.Symbol("z", positive=True)
    slope = sp.diff(sp.log(z) - 2 * (z - 1) / (z + 1), z)
    steps["log-mean inequality"] = sp.cancel(slope - (z - 1) ** 2 / (z * (z + 1) ** 2))
    symbols.append(z)
    tilted = b * e / (mass * e + (1 - mass))
    steps["gain"] = sp.cancel(tilted - b - claim.gain(b, e, mass))
    return symbolic.zero(steps, list(dict.fromkeys(symbols)), "one step and the tilt")


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Signs, by lumping, and the two majorisation lemmas; every number of trajectories."""
    import z3

    from diffsmooth.theory.verify import smt

    x, y, c, eta, e, mass, odds = z3.Reals("x y C eta E mass odds")
    order = [y > 0, x > y, c > 0, c < 1, eta > 0]
    return together(
        lambda: smt.prove(
            [*order, x + y <= c], claim.correct(eta, c, x, y) > 0, "on S the likelier gains"
        ),
        lambda: smt.prove(
            [*order, x + y <= 1 - c], claim.incorrect(eta, c, x, y) < 0, "on F it loses"
        ),
        lambda: smt.prove(
            # odds stands for log x - log y: the log-mean inequality of check_symbolic.
            [*order, x + y <= 1 - c, eta <= claim.largest_step(c), odds * (x + y) >= 2 * (x - y)],
            odds + claim.incorrect(eta, c, x, y) >= 0,
            "on F the order survives a step up to the largest",
        ),
        lambda: smt.prove(
            [y > 0, x > y, x + y <= mass, mass < 1, e > 1],
            [
                claim.gain(x, e, mass) > claim.gain(y, e, mass),
                claim.gain(y, e, mass) > 0,
                claim.gain(x, e, mass) * y == claim.gain(y, e, mass) * x,
            ],
            "gains are positive and proportional to b",
        ),
        top_mass_grows,
        bottom_mass_grows,
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """The expectation over one sampled answer, r grad log pi, on rational policies."""
    from diffsmooth.theory.verify import exact

    def change(weights: tuple[int, ...], successes: int) -> list[Fraction]:
        total = sum(weights)
        pi = [Fraction(w, total) for w in weights]
        c = sum(pi[:successes], Fraction(0))
        eta = Fraction(3, 2)
        # E[r (e_y - pi)]: the sampled answer y is correct with probability C.
        step = [
            eta * sum((pi[y] * (int(y == k) - pi[k]) for y in range(successes)), Fraction(0))
            for k in range(len(pi))
        ]
        out = []
        for i in range(len(pi)):
            for j in range(len(pi)):
                if (i < successes) == (j < successes):
                    formula = claim.correct if i < successes else claim.incorrect
                    out.append(step[i] - step[j] - formula(eta, c, pi[i], pi[j]))
        return out

    instances = [
        {"weights": w, "successes": s}
        for w in ((1, 1), (2, 1, 1), (5, 2, 2, 1), (4, 3, 2, 1, 1, 7), (1, 9, 9, 1, 5, 5, 2))
        for s in range(1, len(w))
    ]
    return exact.identity(change, instances, "expected sampled step")


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's step, gradient and tilted policy against the formulas."""
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory.flows import softmax_pg_step
    from diffsmooth.theory.gradients import expected_gradient
    from diffsmooth.theory.optima import vanilla
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[LogitBase, float, float]) -> tuple[float, float]:
        base, eta, beta = instance
        logits, mask, policy = base.logits, base.mask, base.policy()
        pi = np.exp(logits - np.logaddexp.reduce(logits))
        c = float(pi[mask].sum())
        gradient = np.asarray(expected_gradient(policy))
        moved = np.asarray(softmax_pg_step(logits, mask, eta)) - logits
        expected = np.where(
            mask[:, None],
            claim.correct(eta, c, pi[:, None], pi[None, :]),
            claim.incorrect(eta, c, pi[:, None], pi[None, :]),
        )
        same = mask[:, None] == mask[None, :]
        worst = largest(
            *(
                np.abs(step[:, None] - step[None, :] - expected)[same]
                for step in (moved, eta * gradient)
            )
        )
        e = float(np.exp(1 / beta))
        gained = np.exp(np.asarray(vanilla(policy, beta).log_probs)) - pi
        # The reinforced set is S; e * b is at most e, and so is the error's scale.
        tilt = float(np.abs(gained - claim.gain(pi, e, c))[mask].max())
        # A probability has relative error (2|logits| + K + 8) eps; the step adds it to a logit.
        delta = (2 * float(np.abs(logits).max()) + logits.size + 8) * EPS
        magnitude = float(np.abs(logits).max()) + 4 * eta
        bound = 8 * (eta * delta + magnitude * EPS)
        tilt_bound = 16 * (delta + (1 + 1 / beta) * EPS)
        # With the largest step no two incorrect trajectories change places.
        longest = least(claim.largest_step(c), 100.0)
        after = np.asarray(softmax_pg_step(logits, mask, longest))[~mask]
        order = np.argsort(logits[~mask])
        crossing = float(np.diff(after[order]).min()) if order.size > 1 else 0.0
        room = 8 * (longest * delta + (magnitude + longest) * EPS)
        return least(-worst / bound, -tilt / tilt_bound, crossing / room), 1.0

    return random.for_all(
        st.tuples(logit_bases(), st.floats(0.01, 10.0), st.floats(0.2, 4.0)),
        margin,
        budget,
        "library step, gradient and tilt (in units of the error bound)",
        show=lambda t: f"{t[0]}, eta = {t[1]:.4g}, beta = {t[2]:.4g}",
    )


def draw(axes: Axes) -> None:
    """Log-odds of a pair against its share of the part, before and after twenty steps."""
    import numpy as np

    logits = np.array([1.0, 0.5, 0.0, 1.0, 0.5, 0.0])
    mask = np.arange(6) < 3
    rows = [logits]
    from diffsmooth.theory.flows import softmax_pg_step

    for _ in range(40):
        rows.append(np.asarray(softmax_pg_step(rows[-1], mask, 1.0)))
    path = np.array(rows)
    steps = np.arange(len(rows))
    axes.plot(steps, path[:, 0] - path[:, 2], color="#0072B2", label="likeliest over rarest, S")
    axes.plot(
        steps, path[:, 3] - path[:, 5], color="#D55E00", ls="--", label="likeliest over rarest, F"
    )
    axes.set_xlabel("policy-gradient step")
    axes.set_ylabel("log-odds")
    axes.legend()


STATEMENT = Statement(
    id="A2",
    title="Reinforcement bias: gains are proportional to probability",
    source="corrected",
    reference="arXiv 2511.19942; theory.md A2; the bound on the step size is new",
    assumptions=(
        "finite set of trajectories, base policy b > 0, S and F non-empty",
        "(a) every trajectory of a reinforced set of mass R < 1 is multiplied by exp(1/beta)",
        "(b) softmax logits, one step of size eta > 0 along the exact policy gradient, reward 1 "
        "on S and 0 on F",
        "the flattening of the incorrect part needs eta <= 2/(C(1-C)), true whenever eta <= 8",
    ),
    latex=(
        r"\mathrm{(a)}\quad \pi^\prime_i - b_i = b_i\left(\frac{e^{1/\beta}}{Z} - 1\right),"
        r"\quad Z = 1 + (e^{1/\beta}-1)\,R"
        "\n\n"
        r"\mathrm{(b)}\quad \Delta\log\frac{\pi_i}{\pi_j} = \eta\,(1-C)\,(\pi_i-\pi_j)"
        r"\quad (i,j\in S), \qquad -\eta\,C\,(\pi_i-\pi_j)\quad (i,j\in F)"
        "\n\n"
        r"$q^\prime$ majorises $q$ for every $\eta>0$; $f$ majorises $f^\prime$ if "
        r"$\eta\,C(1-C)\leq 2$."
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic",
            check_symbolic,
            note="any number of trajectories (others lumped), all weights",
        ),
        Method("smt", check_smt, note="any number of trajectories, all eta > 0, exp(1/beta) > 1"),
        Method(
            "exact", check_exact, note="17 rational policies with 2 to 7 trajectories, every pair"
        ),
        Method("random", check_random, note="library, 2 to 12 trajectories, eta in [.01, 10]"),
    ),
    mutants=(
        Mutant(
            "the correct part flattens",
            replace(CLAIM, correct=lambda eta, c, x, y: -eta * (1 - c) * (x - y)),
            by=("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "the incorrect part moves by 1 - C instead of C",
            replace(CLAIM, incorrect=lambda eta, c, x, y: -eta * (1 - c) * (x - y)),
            by=("symbolic", "exact", "random"),
        ),
        Mutant(
            "the gain ignores the normaliser",
            replace(CLAIM, gain=lambda b, e, mass: b * (e - 1)),
            by=("symbolic", "random"),
        ),
        Mutant(
            "a step half as large again still keeps the order on F",
            replace(CLAIM, largest_step=lambda c: 3 / (c * (1 - c))),
            by=("smt", "random"),
        ),
    ),
    limits=(
        "An expected step.  A sampled step has this mean and a variance that alone makes q drift "
        "(N2).  The bound 2/(C(1-C)) is sharp: beyond it two incorrect trajectories that hold all "
        "of F and "
        "are nearly equal change places."
    ),
    correction=(
        "theory.md lets the incorrect part flatten at every step size.  It does up to "
        "eta = 2/(C(1-C)) only.  Counterexample: pi = (.5 | .3, .2) with the first correct and "
        "eta = 20: the log-odds of the two incorrect trajectories go from +.405 to -.595, a less "
        "even law in the other order.  The sharpening of the correct part needs no such bound."
    ),
    figure=draw,
)
