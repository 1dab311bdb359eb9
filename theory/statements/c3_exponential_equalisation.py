"""C3: under the natural gradient smoothing equalises correct answers at rate g_p, whatever C is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffsmooth.theory.statements._logs import log, normalised, total
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import shannon, tempered
from diffsmooth.theory.statements._weighted import (
    EPS,
    Vector,
    WeightedPolicy,
    strengths,
    weighted_policies,
)
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest, least

Rate = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class Equalisation:
    """d/dt log(pi_i/pi_j) = rate(g_p, g_n, C) log(pi_i/pi_j) for two trajectories of one part.

    d logit C/dt = literal(g_p, g_n, H(q) - log C, H(f) - log(1-C)), and 1 for a centred term on S.
    """

    correct: Rate
    incorrect: Rate
    literal: Callable[[Any, Any, Any, Any], Any]


CLAIM = Equalisation(
    correct=lambda g_p, g_n, c: -g_p,
    incorrect=lambda g_p, g_n, c: g_n,
    literal=lambda g_p, g_n, on_s, on_f: 1 + g_p * on_s + g_n * on_f,
)


def _rule_itself(claim: Equalisation, _: Budget) -> Outcome:
    """Advantages of the rule objects on symbols: all but the pair's own log-probs cancels."""
    import sympy as sp

    from diffsmooth.theory.rules import GRPO, GroupBatch, Reinforce, Smoothed, SmoothingTerm
    from diffsmooth.theory.verify import symbolic

    g_p, g_n = sp.symbols("g_p g_n", nonnegative=True)
    c = sp.Symbol("C", positive=True)
    logs = sp.symbols("l_1:7", real=True)
    correct = np.array([True, True, True, False, False, False])
    batch = GroupBatch(
        reward=np.array([sp.Integer(int(x)) for x in correct], dtype=object),
        correct=correct,
        group=np.zeros(correct.size, dtype=np.int64),
        logps=np.array(logs, dtype=object),
    )
    rules = {
        "literal": Smoothed(Reinforce(), SmoothingTerm(g_p, g_n)),
        "advantage form": Smoothed(GRPO(eps=0), SmoothingTerm(g_p, g_n)),
        "centred": Smoothed(Reinforce(), SmoothingTerm(g_p, g_n, centring="correct")),
    }
    exprs: dict[str, Any] = {}
    for name, rule in rules.items():
        a = rule(batch)
        exprs[f"{name}, correct pair"] = sp.expand(
            a[0] - a[1] - claim.correct(g_p, g_n, c) * (logs[0] - logs[1])
        )
        exprs[f"{name}, incorrect pair"] = sp.expand(
            a[3] - a[4] - claim.incorrect(g_p, g_n, c) * (logs[3] - logs[4])
        )
    return symbolic.zero(exprs, [*logs, g_p, g_n, c], "rule objects, any log-probs")


def _any_size(claim: Equalisation, _: Budget) -> Outcome:
    """The closed form q(t) proportional to q(0)^a(t), normaliser included, solves the flow.

    w = log q_i(0); log q_i(t) = a w - Phi.  Natural gradient: d log pi_i/dt = A_i - E_pi A.
    """
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    w, a, phi, log_c, g_p, g_n, c, t = sp.symbols("w a Phi logC g_p g_n C t", real=True)
    law = Law("q(t)", (w,))
    exprs: dict[str, Any] = {}
    for name, strength, rate in (
        ("correct", -g_p, claim.correct(g_p, g_n, c)),
        ("incorrect", g_n, claim.incorrect(g_p, g_n, c)),
    ):
        advantage = strength * (log_c + a * w - phi)
        velocity = advantage - law.mean(advantage)  # d log q_i/dt: the part's own mean is taken out
        claimed = rate * a * (w - law.mean(w))  # a' = rate a, Phi' = a' E[w]
        exprs[f"{name}: flow minus closed form"] = sp.expand(velocity - claimed)
        ratio = sp.Function("y")(t)
        solution = ratio.subs(ratio, sp.Symbol("y0") * sp.exp(rate * t))
        exprs[f"{name}: e^(rate t) solves y' = rate y"] = sp.diff(solution, t) - rate * solution
    free = sorted(set().union(*(e.free_symbols for e in exprs.values())), key=str)
    return symbolic.zero(exprs, free, "closed form, any number of trajectories")


