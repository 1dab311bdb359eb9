"""How often the package's 95 % intervals hold the truth, beside those that they replaced.

``python benchmarks/intervals.py`` writes docs/intervals.md (four minutes of one core).  Everything
is drawn from fixed seeds, so that the page is the same each time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from diffsmooth.llm.speedup import speedups
from diffsmooth.sim.intervals import (
    adjusted,
    clopper_pearson,
    jackknife,
    mean_intervals,
    p_value,
    wilson,
)

Float = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Float]

SIZES = (3, 4, 8, 16, 32)
REPEATS, RESAMPLES = 20_000, 600
#: Repetitions of what is bootstrapped.
FEW = 2_000


def _difference(rng: np.random.Generator, shape: tuple[int, ...]) -> Float:
    """Pass@1 of two runs on the same problems: shared difficulty, 8 samples each."""
    p = rng.beta(0.8, 1.2, shape)
    q = np.clip(p + rng.uniform(-0.2, 0.2, shape) * p * (1 - p) * 4, 0, 1)
    return np.asarray((rng.binomial(8, q) - rng.binomial(8, p)) / 8)


def _problems(rng: np.random.Generator, shape: tuple[int, ...]) -> Float:
    """Pass@1 of problems, 8 samples each: many near 0 and near 1."""
    return np.asarray(rng.binomial(8, rng.beta(0.4, 0.6, shape)) / 8)


#: Law -> (how a unit is drawn, its mean).
FREE: dict[str, tuple[Draw, float]] = {
    "normal": (lambda r, s: r.standard_normal(s), 0.0),
    "uniform": (lambda r, s: r.uniform(-1, 1, s), 0.0),
    "Laplace (heavy tails)": (lambda r, s: r.laplace(size=s), 0.0),
    "paired pass@1 of two runs": (_difference, 0.0),
    "exponential (skewed)": (lambda r, s: r.exponential(size=s), 1.0),
}
BOUNDED: dict[str, tuple[Draw, float]] = {
    "uniform on [0, 1]": (lambda r, s: r.random(s), 0.5),
    "Beta(2, 5)": (lambda r, s: r.beta(2, 5, s), 2 / 7),
    "Beta(.5, .5)": (lambda r, s: r.beta(0.5, 0.5, s), 0.5),
    "pass@1 of problems, 8 samples": (_problems, 0.4),
    "solved or not, half": (lambda r, s: (r.random(s) < 0.5).astype(float), 0.5),
    "solved or not, one in ten": (lambda r, s: (r.random(s) < 0.1).astype(float), 0.1),
}


def held(low: Float, high: Float, truth: float) -> float:
    """Share of intervals that hold the truth."""
    return float(((low <= truth + 1e-12) & (truth - 1e-12 <= high)).mean())


def bootstrap(x: Float, kind: str) -> tuple[Float, Float]:
    """Percentile or BCa ends of the means of (m, n): what the package used before."""
    rng = np.random.default_rng(0)
    count = x.shape[1]
    picks = rng.integers(count, size=(RESAMPLES, count))
    share = np.stack([(picks == i).mean(axis=1) for i in range(count)])
    means = x @ share
    if kind == "percentile":
        low, high = np.quantile(means, (0.025, 0.975), axis=1)
        return low, high
    centre = x.mean(axis=1, keepdims=True)
    below = (means < centre).mean(axis=1) + 0.5 * (means == centre).mean(axis=1)
    bias = special.ndtri(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    away = centre - x
    size = (away**2).sum(axis=1)
    skew = (-(away**3)).sum(axis=1) / (6 * np.maximum(size, 1e-300) ** 1.5)
    ends = []
    for tail in (0.025, 0.975):
        z = bias + special.ndtri(tail)
        level = special.ndtr(bias + z / (1 - skew * z))
        order = np.sort(means, axis=1)
        at = np.clip((level * (RESAMPLES - 1)).round().astype(int), 0, RESAMPLES - 1)
        ends.append(order[np.arange(len(x)), at])
    return ends[0], ends[1]


def means() -> list[tuple[Any, ...]]:
    """Rows of means and paired differences: law, interval, coverage by n."""
    rows: list[tuple[Any, ...]] = []
    for law, (draw, truth) in FREE.items():
        found: dict[str, list[float]] = {"Student's t": [], "percentile": [], "BCa": []}
        for count in SIZES:
            x = draw(np.random.default_rng(count), (REPEATS, count))
            found["Student's t"].append(held(*mean_intervals(x), truth))
            for kind in ("percentile", "BCa"):
                found[kind].append(held(*bootstrap(x[:FEW], kind), truth))
        rows += [(law, name, *values) for name, values in found.items()]
    return rows


def shares() -> list[tuple[Any, ...]]:
    """Rows of means of what is bounded."""
    rows: list[tuple[Any, ...]] = []
    for law, (draw, truth) in BOUNDED.items():
        found: dict[str, list[float]] = {"bounded": [], "Student's t": [], "percentile": []}
        for count in SIZES:
            x = draw(np.random.default_rng(count), (REPEATS, count))
            found["bounded"].append(held(*mean_intervals(x, bounds=(0, 1)), truth))
            found["Student's t"].append(held(*mean_intervals(x), truth))
            found["percentile"].append(held(*bootstrap(x[:FEW], "percentile"), truth))
        rows += [(law, name, *values) for name, values in found.items()]
    return rows


def counts() -> list[tuple[Any, ...]]:
    """Rows of shares of successes: exact coverage, its mean and least over p in .01 to .99."""
    p = np.linspace(0.01, 0.99, 197)
    rows: list[tuple[Any, ...]] = []
    for name, interval in (("Wilson", wilson), ("Clopper and Pearson", clopper_pearson)):
        average, least = [], []
        for count in SIZES:
            ends = [interval(k, count) for k in range(count + 1)]
            low = np.array([e.low for e in ends])[:, None]
            high = np.array([e.high for e in ends])[:, None]
            k = np.arange(count + 1)[:, None]
            mass = np.exp(
                special.gammaln(count + 1) - special.gammaln(k + 1) - special.gammaln(count - k + 1)
                + k * np.log(p) + (count - k) * np.log1p(-p)
            )  # fmt: skip
            coverage = (mass * ((low <= p) & (p <= high))).sum(axis=0)
            average.append(float(coverage.mean()))
            least.append(float(coverage.min()))
        rows += [(name, "mean over p", *average), (name, "least", *least)]
    return rows


def crossed() -> list[tuple[Any, ...]]:
    """Seeds x problems, both random: the jackknife of the study's table."""
    rows: list[tuple[Any, ...]] = []
    for seeds, problems in ((3, 100), (8, 16), (16, 100)):
        rng = np.random.default_rng(seeds)
        hits = {"jackknife": 0, "percentile": 0}
        for _ in range(FEW):
            x = (
                0.1 * rng.standard_normal((seeds, 1))
                + 0.3 * rng.standard_normal((1, problems))
                + 0.3 * rng.standard_normal((seeds, problems))
            )
            _, low, high = jackknife(lambda w, x=x: w[0] @ x @ w[1], x.shape)
            hits["jackknife"] += bool(low <= 0 <= high)
            a = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
            b = rng.multinomial(problems, np.full(problems, 1 / problems), RESAMPLES) / problems
            drawn = np.einsum("ds,sp,dp->d", a, x, b, optimize=True)
            low, high = np.quantile(drawn, (0.025, 0.975))
            hits["percentile"] += bool(low <= 0 <= high)
        rows += [(f"{seeds} seeds x {problems} problems", k, v / FEW) for k, v in hits.items()]
    return rows


