r"""E2. Literal smoothing is two remedies at one strength.

Proof, for any number of trajectories.  An on-policy advantage a(y) has the exact softmax gradient
pi_i (a_i - E_pi a).  With s = -log pi on S:
* centred, a = -(log q - E_q log q) on S and 0 on F: E_pi a = 0, so the gradient is
  -pi_i (log q_i + H) on S and 0 on F, which is C grad H(q);
* literal, a = -log q - log C on S: E_pi a = C (H - log C), and the difference from the centred
  gradient is (H - log C) pi_i (1 - C) on S and -(H - log C) pi_i C on F: (H - log C) grad C.
So literal = C grad H(q) + (H(q) - log C) grad C.  With one correct answer H = 0 for ever: the
literal form maximises C (1 - log C), a concave utility, and the centred form is nothing at all.
Also <grad C, C grad H(q)> = -(1-C) C^2 Cov_q(q, log q) <= 0: centring keeps the *advantage*
away from C; along the softmax gradient it still costs correctness unless q is uniform.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._logs import Logs, entropy, log, total
from diffsmooth.theory.statements._softmax import Lumped
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS
from diffsmooth.theory.statements._weighted import WeightedPolicy, strengths, weighted_policies
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """The literal gradient is ``within`` C grad H(q) + ``across(H, log C)`` grad C; the centred one
    is ``centred_within`` C grad H(q).

    utility(C, log C) is what the literal term maximises on prompts with one solution;
    cost(C, cov) is <grad C, centred gradient>, cov = Cov_q(q, log q).
    """

    within: Any = 1
    across: Formula = lambda H, log_c: H - log_c
    centred_within: Any = 1
    utility: Formula = lambda C, log_c: C * (1 - log_c)
    cost: Formula = lambda C, cov: -(1 - C) * C**2 * cov


CLAIM = Claim()


def _polynomial(expr: Any) -> Any:
    """``expr`` times its (non-zero) denominator, expanded: 0 iff ``expr`` is."""
    import sympy as sp

    return sp.expand(sp.numer(sp.together(expr)))


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """grad H(q) and grad C by differentiation in the logit of one trajectory, the rest lumped."""
    import sympy as sp

    from diffsmooth.theory.statements._moments import Law
    from diffsmooth.theory.verify import symbolic

    steps: dict[str, Any] = {}
    # log_w and log_part are the logarithms of i's weight and of S's; big_l is the sum of w log w
    # over the rest of S, a constant.  d(log w)/dtheta = 1 and d(log_part)/dtheta = w/part.
    log_w, log_part, big_l, log_c = sp.symbols("log_w log_part L log_C", real=True)
    symbols: list[Any] = [log_w, log_part, big_l, log_c]
    for correct in (True, False):
        pair = Lumped.pair(correct)
        w, c = pair.w_i, pair.correctness
        part = sp.cancel(c * pair.mass)  # the weight of S
        inside = w * log_w + big_l if correct else big_l
        h = log_part - inside / part
        if correct:
            slope_h = w / part - w * sp.diff(inside / part, w) - w / part
            log_q = log_w - log_part
            literal = pair.prob(w) * (-(log_q + log_c) - c * (h - log_c))
            centred = pair.prob(w) * -(log_q + h)
        else:
            slope_h = -w * sp.diff(inside / part, w)
            literal = pair.prob(w) * (-c * (h - log_c))
            centred = sp.Integer(0)
        slope_c = pair.slope(c, w)
        name = "S" if correct else "F"
        steps[f"literal on {name}"] = _polynomial(
            literal - claim.within * c * slope_h - claim.across(h, log_c) * slope_c
        )
        steps[f"centred on {name}"] = _polynomial(centred - claim.centred_within * c * slope_h)
        symbols += [s for s in pair.symbols if s not in symbols]
    big_c, x, log_x = sp.symbols("C x l", positive=True)
    # One solution: H = 0, and the literal gradient is u'(C) grad C.
    steps["utility"] = sp.expand(
        sp.diff(claim.utility(big_c, sp.log(big_c)), big_c) - claim.across(0, sp.log(big_c))
    )
    # <grad C, C grad H>: sum over S of pi (1-C) times -pi (log q + H), pi = C q.
    q = Law("q", (x, log_x))
    inner = -q.mean(big_c * x * (1 - big_c) * big_c * (log_x - q.mean(log_x)))
    steps["cost of the centred form"] = sp.expand(inner - claim.cost(big_c, q.covariance(x, log_x)))
    return symbolic.zero(
        steps, [*symbols, big_c, *(q.mean(e) for e in (x, log_x, x * log_x))], "gradients"
    )


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Signs, with H >= 0 and log C < 0 for any number of trajectories."""
    import z3

    from diffsmooth.theory.verify import smt

    h, log_c, c, later, log_later, cov = z3.Reals("H log_C C C2 log_C2 cov")
    return together(
        lambda: smt.prove(
            [h >= 0, log_c < 0],
            [claim.across(h, log_c) > 0, claim.across(0, log_c) == -log_c],
            "the literal form always pushes correctness; with one solution by -log C",
        ),
        lambda: smt.prove(
            [c > 0, later > c, later < 1, log_c < log_later, log_later < 0],
            claim.across(0, log_later) < claim.across(0, log_c),
            "its marginal utility falls with C: concave",
        ),
        lambda: smt.prove(
            [c > 0, c < 1, cov > 0],
            [claim.cost(c, cov) < 0, claim.cost(c, z3.RealVal(0)) == 0],
            "the centred form costs correctness unless q is uniform",
        ),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Rational policies and formal logarithms: every coordinate of both gradients."""
    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def residual(right: list[int], wrong: list[int]) -> list[Fraction]:
        mass = sum(right) + sum(wrong)
        pi = [Fraction(w, mass) for w in (*right, *wrong)]
        n = len(right)
        c = sum(pi[:n], Fraction(0))
        q = [x / c for x in pi[:n]]
        h = entropy(q)
        # The definitions: pi_i (a_i - E a).
        mean = total(log(x) * -x for x in pi[:n])
        literal = [(log(x) * -1 - mean) * x if i < n else mean * -x for i, x in enumerate(pi)]
        shift = total(log(x) * (-x / c) for x in pi[:n])
        a = [log(x) * -1 - shift for x in pi[:n]]
        mean = total(v * x for v, x in zip(a, pi[:n], strict=True))
        centred = [(a[i] - mean) * x if i < n else mean * -x for i, x in enumerate(pi)]
        # The claim: C grad H, with dH/dtheta_i = -q_i (log q_i + H) on S, and grad C.
        slope_h = [(log(x) + h) * (-x * c) for x in q] + [Logs()] * len(wrong)
        slope_c = [x * ((i < n) - c) for i, x in enumerate(pi)]
        across = claim.across(h, log(c))
        out = [
            (v - s * claim.within - across * g).size()
            for v, s, g in zip(literal, slope_h, slope_c, strict=True)
        ]
        out += [
            (v - s * claim.centred_within).size() for v, s in zip(centred, slope_h, strict=True)
        ]
        cov = total(log(x) * (x * (x - sum((y * y for y in q), Fraction(0)))) for x in q)
        inner = total(v * g for v, g in zip(centred, slope_c, strict=True))
        out.append((inner - claim.cost(c, cov)).size())
        return out

    instances = [
        {
            "right": [rng.randint(1, 9) for _ in range(m)],
            "wrong": [rng.randint(1, 9) for _ in range(n)],
        }
        for m, n in ((1, 1), (1, 3), (2, 1), (2, 2), (3, 2), (4, 1), (6, 4))
        for _ in range(2)
    ]
    return exact.identity(residual, instances, "both decompositions")


def _natural_speeds(claim: Claim, policy: Any, g: float) -> float:
    """Library flows over a short time h under the natural gradient, in units of the error bound.

    There logit C grows at speed 1 + g across(H(q), log C) (literal) or 1 (centred); smoothing the
    incorrect part instead adds g across(H(f), log(1-C)).  Over h the speed changes by at most
    h g (g l^2 + l s) with l the largest |log pi| and s the speed.
    """
    import numpy as np

    from diffsmooth.theory.diversity import shannon
    from diffsmooth.theory.flows import natural_gradient_flow, smoothing_flow

    h = 1e-4
    start = float(policy.logit_C)
    top = 1 + float(np.abs(np.asarray(policy.log_probs)).max())
    literal = 1 + g * float(claim.across(float(shannon(policy.log_q)), float(policy.log_C)))
    wrong = 1 + g * float(claim.across(float(shannon(policy.log_f)), float(policy.log_1mC)))
    worst = 0.0
    for g_p, g_n, centred, speed in (
        (g, 0.0, False, literal),
        (g, 0.0, True, 1.0),
        (0.0, g, False, wrong),
    ):
        bound = h * h * g * top * (g * top + 1 + abs(speed)) + 1e-10 * (1 + abs(start))
        for moved in (
            natural_gradient_flow(policy, g_p, g_n, h, centred=centred),
            smoothing_flow(policy, h, g_p, g_n, centred=centred, geometry="natural"),
        ):
            worst = largest(worst, abs(float(moved.logit_C) - start - h * speed) / bound)
    return worst


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The rules on exactly weighted groups and the library's gradients."""
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory.gradients import expected_gradient, smoothing_gradient
    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.rules import SmoothingTerm
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[WeightedPolicy, float]) -> tuple[float, float]:
        weighted, g = instance
        pi, mask = weighted.probs, weighted.correct
        policy = Policy.from_logits(np.log(pi), mask)
        batch = weighted.batch()
        c = float(pi[mask].sum())
        q = np.where(mask, pi / c, 1.0)
        h = float(-(q * np.log(q))[mask].sum())
        slope_h = np.where(mask, -q * (np.log(q) + h), 0.0)
        slope_c = pi * (mask - c)
        literal = g * (claim.within * c * slope_h + claim.across(h, np.log(c)) * slope_c)
        centred = g * claim.centred_within * c * slope_h
        base = np.asarray(expected_gradient(policy))
        pairs = (
            (weighted.gradient(SmoothingTerm(g)(batch)), literal),
            (weighted.gradient(SmoothingTerm(g, centring="correct")(batch)), centred),
            (np.asarray(smoothing_gradient(policy, g, 0.0, centred=False)) - base, literal),
            (np.asarray(smoothing_gradient(policy, g, 0.0, centred=True)) - base, centred),
        )
        worst = largest(*(np.abs(found - claimed) for found, claimed in pairs))
        # Sums of at most B products pi a with |a| <= 1 + g |log pi|.
        size = (1 + g) * (1 + float(np.abs(np.log(pi)).max()))
        cov = float((q * np.log(q) * (q - (q**2)[mask].sum()))[mask].sum())
        inner = float(pairs[1][0] @ slope_c) - g * float(claim.cost(c, cov))
        bound = 16 * (weighted.rows.size + 8) * EPS * size
        speeds = _natural_speeds(claim, policy, g)
        return -largest(worst / bound, abs(inner) / bound, speeds), 1.0

    return random.for_all(
        st.tuples(weighted_policies(), strengths()),
        margin,
        budget,
        "rules, library gradients and flows (in units of the error bound)",
        show=lambda t: f"{t[0]}, g = {t[1]}",
        examples=800 if budget.deep else 50,
    )


