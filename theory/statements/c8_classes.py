"""C8: surface forms: smoothing trajectories pays for wordings, smoothing classes does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffsmooth.theory.statements import _c8_bias, _c8_dominance
from diffsmooth.theory.statements._c8_bias import log_share
from diffsmooth.theory.statements._logs import divergence, entropy, log, normalised, total
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import log_sum, shannon, tempered
from diffsmooth.theory.statements._weighted import (
    EPS,
    Vector,
    WeightedPolicy,
    strengths,
    weighted_policies,
)
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest


@dataclass(frozen=True)
class Quotient:
    """Claims about smoothing classes.

    ``between(g)``, ``within(g)``: rates of log(Q_c/Q_d) and of log(q_i/q_j) inside one class under
    the quotient rule's natural-gradient flow.  ``wordings(n_c, M, m)``: mass of a class of n_c of
    M trajectories, among m classes, at the fixed point of trajectory-level smoothing.
    ``share(q, n)``: mean share of the own class among n correct answers, seen from one of them.
    ``lower``, ``upper``: (q, n) -> ratio r with log r a bound on the bias E[log share] - log q.
    ``leading(q, n)`` and ``remainder(q, n, (1-q)^n)``: the bias to O(n^-2), and how far it can be
    from that.
    ``inside``: weight of the law within classes in KL(q || b_S).  ``towards_uniform``: 1 if the
    rule that uses shares equalises two classes.  ``exponent(own, matched)``: of the class masses
    in the policy that dominates an entropy-regularised one with exponent ``own``; ``matched`` is
    the one that gives its class entropy, 1 where that is below the base's.
    """

    between: Callable[[Any], Any]
    within: Callable[[Any], Any]
    wordings: Callable[[Any, Any, Any], Any]
    share: Callable[[Any, Any], Any]
    lower: Callable[[Any, Any], Any]
    upper: Callable[[Any, Any], Any]
    leading: Callable[[Any, Any], Any]
    remainder: Callable[[Any, Any, Any], Any]
    inside: int = 1
    towards_uniform: int = 1
    exponent: Callable[[Any, Any], Any] = lambda own, matched: matched


def _miss(q: Any, n: Any) -> Any:
    return 1 - (1 - q) ** n


CLAIM = Quotient(
    between=lambda g: -g,
    within=lambda g: 0 * g,
    wordings=lambda n_c, m_all, m: n_c / m_all,
    share=lambda q, n: q + (1 - q) / n,
    lower=lambda q, n: 1 / _miss(q, n),
    upper=lambda q, n: 1 + (1 - q) / (n * q),
    leading=lambda q, n: (1 - q) / (2 * n * q),
    remainder=lambda q, n, power: power / (2 * n * q) + 1 / (6 * n * (n + 1) * q**2),
)


def _any_size(claim: Quotient, _: Budget) -> Outcome:
    """Flow, chain rule and binomial sums for any number of classes, wordings and answers."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    # One trajectory: log Q of its class, log of its share x in the class, the same for the base.
    log_class, log_x, log_b, log_y, g, m = sp.symbols("logQ logx logB logy g mean", real=True)
    law = Law("q", (log_class, log_x, log_b, log_y))
    other_class, other_x = sp.symbols("logQ_d logx_j", real=True)
    velocity = -g * log_class - m  # d log q_i/dt: a function of the class alone
    kl = law.mean((log_class + log_x) - (log_b + log_y))
    chain = law.mean(log_class - log_b) + claim.inside * law.mean(log_x - log_y)
    # Exact sums over B ~ Bin(n-1, q): term by term C(n-1,k)/(k+1) = C(n,k+1)/n.
    n, k = sp.symbols("n k", positive=True, integer=True)
    q = sp.Symbol("q", positive=True)
    term = sp.binomial(n - 1, k) / (k + 1) - sp.binomial(n, k + 1) / n
    n_c, m_all = sp.symbols("n_c M", positive=True)
    exprs = {
        "between classes": (velocity - velocity.subs(log_class, other_class))
        - claim.between(g) * (log_class - other_class),
        "within a class": (velocity - velocity) - claim.within(g) * (log_x - other_x),
        "KL chain rule": kl - chain,
        "E[1/(1+B)] termwise": sp.combsimp(term),
        "mean share": (1 + (n - 1) * q) / n - claim.share(q, n),
        "uniform trajectories": claim.wordings(n_c, m_all, sp.Symbol("m", positive=True))
        - n_c / m_all,
    }
    exprs = {name: sp.expand(e) for name, e in exprs.items()}
    free = sorted(set().union(*(sp.sympify(e).free_symbols for e in exprs.values())), key=str)
    return together(
        lambda: symbolic.zero(exprs, free, "any number of classes, wordings, answers"),
        lambda: _c8_bias.symbolic(claim.leading),
        lambda: _c8_dominance.symbolic(claim.inside),
    )


