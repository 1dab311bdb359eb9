r"""N2. Sampling drift: diversity is lost with no bias at all.

The update has no bias: n correct answers are drawn from q and q moves a fraction eta of the way to
their empirical law, q' = (1 - eta) q + eta q^ (eta = 1: fine-tuning on one's own samples).

Proof, for any number of trajectories.  E q^ = q, so q is a martingale.  E q^_i^2 = (1/n^2)
(n q_i + n (n-1) q_i^2): the n draws coincide with themselves, all other pairs are independent.
Summing, E sum q'^2 = s + (eta^2/n)(1 - s) with s = sum q^2, so the Simpson diversity 1 - s loses
exactly the share eta^2/n of itself at every step, whatever q is; by induction (1 - eta^2/n)^T
after T steps.  Every concave D falls in the mean (Jensen).

The limit.  A step has E|q' - q|^2 = (eta^2/n)(1 - s) (the variance of the draws), so by induction
and Cauchy-Schwarz the mean length of step T is at most (eta/sqrt n) sqrt(D_0) k^T with
k^2 = 1 - eta^2/n, and that of the whole path at most 2 sqrt(n D_0)/eta: 1 - k >= eta^2/(2n).  A
path of finite length converges; 1 - s falls to 0 in the mean, so its limit is a point mass; and as
E q_i is q_i(0) at every step, i wins with probability q_i(0) (dominated convergence).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._logs import entropy, total
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """mean(q): E q'; keep(eta, n): the factor on 1 - sum q^2 in one step; winner(q): the chance
    that a trajectory with share q takes everything.  stride(eta, n): E|q' - q|^2 over 1 - sum q^2;
    path(eta, n): bound on E[length of the path] over sqrt(1 - sum q(0)^2), squared.
    """

    mean: Formula = lambda q: q
    keep: Formula = lambda eta, n: 1 - eta**2 / n
    winner: Formula = lambda q: q
    stride: Formula = lambda eta, n: eta**2 / n
    path: Formula = lambda eta, n: 4 * n / eta**2


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """Formal moments of q: any number of trajectories, draws and any eta."""
    import sympy as sp

    from diffsmooth.theory.statements._moments import Law
    from diffsmooth.theory.verify import symbolic

    x, eta, n = sp.symbols("x eta n", positive=True)
    q = Law("q", (x,))
    first = x  # E q^_i
    second = (n * x + n * (n - 1) * x**2) / n**2  # E q^_i^2
    moved = (1 - eta) * x + eta * first
    square = (1 - eta) ** 2 * x**2 + 2 * eta * (1 - eta) * x * first + eta**2 * second
    # A sum over trajectories is E_q of the summand over q_i.
    after = 1 - q.mean(sp.expand(square / x))
    step = eta**2 * (second - 2 * x * first + x**2)
    k = sp.Symbol("k", positive=True)
    length = sp.Symbol("T", positive=True, integer=True)
    return symbolic.zero(
        {
            "martingale": sp.expand(moved - claim.mean(x)),
            "Simpson diversity": sp.expand(after - claim.keep(eta, n) * (1 - q.mean(x))),
            "squared step": sp.expand(
                q.mean(sp.expand(step / x)) - claim.stride(eta, n) * (1 - q.mean(x))
            ),
            "induction of the geometric sum": sp.simplify(
                (1 - k**length) / (1 - k) + k**length - (1 - k ** (length + 1)) / (1 - k)
            ),
        },
        [x, eta, n, k, length, q.mean(x)],
        "one unbiased step",
    )


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Signs for every number of draws."""
    import z3

    from diffsmooth.theory.verify import smt

    eta, n, k, power = z3.Reals("eta n k k^T")
    given = [eta > 0, eta <= 1, n >= 1]
    return together(
        lambda: smt.prove(
            given,
            [claim.keep(eta, n) < 1, claim.keep(eta, n) >= 0],
            "a share of the diversity is lost at every step",
        ),
        lambda: smt.prove([*given, n > 1], claim.keep(eta, n) > 0, "but never all of it if n > 1"),
        lambda: smt.prove(
            [*given, n >= 2],
            claim.keep(eta, 2 * n) - claim.keep(eta, n) == eta * eta / (2 * n),
            "twice the answers halve the loss",
        ),
        lambda: smt.prove(
            # Squares of stride sqrt * (1 - k^T)/(1 - k) and of the bound on the path.
            [*given, k >= 0, k * k == claim.keep(eta, n), power >= 0, power <= 1],
            claim.stride(eta, n) * (1 - power) ** 2 <= claim.path(eta, n) * (1 - k) ** 2,
            "the path has a finite mean length: it converges",
        ),
    )


