"""C6: what smoothing does to length: the sum form is blind to it, the mean form favours short."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import log_sum, shannon
from diffsmooth.theory.statements._weighted import EPS, Vector
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest


@dataclass(frozen=True)
class LengthLaw:
    """Fixed points on S: log pi_i = -lambda weight(L_i), the masses summing to ``total(C)``.

    ``mean`` and ``spread`` are the weights of the two per-token reductions; for the sum form the
    law is uniform.  ``price``: lambda E_q[L] - H(q) is ``price`` times the divergence of q from
    the fixed point (1: no law has more entropy per token).
    """

    mean: Callable[[Any], Any]
    spread: Callable[[Any], Any]
    total: Callable[[Any], Any]
    price: int = 1


CLAIM = LengthLaw(mean=lambda n: n, spread=lambda n: n * n, total=lambda c: c)


def _rule_itself(claim: LengthLaw, _: Budget) -> Outcome:
    """At the claimed fixed points the rule's term is one constant over the correct answers."""
    import sympy as sp

    from diffsmooth.theory.rules import GroupBatch, SmoothingTerm
    from diffsmooth.theory.verify import symbolic

    lam, g = sp.symbols("lambda g", positive=True)
    lengths = np.array([1, 2, 3, 7])
    fixed: dict[Any, list[Any]] = {
        "sum": [-lam] * lengths.size,
        "mean": [-lam * claim.mean(sp.Integer(int(n))) for n in lengths],
        "spread": [-lam * claim.spread(sp.Integer(int(n))) for n in lengths],
    }
    exprs: dict[str, Any] = {}
    for reduction, logs in fixed.items():
        batch = GroupBatch(
            reward=np.array([sp.Integer(1)] * lengths.size, dtype=object),
            correct=np.ones(lengths.size, dtype=bool),
            group=np.zeros(lengths.size, dtype=np.int64),
            logps=np.array([sp.sympify(v) for v in logs], dtype=object),
            lengths=lengths,
        )
        term = SmoothingTerm(g, 0, reduction)(batch)
        exprs |= {f"{reduction}, answer {i}": v - term[0] for i, v in enumerate(term[1:], 2)}
    return symbolic.zero(exprs, [lam, g], "the term is constant on S")


