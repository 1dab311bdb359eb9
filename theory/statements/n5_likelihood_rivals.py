r"""N5. What the rivals that read log-probs do on a group.

Proofs, for any number of trajectories or answers.

1. Entropy bonus.  Its advantage -g log pi has the expected gradient -g pi_i (log pi_i + H), and
   dH/dtheta_i = -pi_i (log pi_i + H).  KL in the reward: -beta pi_i (log(pi_i/b_i) - KL) likewise.
   KL in the loss by GRPO's estimator k3: the term beta (b/pi - 1) of a token has the expected
   gradient beta (b_i - pi_i), which is that of -beta KL(b||pi): the value of k3 estimates
   KL(pi||b), its gradient descends the other one.
   Lump the trajectories other than i and use that both sides are linear in their moments; checked
   here for n = 4.
2. UCPO multiplies a positive advantage by (1-tau) + tau n x_i/sum x, x = 1/q: the factors of the n
   correct answers add to n, the rarer answer has the larger one, and each lies in
   [1-tau, 1-tau+tau n].
3. MARA's bonus log b(z) - log b(y) at its own beta cancels b in Gibbs' law: every correct
   trajectory gets b(z) e^{1/beta}.  So q is uniform at once, as under smoothing with g_p = beta
   (B5).  With the KL of that beta in the reward the law that it aims for is a fixed point: its
   reward, anchor and KL together, is the same for all trajectories there.
4. Unlikeliness.  rank_i = sum_j [l_j < l_i] + [l_j = l_i]/2 over the other answers: a pair of
   answers contributes 1 in all, so the ranks of a group add to G(G-1)/2 whatever the ties.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest

if TYPE_CHECKING:
    from diffsmooth.theory.rules import GroupBatch

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """entropy(p, log_p, H, g), kl(p, log_p, log_b, KL, beta), kl_loss(p, b, beta): entry i of the
    expected gradient.

    factor(x, total, n, tau): UCPO's factor of an answer with x = 1/q.  anchored(log_top, log_b):
    MARA's bonus per unit of beta; penalised(log_p, log_b): its KL per unit of beta, on every
    answer.  tie: what an equally likely answer adds to the rank.
    """

    entropy: Formula = lambda p, log_p, h, g: -g * p * (log_p + h)
    kl: Formula = lambda p, log_p, log_b, kl, beta: -beta * p * (log_p - log_b - kl)
    kl_loss: Formula = lambda p, b, beta: beta * (b - p)
    factor: Formula = lambda x, total, n, tau: (1 - tau) + tau * n * x / total
    anchored: Formula = lambda log_top, log_b: log_top - log_b
    penalised: Formula = lambda log_p, log_b: log_p - log_b
    tie: Fraction = Fraction(1, 2)


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """Softmax derivatives of H and KL, n = 4; MARA's law for any S."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    # exp(theta), theta, log Z: independent symbols, tied by their derivatives along theta_1.
    w, theta = sp.symbols("w1:5", positive=True), sp.symbols("theta1:5", real=True)
    log_z, g, beta, log_top = sp.symbols("log_Z g beta log_b_z", real=True)
    log_b = sp.symbols("log_b1:5", real=True)
    total = sum(w)
    p = [x / total for x in w]
    log_p = [t - log_z for t in theta]
    entropy = -sum(x * y for x, y in zip(p, log_p, strict=True))
    kl = sum(x * (y - z) for x, y, z in zip(p, log_p, log_b, strict=True))
    # The part of KL(b||pi) that moves; b is any law, its last entry what is left of 1.
    b = [*sp.symbols("b1:4", positive=True)]
    b.append(1 - sum(b))
    forward = -sum(x * y for x, y in zip(b, log_p, strict=True))

    def slope(f: Any) -> Any:
        return w[0] * sp.diff(f, w[0]) + sp.diff(f, theta[0]) + p[0] * sp.diff(f, log_z)

    steps = {
        "entropy": claim.entropy(p[0], log_p[0], entropy, g) - slope(g * entropy),
        "KL": claim.kl(p[0], log_p[0], log_b[0], kl, beta) - slope(-beta * kl),
        "KL in the loss": claim.kl_loss(p[0], b[0], beta) - slope(-beta * forward),
        # log of b exp((1 + beta bonus)/beta), without the 1/beta of all correct trajectories.
        "MARA": log_b[0] + claim.anchored(log_top, log_b[0]) - log_top,
    }
    return symbolic.zero(
        {name: sp.cancel(e) for name, e in steps.items()},
        [*w, *theta, *log_b, *b[:3], log_z, g, beta, log_top],
        "expected gradients, anchored law",
    )


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """UCPO's weights with the other answers as a lump; the contribution of a pair to the ranks."""
    import z3

    from diffsmooth.theory.verify import smt

    x, y, rest, n, tau, a, b = z3.Reals("x y rest n tau l_1 l_2")
    given = [x > 0, y > 0, rest >= 0, n >= 2, tau >= 0, tau <= 1]
    total = x + y + rest
    tie = z3.Q(claim.tie.numerator, claim.tie.denominator)

    def beats(u: Any, v: Any) -> Any:
        return z3.If(v < u, z3.RealVal(1), z3.If(v == u, tie, z3.RealVal(0)))

    first, second = (claim.factor(v, total, n, tau) for v in (x, y))
    return together(
        lambda: smt.prove([*given, x >= y], first >= second, "the rarer answer gains"),
        lambda: smt.prove(
            given, [first >= 1 - tau, first <= 1 - tau + tau * n], "bounds of the factor"
        ),
        lambda: smt.prove([], beats(a, b) + beats(b, a) == 1, "a pair adds 1 to the ranks"),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """The sum of UCPO's factors over n answers as a polynomial identity; ranks of small groups."""
    from diffsmooth.theory.verify import exact

    def mean(tau: Any, **odds: Any) -> Any:
        x = list(odds.values())
        factors = [claim.factor(v, sum(x), Fraction(len(x)), tau) for v in x]
        return sum(factors) - len(x)

    def ranks(levels: tuple[int, ...]) -> Fraction:
        total = sum(_ranks(levels, claim.tie), Fraction(0))
        return total - Fraction(len(levels) * (len(levels) - 1), 2)

    groups = [{"levels": g} for n in (1, 2, 3, 4) for g in product(range(3), repeat=n)]

    def sums(n: int) -> Callable[[], Outcome]:
        names = ["tau", *(f"x{i}" for i in range(n))]
        return lambda: exact.polynomial_identity(mean, names, f"UCPO keeps the sum, n = {n}")

    return together(*(sums(n) for n in (1, 2, 5)), lambda: exact.identity(ranks, groups, "ranks"))


def _ranks(levels: Sequence[Any], tie: Fraction) -> list[Fraction]:
    """By comparing every pair."""
    return [
        sum(
            ((v < u) + tie * (v == u) for j, v in enumerate(levels) if j != i),
            Fraction(0),
        )
        for i, u in enumerate(levels)
    ]


@dataclass(frozen=True)
class Group:
    """Answers of one or two prompts; log-probs in eighths, so that there are ties."""

    eighths: tuple[int, ...]
    reference: tuple[int, ...]
    right: tuple[bool, ...]
    second: tuple[bool, ...]
    lengths: tuple[int, ...]
    strength: float

    def batch(self) -> GroupBatch:
        """Tokens of equal log-prob, and a masked token of -50 behind each answer."""
        import numpy as np

        from diffsmooth.theory.rules import GroupBatch

        lengths = np.array(self.lengths)
        mask = np.arange(int(lengths.max()) + 1)[None, :] < lengths[:, None]
        spread = [
            -np.array(x)[:, None] / 8 / np.maximum(lengths, 1)[:, None]
            for x in (self.eighths, self.reference)
        ]
        logps, reference = (np.where(mask, x, -50.0) for x in spread)
        right = np.array(self.right)
        return GroupBatch(
            reward=right.astype(np.float64),
            correct=right,
            group=np.where(np.array(self.second), 3, 7),
            logps=logps,
            mask=mask,
            ref_logps=reference,
        )


def _expected(claim: Claim, group: Group, name: str) -> list[float]:
    """The advantages over Dr. GRPO's baseline (r - mean), answer by answer, without the library."""
    from math import exp

    size = len(group.eighths)
    # Without a token there is no log-prob, and nothing to weigh by it.
    scored = [n > 0 for n in group.lengths]
    total = [-x / 8 * s for x, s in zip(group.eighths, scored, strict=True)]
    mean = [
        Fraction(-x, 8 * n) if n else Fraction(0)
        for x, n in zip(group.eighths, group.lengths, strict=True)
    ]
    reference = [-x / 8 * s for x, s in zip(group.reference, scored, strict=True)]
    reward = [float(c) for c in group.right]
    out = [0.0] * size
    for prompt in {*group.second}:
        rows = [i for i in range(size) if group.second[i] == prompt]
        right = [i for i in rows if group.right[i] and scored[i]]
        s = group.strength
        paid = {i: reward[i] for i in rows}
        if name == "kl-reward":
            paid = {i: reward[i] - s * (total[i] - reference[i]) for i in rows}
        if name == "unlikeliness" and 0 < sum(group.right[i] for i in rows) < len(rows):
            ranks = dict(zip(rows, _ranks([mean[i] for i in rows], claim.tie), strict=True))
            paid |= {i: reward[i] * (1 - s * float(ranks[i]) / len(rows)) for i in right}
        if name == "mara" and right:
            anchor = max(reference[i] for i in right)
            paid |= {i: reward[i] + s * claim.anchored(anchor, reference[i]) for i in right}
        if name == "mara":
            paid = {i: paid[i] - s * claim.penalised(total[i], reference[i]) for i in rows}
        baseline = sum(paid.values()) / len(rows)
        for i in rows:
            out[i] = paid[i] - baseline
            if name == "entropy sum":
                out[i] -= s * total[i]
            if name == "entropy mean":
                out[i] -= s * float(mean[i])
        if name == "ucpo":
            odds = {i: exp(-float(mean[i])) for i in right}
            for i in right:
                out[i] *= claim.factor(odds[i], sum(odds.values()), len(right), s)
    return out


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's rules answer by answer, and their expected gradients."""
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory import rules
    from diffsmooth.theory.statements._trainer import torch_gap
    from diffsmooth.theory.statements._weighted import strengths, weighted_policies
    from diffsmooth.theory.verify import random

    base = rules.DrGRPO()

    def rule(name: str, s: float) -> rules.Rule:
        if name.startswith("entropy"):
            reduction: Any = name.removeprefix("entropy ")
            return rules.rule("entropy-bonus", g=s, reduction=reduction, base=base)
        parameter = {"ucpo": "tau", "unlikeliness": "weight"}.get(name, "beta")
        return rules.rule(name, base=base, **{parameter: s})

    names = ("entropy sum", "entropy mean", "kl-reward", "mara", "ucpo", "unlikeliness")

    @st.composite
    def groups(draw: Any, least: int = 1) -> Group:
        size = draw(st.integers(least, 7))

        def column(entry: Any) -> Any:
            return tuple(draw(st.lists(entry, min_size=size, max_size=size)))

        return Group(
            column(st.integers(0, 24)), column(st.integers(0, 24)), column(st.booleans()),
            column(st.booleans()), column(st.integers(0, 4)), draw(st.integers(0, 8)) / 8,
        )  # fmt: skip

    def answers(group: Group) -> tuple[float, float]:
        batch = group.batch()
        worst = largest(
            *(np.abs(rule(n, group.strength)(batch) - _expected(claim, group, n)) for n in names)
        )
        # Rewards below 1 + 3, log-probs below 3 in size, sums of 7, factors up to 7.
        return 512 * EPS * 10 - worst, 0.0

    def gradients(instance: Any) -> tuple[float, float]:
        policy, g, shift = instance
        pi = policy.probs
        log_pi = np.log(pi)
        log_b = np.log(np.roll(pi, shift))
        batch = replace(policy.batch(), ref_logps=log_b[policy.rows])
        zero = replace(batch, reward=np.zeros_like(batch.reward))
        plain = rules.Reinforce()
        bonus = rules.rule("entropy-bonus", g=g, base=plain)(zero)
        penalty = rules.rule("kl-reward", beta=g, base=plain)(zero)
        loss = rules.rule("kl", beta=g, base=plain)(zero)
        entropy, kl = -np.sum(pi * log_pi), np.sum(pi * (log_pi - log_b))
        worst = largest(
            np.max(np.abs(policy.gradient(bonus) - claim.entropy(pi, log_pi, entropy, g))),
            np.max(np.abs(policy.gradient(penalty) - claim.kl(pi, log_pi, log_b, kl, g))),
            np.max(np.abs(policy.gradient(loss) - claim.kl_loss(pi, np.exp(log_b), g))),
        )
        return 512 * EPS * (1 + g) * 10 - float(worst), 0.0

    def fixed_point(instance: Any) -> tuple[float, float]:
        """One exact Gibbs step with MARA's own beta ends with a uniform q and f = b_F, and there
        every answer is paid the same."""
        from diffsmooth.theory.optima import gibbs
        from diffsmooth.theory.policy import Policy

        policy, g, _ = instance
        beta = g + 0.125
        start = Policy(np.log(policy.probs), policy.correct)
        batch = replace(policy.batch(), ref_logps=np.log(policy.probs)[policy.rows])
        mara = rules.rule("mara", beta=beta, base=rules.Reinforce())
        # The policy is the reference here: its KL is 0.
        end = gibbs(start, policy.advantages(mara(batch)), beta)
        there = mara(replace(batch, logps=end.log_probs[policy.rows]))
        q, f = end.log_q[end.correct], end.log_f[~end.correct]
        top = np.max(np.log(policy.probs)[policy.correct])
        logit = np.log(q.size) + top + 1 / beta - start.log_1mC
        worst = largest(
            np.max(np.abs(q + np.log(q.size))),
            np.max(np.abs(f - start.log_f[~end.correct])),
            abs(float(end.logit_C) - float(logit)),
            np.ptp(there),
        )
        return 512 * EPS * (1 + 1 / beta) * 10 - float(worst), 0.0

    def rare(group: Group) -> tuple[float, float]:
        """UCPO weighs the answers against each other: 800 nats less a token change nothing."""
        batch = group.batch()
        ucpo = rule("ucpo", group.strength)
        far = replace(batch, logps=np.where(batch.mask, batch.logps - 800.0, batch.logps))
        return -largest(np.abs(ucpo(far) - ucpo(batch))), 512 * EPS * 800

    def trainer(group: Group) -> tuple[float, float]:
        """Two prompts of two or more answers each: tensors say what arrays say, rule by rule."""
        size = len(group.lengths)
        batch = replace(group.batch(), group=np.arange(size) % 2, classes=np.array(group.lengths))
        small: dict[str, Any] = {
            "pass-at-k": {"k": 2}, "pkpo": {"k": 2}, "two-part": {"base": rules.PassAtK(2)},
        }  # fmt: skip
        worst = largest(*(torch_gap(rules.rule(n, **small.get(n, {})), batch) for n in rules.NAMES))
        # GRPO of rewards in which log-probs are mixed divides by deviations down to 1e-3.
        return 512 * EPS * 10 * 1e3 - worst, 0.0

    weighted = st.tuples(weighted_policies(), strengths(), st.integers(0, 3))
    return together(
        lambda: random.for_all(groups(), answers, budget, "six rules, answer by answer"),
        lambda: random.for_all(weighted, gradients, budget, "expected gradients"),
        lambda: random.for_all(weighted, fixed_point, budget, "MARA's fixed point"),
        lambda: random.for_all(groups(), rare, budget, "UCPO of rare answers"),
        lambda: random.for_all(
            groups(4), trainer, budget, "every rule in torch", examples=budget.examples // 5
        ),
    )


STATEMENT = Statement(
    id="N5",
    title="What the rivals that read log-probs do on a group",
    source="new",
    reference="Williams & Peng 1991; arXiv 2203.02155, 2506.02355, 2605.00365, 2510.20817",
    assumptions=(
        "entropy bonus, KL in the reward and in the loss: on-policy, log-probs held constant",
        "MARA: its bonus has the coefficient beta of its KL",
    ),
    latex=(
        r"\mathrm{E}[-g\log\pi\,\nabla\log\pi] = g\,\nabla H,\qquad"
        r" \mathrm{E}[-\beta\log(\pi/b)\,\nabla\log\pi] = -\beta\,\nabla\mathrm{KL}(\pi\|b)"
        "\n\n"
        r"\mathrm{E}[\beta(b/\pi - 1)\,\nabla\log\pi] = -\beta\,\nabla\mathrm{KL}(b\|\pi)"
        "\n\n"
        r"\sum_{i=1}^{n}\left(1-\tau+\tau n\frac{1/q_i}{\sum_j 1/q_j}\right) = n,\qquad"
        r" b_y\, e^{(1+\beta\log(b_z/b_y))/\beta} = b_z\, e^{1/\beta},\qquad"
        r" \sum_i \mathrm{rank}_i = \frac{G(G-1)}{2}"
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="gradients for n = 4, all policies; MARA: any S"),
        Method("smt", check_smt, note="UCPO: any n >= 2, all q, tau in [0, 1]; ranks: any group"),
        Method("exact", check_exact, note="UCPO's sum: n = 1, 2, 5, all q and tau; 120 groups"),
        Method(
            "random",
            check_random,
            note=(
                "library: groups of 1 to 7 answers, ragged and empty masks, ties; torch against "
                "NumPy"
            ),
        ),
    ),
    mutants=(
        Mutant(
            "the entropy bonus is a penalty",
            replace(CLAIM, entropy=lambda p, log_p, h, g: g * p * (log_p + h)),
            by=("symbolic", "random"),
        ),
        Mutant(
            "the KL gradient forgets its mean",
            replace(CLAIM, kl=lambda p, log_p, log_b, kl, beta: -beta * p * (log_p - log_b)),
            by=("symbolic", "random"),
        ),
        Mutant(
            "UCPO favours the likely answer",
            replace(
                CLAIM, factor=lambda x, total, n, tau: (1 - tau) + tau * n * (total - x) / total
            ),
            by=("smt", "exact", "random"),
        ),
        Mutant(
            "the KL in the loss descends KL(pi||b)",
            replace(CLAIM, kl_loss=lambda p, b, beta: beta * p * (b - p)),
            by=("symbolic", "random"),
        ),
        Mutant(
            "MARA without its KL",
            replace(CLAIM, penalised=lambda log_p, log_b: 0 * log_p),
            by=("random",),
        ),
        Mutant(
            "MARA without its anchor",
            replace(CLAIM, anchored=lambda log_top, log_b: -log_b),
            by=("symbolic", "random"),
        ),
        Mutant(
            "equally likely answers take the lower rank",
            replace(CLAIM, tie=Fraction(0)),
            by=("smt", "exact", "random"),
        ),
    ),
    limits=(
        "Says what each rule pays on a group and in expectation, not which of them trains best: "
        "the standardisation of GRPO, in which they are used, divides all of it by a random number."
    ),
)
