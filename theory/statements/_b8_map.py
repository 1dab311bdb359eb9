"""How close tempering comes for other measures, and the picture of B8."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._b8_gap import Measure, cheapest
from diffsmooth.theory.verify.core import Budget

#: Below this share of the KL the two optima agree to the solver's accuracy.
NOTHING = 1e-9


def wasted(log_base: tab.Array, a: float, measure: Measure) -> float:
    """Share of the tempering's KL that the cheapest law of the same diversity saves."""
    q_a = tab.tempered(log_base, a)
    target = float(np.sum(measure.phi(np.exp(q_a))))
    spent = tab.relative(q_a, log_base)
    return 1 - cheapest(log_base, measure, target, a).divergence / spent


def measured(budget: Budget) -> str:
    """One sentence: the share of KL that tempering wastes on random laws."""
    rng = np.random.default_rng(budget.seed)
    shares: dict[int, list[float]] = {2: [], 8: []}
    unsolved = 0
    for _ in range(1000 if budget.deep else 60):
        size, scale = int(rng.integers(3, 17)), float(rng.uniform(0.2, 3))
        log_base = tab.tempered(scale * rng.normal(size=size), 1.0)
        a = float(rng.uniform(0.05, 0.95))
        for k, found in shares.items():
            try:
                found.append(wasted(log_base, a, Measure(k)))
            except ArithmeticError:
                unsolved += 1
    texts = [
        f"{Measure(k).name}: median {100 * float(np.median(v)):.2g} %, largest"
        f" {100 * max(v):.3g} % of the KL"
        for k, v in shares.items()
    ]
    rest = f" ({unsolved} unsolved)" if unsolved else ""
    return (
        f"tempering against the cheapest law on {len(shares[2])} random laws of 3-16"
        f" trajectories{rest}: " + "; ".join(texts)
    )


def draw(ax: Any) -> None:
    """Entropy against KL: the tempering curve bounds every law; shares of KL wasted elsewhere."""
    rng = np.random.default_rng(3)
    log_base = np.log(np.array([0.45, 0.25, 0.15, 0.1, 0.05]))
    laws = [tab.tempered(rng.normal(size=5) * rng.uniform(0, 1.5), 1.0) for _ in range(600)]
    ax.plot(
        [tab.shannon(q) for q in laws],
        [tab.relative(q, log_base) for q in laws],
        ".",
        color="#999999",
        markersize=3,
        label="random laws $q$",
    )
    curve = [tab.tempered(log_base, float(a)) for a in np.linspace(0, 4, 120)]
    ax.plot(
        [tab.shannon(q) for q in curve],
        [tab.relative(q, log_base) for q in curve],
        "-",
        color="#0072B2",
        linewidth=2,
        label="temperings $q_a$",
    )
    optima = []
    for a in np.linspace(0.02, 0.98, 40):
        target = float(np.sum(Measure(8).phi(np.exp(tab.tempered(log_base, float(a))))))
        optima.append(cheapest(log_base, Measure(8), target, float(a)).law)
    ax.plot(
        [tab.shannon(np.log(q)) for q in optima],
        [tab.relative(np.log(q), log_base) for q in optima],
        "--",
        color="#D55E00",
        label="cheapest for distinct-in-8",
    )
    ax.plot(tab.shannon(log_base), 0, "o", color="black", label="$b_S$")
    ax.set(xlabel="$H(q)$ (nats)", ylabel=r"$\mathrm{KL}(q\|b_S)$ (nats)", ylim=(-0.02, 0.8))
    ax.legend(fontsize="small")