def _any_size(claim: LengthLaw, _: Budget) -> Outcome:
    """Entropy per token, and the potential that the mean form climbs, by formal moments."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    log_q, n, a, x = sp.symbols("log_q L A x", positive=True)
    lam, mass = sp.symbols("lambda C", positive=True)
    law = Law("q", (log_q, n, a))
    # KL(q || e^{-lambda L}) with the fixed point of C = 1.
    divergence = law.mean(log_q + lam * n)
    cost = lam * law.mean(n) - (-law.mean(log_q))
    # V = sum (pi - pi log pi)/L has dV/dpi_i = A_i = -log(pi_i)/L_i; natural gradient at fixed C.
    slope = sp.diff((x - x * sp.log(x)) / n, x) + sp.log(x) / n
    rate = mass * law.mean(a * (a - law.mean(a)))
    exprs = {
        "lambda E[L] - H(q) = KL": cost - claim.price * divergence,
        "dV/dpi = A": slope,
        "dV/dt = C Var(A)": rate - mass * law.covariance(a, a),
    }
    free = sorted(set().union(*(sp.sympify(e).free_symbols for e in exprs.values())), key=str)
    return symbolic.zero(exprs, free, "any number of trajectories")


def _lumped(claim: LengthLaw, _: Budget) -> Outcome:
    """Existence and uniqueness for any lengths, by induction over lengths and over trajectories.

    P(z) = sum z^weight with z = e^-lambda; P(0) = 0 and P(1) = M, the number of trajectories.
    """
    import z3

    from diffsmooth.theory.verify import smt

    z, w, zn, wn, p, q, lo, hi = z3.Reals("z w z_L w_L P_z P_w L_i L_j")
    lam, log_m, c, m = z3.Reals("lambda logM C M")
    return together(
        lambda: smt.prove(
            [z >= 0, w > z, zn >= 0, wn > zn], z * zn < w * wn, "z^L rises: induction over L"
        ),
        lambda: smt.prove(
            [zn < wn, p <= q], p + zn < q + wn, "P rises: induction over trajectories"
        ),
        lambda: smt.prove(
            [c > 0, c <= 1, m >= 1, p < q],
            [
                claim.total(c) > 0,
                claim.total(c) <= m,
                z3.Not(z3.And(p == claim.total(c), q == claim.total(c))),
            ],
            "P(0) < total <= P(1): a root, and one only",
        ),
        lambda: smt.prove(
            [lam >= 0, hi >= lo, lo >= 1],
            [
                -lam * claim.mean(hi) <= -lam * claim.mean(lo),
                -lam * claim.spread(hi) <= -lam * claim.spread(lo),
            ],
            "log pi falls with the length",
        ),
        lambda: smt.prove(
            [lo >= 1, hi >= lo, log_m >= 0],
            [-log_m / hi * lo >= -log_m, -log_m / lo * hi <= -log_m],
            "log M / L_max <= lambda <= log M / L_min at C = 1",
        ),
    )


def _exact(claim: LengthLaw, budget: Budget) -> Outcome:
    """Bisection in rationals: P rises, meets the mass C, and the mean length is below uniform's."""
    from fractions import Fraction
    from random import Random

    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def checks(lengths: Sequence[int], c: Fraction) -> list[Fraction]:
        def masses(z: Fraction) -> list[Fraction]:
            return [z ** claim.mean(n) for n in lengths]

        grid = [sum(masses(Fraction(k, 16)), Fraction(0)) for k in range(1, 17)]
        low, high = Fraction(1, 2**10), Fraction(1)
        for _ in range(24):
            middle = (low + high) / 2
            if sum(masses(middle), Fraction(0)) < claim.total(c):
                low = middle
            else:
                high = middle
        law = masses(high)
        mass = sum(law, Fraction(0))
        tilted = sum((n * x for n, x in zip(lengths, law, strict=True)), Fraction(0)) / mass
        shorter = Fraction(sum(lengths), len(lengths)) - tilted
        # |P'| <= sum of the weights, so the bracket 2^-24 fixes the mass to 2^-16.
        rises = min(b - a for a, b in pairwise(grid))
        return [
            rises,
            shorter + Fraction(len(set(lengths)) == 1),
            Fraction(1, 2**16) - abs(mass - c),
        ]

    instances = [
        {"lengths": [rng.randint(1, 6) for _ in range(size)], "c": Fraction(rng.randint(1, 9), 9)}
        for size in (2, 3, 5, 8)
        for _ in range(3)
    ]
    return exact.inequality(checks, instances, "P rises; E[L] below uniform's; the masses sum to C")


def _certified(claim: LengthLaw, _: Budget) -> Outcome:
    """A short answer is the likelier; lengths 1 and 2: entropy per token is below log(golden)."""
    from flint import arb

    from diffsmooth.theory.verify import certified

    def advantage(lam: Any, length: Any) -> Any:
        return (-lam * claim.mean(arb(1))).exp() - (-lam * claim.mean(length)).exp()

    def cost(q: Any) -> Any:
        lam = ((1 + arb(5).sqrt()) / 2).log()
        entropy = -(q * q.log()) - (1 - q) * (1 - q).log()
        return lam * (q * claim.mean(arb(1)) + (1 - q) * claim.mean(arb(2))) - entropy

    return together(
        lambda: certified.positive(
            advantage, {"lambda": ("1/100", 6), "L": (2, 40)}, "a short answer is likelier"
        ),
        lambda: certified.positive(cost, {"q": ("1/1000", "3/5")}, "below the fixed point .618"),
        lambda: certified.positive(cost, {"q": ("16/25", "999/1000")}, "above it"),
    )


