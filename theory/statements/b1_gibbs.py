"""B1: Gibbs' variational principle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from diffsmooth.theory.statements import _balls as arb
from diffsmooth.theory.statements import _gibbs, _logs
from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import identities, rational_identities, together
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, least

Number = Any


@dataclass(frozen=True)
class Gibbs:
    """``log_weight(log b, rho, beta)`` of the maximiser; ``gap(beta, KL(pi||pi*))`` = J* - J."""

    log_weight: Callable[[Number, Number, Number], Number] = lambda v, rho, beta: v + rho / beta
    gap: Callable[[Number, Number], Number] = lambda beta, kl: beta * kl


def _symbolic(claim: Gibbs, budget: Budget) -> Outcome:
    """Any number of trajectories: v = log b, u = log pi, rho enter through moments."""
    import sympy as sp

    beta, pi, b = sp.symbols("beta pi b", positive=True)
    u, v, rho, zeta = sp.symbols("u v rho zeta", real=True)
    law, optimum = Law("pi", [u, v, rho]), Law("pi*", [v, rho])
    log_best = claim.log_weight(v, rho, beta) - zeta
    best = optimum.mean(sp.expand(rho - beta * (log_best - v)))
    own = law.mean(rho - beta * (u - v))
    return identities(
        {
            "J* - J": best - own - claim.gap(beta, law.mean(sp.expand(u - log_best))),
            "strict concavity: d^2/d pi_i^2 of -beta pi_i log(pi_i/b_i)": sp.diff(
                -beta * pi * sp.log(pi / b), pi, 2
            )
            + beta / pi,
            **_gibbs.positivity(),
        },
        "Gibbs",
    )


def _instances(budget: Budget) -> Iterator[dict[str, Any]]:
    for base in tab.rational_bases(60 if budget.deep else 20, budget.seed):
        for k, policy in enumerate(_gibbs.policies(base, 3, budget.seed)):
            yield {"base": base, "pi": policy, "beta": Fraction(k + 1, 2)}


def _exact(claim: Gibbs, budget: Budget) -> Outcome:
    """rho_i = beta log E_i with rational E_i: every term is a formal logarithm."""

    def residuals(
        base: tab.RationalBase, pi: list[Fraction], beta: Fraction
    ) -> dict[str, Fraction]:
        law = base.law()
        tilt = [Fraction(i + 2, 3) for i in range(len(law))]
        rho = [_logs.log(e) * beta for e in tilt]
        best = _logs.normalised([b * e for b, e in zip(law, tilt, strict=True)])
        # The claim's log-weights and the optimum's logs may differ by one constant only.
        weights = [
            claim.log_weight(_logs.log(b), r, beta) - _logs.log(x)
            for b, r, x in zip(law, rho, best, strict=True)
        ]

        def value(policy: list[Fraction]) -> _logs.Logs:
            return (
                _logs.total(r * x for x, r in zip(policy, rho, strict=True))
                - _logs.divergence(policy, law) * beta
            )

        kl = _logs.divergence(pi, best)
        return {
            "the maximiser's weights": sum(((w - weights[0]).size() for w in weights), Fraction(0)),
            "J* - J": (value(best) - value(pi) - claim.gap(beta, kl)).size(),
            "J* > J unless pi = pi*": Fraction((value(best) - value(pi)).sign() - int(pi != best)),
        }

    return rational_identities(residuals, _instances(budget), "arbitrary policies and rewards")


def _certified(claim: Gibbs, budget: Budget) -> Outcome:
    """phi(t) = t log t - t + 1 > 0 away from 1; and a whole simplex of rivals of one maximiser."""
    from diffsmooth.theory.verify import certified

    base, rho = arb.balls(["1/2", "3/10", "1/5"]), arb.balls(["1/4", "0", "1/8"])
    beta = arb.ball("1/2")

    def margin(x: Any, y: Any) -> Any:
        """J* - J - (KL with the claim's maximiser) + a little, on the simplex of three."""
        law = [x, y, 1 - x - y]
        weights = [claim.log_weight(b.log(), r, beta).exp() for b, r in zip(base, rho, strict=True)]
        own = arb.add([p * r for p, r in zip(law, rho, strict=True)]) - beta * arb.divergence(
            law, base
        )
        best = arb.conditional(weights)
        top = arb.add([p * r for p, r in zip(best, rho, strict=True)]) - beta * arb.divergence(
            best, base
        )
        return top - own + arb.ball("1/5000")

    def phi(t: Any) -> Any:
        return t * t.log() - t + 1

    return together(
        partial(certified.positive, phi, {"t": ("1/1000000", "99/100")}, "phi > 0 below 1"),
        partial(certified.positive, phi, {"t": ("101/100", 1000)}, "phi > 0 above 1"),
        partial(
            certified.positive,
            margin,
            {"pi_1": ("1/20", "13/20"), "pi_2": ("1/20", "3/10")},
            "no policy on three trajectories beats the maximiser by 1/5000",
            slopes=True,
        ),
    )


def _random(claim: Gibbs, budget: Budget) -> Outcome:
    """The library's vanilla optimum (rho = r): J* - J of any policy is beta KL(pi||pi*)."""
    from hypothesis import strategies as st

    from diffsmooth.theory.optima import gibbs, vanilla
    from diffsmooth.theory.policy import Policy, kl
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[tab.LogitBase, list[float], float]) -> tuple[float, float]:
        base, logits, beta = instance
        b = base.policy()
        best = vanilla(b, beta)
        rival = Policy.from_logits(np.array(logits[: len(base.logits)]), base.mask)
        reward = rival.log_probs - rival.log_probs.max()  # an arbitrary one
        tilted = gibbs(b, reward, beta)
        free = claim.log_weight(base.logits, reward, beta)
        value = [float(np.exp(x.log_C)) - beta * float(kl(x, b)) for x in (best, rival)]
        gap = value[0] - value[1]
        weights = claim.log_weight(base.logits, base.mask.astype(np.float64), beta)
        error = _gibbs.deviation(
            [
                (gap, claim.gap(beta, float(kl(rival, best)))),
                (np.asarray(best.log_probs), tab.tempered(weights, 1.0)),
                (np.asarray(tilted.log_probs), tab.tempered(free, 1.0)),
            ]
        )
        magnitude = base.spread + 12 / beta + 12
        return least(-error, gap), (1 + beta) * tab.rounding(len(base.logits), magnitude)

    strategy = st.tuples(
        tab.logit_bases(),
        st.lists(tab.decimals(-4, 4), min_size=12, max_size=12),
        tab.decimals(1 / 16, 16),
    )
    return random.for_all(strategy, margin, budget, "the library's optimum is the maximiser")


