"""How often, and where, the conditions of B7 fail: random policies, every fraction measured.

Gaussian logits of scale U(0, 3), 2 to 16 trajectories in each part, a = 1 - g/beta in U(0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from diffsmooth.theory.verify.core import Budget

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
LARGEST = 16


@dataclass(frozen=True)
class Parts:
    """Random bases: log b on S and on F, ``-inf`` where a part has fewer trajectories."""

    correct: Array
    incorrect: Array
    a: Array

    @staticmethod
    def sample(count: int, seed: int) -> Parts:
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
        scale = rng.uniform(0, 3, size=(count, 1))
        logits = scale * rng.normal(size=(count, 2 * LARGEST))
        sizes = rng.integers(2, LARGEST + 1, size=(count, 2, 1))
        present = (np.arange(LARGEST) < sizes).reshape(count, -1)
        logits = np.where(present, logits, -np.inf)
        log_b = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        return Parts(log_b[:, :LARGEST], log_b[:, LARGEST:], rng.uniform(0.01, 0.99, size=count))


def _mass(part: Array, a: Array | float) -> Array:
    powers = np.where(np.isfinite(part), np.expand_dims(a, -1) * part, -np.inf)
    return np.asarray(np.logaddexp.reduce(powers, axis=1))


def _kl(part: Array, a: Array) -> Array:
    """KL of the tempered law from the part itself, normalised."""
    present = np.isfinite(part)
    log_b = np.where(present, part, 0.0)
    log_law = a[:, None] * log_b - _mass(part, a)[:, None]
    gap = log_law - (log_b - _mass(part, 1.0)[:, None])
    return np.asarray(np.sum(np.where(present, np.exp(log_law) * gap, 0.0), axis=1))


def _binary(x: Array, y: Array) -> Array:
    """kl between Bernoulli laws with logits x and y."""
    down, up = -np.logaddexp(0, -x), -np.logaddexp(0, x)
    return np.asarray(
        np.exp(down) * (down + np.logaddexp(0, -y)) + np.exp(up) * (up + np.logaddexp(0, y))
    )


def failures(parts: Parts, y: Array | float) -> tuple[Bools, Bools, Bools]:
    """Where (ii) fails; where no literal policy (g_n free) dominates; where no coupled one does.

    The coupled family at exponent a: C is above its own infimum, and the KL is convex in C with
    minimum at logit p + KL(f_(2-a)||b_F) - KL(q_a||b_S).  Lower exponents only cost more.
    """
    s, f, a = parts.correct, parts.incorrect, parts.a
    ss, sf, sf_1, sf_sharp = _mass(s, a), _mass(f, a), _mass(f, 1.0), _mass(f, 2 - a)
    logit_p, kl_s, flat, sharp = _mass(s, 1.0) - sf_1, _kl(s, a), _kl(f, a), _kl(f, 2 - a)

    def cost(logit: Array, kl_f: Array | float) -> Array:
        c = np.exp(-np.logaddexp(0, -logit))
        return np.asarray(_binary(logit, logit_p) + c * kl_s + (1 - c) * kl_f)

    logit = ss - sf + y
    kl = cost(logit, flat)
    unreached = y <= sf - sf_1
    literal = unreached & (kl <= cost(ss - sf_1, 0.0))
    best = np.maximum(np.maximum(logit, ss - sf_sharp), logit_p + sharp - kl_s)
    coupled = cost(best, sharp) > kl
    return np.asarray(unreached), np.asarray(literal), np.asarray(coupled)


def measured(budget: Budget) -> str:
    """One sentence with the fractions, overall and by 1/beta."""
    count = 20_000 if budget.deep else 2_000
    parts = Parts.sample(count, budget.seed)
    y = np.exp(np.random.default_rng(budget.seed).uniform(np.log(1 / 16), np.log(16), size=count))
    unreached, literal, coupled = failures(parts, y)

    def share(mask: Bools, where: Bools | slice = slice(None)) -> str:
        return f"{100 * float(np.mean(mask[where])):.1f} %"

    weak, strong = y < 1 / 4, y > 4
    flat, mild = parts.a < 1 / 4, parts.a > 3 / 4
    rare = _mass(parts.correct, 1.0) < np.log(1 / 4)
    return (
        f"over {count} random policies, 1/beta log-uniform in [1/16, 16], (ii) fails in"
        f" {share(unreached)} (1/beta < 1/4: {share(unreached, weak)}, > 4:"
        f" {share(unreached, strong)}), no literal policy dominates in {share(literal)}"
        f" ({share(literal, weak)}, {share(literal, strong)}), no coupled one in {share(coupled)}"
        f" ({share(coupled, weak)}, {share(coupled, strong)}); no literal one: a < 1/4"
        f" {share(literal, flat)}, a > 3/4 {share(literal, mild)}, p < 1/4"
        f" {share(literal, rare)}, p >= 1/4 {share(literal, ~rare)}"
    )


def draw(ax: Any) -> None:
    """Fraction of random entropy policies for which each condition fails, against 1/beta."""
    parts = Parts.sample(2_000, 0)
    grid = np.geomspace(1 / 32, 16, 40)
    shares = np.array([[mask.mean() for mask in failures(parts, y)] for y in grid])
    labels = (
        "(ii) fails: same $(C, q_a)$ out of reach",
        "no literal policy dominates (exact)",
        "no coupled policy ($g_n = g_p$) dominates",
    )
    for share, label, dash, colour in zip(
        shares.T, labels, ("-", "--", ":"), ("#0072B2", "#D55E00", "#009E73"), strict=True
    ):
        ax.plot(grid, share, dash, color=colour, label=label, linewidth=2)
    ax.plot(
        grid,
        np.zeros_like(grid),
        "-.",
        color="#000000",
        label="no centred policy dominates (proved)",
    )
    ax.set(xscale="log", xlabel=r"$1/\beta$ (nats)", ylabel="fraction of random policies")
    ax.set_ylim(-0.02, 1.02)
    ax.legend(fontsize="small", loc="lower left", bbox_to_anchor=(0, 0.04))