def draw(axes: Axes) -> None:
    """Marginal utility across prompts of the literal term, one solution and ten equal ones."""
    import numpy as np

    c = np.linspace(0.005, 1.0, 200)
    for solutions, colour, dash in (
        (1, "#0072B2", "-"),
        (3, "#009E73", "-."),
        (10, "#D55E00", "--"),
    ):
        axes.plot(
            c,
            np.log(solutions) - np.log(c),
            color=colour,
            ls=dash,
            label=f"{solutions} equally likely solution(s)",
        )
    axes.axhline(0.0, color="black", ls=":", label="centred form")
    axes.set_xlabel("correctness C of the prompt")
    axes.set_ylabel("push on correctness per unit of strength")
    axes.legend()


STATEMENT = Statement(
    id="E2",
    title="Literal smoothing is two remedies at one strength",
    source="new",
    reference="theory.md E2; the cost of the centred form along the softmax gradient is added here",
    assumptions=(
        "finite set of trajectories, full support, S and F non-empty, g_n = 0",
        "on-policy, exact expectation, softmax logits",
    ),
    latex=(
        r"\mathrm{centred}:\ \nabla C + g\,C\,\nabla H(q),\qquad"
        r" \mathrm{literal}:\ \nabla C + g\,C\,\nabla H(q) + g\,(H(q)-\log C)\,\nabla C"
        "\n\n"
        r"\langle\nabla C,\ C\,\nabla H(q)\rangle = -(1-C)\,C^2\,\mathrm{Cov}_q(q,\log q)\leq 0"
        "\n\n"
        r"On prompts with one solution the literal form maximises $C + g\,C(1-\log C)$, a concave "
        r"utility, and the centred form does nothing.  Centring takes the push on correctness out "
        r"of the advantage; along the softmax gradient it costs correctness unless $q$ is uniform."
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic",
            check_symbolic,
            note="any number of trajectories (others lumped; formal moments)",
        ),
        Method(
            "smt",
            check_smt,
            note="any number of trajectories (H, log C and the covariance as reals)",
        ),
        Method("exact", check_exact, note="14 rational policies, parts of 1 to 6 trajectories"),
        Method(
            "random",
            check_random,
            note="rules and library, rational policies with 2 to 7 trajectories",
        ),
    ),
    mutants=(
        Mutant(
            "the push on correctness is -log C whatever the diversity",
            replace(CLAIM, across=lambda H, log_c: -log_c),
            by=("symbolic", "exact", "random"),
        ),
        Mutant(
            "the literal form pulls correctness down",
            replace(CLAIM, across=lambda H, log_c: log_c - H),
            by=("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "the centred form flattens at double speed",
            replace(CLAIM, centred_within=2),
            by=("symbolic", "exact", "random"),
        ),
        Mutant(
            "the centred form never moves correctness",
            replace(CLAIM, cost=lambda C, cov: 0 * cov),
            by=("symbolic", "smt", "exact", "random"),
        ),
    ),
    limits=(
        "The expected gradient.  Under the natural gradient (C3) the centred form does leave C "
        "alone; what it costs along the softmax gradient is second order in how uneven q is."
    ),
    figure=draw,
)