def _correctness(claim: Equalisation, _: Budget) -> Outcome:
    """d logit C/dt = E_q A - E_f A: 1 for the centred term, more for the literal one."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    x, y = sp.symbols("log_q log_f", real=True)
    log_c, log_1mc, g_p, g_n = sp.symbols("logC log1mC g_p g_n", real=True)
    q, f = Law("q", (x,)), Law("f", (y,))
    h_q, h_f = -q.mean(x), -f.mean(y)
    literal = q.mean(1 - g_p * (log_c + x)) - f.mean(g_n * (log_1mc + y))
    centred = q.mean(1 - g_p * (x + h_q))
    return symbolic.zero(
        {
            "literal": sp.expand(literal - claim.literal(g_p, g_n, h_q - log_c, h_f - log_1mc)),
            "centred": centred - 1,
        },
        [log_c, log_1mc, g_p, g_n, *h_q.free_symbols, *h_f.free_symbols],
        "d logit C/dt, any number of trajectories",
    )


def _symbolic(claim: Equalisation, budget: Budget) -> Outcome:
    return together(
        lambda: _rule_itself(claim, budget),
        lambda: _any_size(claim, budget),
        lambda: _correctness(claim, budget),
    )


def _lumped(claim: Equalisation, _: Budget) -> Outcome:
    """Two trajectories of one part; all the others enter through one mean advantage, any real."""
    import z3

    from diffsmooth.theory.verify import smt

    x, y, u, v, log_c, log_1mc, mean, g_p, g_n, c = z3.Reals(
        "log_qi log_qj log_fi log_fj logC log1mC mean g_p g_n C"
    )
    in_s = ((1 - g_p * (log_c + x)) - mean) - ((1 - g_p * (log_c + y)) - mean)
    in_f = (g_n * (log_1mc + u) - mean) - (g_n * (log_1mc + v) - mean)
    return smt.prove(
        [g_p >= 0, g_n >= 0, c > 0, c < 1],
        [
            in_s == claim.correct(g_p, g_n, c) * (x - y),
            in_f == claim.incorrect(g_p, g_n, c) * (u - v),
            (x - y) * in_s <= 0,
            (u - v) * in_f >= 0,
        ],
        "a pair of a part with any number of trajectories",
    )


def _exact(claim: Equalisation, budget: Budget) -> Outcome:
    """q(0) proportional to m^k: at the time when e^(rate t) = j/k the law is m^j, rational."""
    from fractions import Fraction
    from random import Random

    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def residual(m: Any, k: int, j: int, c: Fraction, g: Fraction) -> list[Fraction]:
        """Flow minus time derivative of the closed form, on S (strength -g) and on F (+g)."""
        q = normalised([Fraction(x) ** j for x in m])
        start = [log(x) * k for x in m]  # log q(0) up to a constant, which cancels
        mean_start = total(a * x for a, x in zip(start, q, strict=True))
        mean_log = total(log(x) * x for x in q)
        out = []
        for strength, rate in ((-g, claim.correct(g, g, c)), (g, claim.incorrect(g, g, c))):
            for x, s in zip(q, start, strict=True):
                flow = (log(x) - mean_log) * strength
                closed = (s - mean_start) * (rate * Fraction(j, k))
                out.append((flow - closed).size())
        return out

    instances = [
        {
            "m": [rng.randint(1, 9) for _ in range(size)],
            "k": 3,
            "j": j,
            "c": Fraction(rng.randint(1, 8), 9),
            "g": Fraction(rng.randint(1, 8), 4),
        }
        for size in (2, 3, 5, 9)
        for j in (1, 2, 3, 4)
    ]
    return exact.identity(residual, instances, "closed form solves the flow")


def _library(claim: Equalisation, budget: Budget) -> Outcome:
    """Rule objects on exactly weighted groups, and the library's flow, against the rates."""
    from hypothesis import strategies as st

    from diffsmooth.theory import flows
    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.rules import DrGRPO, Smoothed, SmoothingTerm
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[WeightedPolicy, float, float, float]) -> tuple[float, float]:
        weighted, g_p, g_n, t = instance
        log_pi, correct = np.log(weighted.probs), weighted.correct
        c = float(weighted.probs[correct].sum())
        rates = {True: claim.correct(g_p, g_n, c), False: claim.incorrect(g_p, g_n, c)}
        start_policy = Policy.from_logits(log_pi, correct)
        after = flows.natural_gradient_flow(start_policy, g_p, g_n, t).log_probs
        centred = flows.natural_gradient_flow(start_policy, g_p, 0.0, t, centred=True)
        literal = Smoothed(DrGRPO(), SmoothingTerm(g_p, g_n))(weighted.batch())
        advantage = weighted.advantages(literal)
        # Centred, g_n = 0: logit C advances by t and nothing else.
        worst = abs(float(centred.logit_C - start_policy.logit_C) - t)
        for part, rate in rates.items():
            where = correct == part
            start, end, a = log_pi[where], after[where], advantage[where]
            ratio = start - start[0]
            worst = largest(
                worst,
                float(np.abs(end - end[0] - np.exp(rate * t) * ratio).max()),
                float(np.abs(a - a[0] - rate * ratio).max()),
            )
        # Log-probs and their products with e^{rate t}: a few roundings of the largest of them.
        top = float(np.abs(log_pi).max()) + 1
        scale = top * (1 + g_p + g_n + float(np.exp(g_n * t)) * (1 + (g_p + g_n) * t))
        return -worst, 8 * (log_pi.size + 8) * EPS * scale

    return random.for_all(
        st.tuples(weighted_policies(), strengths(2), strengths(2), st.floats(0, 2)),
        margin,
        budget,
        "library flow and rule objects",
        examples=budget.examples // 3,
        show=lambda x: f"{x[0]}, g_p = {x[1]}, g_n = {x[2]}, t = {x[3]:.4g}",
    )


