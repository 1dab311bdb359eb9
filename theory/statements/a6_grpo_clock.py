r"""A6. GRPO is the same flow with another clock.

Proof, for any number of trajectories.  In a group of G with k correct answers the population
standard deviation is s = sqrt(k (G-k))/G, so A+ = (1 - k/G)/s and A- = -(k/G)/s, and
k A+ = -(G-k) A- = sqrt(k (G-k)).  Given k, the correct answers are drawn from q and the incorrect
ones from f, with E_q[grad log pi] = grad C / C and E_f[grad log pi] = -grad C/(1-C).  Hence the
expected group gradient is E[sqrt(k(G-k))]/G (1/C + 1/(1-C)) grad C.
It is positive for 0 < C < 1 and G >= 2, so GRPO runs along the orbits of A3 and collapses to the
same mode.  By concavity of sqrt(x (1-x)), and sqrt(y) >= 2y for y <= 1/4,
2 (1 - 1/G) <= clock <= 1/sqrt(C (1-C)).

The limit G -> inf, with a rate.  For z >= 0 2z - 3z^2 + z^4 = z (z-1)^2 (z+2) >= 0; at
z^2 = y/v, y = x (1-x), x = k/G and v = C (1-C), the mean is 2 g >= sqrt(v) (3 E y/v - E y^2/v^2).
E y = v (1 - 1/G), and y - v = (x-C)(1-x-C) gives E (y-v)^2 <= E (x-C)^2 = v/G.  Together
clock sqrt(v) >= 1 - (1 + 1/v)/(2G), which tends to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from math import comb
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._softmax import Lumped
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS, LogitBase, logit_bases
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """weight(k, G, root): what a group with k correct answers adds, root = sqrt(k (G-k));
    clock(g, C): the factor on grad C, g = E[weight]; the limits bound the clock from both sides;
    approach(G, v): a lower bound of clock times sqrt(v), v = C (1-C), that tends to 1.
    """

    weight: Formula = lambda k, G, root: root / G
    clock: Formula = lambda g, C: g / (C * (1 - C))
    lower: Formula = lambda G: 2 * (1 - Fraction(1, 1) / G)
    ceiling: Formula = lambda variance: variance  # the square of g is at most C (1-C)
    approach: Formula = lambda G, v: 1 - (1 + 1 / v) / (2 * G)


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """The advantages' algebra for symbolic k and G, and the scores of a lumped policy."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    k, m = sp.symbols("k m", positive=True)  # k correct and m incorrect answers
    group = k + m
    root = sp.sqrt(k) * sp.sqrt(m)
    s = root / group
    up, down = (1 - k / group) / s, -(k / group) / s
    weight = claim.weight(k, group, root)
    steps: dict[str, Any] = {
        # (k/G) A+ and (m/G) A-: the masses of the two kinds in the group's gradient.
        "correct answers": sp.simplify(k / group * up - weight),
        "incorrect answers": sp.simplify(m / group * down + weight),
        "the deviation": sp.simplify(
            s**2 - (k * (1 - k / group) ** 2 + m * (k / group) ** 2) / group
        ),
    }
    # E_q[grad log pi] and E_f[grad log pi] in the direction of a trajectory of S, and of F.
    g = sp.Symbol("g", positive=True)
    symbols = [k, m, g]
    for correct in (True, False):
        pair = Lumped.pair(correct)
        c = pair.correctness
        share = pair.prob(pair.w_i) / (c if correct else 1 - c)
        on_s = (share if correct else 0) - pair.prob(pair.w_i)
        on_f = (0 if correct else share) - pair.prob(pair.w_i)
        gradient = g * on_s - g * on_f
        name = "S" if correct else "F"
        steps[f"group gradient on {name}"] = sp.cancel(
            gradient - claim.clock(g, c) * pair.slope(c, pair.w_i)
        )
        symbols += [x for x in pair.symbols if x not in symbols]
    # The moments of x = k/G from the generating function of k ~ Bin(G, C), for symbolic G.
    c, z, x, n = sp.symbols("C z x G", positive=True)
    generating = (1 - c + c * z) ** n
    first = sp.diff(generating, z).subs(z, 1) / n  # E[x]
    second = (sp.diff(generating, z, 2).subs(z, 1) / n + first) / n  # E[x^2]
    v = c * (1 - c)
    steps["E[x (1-x)]"] = sp.simplify(first - second - v * (1 - 1 / n))
    steps["E[(x-C)^2]"] = sp.simplify(second - 2 * c * first + c**2 - v / n)
    steps["y - v"] = sp.expand(x * (1 - x) - v - (x - c) * (1 - x - c))
    steps["the quartic below the root"] = sp.expand(
        2 * z - 3 * z**2 + z**4 - z * (z - 1) ** 2 * (z + 2)
    )
    return symbolic.zero(steps, [*symbols, c, z, x, n], "advantages, scores and moments")


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Two-sided bounds for every G: root terms r_k with r_k^2 = k (G-k), y = x (1-x)."""
    import z3

    from diffsmooth.theory.verify import smt

    s, g, v, c, n, mean_y, t, x, z = z3.Reals("s g v C G E_y t x z")
    return together(
        lambda: smt.prove(
            [s >= 0, s * s <= z3.Q(1, 4)], s >= 2 * s * s, "sqrt(y) >= 2 y for y <= 1/4"
        ),
        lambda: smt.prove(
            [t > 0, s >= 0], 2 * t * s <= t * t + s * s, "sqrt(y) is below its tangents"
        ),
        lambda: smt.prove(
            # E[x (1-x)] = v (1 - 1/G), v = C (1-C); g = E sqrt(y) >= 2 E y.
            [c > 0, c < 1, n >= 2, v == c * (1 - c), mean_y == v * (1 - 1 / n), g >= 2 * mean_y],
            claim.clock(g, c) >= claim.lower(n),
            "lower bound of the clock",
        ),
        lambda: smt.prove(
            # The tangent at t = sqrt(v): 2 t g <= v + E y.
            [
                c > 0,
                c < 1,
                n >= 2,
                t > 0,
                t * t == c * (1 - c),
                g > 0,
                mean_y == t * t * (1 - 1 / n),
                2 * t * g <= t * t + mean_y,
            ],
            [g * g < claim.ceiling(t * t), claim.clock(g, c) * t < 1],
            "upper bound of the clock",
        ),
        lambda: smt.prove(
            [z >= 0], z * (z - 1) * (z - 1) * (z + 2) >= 0, "the root is above the quartic"
        ),
        lambda: smt.prove(
            [c > 0, c < 1, x >= 0, x <= 1],
            (1 - x - c) * (1 - x - c) <= 1,
            "(y-v)^2 <= (x-C)^2",
        ),
        lambda: smt.prove(
            # r = g/sqrt(v); E y^2 = E (y-v)^2 + 2 v E y - v^2; clock sqrt(v) = r.
            [
                *(v > 0, v <= z3.Q(1, 4), n >= 2),
                mean_y == v * (1 - 1 / n),
                s <= v / n + 2 * v * mean_y - v * v,
                2 * g * v * v >= 3 * mean_y * v - s,
            ],
            g >= claim.approach(n, v),
            "how close the clock is to its limit 1/sqrt(C (1-C))",
        ),
        lambda: smt.prove(
            [t > 0, v > 0, n > (1 + 1 / v) / (2 * t)],
            claim.approach(n, v) > 1 - t,
            "within any t > 0 of it from some G on",
        ),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Every group of G answers enumerated, advantages squared away from their roots.

    A = a sqrt(k m) with rational a, so the expected gradient is sum over k of sqrt(k m) times a
    rational number: the coefficients are compared one by one, k m being kept apart.
    """
    from diffsmooth.theory.verify import exact

    def residual(weights: tuple[int, ...], successes: int, size: int) -> list[Fraction]:
        pi = [Fraction(w, sum(weights)) for w in weights]
        c = sum(pi[:successes], Fraction(0))
        # coefficient[k][i]: of sqrt(k (G-k)) in coordinate i of the expected group gradient
        found = [[Fraction(0)] * len(pi) for _ in range(size + 1)]
        for draws in product(range(len(pi)), repeat=size):
            k = sum(y < successes for y in draws)
            if k in (0, size):
                continue
            chance = Fraction(1)
            for y in draws:
                chance *= pi[y]
            for y in draws:
                a = Fraction(1, k) if y < successes else -Fraction(1, size - k)
                for i in range(len(pi)):
                    found[k][i] += chance * a / size * (int(i == y) - pi[i])
        out = []
        for k in range(1, size):
            chance = comb(size, k) * c**k * (1 - c) ** (size - k)
            factor = claim.clock(chance * claim.weight(k, size, Fraction(1)), c)
            out += [found[k][i] - factor * pi[i] * ((i < successes) - c) for i in range(len(pi))]
        return out

    instances = [
        {"weights": w, "successes": s, "size": g}
        for w, s in (((1, 2), 1), ((3, 1, 2), 2), ((2, 1, 4), 1), ((4, 2, 1, 1), 2))
        for g in (2, 3, 4)
    ]
    return exact.identity(residual, instances, "expected GRPO gradient")


