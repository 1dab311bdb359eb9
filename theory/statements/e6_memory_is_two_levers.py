r"""E6. Replay of verified answers is two levers at one strength: across prompts and within them.

Replay pays lam * mean over a bank B (m correct answers of the prompt) of log pi.  As pi_i = C q_i
on B,

    mean_B log pi = log C + mean_B log q = log C - log m - KL(u_B || q),    u_B uniform on B.

So it is the utility log C across prompts (MaxRL's for large groups, E1) and, within a prompt, the
forward divergence to u_B.  Its gradient is 1_B/m - pi = grad log C + (1_B/m - q on S, 0 on F): an
answer of the bank is pushed by 1/m however rare it is, where smoothing pushes it by
q |log q + H(q)| (E4).  With one solution the within part is 0.

<grad log C, within part> = (1-C) (mean_B q - sum q^2): a bank of answers rarer than a correct
answer is on average costs correctness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any

from diffsmooth.theory.statements._logs import divergence, log, total
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._softmax import Lumped
from diffsmooth.theory.statements._steps import identities, together
from diffsmooth.theory.statements._tabular import EPS
from diffsmooth.theory.statements._weighted import WeightedPolicy, weighted_policies
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """Replay's gradient is ``across(q_i, C)`` grad C/C-part plus ``within`` on a correct answer.

    across(q_i, pi_i): d log C/dtheta of a correct answer; on_f(pi_i): of an incorrect one.
    within(banked, m, q_i): the push inside S; cost(C, mean_b, squares): their inner product.
    spread(kl, m): mean_B log q, from KL(u_B || q).
    """

    across: Formula = lambda q, pi: q - pi
    on_f: Formula = lambda pi: -pi
    within: Formula = lambda banked, m, q: banked / m - q
    cost: Formula = lambda C, mean_b, squares: (1 - C) * (mean_b - squares)
    spread: Formula = lambda kl, log_m: -log_m - kl


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """Derivatives in one logit, the others lumped; the inner product by formal moments."""
    import sympy as sp

    m, banked = sp.symbols("m banked", positive=True)
    steps: dict[str, Any] = {}
    for correct in (True, False):
        pair = Lumped.pair(correct)
        w, c, part = pair.w_i, pair.correctness, "S" if correct else "F"
        slope = pair.slope(c, w) / c
        own = claim.across(pair.prob(w) / c, pair.prob(w)) if correct else claim.on_f(pair.prob(w))
        steps[f"d log C on {part}"] = slope - own
        # d log pi_k/dtheta_i = 1_{k=i} - pi_i: the bank's mean is banked/m - pi_i.
        inside = claim.within(banked, m, pair.prob(w) / c) if correct else 0
        steps[f"replay on {part}"] = own + inside - ((banked / m if correct else 0) - pair.prob(w))
    # <grad log C, within>: on S q (1-C) times (banked/m - q), summed by moments of q and of u_B.
    big_c, x = sp.symbols("C q", positive=True)
    q, bank = Law("q", (x,)), Law("u_B", (x,))
    inner = (1 - big_c) * (bank.mean(x) - q.mean(x))
    steps["inner product"] = inner - claim.cost(big_c, bank.mean(x), q.mean(x))
    return identities(steps, "any number of answers, any bank")


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """The sign of the cost; one solution leaves the across part alone."""
    import z3

    from diffsmooth.theory.verify import smt

    c, mean_b, squares = z3.Reals("C mean_B_q sum_q2")
    inside = [c > 0, c < 1, mean_b > 0, mean_b <= 1, squares > 0, squares <= 1]
    return together(
        lambda: smt.prove(
            inside,
            (claim.cost(c, mean_b, squares) < 0) == (mean_b < squares),
            "a bank of rare answers costs correctness",
        ),
        lambda: smt.prove(
            [c > 0, c < 1],
            [
                claim.within(z3.RealVal(1), z3.RealVal(1), z3.RealVal(1)) == 0,
                claim.cost(c, z3.RealVal(1), z3.RealVal(1)) == 0,
            ],
            "one solution, in the bank: nothing within, no cost",
        ),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """The decomposition itself, in formal logarithms."""
    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def residual(right: list[int], wrong: list[int], m: int) -> list[Fraction]:
        mass = sum(right) + sum(wrong)
        pi = [Fraction(w, mass) for w in right]
        c = sum(pi, Fraction(0))
        q = [x / c for x in pi]
        mean_pi = total(log(x) / m for x in pi[:m])
        mean_q = total(log(x) / m for x in q[:m])
        # KL(u_B || q) over the bank, on which q need not add up to 1.
        kl = total(log(Fraction(1, m) / x) / m for x in q[:m])
        out = [
            (mean_pi - log(c) - mean_q).size(),
            (mean_q - claim.spread(kl, log(m))).size(),
        ]
        if m == len(q):
            out.append((kl - divergence([Fraction(1, m)] * m, q)).size())
        inner = sum((x * ((i < m) / Fraction(m) - x) for i, x in enumerate(q)), Fraction(0))
        squares = sum((x * x for x in q), Fraction(0))
        mean_b = sum(q[:m], Fraction(0)) / m
        out.append(abs((1 - c) * inner - claim.cost(c, mean_b, squares)))
        return out

    instances = [
        {
            "right": [rng.randint(1, 9) for _ in range(n)],
            "wrong": [rng.randint(1, 9) for _ in range(2)],
            "m": m,
        }
        for n in (1, 2, 3, 5)
        for m in range(1, n + 1)
    ]
    return exact.identity(residual, instances, "log C + mean_B log q, and its parts")


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's gradient of replay against the two levers."""
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory.memory import replay_gradient
    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[WeightedPolicy, int, int]) -> tuple[float, float]:
        weighted, size, eighths = instance
        pi, mask, strength = weighted.probs, weighted.correct, eighths / 8
        policy = Policy.from_logits(np.log(pi), mask)
        m = min(size, weighted.successes)
        bank = np.arange(len(pi)) < m
        q = np.where(mask, pi / pi[mask].sum(), 0.0)
        across = np.where(mask, claim.across(q, pi), claim.on_f(pi))
        within = np.where(mask, claim.within(bank.astype(float), m, q), 0.0)
        found = replay_gradient(policy, bank, strength)
        worst = float(np.abs(found - strength * (across + within)).max())
        return -worst, 64 * (len(pi) + 8) * EPS * (1 + strength)

    return random.for_all(
        st.tuples(weighted_policies(), st.integers(1, 4), st.integers(0, 24)),
        margin,
        budget,
        "library gradient of replay",
        show=lambda t: f"{t[0]}, bank of {t[1]}, strength {t[2]}/8",
    )