def _correctness_along_the_flow(_: Equalisation, budget: Budget) -> Outcome:
    """natural_gradient_flow, whose q and f are closed forms, against the full ODE: C included."""
    from hypothesis import strategies as st
    from scipy.integrate import solve_ivp

    from diffsmooth.theory import flows
    from diffsmooth.theory.gradients import smoothing_advantage
    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.verify import random

    correct = np.array([True, True, True, False, False])

    def margin(instance: tuple[list[float], float, float, bool, float]) -> tuple[float, float]:
        logits, g_p, g_n, centred, t = instance
        policy = Policy.from_logits(np.array(logits), correct)

        def solved(times: Any) -> Any:
            law = flows.smoothing_flow(policy, times, g_p, g_n, centred=centred, geometry="natural")
            return law.log_probs

        def advantage(_: float, y: Any) -> Any:
            now = Policy.from_logits(y, correct)
            return smoothing_advantage(now, g_p, g_n, centred=centred)

        # The library's natural flow is the closed form; every trajectory's own equation is not.
        ode = solve_ivp(
            advantage, (0.0, t), policy.log_probs, method="DOP853", rtol=1e-12, atol=1e-12
        )
        slow = Policy.from_logits(ode.y[:, -1], correct).log_probs
        closed = flows.natural_gradient_flow(policy, g_p, g_n, t, centred=centred).log_probs
        worst = largest(
            np.abs(closed - slow),
            np.abs(closed - solved(t)),
            np.abs(closed - solved([0, t / 3, t])[-1]),
        )
        # Two solvers with local errors near 1e-12, stretched by at most e^{(g_p + g_n) t} < 8.
        # A path at no times has no states.
        return -largest(worst, float(len(solved([])))), 1e-9

    return random.for_all(
        st.tuples(
            st.lists(st.floats(-2, 2), min_size=5, max_size=5),
            st.floats(0.1, 1),
            st.floats(0.1, 1),
            st.booleans(),
            st.sampled_from([0.5, 1.0]),
        ),
        margin,
        budget,
        "correctness along the library's flow",
        examples=budget.examples // 6,
    )


#: Gauss-Legendre nodes on [0, 1]; the speed is analytic in time, see _accumulated.
NODES, WEIGHTS = (x / 2 for x in np.polynomial.legendre.leggauss(16))

