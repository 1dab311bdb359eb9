"""B2: the KL divergence of a policy splits into correctness, correct part and incorrect part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from diffsmooth.theory.statements import _gibbs, _logs
from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import identities, rational_identities
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement

Number = Any


@dataclass(frozen=True)
class ChainRule:
    """The weights of KL(q||b_S) and KL(f||b_F) in KL(pi||b), as functions of (C, p)."""

    correct: Callable[[Number, Number], Number] = lambda c, p: c
    incorrect: Callable[[Number, Number], Number] = lambda c, p: 1 - c
    binary: Callable[[Number], Number] = lambda kl: kl

    def whole(self, c: Number, p: Number, kl_c: Number, kl_s: Number, kl_f: Number) -> Number:
        return self.binary(kl_c) + self.correct(c, p) * kl_s + self.incorrect(c, p) * kl_f


def _symbolic(claim: ChainRule, budget: Budget) -> Outcome:
    """Any number of trajectories: u = log q, v = log b_S, w = log f, z = log b_F as moments."""
    import sympy as sp

    c, p = sp.symbols("C p", positive=True)
    u, v, w, z = sp.symbols("u v w z", real=True)
    log_c, log_1c, log_p, log_1p = sp.symbols("l_C l_1C l_p l_1p", real=True)
    q, f = Law("q", [u, v]), Law("f", [w, z])
    left = c * q.mean((log_c + u) - (log_p + v)) + (1 - c) * f.mean((log_1c + w) - (log_1p + z))
    kl_c = c * (log_c - log_p) + (1 - c) * (log_1c - log_1p)
    right = claim.whole(c, p, kl_c, q.mean(u - v), f.mean(w - z))
    return identities({"KL(pi||b)": left - right}, "the chain rule")


def _exact(claim: ChainRule, budget: Budget) -> Outcome:
    """Rational policies; the logarithms are formal, so equality is decided, not approximated."""

    def residuals(base: tab.RationalBase, pi: list[Fraction]) -> dict[str, Fraction]:
        split = len(base.correct)
        c, p = sum(pi[:split], Fraction(0)), base.p
        parts = [
            _logs.divergence(_logs.normalised(pi[part]), base_part)
            for part, base_part in (
                (slice(None, split), base.q(base.d)),
                (slice(split, None), base.f(base.d)),
            )
        ]
        right = claim.whole(c, p, _logs.binary_divergence(c, p), *parts)
        return {"KL(pi||b)": (_logs.divergence(pi, base.law()) - right).size()}

    instances = [
        {"base": base, "pi": pi}
        for base in tab.rational_bases(80 if budget.deep else 20, budget.seed)
        for pi in _gibbs.policies(base, 3, budget.seed)
    ]
    return rational_identities(residuals, instances, "arbitrary policies")


def _random(claim: ChainRule, budget: Budget) -> Outcome:
    """The library's parts of a policy, its KL and its decomposition, one against the other."""
    from hypothesis import strategies as st

    from diffsmooth.theory.policy import (
        Policy,
        kl,
        kl_binary,
        kl_decomposition,
        log1mexp,
        logsumexp,
        relative_entropy,
    )
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[tab.LogitBase, list[float], float, float]) -> tuple[float, float]:
        base, noise, near, depth = instance
        size, split = len(base.logits), len(base.correct)
        # The incorrect part of b up to e^-600; pi anywhere from b itself to something else.
        logits = base.logits - np.where(base.mask, 0.0, depth)
        log_b = tab.tempered(logits, 1.0)
        log_pi = tab.tempered(logits + near * np.array(noise[:size]), 1.0)
        b, pi = (Policy.from_logits(x, base.mask) for x in (logits, log_pi))
        log_c, log_1c = tab.log_sum(log_pi[:split]), tab.log_sum(log_pi[split:])
        log_p, log_1p = tab.log_sum(log_b[:split]), tab.log_sum(log_b[split:])
        c, p = float(np.exp(log_c)), float(np.exp(log_p))
        q, f = tab.tempered(log_pi[:split], 1.0), tab.tempered(log_pi[split:], 1.0)
        kl_s = tab.relative(q, tab.tempered(log_b[:split], 1.0))
        kl_f = tab.relative(f, tab.tempered(log_b[split:], 1.0))
        kl_c = tab.binary(log_c - log_1c, log_p - log_1p)
        again = Policy.from_parts(pi.logit_C, pi.log_q, pi.log_f, base.mask)
        third = Policy.from_probs(np.exp(log_pi) / np.exp(log_pi).sum(), base.mask)
        parts = kl_decomposition(pi, b)
        error = _gibbs.deviation(
            [
                (kl(pi, b), claim.whole(c, p, kl_c, kl_s, kl_f)),
                (kl(pi, b), tab.relative(log_pi, log_b)),
                (kl_binary(pi, b), kl_c),
                (parts[0], kl_c),
                (parts[1], claim.correct(c, p) * kl_s),
                (parts[2], claim.incorrect(c, p) * kl_f),
                (np.asarray(pi.log_probs), log_pi),
                (np.asarray(again.log_probs), log_pi),
                (np.asarray(third.log_probs), log_pi),
                (relative_entropy(pi.log_q, b.log_q), kl_s),
                # A law that lacks mass where the other has some: KL(q||b) = KL(q||b_S) - log p.
                (relative_entropy(pi.log_q, b.log_probs), kl_s - log_p),
                (pi.log_C, log_c),
                (pi.log_1mC, log_1c),
                (pi.C, c),
                (pi.logit_C, log_c - log_1c),
                (np.asarray(pi.log_q)[:split], q),
                (np.asarray(pi.log_f)[split:], f),
                # log(1 - e^-x) with x = e^-depth, and with x = depth: both ends keep their digits.
                (log1mexp(-np.exp(-30 - depth)), -30 - depth),
                (np.exp(30) * log1mexp(-30.0), -1 - np.exp(-30) / 2),
                (np.exp(logsumexp(np.zeros(0))), 0.0),  # over no trajectory
            ]
        )
        return -error, tab.rounding(size, base.spread + depth + 30)

    strategy = st.tuples(
        tab.logit_bases(),
        st.lists(tab.decimals(-4, 4), min_size=12, max_size=12),
        st.sampled_from([1.0, 0.001]),
        st.sampled_from([0.0, 600.0]),
    )
    return random.for_all(strategy, margin, budget, "the library's policy and divergences")


