"""C7: groups that are all correct or all wrong: no reward signal, yet the literal term speaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._weighted import EPS
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest

#: Unit roundoff of float32, in which half precisions are summed.
EPS32 = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class OneKind:
    """Mean advantage over a group of n answers of one kind; ``l_bar`` is their mean log-prob.

    ``literal_correct``, ``literal_wrong``, ``centred``: functions of (strength, l_bar).
    ``shrink(n)``: the expected gradient of the centred term over groups of n correct answers is
    ``strength * shrink(n) * grad H(q)``, with no push on correctness.
    """

    literal_correct: Callable[[Any, Any], Any]
    literal_wrong: Callable[[Any, Any], Any]
    centred: Callable[[Any, Any], Any]
    shrink: Callable[[Any], Any]


CLAIM = OneKind(
    literal_correct=lambda g, l_bar: -g * l_bar,
    literal_wrong=lambda g, l_bar: g * l_bar,
    centred=lambda g, l_bar: 0 * l_bar,
    shrink=lambda n: 1 - 1 / n,
)


def _symbolic(claim: OneKind, _: Budget) -> Outcome:
    """Rule objects on symbols, groups of 1..4; and the expected gradient for any group size."""
    import sympy as sp

    from diffsmooth.theory.rules import GRPO, GroupBatch, Smoothed, SmoothingTerm
    from diffsmooth.theory.verify import symbolic

    g_p, g_n = sp.symbols("g_p g_n", positive=True)
    exprs: dict[str, Any] = {}
    logs = sp.symbols("l_1:5", real=True)
    for size in (1, 2, 4):
        for right in (True, False):
            batch = GroupBatch(
                reward=np.array([sp.Integer(int(right))] * size, dtype=object),
                correct=np.full(size, right),
                group=np.zeros(size, dtype=np.int64),
                logps=np.array(logs[:size], dtype=object),
            )
            name, l_bar = f"{size} {'correct' if right else 'wrong'}", sum(logs[:size]) / size
            kept = {"g_correct": g_p, "g_incorrect": g_n}
            literal = Smoothed(GRPO(), SmoothingTerm(**kept))(batch)
            centred = Smoothed(GRPO(), SmoothingTerm(g_p, 0, centring="correct"))(batch)
            dropped = Smoothed(GRPO(), SmoothingTerm(**kept, one_kind="drop"))(batch)
            expected = (
                claim.literal_correct(g_p, l_bar) if right else claim.literal_wrong(g_n, l_bar)
            )
            exprs |= {
                f"GRPO, {name}": sum(abs(a) for a in GRPO()(batch)),
                f"literal, {name}": sp.expand(sum(literal) / size - expected),
                f"centred, {name}": sp.expand(sum(centred) / size - claim.centred(g_p, l_bar)),
                f"dropped, {name}": sum(a**2 for a in dropped),
            }
    # Any n: mean over the group of -(l_j - l_bar) s_j, with the score s = grad log pi = grad log q
    # + grad log C.  Distinct answers are independent, so E[l_k s_j] = E[l] E[s] for k != j.
    n = sp.Symbol("n", positive=True, integer=True)
    log_q, ds, d_c = sp.symbols("l s dlogC", real=True)
    law = Law("q", (log_q, ds))
    score = ds + d_c
    own, others = law.mean(log_q * score), law.mean(log_q) * law.mean(score)
    expected_gradient = -(own - (own + (n - 1) * others) / n)
    grad_h = -law.mean(ds * (log_q + 1))
    no_drift = {law.mean(ds): 0}  # sum q grad log q = 0
    exprs["expected gradient, any n"] = sp.expand(
        (expected_gradient - claim.shrink(n) * grad_h).subs(no_drift)
    )
    # The symbols of the rules too, most of which cancel before the engine sees them.
    free = {g_p, g_n, *logs, n}.union(*(sp.sympify(e).free_symbols for e in exprs.values()))
    return symbolic.zero(exprs, sorted(free, key=str), "rule objects and expected gradient")


def _lumped(claim: OneKind, _: Budget) -> Outcome:
    """Any group size n: only the sum of the log-probs enters."""
    import z3

    from diffsmooth.theory.verify import smt

    n, total, g, m = z3.Reals("n total g reward")
    l_bar = total / n
    return smt.prove(
        [n >= 1, total < 0, g > 0],
        [
            (n * m - n * m) / n == 0,
            (-g * total) / n == claim.literal_correct(g, l_bar),
            (g * total) / n == claim.literal_wrong(g, l_bar),
            -g * (total - n * l_bar) / n == claim.centred(g, l_bar),
            claim.literal_correct(g, l_bar) > 0,
            claim.literal_wrong(g, l_bar) < 0,
        ],
        "mean advantage of a group of one kind: literal pushes, centred does not",
    )


def _exact(claim: OneKind, _: Budget) -> Outcome:
    """All groups of n draws from a rational q, enumerated; log q_i are any rationals."""
    from fractions import Fraction
    from itertools import product
    from math import prod

    from diffsmooth.theory.verify import exact

    def residual(q: Any, logs: Any, n: int) -> list[Fraction]:
        mass = sum(q)
        law = [Fraction(x, mass) for x in q]
        h = -sum((x * v for x, v in zip(law, logs, strict=True)), Fraction(0))
        gradient = [Fraction(0)] * len(q)
        push = Fraction(0)
        for group in product(range(len(q)), repeat=n):
            weight = prod((law[i] for i in group), start=Fraction(1))
            l_bar = sum((logs[i] for i in group), Fraction(0)) / n
            for i in group:
                advantage = -(logs[i] - l_bar) * weight / n
                gradient[i] += advantage
                push += advantage  # the score of log C is the same for every correct answer
        flat = [g - x * push for g, x in zip(gradient, law, strict=True)]
        # d H(q) / d theta_i = -q_i (log q_i + H)
        return [
            push,
            *(
                g + claim.shrink(Fraction(n)) * x * (v + h)
                for g, x, v in zip(flat, law, logs, strict=True)
            ),
        ]

    instances = [
        {"q": q, "logs": [Fraction(-k * k, 3) for k in range(1, len(q) + 1)], "n": n}
        for q in ((1, 2), (3, 1, 1), (1, 2, 3, 5))
        for n in (1, 2, 3, 4)
    ]
    return exact.identity(residual, instances, "E[centred gradient] = (1 - 1/n) grad H(q)")


def _rules(claim: OneKind, budget: Budget) -> Outcome:
    """Several prompts at once, in any order, some of them of one kind."""
    from hypothesis import strategies as st

    from diffsmooth.theory.rules import GRPO, GroupBatch, Smoothed, SmoothingTerm
    from diffsmooth.theory.verify import random

    row = st.tuples(st.integers(0, 2), st.booleans(), st.integers(-80, 0), st.integers(1, 3))

    def margin(instance: tuple[list[tuple[int, bool, int, int]], float]) -> tuple[float, float]:
        rows, g = instance
        group, correct = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
        logps = np.array([r[2] / 8 for r in rows])
        # Prompt 0 is all correct and prompt 1 all wrong; prompt 2 is mixed.
        correct = np.where(group == 2, correct, group == 0)
        batch = GroupBatch(correct.astype(np.float64), correct, group, logps)
        grpo = GRPO()(batch)
        literal = Smoothed(GRPO(), SmoothingTerm(g, g))(batch)
        centred = Smoothed(GRPO(), SmoothingTerm(g, 0.0, centring="correct"))(batch)
        dropped = Smoothed(GRPO(), SmoothingTerm(g, g, one_kind="drop"))(batch)
        worst = _tokens(batch, g, [r[3] for r in rows], literal - grpo)
        for kind, mean in ((0, claim.literal_correct), (1, claim.literal_wrong)):
            where = group == kind
            if not where.any():
                continue
            l_bar = float(logps[where].mean())
            worst = largest(
                worst,
                float(np.abs(grpo[where]).max()),
                abs(float(literal[where].mean()) - mean(g, l_bar)),
                abs(float(centred[where].mean()) - claim.centred(g, l_bar)),
                float(np.abs(dropped[where]).max()),
            )
        mixed = group == 2
        if mixed.any():
            right = mixed & correct
            both = bool(right.any()) and not correct[mixed].all()
            added = (dropped - grpo)[mixed]
            term = np.where(correct, -g * logps, g * logps)[mixed]
            worst = largest(worst, float(np.abs(added - (term if both else 0 * term)).max()))
            if right.any():
                l_bar = float(logps[right].mean())
                moved = (centred - grpo)[right].mean()
                worst = largest(worst, abs(float(moved) - claim.centred(g, l_bar)))
        # Sums of at most len(rows) numbers below (1 + g) (10 + sqrt(rows)).
        return -worst, 8 * (len(rows) + 8) * EPS * (1 + g) * (10 + len(rows) ** 0.5)

    return random.for_all(
        st.tuples(st.lists(row, min_size=1, max_size=10), st.sampled_from([0.25, 1.0, 3.0])),
        margin,
        budget,
        "three prompts in one batch",
        show=lambda x: f"(prompt, correct, 8 log pi, tokens) {x[0]}, g = {x[1]}",
    )


def _transcribed(claim: OneKind, batch: Any, term: Any) -> list[list[float]]:
    """The term of every token, one prompt at a time; without a token, no term."""
    rows = range(len(batch.reward))
    length = [int(batch.mask[i].sum()) for i in rows]
    out = [[0.0] * batch.mask.shape[1] for _ in rows]
    for prompt in set(batch.group.tolist()):
        answers = [i for i in rows if batch.group[i] == prompt]
        right = [i for i in answers if batch.correct[i] and length[i]]
        if term.one_kind == "drop" and len({bool(batch.correct[i]) for i in answers}) == 1:
            continue
        x: dict[int, list[float]] = {}
        for i in answers:
            tokens = [float(v) for v in batch.logps[i][batch.mask[i]]]
            power = {"sum": 0, "mean": 1, "spread": 2}.get(term.reduction)
            x[i] = tokens if power is None else [sum(tokens) / (length[i] or 1) ** power]
        middle = 0.0
        if term.centring == "correct" and right:
            values = [v for i in right for v in x[i]]
            middle = sum(values) / len(values)
        for i in answers:
            sign = claim.literal_correct if batch.correct[i] else claim.literal_wrong
            strength = term.g_correct if batch.correct[i] else term.g_incorrect
            moved = [sign(strength, v - (middle if batch.correct[i] else 0.0)) for v in x[i]]
            if length[i]:
                out[i][: len(moved)] = moved
    return out


def _trainer(claim: OneKind, budget: Budget) -> Outcome:
    """Token log-probs with ragged masks, some empty: NumPy, torch, and half precision in single."""
    from hypothesis import strategies as st

    from diffsmooth.theory.rules import GRPO, GroupBatch, Smoothed, SmoothingTerm
    from diffsmooth.theory.statements._trainer import halved, in_torch, torch_gap
    from diffsmooth.theory.verify import random

    row = st.tuples(st.integers(0, 1), st.booleans(), st.lists(st.integers(-40, 0), max_size=3))
    forms = st.tuples(
        st.sampled_from(["sum", "mean", "spread", "token"]),
        st.sampled_from(["none", "correct"]),
        st.sampled_from(["keep", "drop"]),
    )

    def margin(instance: tuple[list[tuple[int, bool, list[int]]], Any]) -> tuple[float, float]:
        rows, (reduction, centring, one_kind) = instance
        mask = np.array([[t < len(r[2]) for t in range(3)] for r in rows])
        # What is masked must not count: nan would be seen.
        logps = np.array([[x / 8 for x in r[2]] + [np.nan] * (3 - len(r[2])) for r in rows])
        correct = np.array([r[1] for r in rows])
        batch = GroupBatch(
            correct.astype(np.float64), correct, np.array([r[0] for r in rows]), logps, mask
        )
        term = SmoothingTerm(0.75, 0.5, reduction, centring, one_kind)
        found = np.asarray(term(batch))
        expected = np.array(_transcribed(claim, batch, term))
        if found.ndim == 1:
            expected = expected[:, 0]
        worst = largest(np.abs(found - expected), torch_gap(term, batch))
        # Eighths are exact in half precision, and so are their sums in single, but not in half.
        small = term(halved(batch))
        tensors = term(in_torch(halved(batch))).numpy()
        single = small.dtype == tensors.dtype == np.float32
        shaped = Smoothed(GRPO(), term).token_level == (found.ndim == 2)
        rough = largest(np.abs(small - expected), np.abs(tensors - expected))
        # At most 30 numbers below 5 (15 in sum), a mean and a product.
        return -largest(
            worst / (64 * EPS * 15), rough / (64 * EPS32 * 15), 0 if single and shaped else 2
        ), 1.0

    return random.for_all(
        st.tuples(st.lists(row, min_size=1, max_size=8), forms),
        margin,
        budget,
        "token log-probs in NumPy and torch, half precision",
        show=lambda x: f"(prompt, correct, 8 log pi of the tokens) {x[0]}, {x[1]}",
        examples=budget.examples // 2,
    )


def _tokens(batch: Any, g: float, lengths: list[int], literal: Any) -> float:
    """Token form: its sum is the sequence term; centred, a prompt's correct tokens sum to 0."""
    from diffsmooth.theory.rules import DrGRPO, Smoothed, SmoothingTerm

    size = np.array(lengths)
    mask = np.arange(3)[None, :] < size[:, None]
    # Unequal tokens: the first carries what the others lack; masked ones must not count.
    logps = np.where(mask, (batch.logps / (2 * size))[:, None], -50.0)
    logps[:, 0] += batch.logps / 2
    tokens = replace(batch, logps=logps, mask=mask)
    plain = SmoothingTerm(g, g, "token")(tokens)
    centred = SmoothingTerm(g, 0.0, "token", centring="correct")(tokens)
    dropped = SmoothingTerm(g, g, "token", one_kind="drop")(tokens)
    one_kind = batch.group < 2
    # An advantage per answer joins a term per token, and the other way round.
    both = Smoothed(DrGRPO(), SmoothingTerm(g, g, "token"))
    joined = both(tokens) - DrGRPO()(tokens)[:, None] - plain
    twice = Smoothed(both, SmoothingTerm(g, g))(tokens) - both(tokens) - literal[:, None]
    worst = largest(
        float(np.abs(plain.sum(axis=1) - literal).max()),
        float(np.abs(plain[~mask]).max(initial=0.0)),
        float(np.abs(joined).max()),
        float(np.abs(twice).max()),
        float(np.abs(dropped[one_kind]).max(initial=0.0)),
    )
    for prompt in set(batch.group.tolist()):
        right = (batch.group == prompt) & batch.correct
        if right.any():
            moved = centred[right][mask[right]]
            l_t = logps[right][mask[right]]
            worst = largest(worst, float(np.abs(moved + g * (l_t - l_t.mean())).max()))
    return largest(worst, float(np.abs(centred[~batch.correct]).max(initial=0.0)))