def speed() -> list[tuple[Any, ...]]:
    """Speed-up of a run that does in one sample what the other does in three, at pass@4."""
    rows: list[tuple[Any, ...]] = []
    for count in (8, 16, 32):
        rng = np.random.default_rng(count)
        hits = {"expanded percentile": 0, "percentile": 0}
        for _ in range(400):
            p = rng.beta(1.0, 6.0, count)
            k = np.arange(1, 65)
            slow = 1 - (1 - p[:, None]) ** k
            fast = 1 - (1 - p[:, None]) ** (3 * k * rng.uniform(0.6, 1.4, count)[:, None])
            found = speedups(slow, fast, resamples=RESAMPLES, confidence=0.95, seed=0)
            row = next(r for r in found if r["level_of"] == "new" and r["k"] == 4)
            hits["expanded percentile"] += row["low"] <= _TRUE_SPEEDUP <= row["high"]
            level = 2 * _plain_level(count) - 1
            found = speedups(slow, fast, resamples=RESAMPLES, confidence=level, seed=0)
            row = next(r for r in found if r["level_of"] == "new" and r["k"] == 4)
            hits["percentile"] += row["low"] <= _TRUE_SPEEDUP <= row["high"]
        rows += [(f"{count} problems", k, v / 400) for k, v in hits.items()]
    return rows