def _draw(ax: Any) -> None:
    """The three parts that an entropy bonus pays for, on top of each other."""
    from diffsmooth.theory.optima import entropy_bonus
    from diffsmooth.theory.policy import Policy, kl, kl_decomposition

    base = Policy.from_probs([0.25, 0.1, 0.05, 0.4, 0.15, 0.05], np.arange(6) < 3)
    ratios = np.linspace(0.0, 3.0, 61)
    policies = [entropy_bonus(base, 1.0, float(g)) for g in ratios]
    parts = np.array([[float(x) for x in kl_decomposition(pi, base)] for pi in policies]).T
    areas = ax.stackplot(
        ratios,
        parts,
        labels=(
            r"$\mathrm{kl}(C\|p)$",
            r"$C\,\mathrm{KL}(q\|b_S)$",
            r"$(1-C)\,\mathrm{KL}(f\|b_F)$",
        ),
        colors=("#999999", "#56B4E9", "#E69F00"),
        edgecolor="black",
        linewidth=0.5,
    )
    for area, hatch in zip(areas, ("", "//", ".."), strict=True):
        area.set_hatch(hatch)
    ax.plot(ratios, [float(kl(pi, base)) for pi in policies], "k-", lw=2, label="KL$(\\pi\\|b)$")
    ax.set(xlabel=r"entropy bonus $g/\beta$", ylabel="nats", xlim=(0, 3), ylim=(0, None))
    ax.legend(fontsize="small", loc="upper left")


STATEMENT = Statement(
    id="B2",
    title="Chain rule: what a policy pays for, part by part",
    source="paper",
    reference="theory.md B2; chain rule of the relative entropy",
    assumptions=("0 < C, p < 1; finitely many trajectories, b > 0",),
    latex=(
        r"\mathrm{KL}(\pi\|b)=\mathrm{kl}(C\|p)+C\,\mathrm{KL}(q\|b_S)"
        r"+(1-C)\,\mathrm{KL}(f\|b_F)"
    ),
    claim=ChainRule(),
    methods=(
        Method("symbolic", _symbolic, note="any number of trajectories, all policies"),
        Method("exact", _exact, note="rational policies with 2-10 trajectories"),
        Method("random", _random, note="the library: 2-12 trajectories"),
    ),
    mutants=(
        Mutant(
            "weighted by the base policy's masses (that is the forward KL)",
            ChainRule(correct=lambda c, p: p, incorrect=lambda c, p: 1 - p),
            ("symbolic", "exact", "random"),
        ),
        Mutant(
            "the parts unweighted",
            ChainRule(correct=lambda c, p: 1, incorrect=lambda c, p: 1),
            ("symbolic", "exact", "random"),
        ),
        Mutant(
            "the binary part dropped",
            ChainRule(binary=lambda kl: 0 * kl),
            ("symbolic", "exact", "random"),
        ),
    ),
    limits="An identity; the forward KL has the weights p and 1 - p instead.",
    figure=_draw,
)