def _steps(q: list[Fraction], eta: Fraction, n: int) -> list[tuple[Fraction, list[Fraction]]]:
    """All (probability, q') after one step."""
    out = []
    for draws in product(range(len(q)), repeat=n):
        chance = Fraction(1)
        for y in draws:
            chance *= q[y]
        moved = [(1 - eta) * x + eta * Fraction(draws.count(i), n) for i, x in enumerate(q)]
        out.append((chance, moved))
    return out


def _squared(x: list[Fraction], y: list[Fraction]) -> Fraction:
    return sum(((a - b) ** 2 for a, b in zip(x, y, strict=True)), Fraction(0))


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """All sequences of draws, twice in a row; entropies without rounding; the absorbing chain."""
    from diffsmooth.theory.verify import exact

    def simpson(q: list[Fraction]) -> Fraction:
        return 1 - sum((x * x for x in q), Fraction(0))

    def residual(weights: tuple[int, ...], eta: Fraction, n: int) -> list[Fraction]:
        q = [Fraction(w, sum(weights)) for w in weights]
        once = _steps(q, eta, n)
        out = [
            sum((p * x[i] for p, x in once), Fraction(0)) - claim.mean(q[i]) for i in range(len(q))
        ]
        keep = claim.keep(eta, Fraction(n))
        out.append(sum((p * simpson(x) for p, x in once), Fraction(0)) - keep * simpson(q))
        twice = sum(
            (p * r * simpson(y) for p, x in once for r, y in _steps(x, eta, n)), Fraction(0)
        )
        out.append(twice - keep**2 * simpson(q))
        # Mean squared steps, the second one after the first.
        stride = claim.stride(eta, Fraction(n)) * simpson(q)
        out.append(sum((p * _squared(x, q) for p, x in once), Fraction(0)) - stride)
        second = sum(
            (p * r * _squared(y, x) for p, x in once for r, y in _steps(x, eta, n)), Fraction(0)
        )
        out.append(second - stride * keep)
        return out

    def fall(weights: tuple[int, ...], eta: Fraction, n: int) -> Fraction:
        q = [Fraction(w, sum(weights)) for w in weights]
        lost = entropy(q) - total(
            entropy([x for x in moved if x]) * p for p, moved in _steps(q, eta, n)
        )
        return Fraction(lost.sign())

    def fixation(n: int) -> list[Fraction]:
        """eta = 1, two trajectories, n draws: solve the absorbing chain on 0/n .. n/n."""
        from math import comb

        def jump(i: int, j: int) -> Fraction:
            x = Fraction(i, n)
            return comb(n, j) * x**j * (1 - x) ** (n - j)

        inner = range(1, n)
        rows = [[int(i == j) - jump(i, j) for j in inner] + [jump(i, n)] for i in inner]
        for k in range(len(rows)):
            pivot = rows[k][k]
            rows[k] = [v / pivot for v in rows[k]]
            for r in range(len(rows)):
                if r != k:
                    factor = rows[r][k]
                    rows[r] = [a - factor * b for a, b in zip(rows[r], rows[k], strict=True)]
        return [row[-1] - claim.winner(Fraction(i, n)) for i, row in zip(inner, rows, strict=True)]

    instances = [
        {"weights": w, "eta": eta, "n": n}
        for w in ((1, 1), (3, 1), (1, 2, 3), (1, 1, 1))
        for eta in (Fraction(1, 3), Fraction(1))
        for n in (1, 2, 3)
    ]
    return together(
        lambda: exact.identity(residual, instances, "one and two steps"),
        lambda: exact.inequality(fall, instances, "mean entropy falls"),
        lambda: exact.identity(fixation, [{"n": n} for n in (2, 3, 5, 8)], "who wins"),
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's diversity measures averaged over every sequence of three draws."""
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory import diversity
    from diffsmooth.theory.verify import random

    n = 3

    def margin(instance: tuple[list[float], float]) -> tuple[float, float]:
        logits, eta = np.array(instance[0]), instance[1]
        log_q = logits - np.logaddexp.reduce(logits)
        q = np.exp(log_q)
        draws = np.array(list(product(range(q.size), repeat=n)))
        chance = q[draws].prod(axis=1)
        counts = (draws[:, :, None] == np.arange(q.size)).sum(axis=1)
        moved = (1 - eta) * q + eta * counts / n
        log_moved = np.log(moved)
        log_moved -= np.logaddexp.reduce(log_moved, axis=1, keepdims=True)
        # Relative error of a probability, and of an average over all draws.
        delta = (2 * float(np.abs(log_q).max()) + q.size + len(draws) + 16) * EPS
        simpson = float(chance @ np.asarray(diversity.simpson(log_moved)))
        expected = float(claim.keep(eta, n)) * float(diversity.simpson(log_q))
        fall = float(diversity.shannon(log_q)) - float(
            chance @ np.asarray(diversity.shannon(log_moved))
        )
        drift = float(np.abs(chance @ moved - claim.mean(q)).max())
        size = 1 + float(np.abs(log_moved).max())
        return least(
            -abs(simpson - expected) / (8 * delta),
            -drift / (8 * delta),
            fall / (8 * size * delta),
        ), 1.0

    return random.for_all(
        st.tuples(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=4), st.floats(0.01, 0.99)),
        margin,
        budget,
        "library diversity after three draws (in units of the error bound)",
        show=lambda t: f"logits {t[0]}, eta = {t[1]:.4g}",
    )