def _adversarial(claim: Gibbs, budget: Budget) -> Outcome:
    """An optimiser tries to beat the maximiser: base, reward, rival and beta are free."""
    from diffsmooth.theory.verify import adversarial

    def margin(x: tab.Array) -> float:
        if np.max(np.abs(x)) > 8:
            return np.inf
        v, rho, rival = tab.tempered(x[:4], 1.0), x[4:8], tab.tempered(x[8:12], 1.0)
        beta = float(np.exp(x[12] / 4))
        best = tab.tempered(claim.log_weight(v, rho, beta), 1.0)
        return _gibbs.loss(lambda u: rho - beta * (u - v), best, rival)

    return adversarial.minimise(
        margin,
        lambda rng: rng.normal(size=13),
        budget,
        "no policy beats the maximiser",
        8 * tab.rounding(4, 90.0),
        evaluations=300,
    )


def _draw(ax: Any) -> None:
    """Every policy lies on the line J* - beta KL(pi||pi*), whatever beta."""
    from diffsmooth.theory.optima import gibbs
    from diffsmooth.theory.policy import Policy, relative_entropy

    rng = np.random.default_rng(0)
    base = Policy.from_probs([0.4, 0.3, 0.2, 0.1], [True, False, True, False])
    reward = np.array([1.0, 0.2, 0.6, 0.0])
    rivals = base.log_probs + rng.normal(size=(60, 4)) * rng.uniform(0, 1, size=(60, 1))
    log_pi = np.array([tab.tempered(x, 1.0) for x in rivals])
    styles = (("#0072B2", "o", "-", 0.25), ("#D55E00", "s", "--", 0.5), ("#009E73", "^", ":", 1.0))
    for colour, marker, dash, beta in styles:
        best = gibbs(base, reward, beta)

        def value(law: tab.Array, beta: float = beta) -> Any:
            return np.exp(law) @ reward - beta * relative_entropy(law, base.log_probs)

        away = relative_entropy(log_pi, best.log_probs)
        near = away <= 1
        ax.plot(away[near], value(log_pi)[near], marker, color=colour, mfc="none", ms=5)
        x = np.array([0.0, 1.0])
        top = float(value(best.log_probs))
        label = rf"$\beta={beta:g}$: $J^\ast-\beta\,$KL"
        ax.plot(x, top - beta * x, dash, color=colour, label=label)
    ax.plot([], [], "o", color="black", mfc="none", ms=5, label="random policies")
    ax.set_xlabel(r"$\mathrm{KL}(\pi\|\pi^\ast)$ (nats)")
    ax.set_ylabel(r"$J(\pi)=E[\rho]-\beta\,\mathrm{KL}(\pi\|b)$")
    ax.legend(fontsize="small")


STATEMENT = Statement(
    id="B1",
    title="Gibbs: the optimum of reward minus a KL penalty",
    source="paper",
    reference="theory.md B1; Gibbs' variational principle",
    assumptions=("finitely many trajectories, b > 0, any reward rho, beta > 0",),
    latex=(
        r"$J(\pi)=\mathrm{E}_\pi[\rho]-\beta\,\mathrm{KL}(\pi\|b)\;\Rightarrow\;"
        r"J(\pi^*)-J(\pi)=\beta\,\mathrm{KL}(\pi\|\pi^*),\quad \pi^*\propto b\,e^{\rho/\beta}$,"
        "\n\n"
        r"so $\pi^*$ is the unique maximiser ($\mathrm{KL}\geq 0$, and $0$ iff $\pi=\pi^*$)."
    ),
    claim=Gibbs(),
    methods=(
        Method(
            "symbolic", _symbolic, note="any number of trajectories, all b > 0, rho real, beta > 0"
        ),
        Method("exact", _exact, note="rational policies with 2-10 trajectories"),
        Method(
            "certified",
            _certified,
            note="one base and reward on three trajectories, policies with every mass >= 1/20",
        ),
        Method("random", _random, note="the library: 2-12 trajectories, beta in [1/16, 16]"),
        Method("adversarial", _adversarial, note="4 trajectories, reward, rival and beta free"),
    ),
    mutants=(
        Mutant(
            "the reward is multiplied by beta",
            Gibbs(log_weight=lambda v, rho, beta: v + rho * beta),
            ("symbolic", "exact", "certified", "random", "adversarial"),
        ),
        Mutant(
            "the base policy is forgotten",
            Gibbs(log_weight=lambda v, rho, beta: 0 * v + rho / beta),
            ("symbolic", "exact", "certified", "random", "adversarial"),
        ),
        Mutant(
            "the gap without its factor beta",
            Gibbs(gap=lambda beta, kl: kl),
            ("symbolic", "exact", "random"),
        ),
    ),
    limits="An optimum over all policies; says nothing of the path that training takes.",
    figure=_draw,
)