STATEMENT = Statement(
    id="C7",
    title="Groups of one kind: silence from GRPO, a push from the literal term",
    source="new",
    reference="theory.md C7",
    assumptions=(
        "a group of n answers to one prompt, all correct or all wrong; advantage form (Eq. 6)",
        "expected gradient: n independent draws from the correct part q",
    ),
    latex=(
        r"In a group of one kind GRPO's advantages are all 0.  With $\bar\ell$ the group's mean "
        r"log-prob,"
        "\n\n"
        r"\mathrm{literal:}\quad\frac{1}{n}\sum_j A_j=-g_p\,\bar\ell>0"
        r"\ \ \mathrm{(all\ correct)},\qquad g_n\,\bar\ell<0\ \ \mathrm{(all\ wrong)}"
        "\n\n"
        r"\mathrm{centred:}\quad \frac{1}{n}\sum_j A_j=0,\qquad \mathrm{E}\left[\frac{1}{n}\sum_j"
        r" A_j\nabla\log\pi(y_j)\right]=g_p\left(1-\frac{1}{n}\right)\nabla H(q)"
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic",
            _symbolic,
            note=(
                "rule objects with n in {1, 2, 4}; expected gradient for any n and any "
                "number of trajectories"
            ),
        ),
        Method("smt", _lumped, note="any n >= 1 (lumped sum of log-probs), all g > 0"),
        Method("exact", _exact, note="all groups of n <= 4 draws from 3 rational laws"),
        Method(
            "random",
            lambda claim, budget: together(
                lambda: _rules(claim, budget), lambda: _trainer(claim, budget)
            ),
            note=(
                "rule objects, up to 10 answers to 3 prompts; tokens with ragged and empty "
                "masks in "
                "NumPy and torch"
            ),
        ),
    ),
    mutants=(
        Mutant(
            "the literal term vanishes in the mean too",
            replace(CLAIM, literal_correct=lambda g, l_bar: 0 * l_bar),
            ("symbolic", "smt", "random"),
        ),
        Mutant(
            "the literal term pushes wrong answers up",
            replace(CLAIM, literal_wrong=lambda g, l_bar: -g * l_bar),
            ("symbolic", "smt", "random"),
        ),
        Mutant(
            "the centred term keeps its mean",
            replace(CLAIM, centred=lambda g, l_bar: -g * l_bar),
            ("symbolic", "smt", "random"),
        ),
        Mutant(
            "a group's own mean does not weaken the centred term",
            replace(CLAIM, shrink=lambda n: n / n),
            ("symbolic", "exact"),
        ),
    ),
    limits=(
        "'Vanishes in the mean' is a statement about advantages and about logit C at fixed q; in "
        "softmax logits grad H(q) is not orthogonal to grad C, and the centred term lowers C to "
        "first order (C5).  A group with a single correct answer gets no centred term at all."
    ),
)
