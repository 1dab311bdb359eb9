"""B4: what an entropy bonus or penalty does to the optimum, in its two conventions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from diffsmooth.theory.statements import _gibbs, _logs
from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._steps import identities, rational_identities, together
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, largest, least

Number = Any


@dataclass(frozen=True)
class EntropyBonus:
    """Exponent of b and weight of r in log pi*, in both forms, as functions of (beta, g).

    ``same(beta, g)``: the (beta, g) of the base-surprisal form that gives the self-entropy form's
    policy.
    """

    self_exponent: Callable[[Number, Number], Number] = lambda beta, g: beta / (beta + g)
    self_reward: Callable[[Number, Number], Number] = lambda beta, g: 1 / (beta + g)
    base_exponent: Callable[[Number, Number], Number] = lambda beta, g: 1 - g / beta
    base_reward: Callable[[Number, Number], Number] = lambda beta, g: 1 / beta
    same: Callable[[Number, Number], tuple[Number, Number]] = lambda beta, g: (beta + g, g)


def _symbolic(claim: EntropyBonus, budget: Budget) -> Outcome:
    """Gibbs' identity for each trajectory; r is 1 or 0, u = log pi, v = log b."""
    import sympy as sp

    beta = sp.Symbol("beta", positive=True)
    g, r, u, v = sp.symbols("g r u v", real=True)
    base_beta, base_g = claim.same(beta, g)
    self_weight = claim.self_exponent(beta, g) * v + claim.self_reward(beta, g) * r
    base_weight = claim.base_exponent(beta, g) * v + claim.base_reward(beta, g) * r
    return identities(
        {
            "self-entropy form": _gibbs.term(r - g * u - beta * (u - v), beta + g, self_weight, u),
            "base-surprisal form": _gibbs.term(r - g * v - beta * (u - v), beta, base_weight, u),
            "one family, exponent": claim.self_exponent(beta, g)
            - claim.base_exponent(base_beta, base_g),
            "one family, reward": claim.self_reward(beta, g) - claim.base_reward(base_beta, base_g),
        },
        "entropy bonus",
    )


def _smt(claim: EntropyBonus, budget: Budget) -> Outcome:
    """Where the two families agree: beta > 0, beta + g > 0 is exactly a > 0."""
    import z3

    from diffsmooth.theory.verify import smt

    beta, g, base_beta, base_g = z3.Reals("beta g beta_b g_b")
    image = claim.same(beta, g)
    return together(
        partial(
            smt.prove,
            [beta > 0, beta + g > 0],
            [
                claim.self_exponent(beta, g) > 0,
                (claim.self_exponent(beta, g) < 1) == (g > 0),
                claim.base_exponent(*image) == claim.self_exponent(beta, g),
            ],
            "self-entropy form: a in (0, 1) for a bonus, a > 1 for a penalty",
        ),
        partial(
            smt.prove,
            [base_beta > 0, base_g >= base_beta, beta > 0, beta + g > 0],
            claim.base_exponent(base_beta, base_g) != claim.self_exponent(beta, g),
            "base-surprisal form with g >= beta (a <= 0) has no counterpart",
        ),
    )


def _exact(claim: EntropyBonus, budget: Budget) -> Outcome:
    """Both optima written out, against arbitrary rational policies.

    beta and g are rational multiples of one unit, so that a = j/d; e = exp(reward weight).
    """

    def residuals(
        base: tab.RationalBase, j: int, e: Fraction, pi: list[Fraction]
    ) -> dict[str, Fraction]:
        law, split, y = base.law(), len(base.correct), _logs.log(e)
        a = Fraction(j, base.d)
        # Self form with beta + g = 1 and beta = a; base form with beta = 1 and g = 1 - a, in
        # units in which the reward on S is y: both then have temperature 1.
        beta, g = a, 1 - a
        claimed = claim.self_exponent(beta, g) * base.d
        base_claimed = claim.base_exponent(Fraction(1), g) * base.d
        policies = []
        for power in (claimed, base_claimed):
            weights = [
                (e if i < split else 1) * Fraction(m) ** int(power)
                for i, m in enumerate(base.correct + base.incorrect)
            ]
            policies.append(_logs.normalised(weights))

        def own(i: int, u: _logs.Logs) -> _logs.Logs:
            reward = y if i < split else _logs.Logs()
            return reward - u * g - (u - _logs.log(law[i])) * beta

        def surprisal(i: int, u: _logs.Logs) -> _logs.Logs:
            reward = y if i < split else _logs.Logs()
            return reward - _logs.log(law[i]) * g - (u - _logs.log(law[i]))

        return _gibbs.named(
            {
                "exponents are j/d": _logs.Logs(
                    abs(claimed - int(claimed)) + abs(base_claimed - int(base_claimed))
                ),
                "self-entropy form": _gibbs.shortfall(own, policies[0], pi),
                "base-surprisal form": _gibbs.shortfall(surprisal, policies[1], pi),
            }
        )

    instances = [
        {"base": base, "j": j, "e": e, "pi": pi}
        for base in tab.rational_bases(50 if budget.deep else 10, budget.seed)
        for j in range(1, 2 * base.d)
        for e in (Fraction(3, 2), Fraction(20))
        for pi in _gibbs.policies(base, 1, budget.seed)
    ]
    return rational_identities(residuals, instances, "both optima against arbitrary policies")