def _library(claim: LengthLaw, budget: Budget) -> Outcome:
    """theory.length and the rules: the root, the laws, and a constant term at the fixed point."""
    from hypothesis import strategies as st

    from diffsmooth.theory.length import fixed_point
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[list[int], int]) -> tuple[float, float]:
        lengths, ninths = np.array(instance[0]), instance[1]
        c = ninths / 9
        worst, size = 0.0, lengths.size
        forms: list[tuple[Any, Vector]] = [
            ("mean", np.array([claim.mean(float(n)) for n in lengths])),
            ("spread", np.array([claim.spread(float(n)) for n in lengths])),
            ("sum", np.ones(size)),
        ]
        for reduction, weights in forms:
            log_pi, rate = fixed_point(lengths, reduction, c)
            lam = float(rate)
            worst = largest(worst, abs(math.expm1(log_sum(log_pi) - math.log(claim.total(c)))))
            worst = largest(worst, float(np.abs(log_pi / weights + lam).max()) / (1 + abs(lam)))
            worst = largest(worst, _spread_of_term(log_pi, lengths, reduction) / (1 + abs(lam)))
        # lambda to relative rounding; masses e^{-lambda w} have relative error lambda w eps.
        top = math.log(size / c) * float(lengths.max()) ** 2 + 8
        return -worst, 64 * EPS * (top + size)

    return random.for_all(
        st.tuples(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(1, 9)),
        margin,
        budget,
        "library fixed points and the rule's term there",
        show=lambda x: f"lengths {x[0]}, C = {x[1]}/9",
    )


def _spread_of_term(log_pi: Vector, lengths: Any, reduction: Any) -> float:
    """Largest difference of the rule's term between correct answers, token and sequence input."""
    from diffsmooth.theory.rules import GroupBatch, SmoothingTerm

    size = log_pi.size
    mask = np.arange(int(lengths.max()))[None, :] < lengths[:, None]
    tokens = np.where(mask, (log_pi / lengths)[:, None], -7.0)  # what is masked must not count
    common: dict[str, Any] = {
        "reward": np.ones(size),
        "correct": np.ones(size, dtype=bool),
        "group": np.zeros(size, dtype=np.int64),
    }
    batches = (
        GroupBatch(**common, logps=log_pi, lengths=lengths),
        GroupBatch(**common, logps=tokens, mask=mask),
    )
    terms = [SmoothingTerm(1.0, 0.0, reduction)(batch) for batch in batches]
    return float(np.ptp(np.concatenate(terms)))


def _adversarial(claim: LengthLaw, budget: Budget) -> Outcome:
    """No law has more entropy per token than e^{-lambda L}: lengths 1, 2, 3, 5, 8."""
    from scipy.optimize import brentq

    from diffsmooth.theory.verify import adversarial

    lengths = np.array([1.0, 2.0, 3.0, 5.0, 8.0])
    weights = np.array([claim.mean(float(n)) for n in lengths])
    sign = 1.0 if weights[-1] > 0 else -1.0
    lam = sign * float(
        brentq(lambda v: log_sum(-abs(v) * np.abs(weights)), 1e-9, math.log(5) + 1e-9)
    )

    def margin(x: Vector) -> float:
        z = np.clip(x, -30, 30)
        log_q = z - log_sum(z)
        return float(lam * (np.exp(log_q) @ lengths) - shannon(log_q)) * claim.price

    # The root is accurate to 2e-12 (brentq's default) and multiplies E[L] <= 8.
    return adversarial.minimise(
        margin,
        lambda rng: rng.normal(size=5),
        budget,
        "lambda E[L] - H(q)",
        8 * 4e-12,
        evaluations=400,
    )


