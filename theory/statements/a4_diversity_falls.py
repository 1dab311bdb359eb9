r"""A4. Along the policy-gradient flow every diversity measure of the correct part falls.

Proof, for any number of trajectories.
1. theta_i' = C (1-C) q_i on S (A2), and q_i' = q_i (theta_i' - E_q theta'), which is the first
   formula.  dH/dt = -sum q_i' log q_i = -C(1-C) (E_q[q log q] - E_q[q] E_q[log q]).
2. Cov_q(log q, q) = 1/2 E[(X - X')(log X - log X')] over two independent draws: every term is
   >= 0 because the logarithm is increasing, and 0 only where the two values agree.  So dH/dt <= 0,
   and it is 0 iff q is constant on its support.
3. A3 and the lemma ``top_mass_grows`` give majorisation, hence every Schur-concave measure falls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._logs import log, total
from diffsmooth.theory.statements._softmax import Lumped, top_mass_grows
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS, LogitBase, logit_bases
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """The two speeds; s is sum q^2 and cov is Cov_q(log q, q)."""

    law_speed: Formula = lambda C, q, s: C * (1 - C) * q * (q - s)
    entropy_speed: Formula = lambda C, cov: -C * (1 - C) * cov
    log_odds_speed: Formula = lambda C, x, y: C * (1 - C) * (x - y)


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """Formal moments of q (x = q_i, l = log q_i), and the flow of a lumped pair."""
    import sympy as sp

    from diffsmooth.theory.statements._moments import Law
    from diffsmooth.theory.verify import symbolic

    c = sp.Symbol("C", positive=True)
    x, log_x, x2, log_x2 = sp.symbols("x l x2 l2", real=True)
    q = Law("q", (x, log_x))
    theta = c * (1 - c) * x
    speed = x * (theta - q.mean(theta))
    # dH/dt = -E_q[(q_i'/q_i) log q_i].
    entropy = -q.mean((theta - q.mean(theta)) * log_x)
    covariance = q.covariance(x, log_x)
    pair = Lumped.pair(True)
    big_c = pair.correctness
    odds = pair.slope(big_c, pair.w_i) - pair.slope(big_c, pair.w_j)
    share = pair.w_i + pair.w_j + pair.rest_correct
    steps = {
        "dq/dt": sp.expand(speed - claim.law_speed(c, x, q.mean(x))),
        "dH/dt": sp.expand(entropy - claim.entropy_speed(c, covariance)),
        "covariance by pairs": sp.expand(
            q.pair((x2, log_x2), (x - x2) * (log_x - log_x2)) - 2 * covariance
        ),
        "log-odds": sp.cancel(
            odds - claim.log_odds_speed(big_c, pair.w_i / share, pair.w_j / share)
        ),
    }
    free = sorted(set().union(*(e.free_symbols for e in steps.values())), key=str)
    return symbolic.zero(steps, free or [c], "speeds of q and H")


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Signs: pairs of trajectories, hence every number of them."""
    import z3

    from diffsmooth.theory.verify import smt

    x, y, lx, ly, c, cov, s = z3.Reals("x y log_x log_y C cov s")
    return together(
        lambda: smt.prove(
            # The logarithm is increasing; that is all a pair needs.
            [x > 0, y > 0, (x > y) == (lx > ly), (x < y) == (lx < ly)],
            [(x - y) * (lx - ly) >= 0, z3.Implies(x != y, (x - y) * (lx - ly) > 0)],
            "each pair of trajectories adds >= 0 to the covariance",
        ),
        lambda: smt.prove(
            [c > 0, c < 1, cov >= 0],
            [claim.entropy_speed(c, cov) <= 0, (claim.entropy_speed(c, cov) == 0) == (cov == 0)],
            "dH/dt <= 0, and 0 iff the covariance is",
        ),
        lambda: smt.prove(
            [c > 0, c < 1, y > 0, x > y, x + y <= 1],
            claim.log_odds_speed(c, x, y) > 0,
            "log-odds move towards the likelier",
        ),
        top_mass_grows,
        lambda: smt.prove(
            # s = sum q^2 <= (largest q) sum q: the leader's share never falls.
            [c > 0, c < 1, x > 0, x <= 1, s > 0, s <= x],
            claim.law_speed(c, x, s) >= 0,
            "the likeliest answer's share never falls",
        ),
    )


