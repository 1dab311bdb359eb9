"""C1: what on-policy differential smoothing climbs, and how hard it pushes correctness unasked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffsmooth.theory.statements._logs import entropy, log, total
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._weighted import (
    EPS,
    Vector,
    WeightedPolicy,
    strengths,
    weighted_policies,
)
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest


@dataclass(frozen=True)
class ImplicitObjective:
    """J = correctness C + correct_entropy H_S + incorrect_entropy H_F, with H_X = -sum_X pi log pi.

    The coefficients are functions of (g_p, g_n).  ``push`` is the derivative of J in C with the
    laws q and f held fixed: a function of (g_p, g_n, H(q) - log C, H(f) - log(1 - C)).
    """

    correctness: Callable[[Any, Any], Any]
    correct_entropy: Callable[[Any, Any], Any]
    incorrect_entropy: Callable[[Any, Any], Any]
    push: Callable[[Any, Any, Any, Any], Any]

    def value(self, probs: Any, successes: int, g_p: Any, g_n: Any, log: Any) -> Any:
        """J as a polynomial in pi and log pi (complex steps and symbols are welcome)."""
        right, wrong = list(probs[:successes]), list(probs[successes:])
        return (
            self.correctness(g_p, g_n) * sum(right)
            - self.correct_entropy(g_p, g_n) * sum(x * log(x) for x in right)
            - self.incorrect_entropy(g_p, g_n) * sum(x * log(x) for x in wrong)
        )


CLAIM = ImplicitObjective(
    correctness=lambda g_p, g_n: 1 + g_p + g_n,
    correct_entropy=lambda g_p, g_n: g_p,
    incorrect_entropy=lambda g_p, g_n: -g_n,
    push=lambda g_p, g_n, s_q, s_f: 1 + g_p * s_q + g_n * s_f,
)


def _any_size(claim: ImplicitObjective, _: Budget) -> Outcome:
    """v_i = d log pi_i is any direction that keeps the total mass; l = log pi_i."""
    import sympy as sp

    log_pi, v, c, g_p, g_n = sp.symbols("l v C g_p g_n", real=True)
    right, wrong = Law("S", (log_pi, v)), Law("F", (log_pi, v))
    total_mass = {wrong.mean(v): -c * right.mean(v) / (1 - c)}
    d_c = c * right.mean(v)
    d_h_s, d_h_f = -c * right.mean(v * (log_pi + 1)), -(1 - c) * wrong.mean(v * (log_pi + 1))
    update = c * right.mean(v * (1 - g_p * log_pi)) + (1 - c) * wrong.mean(v * g_n * log_pi)
    ascent = (
        claim.correctness(g_p, g_n) * d_c
        + claim.correct_entropy(g_p, g_n) * d_h_s
        + claim.incorrect_entropy(g_p, g_n) * d_h_f
    )
    # H_S = C (H(q) - log C), H_F = (1 - C) (H(f) - log(1 - C)).
    s = sp.Symbol("c", positive=True)
    h_q, h_f = sp.symbols("h_q h_f", real=True)
    j = (
        claim.correctness(g_p, g_n) * s
        + claim.correct_entropy(g_p, g_n) * s * (h_q - sp.log(s))
        + claim.incorrect_entropy(g_p, g_n) * (1 - s) * (h_f - sp.log(1 - s))
    )
    push = claim.push(g_p, g_n, h_q - sp.log(s), h_f - sp.log(1 - s))
    from diffsmooth.theory.verify import symbolic

    expr = {
        "update minus dJ": sp.expand((update - ascent).subs(total_mass)),
        "dJ/dC minus push": sp.diff(j, s) - push,
    }
    free = sorted(
        set().union(*(sp.sympify(e).free_symbols for e in expr.values())), key=lambda x: x.name
    )
    return symbolic.zero(
        expr, free, "any direction", where=lambda p: p.get(s, sp.Rational(1, 2)) < 1
    )


def _rule_itself(claim: ImplicitObjective, _: Budget) -> Outcome:
    """The rule object runs on symbols; sympy differentiates J."""
    import sympy as sp

    from diffsmooth.theory.rules import GroupBatch, Reinforce, Smoothed, SmoothingTerm
    from diffsmooth.theory.verify import symbolic

    g_p, g_n = sp.symbols("g_p g_n", nonnegative=True)
    pi = sp.symbols("pi_1:6", positive=True)
    d = sp.symbols("d_1:5", real=True)
    direction = (*d, -sum(d))
    successes = 3
    rule = Smoothed(Reinforce(), SmoothingTerm(g_p, g_n))
    correct = np.arange(len(pi)) < successes
    batch = GroupBatch(
        reward=np.array([sp.Integer(int(c)) for c in correct], dtype=object),
        correct=correct,
        group=np.zeros(len(pi), dtype=np.int64),
        logps=np.array([sp.log(x) for x in pi], dtype=object),
    )
    update = sum(a * e for a, e in zip(rule(batch), direction, strict=True))
    j = claim.value(pi, successes, g_p, g_n, sp.log)
    ascent = sum(sp.diff(j, x) * e for x, e in zip(pi, direction, strict=True))
    return symbolic.zero(
        {"rule minus dJ": sp.expand(update - ascent)}, [*pi, *d, g_p, g_n], "3 correct, 2 incorrect"
    )


def _lumped(claim: ImplicitObjective, _: Budget) -> Outcome:
    """Only sum_S d, sum_S d log pi and sum_F d log pi enter: three reals for any number."""
    import z3

    from diffsmooth.theory.verify import smt

    d_s, l_s, l_f, g_p, g_n = z3.Reals("d_S l_S l_F g_p g_n")
    s_q, s_f = z3.Reals("s_q s_f")
    ascent = (
        claim.correctness(g_p, g_n) * d_s
        + claim.correct_entropy(g_p, g_n) * -(l_s + d_s)
        + claim.incorrect_entropy(g_p, g_n) * -(l_f - d_s)
    )
    return smt.prove(
        [g_p >= 0, g_n >= 0, s_q >= 0, s_f >= 0],
        [
            d_s - g_p * l_s + g_n * l_f == ascent,
            claim.push(g_p, g_n, s_q, s_f) >= 1,
            z3.Implies(z3.And(g_p > 0, s_q > 0), claim.push(g_p, g_n, s_q, s_f) > 1),
        ],
        "update = dJ; the push on correctness is at least the reward's",
    )


def _exact(claim: ImplicitObjective, budget: Budget) -> Outcome:
    """Formal logarithms of rational policies: both forms of the derivative, no rounding."""
    from fractions import Fraction
    from random import Random

    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def instance(right: int, wrong: int) -> dict[str, Any]:
        return {
            "right": [rng.randint(1, 9) for _ in range(right)],
            "wrong": [rng.randint(1, 9) for _ in range(wrong)],
            "d": [Fraction(rng.randint(-5, 5)) for _ in range(right + wrong - 1)],
            "g_p": Fraction(rng.randint(0, 6), 4),
            "g_n": Fraction(rng.randint(0, 6), 4),
        }

    def difference(right: Any, wrong: Any, d: Any, g_p: Any, g_n: Any) -> Fraction:
        """Update minus (push dC + entropies of q and f moved at fixed C), as formal logarithms."""
        mass = sum(right) + sum(wrong)
        pi = [Fraction(x, mass) for x in (*right, *wrong)]
        move = [*d, -sum(d, Fraction(0))]
        n = len(right)
        c, d_c = sum(pi[:n], Fraction(0)), sum(move[:n], Fraction(0))
        q, f = [x / c for x in pi[:n]], [x / (1 - c) for x in pi[n:]]
        d_q = [(e - x * d_c) / c for e, x in zip(move[:n], q, strict=True)]
        d_f = [(e + x * d_c) / (1 - c) for e, x in zip(move[n:], f, strict=True)]
        update = total(
            log(x) * (-g_p * e if i < n else g_n * e)
            for i, (x, e) in enumerate(zip(pi, move, strict=True))
        )
        h_q = total(-(log(x) * e) for x, e in zip(q, d_q, strict=True))
        h_f = total(-(log(x) * e) for x, e in zip(f, d_f, strict=True))
        s_q, s_f = entropy(q) - log(c), entropy(f) - log(1 - c)
        constant = claim.push(g_p, g_n, 0, 0)
        push = (
            s_q * (claim.push(g_p, g_n, 1, 0) - constant)
            + s_f * (claim.push(g_p, g_n, 0, 1) - constant)
            + constant
        )
        claimed = (
            push * d_c
            + h_q * (c * claim.correct_entropy(g_p, g_n))
            + h_f * ((1 - c) * claim.incorrect_entropy(g_p, g_n))
        )
        size: Fraction = (update + d_c - claimed).size()
        return size

    sizes = [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (5, 4)]
    instances = [instance(*size) for size in sizes for _ in range(3)]
    return exact.identity(difference, instances, "update = push dC + C g_p dH(q) - (1-C) g_n dH(f)")


def _gradient(claim: ImplicitObjective, logits: Vector, successes: int, g: Any) -> Vector:
    """Gradient of J in the logits by complex steps: no cancellation, error of a few roundings."""
    step = 1e-30
    rows = logits + 1j * step * np.eye(logits.size)
    weights = np.exp(rows - logits.max())
    probs = weights / weights.sum(axis=1, keepdims=True)
    value = [claim.value(list(row), successes, g[0], g[1], np.log) for row in probs]
    return np.asarray(np.imag(np.array(value)) / step, dtype=np.float64)


def _library(claim: ImplicitObjective, budget: Budget) -> Outcome:
    """The rules on exactly weighted groups, and the tabular gradient, against grad J."""
    from hypothesis import strategies as st

    from diffsmooth.theory.gradients import advantage_gradient, smoothing_gradient
    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.rules import GRPO, DrGRPO, Reinforce, Smoothed, SmoothingTerm
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[WeightedPolicy, float, float]) -> tuple[float, float]:
        weighted, g_p, g_n = instance
        logits = np.log(weighted.probs)
        expected = _gradient(claim, logits, weighted.successes, (g_p, g_n))
        term = SmoothingTerm(g_p, g_n)
        batch = weighted.batch()
        policy = Policy.from_logits(logits, weighted.correct)
        found = [
            weighted.gradient(Smoothed(Reinforce(), term)(batch)),
            weighted.gradient(Smoothed(DrGRPO(), term)(batch)),
            weighted.gradient(Smoothed(DrGRPO(), term, entry="reward")(batch)),
            smoothing_gradient(policy, g_p, g_n, centred=False),
        ]
        worst = largest(*(np.abs(x - expected) for x in found))
        # The other forms have no J; there the library must say what the rules say.
        centred = SmoothingTerm(g_p, g_n, centring="correct")
        for base, standardised in ((DrGRPO(), False), (GRPO(eps=0), True)):
            for form in (term, centred):
                tabular = smoothing_gradient(
                    policy, g_p, g_n, centred=form is centred, standardised=standardised
                )
                advantage = Smoothed(base, form)(batch)
                by_rule = weighted.gradient(advantage)
                held = advantage_gradient(policy, weighted.advantages(advantage))
                worst = largest(worst, *(np.abs(x - by_rule) for x in (tabular, held)))
        clocked = smoothing_gradient(policy, g_p, g_n, clock=lambda c: (c * (1 - c)) ** -0.5)
        root = smoothing_gradient(policy, g_p, g_n, standardised=True)
        worst = largest(worst, float(np.abs(clocked - root).max()))
        # Each entry sums at most B products pi_i A_i with |A_i| <= 1 + (g_p + g_n) |log pi_i|, or
        # 1/sqrt(C (1-C)) <= B in place of 1.
        size = (1 + g_p + g_n) * (1 + float(np.abs(logits).max())) + weighted.rows.size
        return -worst, 8 * (weighted.rows.size + 8) * EPS * size

    return random.for_all(
        st.tuples(weighted_policies(), strengths(), strengths()),
        margin,
        budget,
        "rules and library against grad J",
        show=lambda x: f"{x[0]}, g_p = {x[1]}, g_n = {x[2]}",
    )


def _symbolic(claim: ImplicitObjective, budget: Budget) -> Outcome:
    return together(lambda: _any_size(claim, budget), lambda: _rule_itself(claim, budget))


STATEMENT = Statement(
    id="C1",
    title="Differential smoothing is gradient ascent on correctness plus partial entropies",
    source="corrected",
    reference="theory.md C1; the rule: arXiv 2511.19942, Eq. 4",
    assumptions=(
        "finite set of trajectories, full support, S and F non-empty, g_p, g_n >= 0",
        "on-policy: the reference is the current policy, held constant (stop-gradient)",
        "exact expectation over the policy (any baseline), plain gradient in any parametrisation",
    ),
    latex=(
        r"\mathrm{E}_\pi[\rho\,\nabla\log\pi]=\nabla J,\quad"
        r" J=(1+g_p+g_n)\,C+g_p\,H_S(\pi)-g_n\,H_F(\pi),\quad H_X(\pi)=-\sum_{i\in X}\pi_i\log\pi_i"
        "\n\n"
        r"with $\rho=1-g_p\log\pi$ on $S$ and $\rho=g_n\log\pi$ on $F$.  In the coordinates "
        r"$(C,q,f)$:"
        "\n\n"
        r"\nabla J=\left[1+g_p\,(H(q)-\log C)+g_n\,(H(f)-\log(1-C))\right]\nabla C"
        r"\quad +g_p\,C\,\nabla H(q)-g_n\,(1-C)\,\nabla H(f)"
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic",
            _symbolic,
            note="any finite S and F, all directions; rule object: |S| = 3, |F| = 2",
        ),
        Method(
            "smt", _lumped, note="any number of trajectories (three lumped sums), all g_p, g_n >= 0"
        ),
        Method("exact", _exact, note="18 rational policies with 2..9 trajectories"),
        Method(
            "random", _library, note="rules and library on rational policies, 2..7 trajectories"
        ),
    ),
    mutants=(
        Mutant(
            "without the unasked constant g_p + g_n",
            replace(CLAIM, correctness=lambda g_p, g_n: 1),
            ("symbolic", "smt", "random"),
        ),
        Mutant(
            "the entropy of the incorrect part is maximised too",
            replace(CLAIM, incorrect_entropy=lambda g_p, g_n: g_n),
            ("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "the unasked push on correctness is the constant g_p + g_n",
            replace(CLAIM, push=lambda g_p, g_n, s_q, s_f: 1 + g_p + g_n),
            ("symbolic", "exact"),
        ),
    ),
    limits=(
        "An objective exists only on-policy: with several optimiser steps per batch (pi_old behind "
        "pi), with clipping, or with the standardised advantage (whose scale depends on C) the "
        "update is no gradient of a fixed J."
    ),
    correction=(
        "theory.md calls the constant 1+g_p+g_n the push of the uncentred term on correctness. "
        "The objective is right, the reading is not: the entropies push correctness as well, and "
        "with q and f held fixed the whole push is 1 + g_p (H(q) - log C) + g_n (H(f) - log(1-C)). "
        "The constant g_p + g_n cancels against the entropies' own derivative; the unasked part "
        "grows with the diversity of the correct answers and without bound as C falls to 0."
    ),
)