def _lumped(claim: Quotient, _: Budget) -> Outcome:
    """Signs, for any sizes: more wordings more mass; Jensen by tangents; equalisation."""
    import z3

    from diffsmooth.theory.verify import smt

    n_c, m_all, m = z3.Reals("n_c M m")
    g, x, y, mean, u, v = z3.Reals("g logQ_c logQ_d mean logx_i logx_j")
    q, n, log_t, t, odds, power = z3.Reals("q n log_t t odds odds^m")
    left, right, pull = z3.Reals("Bin(k) Bin(n-k) pull_k")
    return together(
        lambda: smt.prove(
            [n_c >= 1, m_all > n_c, m >= 2, m <= m_all],
            claim.wordings(n_c + 1, m_all + 1, m) > claim.wordings(n_c, m_all, m),
            "one more wording, more mass",
        ),
        lambda: smt.prove(
            [g >= 0],
            [
                (-g * x - mean) - (-g * y - mean) == claim.between(g) * (x - y),
                (-g * x - mean) - (-g * x - mean) == claim.within(g) * (u - v),
            ],
            "pairs of classes, pairs of wordings",
        ),
        lambda: smt.prove(
            # log t <= t - 1 at t = X/mu sums to E log X <= log mu; at t = nu/X to the lower bound.
            [q > 0, q < 1, n >= 1, t > 0, log_t <= t - 1],
            [
                claim.share(q, n) == q * claim.upper(q, n),
                claim.share(q, n) >= q,
                claim.upper(q, n) >= 1,
                z3.Implies(t == 1, log_t <= 0),
            ],
            "the share overstates the class; upper bound of the log by Jensen",
        ),
        lambda: smt.prove(
            # Bin(k)/Bin(n-k) = odds^(2k-n); the pull at s = k/n is odd around s = 1/2.
            [odds >= 1, power >= 1, left == power * right, right >= 0, pull >= 0],
            [odds * power >= 1, claim.towards_uniform * (left * pull - right * pull) >= 0],
            "k against n-k: the larger class is pulled down",
        ),
        lambda: _c8_bias.smt(claim.leading, claim.remainder),
        _c8_dominance.smt,
    )