def _random(claim: EntropyBonus, budget: Budget) -> Outcome:
    """The library's optimum in both forms, bonus and penalty."""
    from hypothesis import strategies as st

    from diffsmooth.theory.optima import EntropyForm, entropy_bonus
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[tab.LogitBase, float, float]) -> tuple[float, float]:
        base, beta, ratio = instance
        g, b, split = ratio * beta, base.policy(), len(base.correct)
        s, f = base.logits[:split], base.logits[split:]
        forms: dict[EntropyForm, tuple[Any, Any]] = {
            "self": (claim.self_exponent(beta, g), claim.self_reward(beta, g)),
            "base": (claim.base_exponent(beta, g), claim.base_reward(beta, g)),
        }
        pairs: list[tuple[Any, Any]] = []
        steepest = 0.0
        for form, (a, y) in forms.items():
            policy = entropy_bonus(b, beta, g, form=form)
            steepest = largest(steepest, abs(a), y)
            pairs += [
                (np.asarray(policy.log_q)[:split], tab.tempered(s, a)),
                (np.asarray(policy.log_f)[split:], tab.tempered(f, a)),
                # b is normalised in the library: logit C sees log b, not the logits.
                (
                    policy.logit_C,
                    tab.log_sum(a * s) - tab.log_sum(a * f) + y,
                ),
            ]
        twin = entropy_bonus(b, *claim.same(beta, g), form="base")
        pairs.append((twin.log_probs, entropy_bonus(b, beta, g, form="self").log_probs))
        magnitude = (1 + steepest) * (base.spread + 1)
        return -_gibbs.deviation(pairs), tab.rounding(len(base.logits), magnitude)

    strategy = st.tuples(tab.logit_bases(), tab.decimals(1 / 8, 8), tab.decimals(-0.875, 4))
    return random.for_all(strategy, margin, budget, "the library's entropy-regularised optimum")


def _adversarial(claim: EntropyBonus, budget: Budget) -> Outcome:
    """An optimiser tries to beat both claimed optima."""
    from diffsmooth.theory.verify import adversarial

    reward = np.array([1.0, 1.0, 0.0, 0.0])

    def margin(x: tab.Array) -> float:
        if np.max(np.abs(x)) > 6:
            return np.inf
        v, rival = tab.tempered(x[:4], 1.0), tab.tempered(x[4:8], 1.0)
        beta = float(np.exp(x[8] / 4))
        g = beta * (float(np.exp(x[9] / 4)) - 1)  # beta + g > 0
        own = tab.tempered(
            claim.self_exponent(beta, g) * v + claim.self_reward(beta, g) * reward, 1.0
        )
        surprisal = tab.tempered(
            claim.base_exponent(beta, g) * v + claim.base_reward(beta, g) * reward, 1.0
        )
        return least(
            _gibbs.loss(lambda u: reward - g * u - beta * (u - v), own, rival),
            _gibbs.loss(lambda u: reward - g * v - beta * (u - v), surprisal, rival),
        )

    return adversarial.minimise(
        margin,
        lambda rng: rng.normal(size=10),
        budget,
        "no policy beats the claimed optima",
        30 * tab.rounding(4, 80.0),
        evaluations=300,
    )


