r"""N6. What the rivals that act on single tokens measure and keep.

1. Clip-Cov and KL-Cov pick tokens by (A - mean A)(l - mean l).  Along the natural-gradient flow
   log pi' = A - E A the entropy falls at exactly the mean of that: dH/dt = -Cov_pi(log pi, A), for
   any advantage (product rule; sum pi' = 0).  Along the softmax flow it is not: there
   dH/dt = -Cov_pi(log pi, pi (A - E A)).
2. PPO's clipped surrogate min(rho A, clip(rho) A): where ``ClipBounds.passes`` it is rho A, where
   it does not it is the constant clip(rho) A, strictly below rho A.
3. SimKO's weights on a forking position of a correct answer add to 1; the token taken has at least
   1 - alpha of it.  It changes forking positions only, of incorrect answers too.
4. Clip-Cov and KL-Cov take max(1, floor(fraction n)) of n tokens, and none at fraction 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor
from typing import Any

from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """rate(covariance): dH/dt.  part(a, mean_a, l, mean_l): a token's share of the covariance.

    kept(rho, A, low, high, either, both): does the surrogate keep its gradient, as a Boolean made
    with the given "or" and "and".  spread(alpha, top): what each of the top tokens gets.
    count(fraction, n): how many of n tokens are taken.  changes(positive, forking): where SimKO
    changes a weight.
    """

    rate: Formula = lambda covariance: -covariance
    part: Formula = lambda a, mean_a, log_p, mean_l: (a - mean_a) * (log_p - mean_l)
    kept: Formula = lambda rho, a, low, high, either, both: both(
        either(rho <= 1 + high, a <= 0), either(rho >= 1 - low, a >= 0)
    )
    spread: Formula = lambda alpha, top: alpha / top
    count: Formula = lambda fraction, n: max(1, floor(fraction * n)) if fraction else 0
    changes: Formula = lambda positive, forking: forking


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """dH/dt along log pi' = A - E A, n = 4."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    w, a = sp.symbols("w1:5", positive=True), sp.symbols("A1:5", real=True)
    log_p = sp.symbols("l1:5", real=True)  # any numbers: only sum p = 1 is used
    total = sum(w)
    p = [x / total for x in w]
    mean_a = sum(x * y for x, y in zip(p, a, strict=True))
    mean_l = sum(x * y for x, y in zip(p, log_p, strict=True))
    # d/dt of -sum p log p with p' = p (A - E A).
    speed = -sum(x * (y - mean_a) * (z + 1) for x, y, z in zip(p, a, log_p, strict=True))
    covariance = sum(
        x * claim.part(y, mean_a, z, mean_l) for x, y, z in zip(p, a, log_p, strict=True)
    )
    expr = sp.cancel(speed - claim.rate(covariance))
    return symbolic.zero(expr, [*w, *a, *log_p], "dH/dt = -Cov(log pi, A)")


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """The surrogate where it keeps its gradient and where not; all ratios and advantages."""
    import z3

    from diffsmooth.theory.verify import smt

    rho, a, low, high = z3.Reals("rho A low high")
    given = [rho > 0, low >= 0, low <= 1, high >= 0]
    clipped = z3.If(rho > 1 + high, 1 + high, z3.If(rho < 1 - low, 1 - low, rho))
    surrogate = z3.If(rho * a <= clipped * a, rho * a, clipped * a)
    kept = claim.kept(rho, a, low, high, z3.Or, z3.And)
    return smt.prove(
        given,
        [
            z3.Implies(kept, surrogate == rho * a),
            z3.Implies(z3.Not(kept), z3.And(surrogate == clipped * a, surrogate < rho * a)),
        ],
        "clipped surrogate",
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """The shares add to the covariance; SimKO's weights add to 1."""
    from diffsmooth.theory.verify import exact

    def shares(a: Any, b: Any, c: Any, x: Any, y: Any) -> Any:
        pairs = [(a, x), (b, y), (c, x + y)]
        n = Fraction(len(pairs))
        mean_a, mean_l = sum(u for u, _ in pairs) / n, sum(v for _, v in pairs) / n
        mean = sum(claim.part(u, mean_a, v, mean_l) for u, v in pairs) / n
        return mean - (sum(u * v for u, v in pairs) / n - mean_a * mean_l)

    def weights(alpha: Any, top: Any) -> Any:
        return (1 - alpha) + top * claim.spread(alpha, top) - 1

    return together(
        lambda: exact.polynomial_identity(shares, list("abcxy"), "covariance"),
        lambda: exact.polynomial_identity(weights, ["alpha", "top"], "SimKO's sum"),
    )


@dataclass(frozen=True)
class Tokens:
    """Answers (B, T) with ragged masks, their advantages, and what was drawn for each token."""

    advantage: tuple[float, ...]
    lengths: tuple[int, ...]
    eighths: tuple[int, ...]
    order: tuple[int, ...]
    fraction: float
    per_token: bool


_WIDTH = 4


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """The library's token rules against the same written token by token."""
    from diffsmooth.theory.verify import random

    return together(
        lambda: random.for_all(_tokens(), _covariance_margin(claim), budget, "covariances"),
        lambda: random.for_all(_ratios(), _clip_margin(claim), budget, "clipping"),
        lambda: random.for_all(_positions(), _simko_margin(claim), budget, "SimKO"),
        lambda: _entropy_rate(claim, budget),
    )


def _tokens() -> Any:
    from hypothesis import strategies as st

    @st.composite
    def build(draw: Any) -> Tokens:
        rows = draw(st.integers(1, 5))
        cells = rows * _WIDTH

        def some(entry: Any, size: int) -> Any:
            return tuple(draw(st.lists(entry, min_size=size, max_size=size)))

        return Tokens(
            some(st.integers(-8, 8).map(lambda n: n / 4), rows),
            some(st.integers(1, _WIDTH), rows),
            some(st.integers(0, 200), cells),
            tuple(draw(st.permutations(range(cells)))),
            draw(st.sampled_from([0.0, 0.01, 0.07, 0.1, 0.25, 0.29, 0.5, 1.0])),
            draw(st.booleans()),
        )

    return build()


def _covariance_margin(claim: Claim) -> Callable[[Tokens], float]:
    import numpy as np

    from diffsmooth.theory import rules

    def margin(tokens: Tokens) -> float:
        rows = len(tokens.lengths)
        mask = np.arange(_WIDTH)[None, :] < np.array(tokens.lengths)[:, None]
        logps = np.where(mask, -np.array(tokens.eighths).reshape(rows, _WIDTH) / 8, -99.0)
        advantage = np.array(tokens.advantage)
        uniforms = (np.array(tokens.order).reshape(rows, _WIDTH) + 0.5) / mask.size
        given = np.repeat(advantage[:, None], _WIDTH, axis=1) if tokens.per_token else advantage
        found = rules.token_covariance(given, logps, mask)
        cells = [(i, j) for i in range(rows) for j in range(_WIDTH) if mask[i, j]]
        mean_a = sum(advantage[i] for i, _ in cells) / len(cells)
        mean_l = sum(logps[c] for c in cells) / len(cells)
        share = {c: claim.part(advantage[c[0]], mean_a, logps[c], mean_l) for c in cells}
        worst = largest(
            *(abs(found[i, j] - share.get((i, j), 0.0)) for i in range(rows) for j in range(_WIDTH))
        )
        # Advantages up to 2, log-probs up to 25, means over 20 tokens.
        slack = 512 * EPS * 100
        count = claim.count(Fraction(str(tokens.fraction)), len(cells))
        # Thresholds off every multiple of 1/8 that a covariance takes; low < high.
        low, high = 0.0123, 5.0123
        dropped = rules.clip_cov_drop(
            given, logps, mask, uniforms, fraction=tokens.fraction, low=low, high=high
        )
        near = sorted((c for c in cells if low < share[c] < high), key=lambda c: uniforms[c])
        right = {tuple(c) for c in np.argwhere(dropped).tolist()} == set(near[:count])
        chosen = rules.kl_cov_select(given, logps, mask, fraction=tokens.fraction)
        # Which of several equal covariances is chosen does not matter.
        most = sorted(share.values(), reverse=True)[:count]
        taken = sorted((share[i, j] for i, j in np.argwhere(chosen).tolist()), reverse=True)
        same = len(most) == len(taken) and np.allclose(most, taken, rtol=0, atol=slack)
        return (slack - worst) if right and same else -1.0

    return margin


def _ratios() -> Any:
    from hypothesis import strategies as st

    def quarters(low: int, high: int) -> Any:
        return st.integers(low, high).map(lambda n: n / 4)

    return st.tuples(quarters(0, 12), quarters(-4, 4), quarters(0, 4), quarters(0, 8))


def _clip_margin(claim: Claim) -> Callable[[Any], float]:
    import numpy as np

    from diffsmooth.theory import rules

    def margin(instance: Any) -> float:
        rho, a, low, high = instance
        expected = claim.kept(rho, a, low, high, lambda x, y: x or y, lambda x, y: x and y)
        found = rules.ClipBounds(low, high).passes(np.array([rho]), np.array([a]))
        return 0.0 if bool(found[0]) == bool(expected) else -1.0

    return margin


def _positions() -> Any:
    from hypothesis import strategies as st

    @st.composite
    def build(draw: Any) -> Any:
        vocabulary = draw(st.integers(2, 6))
        ranks = draw(st.permutations(range(vocabulary)))
        top = draw(st.integers(1, vocabulary))
        taken = draw(st.integers(0, vocabulary - 1))
        alpha = draw(st.sampled_from([0.0, 0.01, 0.25, 1.0]))
        return ranks, top, taken, alpha, draw(st.booleans()), draw(st.booleans())

    return build()


def _simko_margin(claim: Claim) -> Callable[[Any], float]:
    import numpy as np

    from diffsmooth.theory import rules

    def margin(instance: Any) -> float:
        ranks, top, taken, alpha, positive, forking = instance
        log_probs = -np.log1p(np.array([ranks], dtype=np.float64))
        found = rules.simko_weights(
            log_probs, np.array([taken]), np.array([positive]), np.array([forking]),
            alpha=alpha, top=top, penalty=1.5,
        )[0]  # fmt: skip
        expected = np.zeros(len(ranks))
        expected[taken] = 1.0
        if not claim.changes(positive, forking):
            pass
        elif positive:
            expected[taken] = 1 - alpha
            for token, rank in enumerate(ranks):
                if rank < top:
                    expected[token] += claim.spread(alpha, top)
        elif ranks[taken] == 0:
            expected[taken] = 1.5
        return 32 * EPS - float(np.max(np.abs(found - expected)))

    return margin


def _entropy_rate(claim: Claim, budget: Budget) -> Outcome:
    """The covariance of a policy's tokens is minus dH/dt along the library's natural flow."""
    import numpy as np

    from diffsmooth.theory import rules
    from diffsmooth.theory.diversity import shannon
    from diffsmooth.theory.flows import natural_gradient_flow
    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.statements._weighted import weighted_policies
    from diffsmooth.theory.verify import random

    def margin(weighted: Any) -> float:
        policy = Policy(np.log(weighted.probs), weighted.correct)
        batch = weighted.batch()
        logps = batch.logps[:, None]
        found = np.mean(
            rules.token_covariance(batch.reward, logps, np.ones(logps.shape, dtype=bool))
        )
        h = 1e-3
        path = [
            shannon(natural_gradient_flow(policy, 0.0, 0.0, s * h).log_probs) for s in (0, 1, 2)
        ]
        # Second-order one-sided difference; |H'''| is below 30 for these probabilities (>= 1/64).
        slope = float(-3 * path[0] + 4 * path[1] - path[2]) / (2 * h)
        return float(30 * h * h - abs(slope - claim.rate(float(found))))

    return random.for_all(
        weighted_policies(), margin, budget, "dH/dt along the library's flow",
        examples=budget.examples // 3,
    )  # fmt: skip


STATEMENT = Statement(
    id="N6",
    title="What the rivals that act on single tokens measure and keep",
    source="new",
    reference="arXiv 2505.22617 (Clip-Cov, KL-Cov), 2503.14476 (clip-higher), 2510.14807 (SimKO)",
    assumptions=("tokens drawn from the policy itself (ratio 1) for the covariance identity",),
    latex=(
        r"\dot{\log\pi} = A-\mathrm{E}A \Rightarrow \frac{dH}{dt} ="
        r" -\mathrm{Cov}_\pi(\log\pi, A) = -\mathrm{E}[(A-\mathrm{E}A)(\log\pi-\mathrm{E}\log\pi)]"
        "\n\n"
        r"\min(\rho A, \mathrm{clip}(\rho) A) = \rho A \;\;\mathrm{iff}\;\;"
        r" (\rho \leq 1+\epsilon_h \;\mathrm{or}\; A \leq 0)\;\mathrm{and}\;"
        r"(\rho \geq 1-\epsilon_l \;\mathrm{or}\; A \geq 0)"
    ),
    claim=CLAIM,
    methods=(
        Method("symbolic", check_symbolic, note="dH/dt: n = 4, all policies and advantages"),
        Method("smt", check_smt, note="clipping: all ratios > 0, advantages and bounds"),
        Method(
            "exact", check_exact, note="covariance of 3 tokens, all values; SimKO: all alpha, top"
        ),
        Method(
            "random", check_random, note="library: 1 to 5 ragged answers, 2 to 6 tokens a position"
        ),
    ),
    mutants=(
        Mutant(
            "entropy rises with the covariance",
            replace(CLAIM, rate=lambda covariance: covariance),
            by=("symbolic", "random"),
        ),
        Mutant(
            "the covariance is not centred",
            replace(CLAIM, part=lambda a, mean_a, log_p, mean_l: a * log_p),
            by=("symbolic", "exact", "random"),
        ),
        Mutant(
            "clipping on both sides whatever the advantage",
            replace(
                CLAIM,
                kept=lambda rho, a, low, high, either, both: both(rho <= 1 + high, rho >= 1 - low),
            ),
            by=("smt", "random"),
        ),
        Mutant(
            "every top token gets all of alpha",
            replace(CLAIM, spread=lambda alpha, top: alpha),
            by=("exact", "random"),
        ),
        Mutant(
            "the number of tokens is rounded up",
            replace(CLAIM, count=lambda fraction, n: ceil(fraction * n)),
            by=("random",),
        ),
        Mutant(
            "wrong answers are penalised everywhere",
            replace(CLAIM, changes=lambda positive, forking: forking or not positive),
            by=("random",),
        ),
    ),
    limits=(
        "The covariance is the entropy's rate in natural-gradient geometry; optimisers of neural "
        "policies follow neither that nor the softmax flow exactly."
    ),
)
