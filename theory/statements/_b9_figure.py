"""The picture of B9: correctness against the bonus, at fixed beta and at matched KL."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffsmooth.theory.statements import _tabular as tab

#: p = .4 in both: 16 correct and 1 incorrect trajectory, and the reverse.
CASES = (
    ("many solutions", np.log([0.4 / 16] * 16), np.log([0.6]), "#0072B2", ("-", "--")),
    ("one solution", np.log([0.4]), np.log([0.6 / 16] * 16), "#D55E00", ("-.", ":")),
)
RAGGED = np.exp(1.2 * np.cos(np.arange(16)))  # parts that are not uniform


def _ragged(part: tab.Array) -> tab.Array:
    weights = np.log(RAGGED[: len(part)])
    return tab.log_sum(part) + tab.tempered(weights, 1.0)


def correctness(s: tab.Array, f: tab.Array, a: float, y: float) -> float:
    """C of the policy proportional to b^a e^(y r)."""
    return float(np.exp(tab.log_sigmoid(tab.log_sum(a * s) - tab.log_sum(a * f) + y)))


def cost(s: tab.Array, f: tab.Array, a: float, y: float) -> float:
    """Its KL from b."""
    logit = tab.log_sum(a * s) - tab.log_sum(a * f) + y
    c = float(np.exp(tab.log_sigmoid(logit)))
    kl_s = tab.relative(tab.tempered(s, a), tab.tempered(s, 1.0))
    kl_f = tab.relative(tab.tempered(f, a), tab.tempered(f, 1.0))
    return tab.binary(logit, tab.log_sum(s) - tab.log_sum(f)) + c * kl_s + (1 - c) * kl_f


def matched(s: tab.Array, f: tab.Array, a: float, budget: float) -> float:
    """The largest C at exponent a whose KL is ``budget``; nan where the exponent alone costs more.

    The KL is convex in C; on its rising branch it is solved by bisection in y.
    """
    kl_s = tab.relative(tab.tempered(s, a), tab.tempered(s, 1.0))
    kl_f = tab.relative(tab.tempered(f, a), tab.tempered(f, 1.0))
    cheapest = (tab.log_sum(s) - tab.log_sum(f)) + kl_f - kl_s
    low = cheapest - (tab.log_sum(a * s) - tab.log_sum(a * f))
    high = low + 40.0
    if cost(s, f, a, low) > budget:
        return float("nan")
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(s, f, a, middle) < budget else (low, middle)
    return correctness(s, f, a, low)


def draw(ax: Any) -> None:
    """C against g, at beta = 1 and at the KL that g = 0 spends there."""
    grid = np.linspace(-0.6, 1.5, 85)
    for name, raw_s, raw_f, colour, (solid, dashed) in CASES:
        s, f = _ragged(raw_s), _ragged(raw_f)
        budget = cost(s, f, 1.0, 1.0)
        fixed = [correctness(s, f, 1 / (1 + g), 1 / (1 + g)) for g in grid]
        same = [matched(s, f, 1 / (1 + g), budget) for g in grid]
        ax.plot(grid, fixed, solid, color=colour, label=rf"{name}, fixed $\beta = 1$")
        ax.plot(grid, same, dashed, color=colour, label=f"{name}, matched KL")
    ax.axvline(0, color="#777777", linestyle=":")
    ax.set(xlabel="$g$ (penalty < 0 < bonus)", ylabel="correctness $C$")
    ax.legend(fontsize="small")