def _instances(seed: int) -> Iterator[dict[str, Any]]:
    rng = Random(seed)
    for size in (1, 2, 2, 3, 3, 4, 5, 7):
        weights = tuple(rng.randint(1, 9) for _ in range(size))
        yield {"weights": weights, "c": Fraction(rng.randint(1, 9), 10)}
    yield {"weights": (3, 3, 3), "c": Fraction(1, 2)}


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Rational laws and formal logarithms: the identity, and the sign of dH/dt."""
    from diffsmooth.theory.verify import exact

    def laws(weights: tuple[int, ...], c: Fraction) -> tuple[list[Fraction], list[Fraction]]:
        q = [Fraction(w, sum(weights)) for w in weights]
        theta = [(1 - c) * c * x for x in q]  # pi_i (1 - C)
        mean = sum((x * t for x, t in zip(q, theta, strict=True)), Fraction(0))
        return q, [x * (t - mean) for x, t in zip(q, theta, strict=True)]

    def identity(weights: tuple[int, ...], c: Fraction) -> list[Fraction]:
        q, speed = laws(weights, c)
        s = sum((x * x for x in q), Fraction(0))
        law = [v - claim.law_speed(c, x, s) for v, x in zip(speed, q, strict=True)]
        entropy = total(log(x) * -v for v, x in zip(speed, q, strict=True))
        covariance = total(log(x) * (x * (x - s)) for x in q)
        return [*law, (entropy - claim.entropy_speed(c, covariance)).size()]

    def signs(weights: tuple[int, ...], c: Fraction) -> Fraction:
        q, _ = laws(weights, c)
        s = sum((x * x for x in q), Fraction(0))
        speed = claim.entropy_speed(c, total(log(x) * (x * (x - s)) for x in q))
        sign = speed.sign() if hasattr(speed, "sign") else 0
        # Falls strictly, or stands still at a uniform law.
        return Fraction(int(sign == (0 if len(set(weights)) == 1 else -1)))

    return together(
        lambda: exact.identity(identity, _instances(budget.seed), "speeds"),
        lambda: exact.inequality(signs, _instances(budget.seed), "H falls unless q is uniform"),
    )


def _measures() -> dict[str, tuple[Formula, Formula]]:
    """The library's diversity measures, each with its definition on a law with full support."""
    import numpy as np

    from diffsmooth.theory import diversity

    return {
        "Shannon": (diversity.shannon, lambda q: -(q * np.log(q)).sum()),
        "Renyi 1/2": (lambda x: diversity.renyi(x, 0.5), lambda q: 2 * np.log(np.sqrt(q).sum())),
        "Renyi 2": (lambda x: diversity.renyi(x, 2), lambda q: -np.log((q**2).sum())),
        "min-entropy": (lambda x: diversity.renyi(x, np.inf), lambda q: -np.log(q.max())),
        "Simpson": (diversity.simpson, lambda q: 1 - (q**2).sum()),
        "effective number": (diversity.effective_number, lambda q: 1 / (q**2).sum()),
        "minus variance": (diversity.neg_variance, lambda q: -np.var(q)),
        "distinct in 3": (
            lambda x: diversity.distinct_in_k(x, 3),
            lambda q: (1 - (1 - q) ** 3).sum(),
        ),
    }


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """Library gradient, flow, diversity measures and majorisation against the formulas.

    The flow is compared over a short time h: H(q(h)) - H(q) = h dH/dt + R with
    |R| <= h^2/2 max|H''| and |H''| <= (1 + largest |log q|)/2, since |C'| <= 1/8,
    |q_i'| <= q_i/4 and |(log q_i)'| <= 1/4.
    """
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory import diversity
    from diffsmooth.theory.flows import softmax_pg_flow
    from diffsmooth.theory.gradients import expected_gradient
    from diffsmooth.theory.verify import random

    h = 1e-3

    def margin(instance: tuple[LogitBase, float]) -> tuple[float, float]:
        base, time = instance
        policy, mask = base.policy(), base.mask
        start = np.asarray(softmax_pg_flow(policy, time).log_probs)
        policy = type(policy)(start, mask)
        log_q = np.asarray(policy.log_q)[mask]
        q, c = np.exp(log_q), float(policy.C)
        s = float(q @ q)
        covariance = float(q @ (log_q * (q - s)))
        entropy_speed = claim.entropy_speed(c, covariance)
        theta = np.asarray(expected_gradient(policy))[mask]
        law_error = np.abs(q * (theta - q @ theta) - claim.law_speed(c, q, s)).max()
        later = softmax_pg_flow(policy, h)
        change = float(diversity.shannon(later.log_q) - diversity.shannon(policy.log_q))
        magnitude = 1 + float(np.abs(log_q).max())
        delta = 32 * (base.spread + q.size + 8) * EPS
        flow_bound = h * h * magnitude / 4 + 4 * magnitude * delta + 1e-10
        checks = [
            -law_error / delta,
            -abs(change - h * entropy_speed) / flow_bound,
            -entropy_speed / delta,  # <= 0 up to rounding
            0.0 if bool(diversity.majorises(later.log_q, policy.log_q)) else -np.inf,
        ]
        after = np.asarray(later.log_q)[mask]
        for measure, formula in _measures().values():
            value, start_value = float(measure(after)), float(measure(log_q))
            # Sums of M powers of probabilities (relative error delta), at most M (1 + magnitude).
            size = delta * q.size * magnitude * q.size
            checks.append(-abs(start_value - float(formula(q))) / size)
            checks.append((start_value - value) / size)
        return least(*checks), 1.0

    return random.for_all(
        st.tuples(logit_bases(width=3.0), st.floats(0.0, 20.0)),
        margin,
        budget,
        "library speeds (in units of the error bound)",
        show=lambda t: f"{t[0]}, after t = {t[1]:.4g}",
        examples=400 if budget.deep else 60,
    )