def _exact(claim: Quotient, budget: Budget) -> Outcome:
    """Bias bounds and E[share], E[1/share] in rationals; B7, B8 over classes in formal logs."""
    from fractions import Fraction
    from random import Random

    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def bias_signs(q: Fraction, n: int) -> list[int]:
        bias = log_share(q, n, log) - log(q)
        low, high = claim.lower(q, n), claim.upper(q, n)
        return [(bias - log(Fraction(low))).sign(), (log(Fraction(high)) - bias).sign()]

    def binomial(q: Fraction, n: Fraction) -> list[Fraction]:
        size = int(n)
        weights = [math.comb(size - 1, k) * q**k * (1 - q) ** (size - 1 - k) for k in range(size)]
        mean = sum((w * (k + 1) / size for k, w in enumerate(weights)), Fraction(0))
        inverse = sum((w * size / Fraction(k + 1) for k, w in enumerate(weights)), Fraction(0))
        return [mean - claim.share(q, n), inverse - 1 / (q * claim.lower(q, size))]

    def drift(q: Fraction, n: int) -> int:
        """Sign of the pull of the share rule on the larger of two classes, s = k/n of it."""
        pull = total(
            (log(k) - log(n - k)) * (math.comb(n, k) * q**k * (1 - q) ** (n - k) * k * (n - k))
            for k in range(1, n)
        )
        return pull.sign() * claim.towards_uniform

    def classes(parts: Any, base: Any) -> list[Fraction]:
        """KL(q||b) = KL(Q||B) + inside * sum_c Q_c KL(q|c || b|c)."""
        q, b = (normalised([w for part in side for w in part]) for side in (parts, base))
        sizes = [len(part) for part in parts]
        starts = np.cumsum([0, *sizes])
        big_q, big_b = (
            [sum(law[s : s + k], Fraction(0)) for s, k in zip(starts, sizes, strict=False)]
            for law in (q, b)
        )
        inner = total(
            divergence(normalised(part), normalised(other)) * mass
            for part, other, mass in zip(parts, base, big_q, strict=True)
        )
        return [(divergence(q, b) - divergence(big_q, big_b) - inner * claim.inside).size()]

    shares = [{"q": Fraction(a, 12), "n": n} for a in (1, 2, 4, 6, 9, 11) for n in (2, 3, 5, 8, 16)]
    weights = [
        [[rng.randint(1, 6) for _ in range(k)] for k in sizes]
        for sizes in ((1, 1), (2, 1), (3, 2), (1, 4, 2), (2, 2, 2))
        for _ in range(2)
    ]
    bases = [[[rng.randint(1, 6) for _ in part] for part in parts] for parts in weights]
    return together(
        lambda: exact.inequality(bias_signs, shares, "lower < bias of log share < upper"),
        lambda: exact.inequality(
            drift,
            [s for s in shares if s["q"] > Fraction(1, 2) and s["n"] > 2],
            "the share rule pulls the larger class down",
        ),
        lambda: exact.identity(
            binomial, [{"q": s["q"], "n": Fraction(s["n"])} for s in shares], "E share, E 1/share"
        ),
        lambda: exact.identity(
            classes,
            [{"parts": p, "base": b} for p, b in zip(weights, bases, strict=True)],
            "chain rule over classes",
        ),
        _same_exponent_fails,
    )


def _same_exponent_fails() -> Outcome:
    """Trajectory-level tempering can *lower* the diversity of classes: b_S ~ (3^2; 1 nine times).

    a = 1/2: class masses (1/2, 1/2) become (1/4, 3/4).  So B7 over classes cannot keep the
    exponent; Q = B (g = 0) already has more class entropy at less KL.
    """
    from diffsmooth.theory.verify import exact

    base = normalised([9] + [1] * 9)
    half = normalised([3] + [1] * 9)
    gain = entropy([base[0], 1 - base[0]]) - entropy([half[0], 1 - half[0]])
    return exact.inequality(
        lambda **_: [gain.sign(), divergence(half, base).sign()],
        [{"base": base, "tempered": half}],
        f"tempering trajectories costs {float(gain):.3f} nats of class entropy",
    )


def _certified(claim: Quotient, _: Budget) -> Outcome:
    """The bounds of the bias on whole intervals of q, for n = 2, 4, 8 answers."""
    from flint import arb

    from diffsmooth.theory.verify import certified

    def gaps(n: int, upper: bool) -> Callable[[Any], Any]:
        def gap(q: Any) -> Any:
            bias = log_share(q, n, lambda x: arb(x).log()) - q.log()
            if upper:
                return claim.upper(q, n).log() - bias
            return bias - claim.lower(q, n).log()

        return gap

    box = {"q": ("1/50", "9/10")}
    return together(
        *(
            lambda n=n, upper=upper: certified.positive(
                gaps(n, upper), box, f"{'upper' if upper else 'lower'} bound, n = {n}"
            )
            for n in (2, 4, 8)
            for upper in (False, True)
        ),
        lambda: _c8_bias.certified(claim.leading, claim.remainder),
    )


def _random(claim: Quotient, budget: Budget) -> Outcome:
    return together(
        lambda: _rule(claim, budget), lambda: _c8_dominance.random(claim.exponent, budget)
    )