#: (g_p, g_n): the library treats strengths of 0 apart, and 1 must be no such case.
CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.3, 0.0), (0.0, 1.0), (0.6, 0.25))


def _accumulated(claim: Equalisation, budget: Budget) -> Outcome:
    """logit C(t) - logit C(0) is the integral of the claimed speed along the library's flow.

    A quadrature over the path, with entropies of its own: nothing of the library's solver enters.
    Every instance is taken at every pair of strengths of CORNERS, literal and centred.
    """
    from hypothesis import strategies as st

    from diffsmooth.theory import flows
    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.verify import random

    correct = np.array([True, True, True, False, False])

    def speed(policy: Policy, g_p: float, g_n: float, centred: bool) -> float:
        on_s = 0.0 if centred else shannon(policy.log_q[correct]) - policy.log_C
        on_f = shannon(policy.log_f[~correct]) - policy.log_1mC
        return float(claim.literal(g_p, g_n, on_s, on_f))

    def gap(start: Policy, g_p: float, g_n: float, centred: bool, t: float) -> float:
        def at(time: float) -> Policy:
            return flows.natural_gradient_flow(start, g_p, g_n, time, centred=centred)

        speeds = [speed(at(t * (x + 0.5)), g_p, g_n, centred) for x in NODES]
        return float(at(t).logit_C - start.logit_C) - t * float(WEIGHTS @ np.array(speeds))

    def margin(instance: tuple[list[float], float]) -> tuple[float, float]:
        logits, t = instance
        start = Policy.from_logits(np.array(logits), correct)
        gaps = [gap(start, *g, centred, t) for g in CORNERS for centred in (False, True)]
        # The library's local errors are near 1e-12 and its global ones below 1e-10; the rule's own
        # error falls like (half the interval over the distance of the nearest singularity)^32.
        return -largest(np.abs(gaps)), 1e-9

    return random.for_all(
        st.tuples(st.lists(st.floats(-2, 2), min_size=5, max_size=5), st.sampled_from([0.3, 1.0])),
        margin,
        budget,
        "correctness accumulated along the library's flow",
        examples=budget.examples // 25,
    )


def _random(claim: Equalisation, budget: Budget) -> Outcome:
    return together(
        lambda: _library(claim, budget),
        lambda: _accumulated(claim, budget),
        lambda: _correctness_along_the_flow(claim, budget),
    )


def _adversarial(claim: Equalisation, budget: Budget) -> Outcome:
    """Diversity: H(q) rises and H(f) falls along the claimed flow (B6), 4 trajectories."""
    from diffsmooth.theory.verify import adversarial

    def margin(x: Vector) -> float:
        start = tempered(np.clip(x[:4], -20, 20), 1.0)
        g, t = abs(float(x[4])) % 3, abs(float(x[5])) % 2
        c = 0.5
        rise = shannon(tempered(start, np.exp(claim.correct(g, g, c) * t))) - shannon(start)
        fall = shannon(start) - shannon(tempered(start, np.exp(claim.incorrect(g, g, c) * t)))
        return least(rise, fall)

    # log-probs up to 20 e^6 in size, weighted by probabilities: entropies stay below log 4 but
    # their rounding error is that of the normaliser, at most 20 e^6 roundings.
    return adversarial.minimise(
        margin,
        lambda rng: rng.normal(size=6),
        budget,
        "H(q) rises, H(f) falls",
        20 * float(np.exp(6)) * 16 * EPS,
        evaluations=300,
    )


def _figure(ax: Any) -> None:
    """|log-odds| of a correct and of an incorrect pair, at two correctnesses: one line each."""
    from diffsmooth.theory import flows
    from diffsmooth.theory.policy import Policy

    times = np.linspace(0, 4, 41)
    styles = {0.1: ("-", 3.5, 0.35), 0.9: ("--", 1.5, 1.0)}
    for c, (style, width, alpha) in styles.items():
        probs = np.array([0.8 * c, 0.2 * c, 0.6 * (1 - c), 0.4 * (1 - c)])
        start = Policy.from_logits(np.log(probs), np.array([True, True, False, False]))
        path = np.array([flows.natural_gradient_flow(start, 1.0, 0.5, t).log_probs for t in times])
        for (i, j), colour, name in (
            ((0, 1), "#0072B2", "correct"),
            ((2, 3), "#D55E00", "incorrect"),
        ):
            ax.plot(
                times,
                np.abs(path[:, i] - path[:, j]),
                style,
                color=colour,
                lw=width,
                alpha=alpha,
                label=f"{name} pair, C(0) = {c}",
            )
    ax.set_yscale("log")
    ax.set_xlabel(r"time $t$ ($g_p=1$, $g_n=0.5$)")
    ax.set_ylabel(r"$|\log\,\pi_i/\pi_j|$ (nats)")
    ax.legend(fontsize="small")


