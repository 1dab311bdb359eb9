r"""T0. Squaring a law favours what is already likely: how to write a statement.

Copy this file, rename it after your statement (``a4_entropy_falls.py``), and fill it in.  This one
is real, runs in the tests, and is skipped by ``diffsmooth verify`` because of its name.

The claim.  For a law q on n trajectories let q_2 be proportional to q^2.  Then
E_{q_2}[q] >= E_q[q], that is (sum q)(sum q^3) >= (sum q^2)^2, equality iff q is uniform on its
support.  Proof: the difference is sum_{i<j} q_i q_j (q_i - q_j)^2, which is not negative.

How it is decided.  The claim is a frozen dataclass of formulas; every method below is a function of
that claim, so a mutant is another claim handed to the same method.  A method returns what its
engine returns: the verdict and the domain it holds on are the engine's.  A ``note`` says how you
read them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.verify import adversarial, exact, random, smt, symbolic
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _power_sum(q: Sequence[Any], k: int) -> Any:
    return sum(x**k for x in q)


def _gap(q: Sequence[Any]) -> Any:
    return _power_sum(q, 1) * _power_sum(q, 3) - _power_sum(q, 2) ** 2


def _certificate(q: Sequence[Any]) -> Any:
    return sum(x * y * (x - y) ** 2 for x, y in combinations(q, 2))


@dataclass(frozen=True)
class Claim:
    """``gap(q) >= 0`` because it equals ``certificate(q)``, a sum of visible squares."""

    gap: Callable[[Sequence[Any]], Any] = _gap
    certificate: Callable[[Sequence[Any]], Any] = _certificate


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """The certificate is an identity: both sides agree as polynomials."""
    import sympy as sp

    q = sp.symbols("q1:8", positive=True)
    return symbolic.zero(claim.gap(q) - claim.certificate(q), q, "gap = certificate, n = 7")


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Rational laws: nothing is rounded, so the inequality needs no tolerance."""
    weights = [Fraction(k) for k in (1, 2, 7)]
    instances = [
        {"q": tuple(w / sum(ws) for w in ws)}
        for n in (2, 3, 4)
        for ws in product(weights, repeat=n)
    ]
    return exact.inequality(claim.gap, instances, "gap", strict=False)


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """z3 over the reals; lumps may be empty, so n = 3 includes n = 1 and 2."""
    q, assumptions = smt.lumps("q1", "q2", "q3", may_be_empty=("q2", "q3"))
    return smt.prove(assumptions, claim.gap(q) >= 0, "gap >= 0 on the simplex, n <= 3")


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """Floating point with an error bound that is derived, not tuned."""
    import numpy as np
    from hypothesis import strategies as st

    laws = st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=12)

    def margin(weights: list[float]) -> tuple[float, float]:
        q = [w / sum(weights) for w in weights]
        # Sums of n positive terms have relative error <= n u, a power adds 3 u, a product u;
        # the two terms that are subtracted are at most 1 each way round.
        scale = _power_sum(q, 1) * _power_sum(q, 3) + _power_sum(q, 2) ** 2
        return claim.gap(q), (2 * len(q) + 8) * float(np.finfo(float).eps) * scale

    return random.for_all(laws, margin, budget, "gap >= 0")


def check_adversarial(claim: Claim, budget: Budget) -> Outcome:
    """An optimiser looks for the smallest gap; parametrised by logits it needs no constraint."""
    import numpy as np

    def margin(logits: Any) -> float:
        q = np.exp(logits - np.logaddexp.reduce(logits))
        return float(claim.gap(q))

    return adversarial.minimise(
        margin, lambda rng: rng.normal(size=5), budget, "gap >= 0", tolerance=1e-14
    )


def draw(axes: Axes) -> None:
    """The gap for two trajectories: zero only where the law is uniform or a point mass."""
    import numpy as np

    x = np.linspace(0.0, 1.0, 201)
    axes.plot(x, _gap((x, 1 - x)), color="black")
    axes.set_xlabel(r"$q_1$")
    axes.set_ylabel("gap")


CLAIM = Claim()

STATEMENT = Statement(
    id="T0",
    title="Squaring a law favours what is already likely",
    source="new",
    reference="the template for new statements",
    assumptions=("q is a law on n trajectories (its normalisation is not needed)",),
    latex=(
        r"\left(\sum_i q_i\right)\left(\sum_i q_i^3\right) - \left(\sum_i q_i^2\right)^2"
        r" = \sum_{i<j} q_i q_j (q_i - q_j)^2 \geq 0"
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="n = 7; for fewer trajectories set some q to 0"),
        Method("exact", check_exact),
        Method("smt", check_smt, note="n = 3; a mass may be 0, so n = 1 and 2 are included"),
        Method("random", check_random),
        Method("adversarial", check_adversarial, note="n = 5, full support, by logits"),
    ),
    mutants=(
        Mutant(
            "the sign is flipped",
            Claim(gap=lambda q: -_gap(q)),
            by=("exact", "smt", "random", "adversarial"),
        ),
        Mutant(
            "the certificate loses its square",
            replace(
                CLAIM, certificate=lambda q: sum(x * y * (x - y) for x, y in combinations(q, 2))
            ),
            by="symbolic",
        ),
    ),
    limits="Says nothing about exponents other than 2; theory.md B6 does.",
    figure=draw,
)
