r"""E3. A two-part rule: when the part across prompts raises pass@k, and when the part within does.

The link between the law q and test performance (D2: without one, pass@k sees C only): at test time
one of the M correct answers stays valid, each with chance 1/M, so
P(C, q) = (1/M) sum_i [1 - (1 - C q_i)^k].

Proof, for any number of trajectories, prompts and all k.
* within, at equal C: D2's certificate with x_i = 1 - C q_i and y = 1 - C/M gives
  P(C, uniform) - P(C, q) = (1/M) sum_i (C q_i - C/M)^2 Q_k(x_i, y).  Along centred smoothing
  (q_i' = -g q_i (log q_i + H), C3) dP/dt = -(k C g/M) Cov_q(log q, (1 - C q)^(k-1)) >= 0: by pairs,
  the logarithm rises and the other factor falls.  It is 0 if k = 1, M = 1 or q is uniform.
* across: two rules with utilities u and v, w = u'(C_x) |grad C_x|^2, phi = v'/u'.  Then
  dpass@k/dpass@1 is k E_w[a] under u and k E_w[phi a]/E_w[phi] under v, a = (1 - C)^(k-1), and
  E_w[phi a] - E_w[phi] E_w[a] = 1/2 E[(phi - phi')(a - a')] >= 0 if phi falls with C (Chebyshev).
* k = 2, M solutions on every prompt: the best possible mean minus the mean of P is exactly
  Var(C)/M^2 (across) + E[C^2 (sum q^2 - 1/M)]/M (within).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS, LogitBase, logit_bases
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


def _test_rate(C: Any, q: Sequence[Any], k: int) -> Any:
    return sum(1 - (1 - C * x) ** k for x in q) / len(q)


@dataclass(frozen=True)
class Claim:
    """rate(C, q, k): pass@k on shifted test prompts; certificate(k, x, y): Q_k of D2.

    within_speed(C, g, k, M, cov): dP/dt under the centred term, cov = Cov_q(log q, (1-Cq)^(k-1)).
    edge(E[phi a], E[phi], E[a]): what the more curved rule gains for pass@k over pass@1.
    across_loss(M, var), within_loss(M, excess): the two losses at k = 2,
    excess = E[C^2 (sum q^2 - 1/M)].
    """

    rate: Formula = _test_rate
    certificate: Formula = lambda k, x, y: sum(
        (j + 1) * y**j * x ** (k - 2 - j) for j in range(k - 1)
    )
    within_speed: Formula = lambda C, g, k, M, cov: -k * C * g * cov / M
    edge: Formula = lambda phi_a, phi, a: phi_a - phi * a
    across_loss: Formula = lambda M, var: var / M**2
    within_loss: Formula = lambda M, excess: excess / M


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """Formal moments: any number of trajectories, prompts, and a symbolic k."""
    import sympy as sp

    from diffsmooth.theory.statements._moments import Law
    from diffsmooth.theory.verify import symbolic

    c, g, k, m, x, y = sp.symbols("C g k M x y", positive=True)
    log_q, z, log_q2, z2, s = sp.symbols("l z l2 z2 s", real=True)
    q = Law("q", (log_q, z))  # log_q = log q_i, z = (1 - C q_i)^(k-1)
    # dP/dt = (1/M) sum_i k C q_i' z_i, with q_i' = -g q_i (log_q - E log_q).
    speed = q.mean(-g * (log_q - q.mean(log_q)) * z) * k * c / m
    cov = q.covariance(log_q, z)
    phi, a, phi2, a2 = log_q, z, log_q2, z2
    steps: dict[str, Any] = {
        "dP/dt": sp.expand(speed - claim.within_speed(c, g, k, m, cov)),
        "covariance by pairs": sp.expand(
            q.pair((log_q2, z2), (log_q - log_q2) * (z - z2)) - 2 * cov
        ),
        "Chebyshev by pairs": sp.expand(
            q.pair((phi2, a2), (phi - phi2) * (a - a2)) / 2
            - claim.edge(q.mean(phi * a), q.mean(phi), q.mean(a))
        ),
    }
    for n in range(2, 7):
        # One summand of P(C, uniform) - P(C, q), linearised: the linear parts add up to 0.
        remainder = x**n - y**n - n * y ** (n - 1) * (x - y)
        steps[f"certificate, k = {n}"] = sp.expand(
            remainder - (x - y) ** 2 * claim.certificate(n, x, y)
        )
    # k = 2 over prompts: each prompt has its C and s = sum q^2; P = (2C - C^2 s)/M.
    prompts = Law("x", (c, s))
    mean = prompts.mean(c)
    best = (2 * mean - mean**2 / m) / m
    loss = best - prompts.mean((2 * c - c**2 * s) / m)
    variance = prompts.covariance(c, c)
    excess = prompts.mean(c**2 * (s - 1 / m))
    steps["losses at k = 2"] = sp.expand(
        loss - claim.across_loss(m, variance) - claim.within_loss(m, excess)
    )
    q1, q2 = sp.symbols("q1 q2", positive=True)
    steps["P at k = 2"] = sp.expand(
        claim.rate(c, (q1, q2), 2) - (2 * c * (q1 + q2) - c**2 * (q1**2 + q2**2)) / 2
    )
    free = sorted(
        set().union(*(sp.sympify(e).free_symbols for e in steps.values())) | {c, g}, key=str
    )
    return symbolic.zero(steps, free, "two parts")


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Signs by pairs; transfers between two answers for k <= 4; which loss is larger."""
    import z3

    from diffsmooth.theory.verify import smt

    c, x, y, t, g, k, m, cov = z3.Reals("C q_i q_j t g k M cov")
    la, lb, za, zb, var, excess = z3.Reals("log_i log_j z_i z_j var excess")
    z = z3.Real("third")

    def transfer(n: int) -> Callable[[], Outcome]:
        def p(a: Any, b: Any) -> Any:
            return claim.rate(c, (a, b, z), n)

        return lambda: smt.prove(
            [c > 0, c <= 1, y >= 0, y < x, t > 0, t < x - y, z >= 0, x + y + z == 1],
            p(x - t, y + t) > p(x, y),
            f"k = {n}: a more even law passes more shifted tests",
        )

    return together(
        lambda: smt.prove(
            [
                x > 0,
                y > 0,
                (x > y) == (la > lb),
                (x > y) == (za < zb),
                (x == y) == (za == zb),
                (x == y) == (la == lb),
            ],
            [(la - lb) * (za - zb) <= 0],
            "each pair adds <= 0 to Cov_q(log q, (1-Cq)^(k-1))",
        ),
        lambda: smt.prove(
            [c > 0, g > 0, k >= 1, m >= 1, cov < 0],
            claim.within_speed(c, g, k, m, cov) > 0,
            "centred smoothing raises shifted pass@k at fixed C",
        ),
        *(transfer(n) for n in (2, 3, 4)),
        lambda: smt.prove(
            [c > 0, c <= 1, x >= 0, y >= 0, z >= 0, x + y + z == 1],
            claim.rate(c, (x, y, z), 1) == c / 3,
            "k = 1: the law q does not matter",
        ),
        lambda: smt.prove(
            [m >= 1, var >= 0, excess >= 0],
            (claim.across_loss(m, var) > claim.within_loss(m, excess)) == (var > m * excess),
            "k = 2: across matters more iff Var C > M E[C^2 (sum q^2 - 1/M)]",
        ),
    )