def _plain_level(count: int) -> float:
    """The level at which the expanded percentile interval is the plain one of 95 %."""
    t = 1.959963984540054 * np.sqrt((count - 1) / count)
    return float(special.stdtr(count - 1, t))


def _true_speedup() -> float:
    """Of the population of problems in :func:`speed`, by integration over p and the factor."""
    p = special.betaincinv(1.0, 6.0, (np.arange(4000) + 0.5) / 4000)[:, None]
    factor = (0.6 + 0.8 * (np.arange(200) + 0.5) / 200)[None]
    level = float((1 - (1 - p) ** (12 * factor)).mean())
    curve = np.array([(1 - (1 - p) ** k).mean() for k in range(1, 65)])
    above = int(np.searchsorted(curve, level))
    return (above + (level - curve[above - 1]) / (curve[above] - curve[above - 1])) / 4


_TRUE_SPEEDUP = _true_speedup()


def many() -> list[tuple[Any, ...]]:
    """Maps of 40 cells with 31 remedies, all like the reference: maps with any sure difference."""
    rng = np.random.default_rng(0)
    plain, corrected, maps = 0, 0, 200
    for _ in range(maps):
        x = rng.standard_normal((40, 32, 16)) + rng.standard_normal((40, 1, 16))
        p = np.array([[p_value(r - cell[0]) for r in cell[1:]] for cell in x])
        plain += bool((p <= 0.05).any(axis=1).mean() > 0)
        corrected += bool((adjusted(p.reshape(-1)) <= 0.05).any())
    return [("interval misses 0", plain / maps), ("after Benjamini and Hochberg", corrected / maps)]


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Markdown, shares with three digits."""
    shown = [
        [f"{c:.3f}".replace("0.", ".", 1) if isinstance(c, float) else str(c) for c in r]
        for r in rows
    ]
    lines = [list(head), ["---"] * len(head), *shown]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page() -> str:
    """docs/intervals.md."""
    by_size = tuple(f"n = {n}" for n in SIZES)
    parts = [
        "# Intervals: which, and how often they hold the truth",
        "Made by `python benchmarks/intervals.py`. Simulator and language models call the same "
        "functions, `sim/intervals.py`. All are 95 % intervals; a number is the share of "
        f"repetitions in which the interval held the truth ({REPEATS:,} repetitions, standard "
        f"error .0015; {FEW:,} where problems are drawn again, .005).",
        "What is used where:\n\n"
        "- **Means and paired differences** over seeds, cells or problems: Student's t.\n"
        "- **Means of what is bounded** (pass@k, distinct answers in k draws, coverage, and "
        "differences of these): Wilson's interval at the number of trials that a share of this "
        "variance would have come from, with Student's quantile. It stays inside the bounds. Where "
        "all n units agree, up to 1 - .025^(1/n) of all units may differ: 0 of 160 is 0 to .023.\n"
        "- **Counts of successes**: Wilson, and Clopper and Pearson where all or none succeed.\n"
        "- **Seeds and problems together**: jackknife over both, Student's quantile.\n"
        "- **Speed-ups**: percentiles of the bootstrap, at levels that make up for being narrow.\n"
        "- **Counts of sure differences** over many cells: Benjamini and Hochberg, 5 %.\n"
        "- From one or two units there is no interval.",
        "## Means and paired differences",
        "The percentile and the BCa interval are what the package used before.",
        table(("law", "interval", *by_size), means()),
        "Student's t is exact for normal differences and close for all symmetric ones. For a law "
        "as skewed as the exponential it holds less, and so does everything else here; differences "
        "of two runs on the same seeds or problems are nearly symmetric.",
        "## Means of what lies in [0, 1]",
        table(("law", "interval", *by_size), shares()),
        "## Counts of successes",
        "Exact, over 197 true shares from .01 to .99.",
        table(("interval", "coverage", *by_size), counts()),
        "## Seeds and problems",
        "Normal effects of seeds (deviation .1), problems (.3) and both (.3).",
        table(("design", "interval", "held"), crossed()),
        "## Speed-ups",
        f"The true speed-up is {_TRUE_SPEEDUP:.3f}; 400 repetitions.",
        table(("problems", "interval", "held"), speed()),
        "## Many comparisons",
        "Maps of 40 cells, 31 remedies and a reference on 16 seeds, all of one law: the share of "
        "200 maps that report any sure difference. One in twenty is what 5 % allows.",
        table(("a difference is sure if", "maps with any"), many()),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=Path("docs/intervals.md"))
    options = parser.parse_args()
    options.page.write_text(page(), encoding="utf-8")
    print(options.page)


if __name__ == "__main__":
    main()
