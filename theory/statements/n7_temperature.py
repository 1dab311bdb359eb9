r"""N7. Temperature at test time: what it does to correctness and diversity, and what beats it.

Sampling from pi^a/Z, a = 1/T, tempers both parts alike: q_a of q, f_a of f, and

    logit C_a = log sum_S pi^a - log sum_F pi^a,
    d logit C_a/da at a = 1:  E_q log pi - E_f log pi = logit C - (H(q) - H(f)).

So a little heat (a below 1) raises correctness iff H(q) - H(f) > logit C, and always raises H(q)
(B6).  The policy with C_a, q_a and f itself has the same correctness and the same correct part at a
divergence from pi smaller by (1 - C_a) KL(f_a || f) (B2): strictly, unless f is uniform or a = 1.
Training reaches it: centred smoothing of strength beta (1 - a) with pi as reference (B5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsmooth.theory.statements._logs import binary_divergence, divergence
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import identities, together
from diffsmooth.theory.statements._tabular import (
    EPS,
    LogitBase,
    RationalBase,
    binary,
    log_sum,
    logit_bases,
    rational_bases,
    relative,
    rounding,
    shannon,
    tempered,
)
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """slope(logit_c, h_q, h_f): d logit C_a/da at a = 1; saved(C_a, kl_f): by how much less KL the
    policy with f itself has; strength(a, beta): the centred smoothing that reaches it."""

    slope: Formula = lambda logit_c, h_q, h_f: logit_c - h_q + h_f
    saved: Formula = lambda c, kl_f: (1 - c) * kl_f
    strength: Formula = lambda a, beta: beta * (1 - a)


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """The slope of a log-sum by formal moments; B5's exponent."""
    import sympy as sp

    a, beta = sp.symbols("a beta", positive=True)
    steps: dict[str, Any] = {}
    # d/da log sum w^a at a = 1 is the mean of log w under w/sum: three weights, and any number
    # by linearity of the derivative over terms.
    w = sp.symbols("w1:4", positive=True)
    mass = sum(w)
    slope = sp.diff(sp.log(sum(x**a for x in w)), a).subs(a, 1)
    steps["derivative of a log-sum"] = sp.simplify(slope - sum(x * sp.log(x) for x in w) / mass)
    log_c, log_wrong, log_q, log_f = sp.symbols("log_C log_(1-C) log_q log_f", real=True)
    q, f = Law("q", (log_q,)), Law("f", (log_f,))
    found = q.mean(log_c + log_q) - f.mean(log_wrong + log_f)
    steps["slope at a = 1"] = sp.expand(
        found - claim.slope(log_c - log_wrong, -q.mean(log_q), -f.mean(log_f))
    )
    # B2 with the same C and q: what is left is the part of f.
    kl_c, kl_q, kl_f, c = sp.symbols("kl_C KL_q KL_f C_a", real=True)
    heated = kl_c + c * kl_q + (1 - c) * kl_f
    steps["what the same C and q cost with f itself"] = sp.expand(
        heated - (kl_c + c * kl_q) - claim.saved(c, kl_f)
    )
    steps["B5: exponent 1 - g/beta"] = sp.simplify(1 - claim.strength(a, beta) / beta - a)
    return identities(steps, "any number of answers")


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """When heat helps correctness; the saving is not negative."""
    import z3

    from diffsmooth.theory.verify import smt

    logit_c, h_q, h_f, c, kl_f = z3.Reals("logit_C H_q H_f C_a KL_f")
    return together(
        lambda: smt.prove(
            [h_q >= 0, h_f >= 0],
            (claim.slope(logit_c, h_q, h_f) < 0) == (h_q - h_f > logit_c),
            "heat raises correctness iff H(q) - H(f) > logit C",
        ),
        lambda: smt.prove(
            [c > 0, c < 1, kl_f >= 0],
            [claim.saved(c, kl_f) >= 0, (claim.saved(c, kl_f) > 0) == (kl_f > 0)],
            "the correct part alone is cheaper, strictly unless f_a = f",
        ),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Rational temperings: the divergences in formal logarithms."""
    from diffsmooth.theory.verify import exact

    def residual(base: RationalBase, j: int) -> list[Fraction]:
        pi = base.law()
        right = sum(Fraction(m) ** j for m in base.correct)
        c = Fraction(right) / sum(Fraction(m) ** j for m in base.correct + base.incorrect)
        q, f = base.q(j), base.f(j)
        heated, own = base.join(c, q, f), base.join(c, q, base.f(base.d))
        gap = divergence(heated, pi) - divergence(own, pi)
        kl_f = divergence(f, base.f(base.d))
        parts = binary_divergence(c, base.p) + divergence(q, base.q(base.d)) * c + kl_f * (1 - c)
        return [(gap - kl_f * claim.saved(c, 1)).size(), (divergence(heated, pi) - parts).size()]

    instances = [
        {"base": base, "j": j}
        for base in rational_bases(12, budget.seed)
        for j in range(base.d + 2)
    ]
    return exact.identity(residual, instances, "KL of heat and of the correct part alone")


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """Library policies: heated ones, their slope in a, and the policy of B5 that dominates."""
    from hypothesis import strategies as st

    from diffsmooth.theory.policy import Policy, relative_entropy
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[LogitBase, float]) -> tuple[float, float]:
        base, a = instance
        policy, mask = base.policy(), base.mask
        log_pi = np.asarray(policy.log_probs)
        heated = Policy.from_logits(a * log_pi, mask)
        log_q, log_f = tempered(log_pi[mask], a), tempered(log_pi[~mask], a)
        logit = log_sum(a * log_pi[mask]) - log_sum(a * log_pi[~mask])
        magnitude = (1 + a) * base.spread
        bound = 4 * rounding(log_pi.size, magnitude)
        worst = abs(float(heated.logit_C) - logit)
        # the correct part alone: same C, same q_a, f itself
        log_c, log_wrong = float(heated.log_C), float(heated.log_1mC)
        joined = np.empty_like(log_pi)
        joined[mask] = log_c + log_q
        joined[~mask] = log_wrong + tempered(log_pi[~mask], 1.0)
        gap = float(relative_entropy(heated.log_probs, log_pi)) - float(
            relative_entropy(joined - log_sum(joined), log_pi)
        )
        kl_f = relative(log_f, tempered(log_pi[~mask], 1.0))
        worst = largest(worst, abs(gap - float(claim.saved(np.exp(log_c), kl_f))))
        # Slope by a central difference: third derivatives are bounded by spread^3.
        h = 1e-4
        up, down = (float(Policy.from_logits((1 + s * h) * log_pi, mask).logit_C) for s in (1, -1))
        claimed = claim.slope(
            float(policy.logit_C),
            shannon(tempered(log_pi[mask], 1.0)),
            shannon(tempered(log_pi[~mask], 1.0)),
        )
        error = abs((up - down) / (2 * h) - float(claimed))
        slack = h * h * base.spread**3 + 64 * EPS * magnitude / h
        return -largest(worst / bound, error / (slack + bound)), 1.0

    return random.for_all(
        st.tuples(logit_bases(5, 3.0), st.integers(1, 16).map(lambda n: n / 8)),
        margin,
        budget,
        "library policies (in units of the error bound)",
        show=lambda t: f"{t[0]}, a = {t[1]}",
    )


def check_adversarial(claim: Claim, budget: Budget) -> Outcome:
    """Whatever base and temperature: the correct part alone saves exactly that."""
    from diffsmooth.theory.verify import adversarial

    def margin(x: Any) -> float:
        z, a = np.clip(x[:5], -8, 8), float(np.exp(np.clip(x[5], -2, 1)))
        log_pi = z - log_sum(z)
        right, wrong = log_pi[:3], log_pi[3:]
        heated = tempered(log_pi, a)
        logit = log_sum(heated[:3]) - log_sum(heated[3:])
        log_q, log_f = tempered(right, a), tempered(wrong, a)
        c = float(1 / (1 + np.exp(-logit)))
        whole = relative(heated, log_pi)
        alone = binary(logit, log_sum(right) - log_sum(wrong))
        alone += c * relative(log_q, tempered(right, 1.0))
        return -abs(whole - alone - float(claim.saved(c, relative(log_f, tempered(wrong, 1.0)))))

    return adversarial.minimise(
        margin, lambda rng: rng.normal(size=6), budget, "KL saved", tolerance=1e-12
    )


def draw(axes: Axes) -> None:
    """Correctness against temperature: two bases with H(q) - H(f) above and below logit C."""
    heat = np.geomspace(0.3, 3, 120)
    for right, wrong, name, colour, dash in (
        ((1.0, 0.8, 0.6, 0.5, 0.5, 0.4, 0.3), (2.8, -1), "many solutions", "#0072B2", "-"),
        ((2.5, 0.1), (1.0, 0.9, 0.8, 0.8, 0.7, 0.6), "one solution leads", "#D55E00", "--"),
    ):
        z = np.array(right + wrong)
        n = len(right)
        c = []
        for t in heat:
            log_pi = tempered(z, 1 / t)
            c.append(float(np.exp(log_sum(log_pi[:n]))))
        axes.plot(heat, c, color=colour, ls=dash, label=name)
    axes.axvline(1.0, color="black", ls=":", lw=1)
    axes.set_xscale("log")
    ticks = (0.3, 0.5, 1, 2, 3)
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("temperature at test")
    axes.set_ylabel("correctness C")
    axes.legend()


STATEMENT = Statement(
    id="N7",
    title="Temperature at test time: when it helps, and the policy that does the same for less",
    source="new",
    reference="theory.md N7; B2, B4, B5",
    assumptions=(
        "answers drawn from pi^a/Z, a = 1/T > 0 (temperature on whole answers)",
        "KL to pi itself; centred smoothing with pi as reference reaches the dominating policy",
    ),
    latex=(
        r"\frac{d\,\mathrm{logit}\,C_a}{da}|_{a=1} = \mathrm{logit}\,C - (H(q)-H(f))"
        "\n\n"
        r"\mathrm{KL}(\pi_a\|\pi) - \mathrm{KL}(\pi_{C_a,q_a,f}\|\pi) = (1-C_a)\,"
        r"\mathrm{KL}(f_a\|f)\geq 0"
        "\n\n"
        r"A little heat raises correctness iff $H(q)-H(f)>\mathrm{logit}\,C$.  Smoothing the "
        r"correct part alone gives the same correctness and correct part at less divergence."
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="any number of answers (formal moments)"),
        Method("smt", check_smt, note="any number of answers"),
        Method("exact", check_exact, note="12 rational policies, their rational temperings"),
        Method("random", check_random, note="library, 2 to 10 answers, a in [1/8, 2]"),
        Method("adversarial", check_adversarial, note="3 + 2 answers, any temperature"),
    ),
    mutants=(
        Mutant(
            "heat always costs correctness",
            replace(CLAIM, slope=lambda logit_c, h_q, h_f: logit_c),
            by=("symbolic", "smt", "random"),
        ),
        Mutant(
            "heat helps where the wrong answers are diverse",
            replace(CLAIM, slope=lambda logit_c, h_q, h_f: logit_c + h_q - h_f),
            by=("symbolic", "smt", "random"),
        ),
        Mutant(
            "the saving is weighted by C",
            replace(CLAIM, saved=lambda c, kl_f: c * kl_f),
            by=("symbolic", "exact", "random", "adversarial"),
        ),
        Mutant(
            "smoothing must be as strong as beta a",
            replace(CLAIM, strength=lambda a, beta: beta * a),
            by="symbolic",
        ),
    ),
    limits=(
        "Temperature on whole answers; samplers apply it to tokens, which tempers each conditional "
        "and not the answer.  It costs no training: every table should carry it as a baseline."
    ),
    figure=draw,
)