def check_adversarial(claim: Claim, budget: Budget) -> Outcome:
    """Looks for a law whose entropy rises."""
    import numpy as np

    from diffsmooth.theory.verify import adversarial

    def margin(logits: Any) -> float:
        log_q = logits - np.logaddexp.reduce(logits)
        q = np.exp(log_q)
        return float(-claim.entropy_speed(0.5, q @ (log_q * (q - q @ q))))

    return adversarial.minimise(
        margin, lambda rng: rng.normal(size=4), budget, "-dH/dt", tolerance=1e-14, evaluations=300
    )


def draw(axes: Axes) -> None:
    """Entropy, Simpson diversity and effective number along one flow, relative to the start."""
    import numpy as np

    from diffsmooth.theory import diversity
    from diffsmooth.theory.flows import softmax_pg_flow
    from diffsmooth.theory.policy import Policy

    base = Policy.from_logits(np.array([1.0, 0.7, 0.4, 0.2, 0.0, 1.5, 0.5]), np.arange(7) < 5)
    times = np.geomspace(0.5, 1000.0, 30)
    laws = [softmax_pg_flow(base, t).log_q for t in times]
    for name, measure, colour, dash in (
        ("Shannon entropy", diversity.shannon, "#0072B2", "-"),
        ("Simpson", diversity.simpson, "#D55E00", "--"),
        ("effective number", diversity.effective_number, "#009E73", "-."),
    ):
        start = float(measure(base.log_q))
        values = [float(measure(q)) / start for q in laws]
        axes.semilogx(times, values, color=colour, ls=dash, label=name)
    axes.set_xlabel("time of the flow")
    axes.set_ylabel("diversity relative to the start")
    axes.legend()


STATEMENT = Statement(
    id="A4",
    title="Every measure of diversity falls along the policy-gradient flow",
    source="new",
    reference="theory.md A4; derived for this project",
    assumptions=(
        "the flow of A3: finite set of trajectories, softmax logits, exact gradient",
        "diversity is any Schur-concave function of q",
    ),
    latex=(
        r"\frac{dq_i}{dt} = C(1-C)\,q_i\left(q_i - \sum_j q_j^2\right),\qquad"
        r"\frac{dH(q)}{dt} = -C(1-C)\,\mathrm{Cov}_q(\log q,\,q)\leq 0"
        "\n\n"
        r"with equality iff $q$ is uniform on its support; $q(t)$ majorises $q(s)$ for $t>s$, "
        r"so every Schur-concave $D(q)$ falls."
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic",
            check_symbolic,
            note="any number of trajectories (formal moments; others lumped)",
        ),
        Method("smt", check_smt, note="any number of trajectories (pairs and lumps)"),
        Method("exact", check_exact, note="9 rational laws, 1 to 7 correct trajectories"),
        Method(
            "random",
            check_random,
            note="library, 2 to 12 trajectories, along the flow up to t = 20",
        ),
        Method("adversarial", check_adversarial, note="4 correct trajectories, C = 1/2"),
    ),
    mutants=(
        Mutant(
            "entropy rises",
            replace(CLAIM, entropy_speed=lambda C, cov: C * (1 - C) * cov),
            by=("symbolic", "smt", "exact", "random", "adversarial"),
        ),
        Mutant(
            "q is compared with 1 instead of sum q^2",
            replace(CLAIM, law_speed=lambda C, q, s: C * (1 - C) * q * (q - 1)),
            by=("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "the speed lacks the factor C",
            replace(CLAIM, law_speed=lambda C, q, s: (1 - C) * q * (q - s)),
            by=("symbolic", "exact", "random"),
        ),
        Mutant(
            "log-odds stand still, as under the natural gradient",
            replace(CLAIM, log_odds_speed=lambda C, x, y: 0 * x),
            by=("symbolic", "smt"),
        ),
    ),
    limits=(
        "A statement on the correct part only: the entropy of the whole policy may rise for a "
        "while, since the incorrect part flattens.  The rate in t is N1's."
    ),
    figure=draw,
)