def _families(seed: int) -> Iterator[dict[str, Any]]:
    rng = Random(seed)
    for solutions, prompts in ((1, 3), (2, 1), (2, 3), (3, 2), (4, 4)):
        laws = []
        for _ in range(prompts):
            weights = [rng.randint(1, 6) for _ in range(solutions)]
            laws.append(tuple(Fraction(w, sum(weights)) for w in weights))
        rates = tuple(Fraction(rng.randint(0, 10), 10) for _ in range(prompts))
        yield {"rates": rates, "laws": tuple(laws)}


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """The shifted test enumerated draw by draw; losses; the certificate for larger k."""
    from diffsmooth.theory.verify import exact

    def drawn(c: Fraction, q: tuple[Fraction, ...], k: int) -> Fraction:
        """Choose the valid answer, then k draws from the policy; success if one of them is it."""
        m = len(q)
        chance = [c * x for x in q] + [1 - c]
        hit = Fraction(0)
        for valid in range(m):
            for answers in product(range(m + 1), repeat=k):
                weight = Fraction(1, m)
                for y in answers:
                    weight *= chance[y]
                hit += weight * (valid in answers)
        claimed: Fraction = claim.rate(c, q, k)
        return hit - claimed

    def losses(rates: tuple[Fraction, ...], laws: tuple[tuple[Fraction, ...], ...]) -> Fraction:
        n, m = len(rates), len(laws[0])
        mean = sum(rates, Fraction(0)) / n
        best = claim.rate(mean, [Fraction(1, m)] * m, 2)
        found = sum((claim.rate(c, q, 2) for c, q in zip(rates, laws, strict=True)), Fraction(0))
        var = sum(((c - mean) ** 2 for c in rates), Fraction(0)) / n
        excess = (
            sum(
                (
                    c * c * (sum((x * x for x in q), Fraction(0)) - Fraction(1, m))
                    for c, q in zip(rates, laws, strict=True)
                ),
                Fraction(0),
            )
            / n
        )
        claimed: Fraction = claim.across_loss(m, var) + claim.within_loss(m, excess)
        return Fraction(best - found / n) - claimed

    def evenness(c: Fraction, q: tuple[Fraction, ...], k: int) -> list[Fraction]:
        m = len(q)
        y = 1 - c / m
        gap = claim.rate(c, [Fraction(1, m)] * m, k) - claim.rate(c, q, k)
        squares = (
            sum(((c * x - c / m) ** 2 * claim.certificate(k, 1 - c * x, y) for x in q), Fraction(0))
            / m
        )
        return [gap, gap - squares, squares - gap]

    single = [
        {"c": c, "q": q, "k": k}
        for c in (Fraction(1, 3), Fraction(9, 10))
        for q in (
            (Fraction(1),),
            (Fraction(1, 4), Fraction(3, 4)),
            (Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)),
        )
        for k in (1, 2, 3)
    ]
    larger = [{**i, "k": k} for i in single for k in (2, 5, 16)]
    return together(
        lambda: exact.identity(drawn, single, "shifted pass@k"),
        lambda: exact.identity(losses, _families(budget.seed), "losses at k = 2"),
        lambda: exact.inequality(evenness, larger, "uniform is best", strict=False),
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """Library: pass@k, the centred optimum at fixed C, and the utilities of two rules."""
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory.optima import smoothing
    from diffsmooth.theory.passk import pass_at_k_exact
    from diffsmooth.theory.statements._reward_only import rules
    from diffsmooth.theory.utilities import utility_derivative
    from diffsmooth.theory.verify import random

    curved = ("maxrl", "pkpo", "f-grpo", "pass-at-k")

    def margin(instance: tuple[LogitBase, float, int, str, list[float]]) -> tuple[float, float]:
        base, share, k, name, rates = instance
        policy, mask = base.policy(), base.mask
        # Part within: the centred optimum at the base's own C, exponent 1 - share.
        even = smoothing(policy, 1.0, share, 0.0, centred=True, logit_C=policy.logit_C)
        c = float(policy.C)
        laws = [np.exp(np.asarray(p.log_q)[mask]) for p in (policy, even)]
        before, after = (
            float(np.mean(np.asarray(pass_at_k_exact(c * q, k), dtype=float))) for q in laws
        )
        bound = 16 * (base.spread + mask.size + k + 8) * EPS
        checks = [
            (after - before) / bound,
            -abs(after - float(claim.rate(c, laws[1], k))) / bound,
            -abs(float(even.logit_C) - float(policy.logit_C)) / (bound * (1 + base.spread)),
        ]
        # Part across: a more curved rule against vanilla, group of 8.
        rate = np.array(rates)
        phi = np.array([float(utility_derivative(rules(4)[name], x, 8)) for x in rates])
        a = (1 - rate) ** (k - 1)
        edge = float(claim.edge(np.mean(phi * a), phi.mean(), a.mean()))
        # u' is a sum of 8 terms up to sqrt(7) * 8 in size.
        checks.append(edge / (64 * 8 * (k + 8) * EPS * (1 + float(phi.max()))))
        return least(*checks), 1.0

    return random.for_all(
        st.tuples(
            logit_bases(width=3.0),
            st.floats(0.0, 1.0),
            st.integers(1, 32),
            st.sampled_from(curved),
            st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6),
        ),
        margin,
        budget,
        "library (in units of the error bound)",
        show=lambda t: f"{t[0]}, g/beta = {t[1]:.4g}, k = {t[2]}, {t[3]}, C = {t[4]}",
        examples=1000 if budget.deep else 80,
    )