def _rule(claim: Quotient, budget: Budget) -> Outcome:
    """The quotient rule on exactly weighted groups: class log-odds and wordings; the library."""
    from hypothesis import strategies as st

    from diffsmooth.theory.classes import (
        class_log_masses,
        equalised,
        harmonic_share_bias,
        log_share_bias,
    )
    from diffsmooth.theory.rules import DrGRPO, Smoothed, SmoothingTerm
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[WeightedPolicy, float]) -> tuple[float, float]:
        weighted, g = instance
        right = weighted.correct
        labels = np.array(weighted.classes)[right]
        q = weighted.probs[right] / weighted.probs[right].sum()
        mass = np.array([q[labels == c].sum() for c in labels])
        rule = Smoothed(DrGRPO(), SmoothingTerm(g, 0.0, centring="correct", quotient=True))
        batch = weighted.batch()
        advantage = weighted.advantages(rule(batch))
        a = advantage[right]
        log_ratio = np.log(mass) - math.log(mass[0])
        worst = float(np.abs(a - a[0] - claim.between(g) * log_ratio).max())
        for c in set(labels.tolist()):
            inside = labels == c
            log_x = np.log(q[inside])
            drift = a[inside] - a[inside][0] - claim.within(g) * (log_x - log_x[0])
            worst = largest(worst, float(np.abs(drift).max()))
        mean = float(weighted.probs[right] @ a) / float(weighted.probs[right].sum())
        # Centred: the mean over the correct answers is the reward's own, 1 - C, and F has -C.
        c_mass = float(weighted.probs[right].sum())
        worst = largest(worst, abs(mean - (1 - c_mass)))
        worst = largest(worst, float(np.abs(advantage[~right] + c_mass).max()))
        _, ids = np.unique(labels, return_inverse=True)
        for found, own in (
            (np.exp(class_log_masses(np.log(q), labels, 3)), labels),
            (np.exp(class_log_masses(np.log(q), ids)), ids),
        ):
            worst = largest(worst, float(np.abs(found[own] - mass).max()), abs(found.sum() - 1))
        worst = largest(worst, _two_prompts(rule, batch))
        # One class holds all: its share may be an ulp above 1.
        share, n = min(float(mass[0]), 1.0), int(sum(weighted.counts[: weighted.successes]))
        # Quotient smoothing raises class masses to a power and leaves each class's law alone.
        flat = equalised(np.log(q), ids, 0.5)
        tempered = mass**0.5 / sum(float(mass[ids == c][0]) ** 0.5 for c in set(ids.tolist()))
        worst = largest(worst, float(np.abs(np.exp(flat) - q / mass * tempered).max()))
        # A wording without mass stays without; ids number as many classes as there are.
        wider = equalised(np.append(np.log(q), -np.inf), np.append(ids, 0), 0.5)
        if wider[-1] != -np.inf or class_log_masses(np.log(q), ids).size != len(set(ids.tolist())):
            worst = math.inf
        tail = -math.log(share) - sum((1 - share) ** i / i for i in range(1, n))
        worst = largest(worst, abs(float(harmonic_share_bias(share, n)) - tail))
        bias = float(log_share_bias(share, n))
        worst = largest(
            worst,
            abs(bias - float(log_share(share, n, math.log)) + math.log(share)),
            math.log(claim.lower(share, n)) - bias,
            bias - math.log(claim.upper(share, n)),
            abs(bias - claim.leading(share, n)) - claim.remainder(share, n, (1 - share) ** n),
        )
        return -worst, 16 * (weighted.rows.size + 8) * EPS * (1 + g) * (1 + math.log(100))

    return random.for_all(
        st.tuples(weighted_policies(6, 2, 6, max_classes=3), strengths()),
        margin,
        budget,
        "quotient rule on exactly weighted groups",
        show=lambda x: f"{x[0]}, g = {x[1]}",
    )


def _two_prompts(rule: Any, batch: Any) -> float:
    """The prompt beside another one that reuses its class ids: the advantages must not change."""
    other = replace(batch, group=batch.group + 7, classes=2 - batch.classes)
    both = type(batch)(
        reward=np.concatenate([batch.reward, other.reward]),
        correct=np.concatenate([batch.correct, other.correct]),
        group=np.concatenate([batch.group, other.group]),
        logps=np.concatenate([batch.logps, other.logps]),
        classes=np.concatenate([batch.classes, other.classes]),
    )
    return float(np.abs(rule(both) - np.concatenate([rule(batch), rule(other)])).max())