def _figure(ax: Any) -> None:
    """Ten correct answers of lengths 1..10: the three fixed points."""
    from scipy.optimize import brentq

    lengths = np.arange(1, 11)
    forms = {
        "sum: uniform": (np.zeros(10), "-", "#0072B2", "o"),
        "mean per token": (CLAIM.mean(lengths.astype(float)), "--", "#D55E00", "s"),
        "spread": (CLAIM.spread(lengths.astype(float)), ":", "#009E73", "^"),
    }
    for name, (weights, style, colour, marker) in forms.items():
        if weights.any():
            lam = brentq(lambda v, w=weights: log_sum(-v * w), 0.0, 10.0)
            law = np.exp(-lam * weights)
            label = rf"{name}: $\lambda={lam:.2f}$"
        else:
            law, label = np.full(10, 0.1), name
        ax.plot(lengths, law, style, color=colour, marker=marker, markersize=4, label=label)
    ax.set_xlabel("length $L$ of the answer (tokens)")
    ax.set_ylabel("probability at the fixed point ($C=1$)")
    ax.legend(fontsize="small")


STATEMENT = Statement(
    id="C6",
    title="Smoothing and length: the sum form is blind to it, the mean form favours short answers",
    source="new",
    reference="theory.md C6; the reductions: public code of arXiv 2511.19942",
    assumptions=(
        "on-policy smoothing among M correct answers of lengths L_i >= 1, g_p > 0, full support",
        "correctness held at C (C = 1 at the optimum, C2), natural-gradient or softmax flow",
    ),
    latex=(
        r"\mathrm{sum:}\ \ q_i=\frac{1}{M};\qquad \mathrm{mean\ per\ token:}\ \ "
        r"\pi_i=e^{-\lambda L_i},\quad \sum_{i\in S}e^{-\lambda L_i}=C"
        "\n\n"
        r"where $\lambda\geq 0$ exists and is unique; at $C=1$"
        "\n\n"
        r"\frac{\log M}{L_{\max}}\leq\lambda\leq\frac{\log M}{L_{\min}},\qquad"
        r" \lambda\,\mathrm{E}_q[L]-H(q)=\mathrm{KL}(q\,\|\,e^{-\lambda L})\geq 0"
        "\n\n"
        r"so the mean form ends at the law with the most entropy per token, $\lambda$.  It climbs "
        r"a concave potential (natural gradient):"
        "\n\n"
        r"V=\sum_{i\in S}\frac{\pi_i-\pi_i\log\pi_i}{L_i},\qquad"
        r" \frac{dV}{dt}=g_p\,C\,\mathrm{Var}_q\left(\frac{\log\pi}{L}\right)\geq 0"
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic",
            lambda claim, budget: together(
                lambda: _rule_itself(claim, budget), lambda: _any_size(claim, budget)
            ),
            note="any number of trajectories (formal moments); rule object with 4 lengths",
        ),
        Method(
            "smt", _lumped, note="any lengths >= 1, any number of trajectories (two inductions)"
        ),
        Method("exact", _exact, note="12 sets of 2..8 lengths, rational bisection"),
        Method(
            "certified",
            _certified,
            note="lambda in [1/100, 6], L in [2, 40]; lengths 1 and 2, q off .618",
        ),
        Method(
            "random", _library, note="library and rules, 1..6 lengths up to 12, C in {1/9, ..., 1}"
        ),
        Method("adversarial", _adversarial, note="lengths 1, 2, 3, 5, 8, any q"),
    ),
    mutants=(
        Mutant(
            "the mean form favours long answers",
            replace(CLAIM, mean=lambda n: -n),
            ("smt", "exact", "certified"),
        ),
        Mutant(
            "the mean form is uniform as well",
            replace(CLAIM, mean=lambda n: n**0),
            ("symbolic", "exact"),
        ),
        Mutant(
            "lambda does not feel C: the sum is 1",
            replace(CLAIM, total=lambda c: c**0),
            ("exact", "random"),
        ),
        Mutant(
            "the fixed point has the least entropy per token",
            replace(CLAIM, price=-1),
            ("symbolic", "adversarial"),
        ),
    ),
    limits=(
        "A table of whole answers: what a network shares between answers of one length is not "
        "modelled.  'The sum pays for length' is a statement about the bonus, which at equal "
        "log-prob per token grows with L; and uniform over answers is mostly long ones where "
        "there are more of those."
    ),
    figure=_figure,
)