def _along(formula: Formula, logits: Any, mask: Any, size: int) -> tuple[float, float]:
    """(error, bound) of the library's flow with GRPO's clock against Runge-Kutta, at t = 1/2.

    The clock is at most sqrt(G-1) and its slope at most (G-1)^(3/2) (differences of Bernstein
    coefficients), so the field has Lipschitz constant at most L = sqrt(G-1) + (G-1)^(3/2)/8 (A3):
    local errors grow by e^(L t).  Along the way 1/w shifts by one number on S (A3's orbit).
    """
    import numpy as np
    from scipy.integrate import solve_ivp

    from diffsmooth.theory.flows import softmax_pg_flow
    from diffsmooth.theory.gradients import grpo_clock
    from diffsmooth.theory.policy import Policy

    time, tolerance = 0.5, 1e-12

    def field(_: float, theta: Any) -> Any:
        pi = np.exp(theta - np.logaddexp.reduce(theta))
        c = float(pi[mask].sum())
        return formula(c, size) * pi * (mask - c)

    solved = solve_ivp(field, (0.0, time), logits, method="DOP853", rtol=tolerance, atol=tolerance)
    moved = softmax_pg_flow(
        Policy.from_logits(logits, mask), time, clock=lambda c: np.asarray(grpo_clock(c, size))
    )
    log_pi = np.asarray(moved.log_probs)
    theta = log_pi - log_pi.mean() + logits.mean()
    lipschitz = (size - 1) ** 0.5 + (size - 1) ** 1.5 / 8
    scale = 1 + float(np.abs(solved.y).max())
    bound = solved.t.size * 4 * tolerance * scale * float(np.exp(lipschitz * time))
    shift = np.exp(-logits[mask]) - np.exp(-theta[mask])
    return float(np.abs(theta - solved.y[:, -1]).max()) + float(np.ptp(shift)), bound * (
        1 + 2 * float(np.exp(-np.minimum(logits, theta)).max())
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's clock and flow, and the GRPO rule itself on every group of three answers."""
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory.gradients import grpo_clock
    from diffsmooth.theory.rules import GRPO, GroupBatch
    from diffsmooth.theory.verify import random

    def formula(c: float, size: int) -> float:
        g = sum(
            comb(size, k)
            * c**k
            * (1 - c) ** (size - k)
            * claim.weight(k, size, float(np.sqrt(k * (size - k))))
            for k in range(size + 1)
        )
        return float(claim.clock(g, c))

    def margin(instance: tuple[LogitBase, int]) -> tuple[float, float]:
        base, size = instance
        logits, mask = base.logits, base.mask
        pi = np.exp(logits - np.logaddexp.reduce(logits))
        c = float(pi[mask].sum())
        clock = formula(c, size)
        # (1 - c) and c carry relative errors K eps / min(c, 1-c); a power multiplies them by G.
        delta = (base.spread + logits.size + 8) * EPS / min(c, 1 - c)
        bound = 16 * size * (size + 1) * delta * clock
        library = abs(float(grpo_clock(c, size)) - clock)
        root = float(np.sqrt(c * (1 - c)))
        ends = largest(
            claim.lower(size) - clock,
            clock - 1 / root,
            claim.approach(size, root**2) / root - clock,
        )
        draws = np.array(list(product(range(logits.size), repeat=3)))
        rows = draws.ravel()
        batch = GroupBatch(
            reward=mask[rows].astype(float),
            correct=mask[rows],
            group=np.repeat(np.arange(len(draws)), 3),
        )
        advantage = np.asarray(GRPO(eps=0.0)(batch)).reshape(-1, 3)
        score = np.eye(logits.size)[draws] - pi
        chance = pi[draws].prod(axis=1)
        gradient = np.einsum("n,ng,ngi->i", chance, advantage, score) / 3
        claimed = formula(c, 3) * pi * (mask - c)
        rule = float(np.abs(gradient - claimed).max())
        rule_bound = 16 * draws.size * delta * (1 + formula(c, 3))
        error, slack = _along(formula, logits, mask, 2 + size % 7)
        return -largest(library / bound, ends / bound, rule / rule_bound, error / slack), 1.0

    return random.for_all(
        st.tuples(logit_bases(largest=3, width=2.0), st.integers(2, 32)),
        margin,
        budget,
        "library clock and flow, GRPO rule (in units of the error bound)",
        show=lambda t: f"{t[0]}, G = {t[1]}",
        examples=600 if budget.deep else 60,
    )


def draw(axes: Axes) -> None:
    """The clock for several group sizes, and its limit."""
    import numpy as np

    from diffsmooth.theory.gradients import grpo_clock

    c = np.linspace(0.01, 0.99, 199)
    for size, colour, dash in ((2, "#D55E00", ":"), (8, "#009E73", "-."), (64, "#CC79A7", "--")):
        axes.plot(c, np.asarray(grpo_clock(c, size)), color=colour, ls=dash, label=f"G = {size}")
    axes.plot(c, 1 / np.sqrt(c * (1 - c)), color="black", label=r"$G\to\infty$")
    axes.set_xlabel("correctness C")
    axes.set_ylabel("clock: GRPO gradient over grad C")
    axes.legend()


STATEMENT = Statement(
    id="A6",
    title="GRPO is the policy-gradient flow with another clock",
    source="new",
    reference="theory.md A6; the two-sided bound is added here",
    assumptions=(
        "G >= 2 answers drawn independently from the policy, binary reward",
        "advantages standardised by the group's population deviation, no clipping, eps = 0; "
        "groups of one kind give 0",
    ),
    latex=(
        r"E[\mathrm{group\ gradient}] = \frac{g_G(C)}{C(1-C)}\,\nabla C,\qquad"
        r" g_G(C) = \frac{1}{G}\,E\left[\sqrt{k(G-k)}\right],\quad k\sim\mathrm{Bin}(G,C)"
        "\n\n"
        r"2\left(1-\frac{1}{G}\right) \leq \frac{g_G(C)}{C(1-C)} \leq \frac{1}{\sqrt{C(1-C)}}"
        "\n\n"
        r"$G\to\infty$, with $v=C(1-C)$:"
        r" $1-\frac{1}{2G}\left(1+\frac{1}{v}\right)\leq\sqrt{v}\;\frac{g_G(C)}{v}\leq 1$."
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic", check_symbolic, note="any k, any G, any number of trajectories (lumped)"
        ),
        Method("smt", check_smt, note="the bounds: all G >= 2, all C in (0, 1)"),
        Method(
            "exact", check_exact, note="12 rational policies and groups, all K^G groups enumerated"
        ),
        Method("random", check_random, note="library and rule, 2 to 6 trajectories, G in 2..32"),
    ),
    mutants=(
        Mutant(
            "the weight is the variance k (G-k)/G^2",
            replace(CLAIM, weight=lambda k, G, root: root * root / G**2),
            by=("symbolic", "exact", "random"),
        ),
        Mutant(
            "the clock lacks the incorrect answers' half",
            replace(CLAIM, clock=lambda g, C: g / C),
            by=("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "the lower bound is 2 for every G",
            replace(CLAIM, lower=lambda G: 2 + 0 * G),
            by=("smt", "random"),
        ),
        Mutant(
            "g_G is at most C (1-C)/2 in the square",
            replace(CLAIM, ceiling=lambda variance: variance / 2),
            by="smt",
        ),
        Mutant(
            "the clock is within 1/(2G) of its limit whatever C is",
            replace(CLAIM, approach=lambda G, v: 1 - 1 / (2 * G)),
            by=("smt", "random"),
        ),
    ),
    limits=(
        "Expected update; with ddof = 1 the clock is multiplied by sqrt((G-1)/G); the eps of "
        "implementations (1e-4 in TRL) changes it by a relative eps G/sqrt(k(G-k)) at most."
    ),
    figure=draw,
)