def _adversarial(claim: Quotient, budget: Budget) -> Outcome:
    """B8 over classes (sizes 3, 2, 1): with H(Q) >= H(B), tempering the classes costs least KL."""
    from scipy.optimize import brentq

    from diffsmooth.theory.verify import adversarial

    labels = np.array([0, 0, 0, 1, 1, 2])
    log_b = np.array([2.0, 0.5, 0.0, 0.3, -0.5, -1.0])
    log_b = log_b - log_sum(log_b)

    def merge(log_law: Vector) -> Vector:
        return np.array([log_sum(log_law[labels == c]) for c in range(3)])

    log_base = merge(log_b)
    ceiling, floor = math.log(3), shannon(log_base)

    def margin(x: Vector) -> float:
        z = np.clip(x, -20, 20)
        log_q = z - log_sum(z)
        h = shannon(merge(log_q))
        if not floor <= h < ceiling - 1e-6:
            return float("inf")
        a = brentq(lambda v: shannon(tempered(log_base, v)) - h, 0.0, 1.0, xtol=1e-14)
        best = tempered(log_base, float(a))
        cost = float(np.exp(best) @ (best - log_base))
        big = merge(log_q)
        between = float(np.exp(big) @ (big - log_base))
        within = float(np.exp(log_q) @ (log_q - log_b)) - between
        return between + claim.inside * within - cost

    # a is accurate to 1e-14 + 4 eps, and dKL/da, dH/da <= Var(log B) < 8: cost to 1e-13.
    return adversarial.minimise(
        margin,
        lambda rng: 0.3 * rng.normal(size=6),
        budget,
        "KL above the class tempering",
        1e-12,
        evaluations=300,
    )


def _figure(ax: Any) -> None:
    """Bias of the log class share, with its bounds, for 4 and 32 correct answers."""
    q = np.linspace(0.01, 1, 200)
    for n, style, colour in ((4, "-", "#0072B2"), (32, "--", "#D55E00")):
        bias = np.array([float(log_share(x, n, math.log)) for x in q]) - np.log(q)
        ax.plot(q, bias, style, color=colour, lw=2, label=f"bias, n = {n}")
        ax.fill_between(
            q,
            np.log(CLAIM.lower(q, n)),
            np.log(CLAIM.upper(q, n)),
            color=colour,
            alpha=0.2,
            label=f"proved bounds, n = {n}",
        )
    ax.set_xlabel(r"class probability $q_c=\pi(c)/C$")
    ax.set_ylabel(r"$E[\log\,\mathrm{share}]-\log q_c$ (nats)")
    ax.set_ylim(0, 3)
    ax.legend(fontsize="small")


def _symbolic(claim: Quotient, budget: Budget) -> Outcome:
    return _any_size(claim, budget)