STATEMENT = Statement(
    id="E6",
    title="Memory is two levers: a utility across prompts and an equaliser within",
    source="new",
    reference="theory.md E6; replay of verified answers: arXiv 2610.11064",
    assumptions=(
        "a bank B of m distinct correct answers of the prompt, replayed uniformly",
        "softmax logits, exact gradient of lam * mean_B log pi",
    ),
    latex=(
        r"\frac{1}{m}\sum_{i\in B}\log\pi_i = \log C - \log m - \mathrm{KL}(u_B\,\|\,q)"
        "\n\n"
        r"\nabla = \nabla\log C + \left(\frac{1_B}{m}-q\right)_S,\qquad"
        r" \langle\nabla\log C,\ \cdot\rangle = (1-C)\left(\frac{1}{m}\sum_{i\in B}q_i"
        r"-\sum_i q_i^2\right)"
        "\n\n"
        r"Across prompts memory has the utility $\log C$, that of MaxRL for large groups.  In a "
        r"prompt it pushes every answer of the bank by $1/m$, however rare."
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="any number of answers, any bank (lumped)"),
        Method("smt", check_smt, note="any number of answers"),
        Method("exact", check_exact, note="11 rational policies with banks of 1 to 5 answers"),
        Method("random", check_random, note="library, 2 to 7 answers"),
    ),
    mutants=(
        Mutant(
            "the across part is vanilla's",
            replace(CLAIM, across=lambda q, pi: pi * (1 - pi), on_f=lambda pi: -pi * pi),
            by=("symbolic", "random"),
        ),
        Mutant(
            "replay pushes an answer by its own probability",
            replace(CLAIM, within=lambda banked, m, q: banked * q / m - q),
            by=("symbolic", "random"),
        ),
        Mutant(
            "any bank helps correctness",
            replace(CLAIM, cost=lambda C, mean_b, squares: (1 - C) * (mean_b + squares)),
            by=("symbolic", "smt", "exact"),
        ),
        Mutant(
            "the divergence counts the other way",
            replace(CLAIM, spread=lambda kl, log_m: kl - log_m),
            by="exact",
        ),
    ),
    limits=(
        "The exact gradient on one prompt with logits of its own.  A bank sampled a few answers at "
        "a time has this in the mean.  What a bank is worth on new prompts is E3 and F3's matter."
    ),
)