def draw(axes: Axes) -> None:
    """Which part matters at k = 2: the border Var C = M E[C^2 (sum q^2 - 1/M)]."""
    import numpy as np

    unevenness = np.linspace(0.0, 2.0, 50)  # M / effective number - 1
    for mean, colour, dash in (
        (0.2, "#0072B2", "-"),
        (0.5, "#009E73", "-."),
        (0.8, "#D55E00", "--"),
    ):
        # With C and q independent over prompts: Var C = (mean^2 + Var C) unevenness.
        border = np.where(
            unevenness < 1, mean**2 * unevenness / np.maximum(1 - unevenness, 1e-9), 1
        )
        axes.plot(
            unevenness,
            np.where(border <= mean * (1 - mean), border, np.nan),
            color=colour,
            ls=dash,
            label=f"mean C = {mean}",
        )
    axes.set_xlabel("solutions over effective number of solutions, minus 1")
    axes.set_ylabel("Var C above which across matters more")
    axes.set_ylim(bottom=0)
    axes.legend(title="a curve ends where Var C cannot be larger")


STATEMENT = Statement(
    id="E3",
    title="Two parts: when the utility across prompts helps, and when smoothing within one does",
    source="new",
    reference="theory.md E3; the conditions are derived here",
    assumptions=(
        "within: at test time one of the M correct answers is valid, each with chance 1/M; "
        "centred smoothing at fixed C",
        "across: exact gradient flow on separate prompts (no sharing of parameters), utilities "
        "with v'/u' falling in C (MaxRL, PKPO, F-GRPO, Pass@k training against vanilla)",
        "the comparison of both parts: k = 2, M solutions on every prompt",
    ),
    latex=(
        r"P(C,q) = \frac{1}{M}\sum_i\left[1-(1-Cq_i)^k\right],\qquad"
        r" \frac{dP}{dt} = -\frac{k\,C\,g}{M}\,\mathrm{Cov}_q\left(\log q,\,(1-Cq)^{k-1}\right)"
        r"\geq 0"
        "\n\n"
        r"\frac{d\,\mathrm{pass@}k}{d\,\mathrm{pass@}1}\ \mathrm{is\ at\ least\ as\ large\ under}"
        r"\ v\ \mathrm{as\ under}\ u\ \mathrm{if}\ v^\prime/u^\prime\ \mathrm{falls\ with}\ C"
        "\n\n"
        r"k=2:\quad P_{\max} - E_x[P] = \frac{\mathrm{Var}\,C}{M^2} +"
        r" \frac{1}{M}E_x\left[C_x^2\left(\sum_i q_i^2-\frac{1}{M}\right)\right]"
        "\n\n"
        r"The part within is worth nothing if $k=1$, $M=1$, $q$ is uniform or nothing shifts "
        r"between training and test; the part across is worth nothing if all $C_x$ are equal or "
        r"$k=1$.  Across matters more iff $\mathrm{Var}\,C > M\,E_x[C_x^2(\sum q^2-1/M)]$."
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic",
            check_symbolic,
            note="any number of trajectories and prompts, all k (certificate: k <= 6)",
        ),
        Method("smt", check_smt, note="any number (pairs); transfers among three answers, k <= 4"),
        Method(
            "exact",
            check_exact,
            note="18 shifted tests enumerated, 5 families of prompts, k up to 16",
        ),
        Method("random", check_random, note="library, 2 to 12 trajectories, k in 1..32, G = 8"),
    ),
    mutants=(
        Mutant(
            "smoothing within lowers shifted pass@k",
            replace(CLAIM, within_speed=lambda C, g, k, M, cov: k * C * g * cov / M),
            by=("symbolic", "smt"),
        ),
        Mutant(
            "the loss across is Var C whatever M",
            replace(CLAIM, across_loss=lambda M, var: var),
            by=("symbolic", "smt", "exact"),
        ),
        Mutant(
            "all M answers stay valid (no shift)",
            replace(CLAIM, rate=lambda C, q, k: 1 - (1 - C * sum(q)) ** k),
            by=("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "the more curved rule loses pass@k",
            replace(CLAIM, edge=lambda phi_a, phi, a: phi * a - phi_a),
            by=("symbolic", "random"),
        ),
    ),
    limits=(
        "The link is one model of shift; others (several answers stay valid) change the size of "
        "the gain, not its sign, as long as the test rate is a sum of concave functions of q_i. "
        "B8 says which law q is cheapest at a given entropy; it holds whatever u is."
    ),
    figure=draw,
)