STATEMENT = Statement(
    id="C8",
    title="Smooth classes, not wordings; and what the class share costs",
    source="corrected",
    reference="theory.md C8; B7, B8",
    assumptions=(
        "S is partitioned into m classes c of n_c wordings, M in all; Q_c = q(c), B_c = b_S(c)",
        "natural-gradient flow for the dynamics; exact class probabilities except for the share",
        "share: n independent correct answers, seen from one of them (class probability q_c)",
    ),
    latex=(
        r"\mathrm{trajectory\ level:}\ \ Q_c\to\frac{n_c}{M};\qquad \mathrm{quotient:}\ \ "
        r"\log\frac{Q_c}{Q_d}(t)=e^{-gt}\log\frac{Q_c}{Q_d}(0),\quad Q_c\to\frac{1}{m}"
        "\n\n"
        r"and the quotient rule leaves $q(i\,|\,c)$ alone.  KL splits over the classes, so B8 "
        r"holds with $S$ replaced by them:"
        "\n\n"
        r"\mathrm{KL}(q\,\|\,b_S)=\mathrm{KL}(Q\,\|\,B)+\sum_c Q_c\,"
        r"\mathrm{KL}(q_{|c}\,\|\,b_{|c})"
        "\n\n"
        r"In a group, an answer of class $c$ sees $k=1+\mathrm{Bin}(n-1,q_c)$ of the $n$ correct "
        r"answers in its class:"
        "\n\n"
        r"\mathrm{E}\left[\frac{k}{n}\right]=q_c+\frac{1-q_c}{n},\qquad"
        r" \mathrm{E}\left[\log\frac{k}{n}\right]-\log q_c=\frac{1-q_c}{2nq_c}+\rho,\qquad"
        r" |\rho|\leq\frac{(1-q_c)^n}{2nq_c}+\frac{1}{6n(n+1)q_c^2}"
        "\n\n"
        r"0<\log\frac{1}{1-(1-q_c)^n}\leq \mathrm{E}\left[\log\frac{k}{n}\right]-\log q_c"
        r"\leq\log\left(1+\frac{1-q_c}{n q_c}\right)"
        "\n\n"
        r"The rule that uses shares equalises two classes for every $n\geq 3$ and is idle below:"
        "\n\n"
        r"\frac{d}{dt}\log\frac{Q}{1-Q}=-\frac{g}{Q(1-Q)}\,\mathrm{E}\left[s(1-s)"
        r"\log\frac{s}{1-s}\right],\qquad s=\frac{1}{n}\mathrm{Bin}(n,Q)"
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic",
            _symbolic,
            note=(
                "any number of classes, wordings and answers (formal moments, binomial sums "
                "termwise)"
            ),
        ),
        Method("smt", _lumped, note="any sizes, all g >= 0, 0 < q < 1, n >= 1"),
        Method(
            "exact",
            _exact,
            note=(
                "30 pairs (q, n) with n <= 16; 10 partitions with up to 7 wordings; the "
                "counterexample to equal exponents"
            ),
        ),
        Method("certified", _certified, note="q in [1/50, 9/10], n in {2, 4, 8}"),
        Method(
            "random",
            _random,
            note="rule on rational policies, 1..6 correct answers in up to 3 classes; B7's rivals",
        ),
        Method(
            "adversarial",
            _adversarial,
            note="classes of 3, 2 and 1 wordings, any law with H(Q) >= H(B)",
        ),
    ),
    mutants=(
        Mutant(
            "trajectory-level smoothing is uniform over classes",
            replace(CLAIM, wordings=lambda n_c, m_all, m: 1 / m),
            ("symbolic", "smt"),
        ),
        Mutant(
            "the quotient rule flattens wordings too",
            replace(CLAIM, within=lambda g: -g),
            ("symbolic", "smt", "random"),
        ),
        Mutant(
            "the share is unbiased seen from an answer",
            replace(CLAIM, share=lambda q, n: q, upper=lambda q, n: 1 + 0 * q),
            ("symbolic", "exact", "certified"),
        ),
        Mutant(
            "the log share understates: half the upper bound",
            replace(CLAIM, upper=lambda q, n: 1 + (1 - q) / (4 * n * q)),
            ("smt", "exact", "certified"),
        ),
        Mutant(
            "the bias leads with 1/(2nq)",
            replace(CLAIM, leading=lambda q, n: 1 / (2 * n * q)),
            ("symbolic", "smt", "certified"),
        ),
        Mutant(
            "the remainder without its second term",
            replace(CLAIM, remainder=lambda q, n, power: power / (2 * n * q)),
            ("smt", "certified"),
        ),
        Mutant(
            "the share rule feeds the larger class",
            replace(CLAIM, towards_uniform=-1),
            ("smt", "exact"),
        ),
        Mutant(
            "the law inside classes earns KL back",
            replace(CLAIM, inside=-1),
            ("symbolic", "exact", "adversarial"),
        ),
        Mutant(
            "over classes the dominating policy keeps the exponent of B7",
            replace(CLAIM, exponent=lambda own, matched: own),
            "random",
        ),
    ),
    limits=(
        "Under the softmax gradient wordings of unequal probability are still sharpened by the "
        "reward inside each class (A4).  With one or two correct answers in a group the rule that "
        "uses shares does nothing.  The classes themselves must be right: a canonical form that "
        "merges two solutions starves both."
    ),
    correction=(
        "'B7, B8 hold with S replaced by the classes' is right for B8 (the within-class law only "
        "costs KL) and for the existence part of B7 (checked here: same C, at least the class "
        "entropy, no more KL), but not with the same exponent: a "
        "trajectory-level entropy bonus can lower the diversity of classes (b_S = one wording of "
        "mass 1/2 and nine of 1/18: tempering by 1/2 turns class masses (1/2, 1/2) into (1/4, "
        "3/4)); the base law itself then dominates.  'Biased' is made exact: the share of a fixed "
        "class is unbiased, but seen from an answer of the class it is too large by (1-q)/n, and "
        "its logarithm by at least log 1/(1-(1-q)^n): rare classes get too small a bonus."
    ),
    figure=_figure,
)