STATEMENT = Statement(
    id="C3",
    title="Under the natural gradient smoothing equalises exponentially, at a rate free of C",
    source="new",
    reference="theory.md C3; diversity along the way: B6",
    assumptions=(
        "natural-gradient (mirror) flow d log pi_i/dt = A_i - E_pi A, exact expectation",
        "on-policy smoothing, literal, centred or in advantage form, strengths g_p, g_n >= 0; any "
        "reward part that is constant on S and constant on F",
    ),
    latex=(
        r"\log\frac{q_i(t)}{q_j(t)}=e^{-g_p t}\,\log\frac{q_i(0)}{q_j(0)}\ \ (i,j\in S),\qquad"
        r" \log\frac{f_i(t)}{f_j(t)}=e^{+g_n t}\,\log\frac{f_i(0)}{f_j(0)}\ \ (i,j\in F)"
        "\n\n"
        r"so $q(t)\propto q(0)^{a}$ with $a=e^{-g_p t}$.  Correctness rises on its own clock: "
        r"$d\,\mathrm{logit}\,C/dt=1$ for the centred term and"
        "\n\n"
        r"\frac{d\,\mathrm{logit}\,C}{dt}=1+g_p\,(H(q)-\log C)+g_n\,(H(f)-\log(1-C))"
        r"\quad\mathrm{for\ the\ literal\ one.}"
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic",
            _symbolic,
            note=(
                "any number of trajectories (closed form by formal moments); rule "
                "objects with 3 correct and 3 incorrect answers"
            ),
        ),
        Method(
            "smt",
            _lumped,
            note="any number of trajectories (pair + one lumped mean), all strengths >= 0",
        ),
        Method("exact", _exact, note="16 rational laws with 2..9 trajectories, at 4 times each"),
        Method(
            "random",
            _random,
            note=(
                "library flow and rules, 2..7 trajectories, t <= 2; C by quadrature and by "
                "the ODE, "
                "strengths of 0 and 1 included"
            ),
        ),
        Method("adversarial", _adversarial, note="parts of 4 trajectories, strengths <= 3, t <= 2"),
    ),
    mutants=(
        Mutant(
            "the rate is g_p C",
            replace(CLAIM, correct=lambda g_p, g_n, c: -g_p * c),
            ("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "the incorrect part is flattened too",
            replace(CLAIM, incorrect=lambda g_p, g_n, c: -g_n),
            ("symbolic", "smt", "exact", "random", "adversarial"),
        ),
        Mutant(
            "smoothing sharpens the correct part",
            replace(CLAIM, correct=lambda g_p, g_n, c: g_p),
            ("symbolic", "smt", "exact", "random", "adversarial"),
        ),
        Mutant(
            "the literal term leaves correctness to the reward",
            replace(CLAIM, literal=lambda g_p, g_n, on_s, on_f: 1 + g_n * on_f),
            ("symbolic", "random"),
        ),
        Mutant(
            "the literal term on F pushes correctness down",
            replace(CLAIM, literal=lambda g_p, g_n, on_s, on_f: 1 + g_p * on_s - g_n * on_f),
            ("symbolic", "random"),
        ),
    ),
    limits=(
        "The softmax policy gradient is another geometry: there smoothing must beat the reward's "
        "own sharpening (C5).  In reward form with a standardised reward the rate is divided by "
        "the group's standard deviation.  A term centred on the group's own n correct answers acts "
        "with strength g_p (1 - 1/n) in expectation (C7)."
    ),
    figure=_figure,
)