def _draw(ax: Any) -> None:
    """The bonus flattens the correct and the incorrect part alike; both forms are one family."""
    from diffsmooth.theory.optima import entropy_bonus
    from diffsmooth.theory.policy import Policy

    base = Policy.from_probs([0.2, 0.07, 0.03, 0.45, 0.2, 0.04, 0.01], np.arange(7) < 3)
    grid = np.linspace(-0.75, 3.0, 76)
    own = [entropy_bonus(base, 1.0, float(g)) for g in grid]
    twin = [entropy_bonus(base, *EntropyBonus().same(1.0, float(g)), form="base") for g in grid]
    for part, size, colour, dash, marker, name in (
        ("log_q", 3, "#0072B2", "-", "o", "correct part, $H(q)$"),
        ("log_f", 4, "#D55E00", "--", "s", "incorrect part, $H(f)$"),
    ):
        entropies = [
            [tab.shannon(law[law > -np.inf]) / np.log(size) for law in laws]
            for laws in ([getattr(pi, part) for pi in family] for family in (own, twin))
        ]
        ax.plot(grid, entropies[0], dash, color=colour, label=f"{name}: self-entropy form")
        ax.plot(
            grid[::8],
            entropies[1][::8],
            marker,
            color=colour,
            mfc="none",
            label=r"base-surprisal form at $(\beta+g, g)$",
        )
    ax.axvline(0.0, color="black", lw=0.8)
    ax.text(0.05, 0.02, "base policy's parts at g = 0", fontsize="small")
    ax.set(
        xlabel=r"bonus $g/\beta$ (penalty: $g<0$)", ylabel="entropy / its maximum", ylim=(0, 1.02)
    )
    ax.legend(fontsize="small", loc="lower right", bbox_to_anchor=(1, 0.07))


STATEMENT = Statement(
    id="B4",
    title="An entropy bonus tempers the correct and the incorrect part alike",
    source="paper",
    reference="paper; theory.md B4",
    assumptions=(
        "reward 1 on S and 0 on F, beta > 0, b > 0; g > 0 bonus, g < 0 penalty",
        "self-entropy form: beta + g > 0",
    ),
    latex=(
        r"$\max\;\mathrm{E}\,r+g\,H(\pi)-\beta\,\mathrm{KL}(\pi\|b):\quad"
        r"\pi\propto b^{\beta/(\beta+g)}e^{r/(\beta+g)}$" + "\n\n"
        r"$\max\;\mathrm{E}[r-g\log b]-\beta\,\mathrm{KL}(\pi\|b):\quad"
        r"\pi\propto b^{1-g/\beta}e^{r/\beta}$" + "\n\n"
        r"$(\beta,g)$ in the first form is $(\beta+g,\,g)$ in the second: one family of policies,"
        r" with $a=\beta/(\beta+g)>0$."
    ),
    claim=EntropyBonus(),
    methods=(
        Method("symbolic", _symbolic, note="any number of trajectories, beta > 0, real g"),
        Method("smt", _smt, note="all real beta, g with beta > 0, beta + g > 0"),
        Method("exact", _exact, note="rational policies with 2-10 trajectories, a = j/d"),
        Method("random", _random, note="the library: 2-12 trajectories, g/beta in [-7/8, 4]"),
        Method("adversarial", _adversarial, note="2 + 2 trajectories, base, rival, beta, g free"),
    ),
    mutants=(
        Mutant(
            "the bonus sharpens",
            EntropyBonus(base_exponent=lambda beta, g: 1 + g / beta),
            ("symbolic", "smt", "exact", "random", "adversarial"),
        ),
        Mutant(
            "the bonus leaves the weight of the reward alone",
            EntropyBonus(self_reward=lambda beta, g: 1 / beta),
            ("symbolic", "random", "adversarial"),
        ),
        Mutant(
            "the two conventions share (beta, g)",
            EntropyBonus(same=lambda beta, g: (beta, g)),
            ("symbolic", "smt", "random"),
        ),
    ),
    limits=(
        "The two families are identical for a > 0 only: the base-surprisal form with g >= beta"
        " (a <= 0: uniform, then reversed order) corresponds to no beta > 0 in the self-entropy"
        " form; a = 0 is its limit beta = 0 (B10)."
    ),
    figure=_draw,
)