def draw(axes: Axes) -> None:
    """Seeded runs and their mean against the exact factor."""
    import numpy as np

    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(0)))
    n, steps, runs, size = 8, 60, 200, 8
    q = np.full((runs, size), 1 / size)
    simpson = [1 - (q**2).sum(axis=1)]
    for _ in range(steps):
        counts = np.array([rng.multinomial(n, row) for row in q])
        q = 0.5 * q + 0.5 * counts / n
        q /= q.sum(axis=1, keepdims=True)
        simpson.append(1 - (q**2).sum(axis=1))
    path = np.array(simpson)
    axes.plot(path[:, :12], color="0.8", lw=0.7)
    axes.plot(path.mean(axis=1), color="#0072B2", label=f"mean of {runs} runs")
    axes.plot(
        path[0, 0] * (1 - 0.25 / n) ** np.arange(steps + 1),
        color="#D55E00",
        ls="--",
        label=r"$(1-\eta^2/n)^T$",
    )
    axes.set_xlabel("unbiased sampled steps (n = 8, step .5)")
    axes.set_ylabel("Simpson diversity")
    axes.legend()


STATEMENT = Statement(
    id="N2",
    title="Sampling drift: unbiased sampled updates lose diversity all the same",
    source="new",
    reference="derived for this project (the analogue of genetic drift)",
    assumptions=(
        "q' = (1-eta) q + eta q^, q^ the empirical law of n >= 1 independent correct answers, "
        "0 < eta <= 1",
        "no selection, no reinforcement bias: the expected update of q is 0",
    ),
    latex=(
        r"E[q^\prime] = q,\qquad E\left[1-\sum_i q_i^{\prime 2}\right] ="
        r" \left(1-\frac{\eta^2}{n}\right)\left(1-\sum_i q_i^2\right),\qquad"
        r" P(i\ \mathrm{takes\ everything}) = q_i(0)"
        "\n\n"
        r"After $T$ steps the factor is $(1-\eta^2/n)^T$: half is gone after "
        r"$T\approx n\log 2/\eta^2$.  Every concave $D(q)$ falls in the mean, and the path has "
        r"the mean length $\leq \frac{2}{\eta}\sqrt{n(1-\sum_i q_i(0)^2)}$: it converges, "
        r"to a point mass."
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic",
            check_symbolic,
            note="any number of trajectories (formal moments), all n and eta",
        ),
        Method("smt", check_smt, note="all n >= 1, 0 < eta <= 1"),
        Method(
            "exact",
            check_exact,
            note="24 cases, all draws of one and two steps; absorbing chains n <= 8",
        ),
        Method("random", check_random, note="library diversity, 1 to 4 trajectories, n = 3"),
    ),
    mutants=(
        Mutant(
            "the loss is first order in eta",
            replace(CLAIM, keep=lambda eta, n: 1 - eta / n),
            by=("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "an unbiased update keeps diversity",
            replace(CLAIM, keep=lambda eta, n: 1 + 0 * eta / n),
            by=("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "the likelier wins more often than its share",
            replace(CLAIM, winner=lambda q: q * q * (3 - 2 * q)),
            by="exact",
        ),
        Mutant(
            "a step is as long as with a single answer",
            replace(CLAIM, stride=lambda eta, n: eta**2),
            by=("symbolic", "exact"),
        ),
        Mutant(
            "the path is no longer than the square root of what there is to lose",
            replace(CLAIM, path=lambda eta, n: 1),
            by="smt",
        ),
    ),
    limits=(
        "That a path of finite mean length converges and that means pass to the limit is textbook "
        "and not checked.  The number of correct answers is given; where it is a random K >= 1, "
        "1/n is the mean of 1/K.  A softmax policy-gradient step adds the bias of A2 to this drift."
    ),
    figure=draw,
)
