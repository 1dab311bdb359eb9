"""A fair small study: every remedy with the same number of strengths, against GRPO's own frontier.

A remedy that gives up pass@1 for diversity has done nothing that stopping GRPO earlier, or
training it more slowly, would not do.  So each remedy gets three strengths (rules without one get
three learning rates, GRPO too), all share seeds and held-out problems, and each is compared

- with GRPO at the end of training: paired differences of pass@1, pass@64 and distinct solutions;
- with **GRPO's frontier**: the best pass@64 (or distinct solutions) of any GRPO run at any measured
  step that has at least the remedy's pass@1.  The maximum over noisy points favours GRPO.

Intervals (95 %): jackknife over seeds and over problems with Student's quantile, which with three
seeds is wide where seeds differ (:func:`diffsmooth.sim.intervals.jackknife`); none from less than
three seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsmooth import records
from diffsmooth.llm.configuration import Optimisation, RuleChoice
from diffsmooth.llm.engines._adaptive import Adaptive
from diffsmooth.llm.study import Arm, Measurement, Study, results
from diffsmooth.sim.figures import COLOURS
from diffsmooth.sim.intervals import LEAST, jackknife

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: What is kept or lost, beside pass@1.
MEASURES = ("pass@64", "distinct")
BASELINE = "GRPO"


@dataclass(frozen=True)
class Remedy:
    """A remedy and its three settings, weakest first."""

    name: str
    arms: tuple[Arm, ...]


def remedies() -> tuple[Remedy, ...]:
    """All remedies of the study, GRPO first; three settings each."""
    from diffsmooth.theory.rules import GRPO

    # The engine's own advantage, for rules that bring one: then nothing differs but the rule.
    trl = GRPO(eps=1e-4, ddof=1)

    def rates(name: str, rule: RuleChoice) -> Remedy:
        return Remedy(name, tuple(Arm(f"{name} lr x{f:g}", rule, f) for f in (0.5, 1.0, 2.0)))

    def strengths(
        name: str, rule: str, parameter: str, values: Sequence[float], **more: Any
    ) -> Remedy:
        return Remedy(
            name,
            tuple(
                Arm(f"{name} {parameter}={v:g}", RuleChoice(rule, {parameter: v, **more}))
                for v in values
            ),
        )

    eq6 = tuple(
        Arm(f"eq6 g={g:g}", RuleChoice("eq6", {"g_correct": g, "g_incorrect": g}))
        for g in (0.03, 0.1, 0.3)
    )
    adaptive = tuple(
        Arm(
            f"adaptive x{m:g}",
            RuleChoice("centred", gamma="adaptive", adaptive=Adaptive(multiplier=m)),
        )
        for m in (0.5, 1.0, 2.0)
    )
    return (
        rates(BASELINE, RuleChoice("grpo")),
        strengths("entropy bonus", "entropy-bonus", "g", (0.03, 0.1, 0.3), base=trl),
        strengths("pass@k training", "pass-at-k", "k", (2, 4, 8)),
        rates("MaxRL", RuleChoice("maxrl")),
        strengths("F-GRPO", "f-grpo", "gamma", (0.5, 1.0, 2.0), base=trl),
        strengths("unlikeliness", "unlikeliness", "weight", (0.25, 0.5, 1.0), base=trl),
        Remedy("eq6", eq6),
        strengths("centred", "centred", "g_correct", (0.1, 0.3, 1.0)),
        strengths("quotient", "quotient", "g_correct", (0.1, 0.3, 1.0)),
        strengths("two-part", "two-part", "g_correct", (0.1, 0.3, 1.0)),
        Remedy("adaptive", adaptive),
    )


def frontier_study(steps: int = 300, seeds: Sequence[int] = (0, 1, 2)) -> Study:
    """Every setting of every remedy from ``seeds``; measured at five moments of training."""
    return Study(
        arms=tuple(arm for remedy in remedies() for arm in remedy.arms),
        seeds=tuple(seeds),
        steps=steps,
        optimisation=Optimisation(steps=steps),
        measurement=Measurement(problems=100, samples=64, every=max(1, steps // 4)),
    )


@dataclass(frozen=True)
class Cube:
    """``values[measure]``: (arms, seeds, steps, problems); only seeds that every arm has run."""

    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    values: dict[str, Array]


def cube(study: Study, out: Path) -> Cube:
    """What the study's finished runs measured.

    Arms none of whose runs is finished are left out; seeds that a remaining arm lacks too, so that
    all arms are compared on the same seeds.  Raises ``FileNotFoundError`` where nothing is left.
    """
    import numpy as np

    from diffsmooth.theory.passk import pass_at_k

    rows = results(study, out).to_pylist()
    arms = [a.name for a in study.arms if any(r["arm"] == a.name for r in rows)]
    has = {(r["arm"], r["seed"]) for r in rows}
    seeds = [s for s in study.seeds if all((a, s) in has for a in arms)]
    if not seeds:
        raise FileNotFoundError(f"{out}: no seed that every arm has finished")
    steps = sorted({r["step"] for r in rows})
    problems = list(dict.fromkeys(r["problem"] for r in rows))
    place = [{x: i for i, x in enumerate(axis)} for axis in (arms, seeds, steps, problems)]
    shape = tuple(len(axis) for axis in place)
    values = {name: np.full(shape, np.nan) for name in ("pass@1", *MEASURES)}
    kept = [r for r in rows if r["seed"] in place[1]]
    index = tuple(
        np.array([where[r[key]] for r in kept])
        for where, key in zip(place, ("arm", "seed", "step", "problem"), strict=True)
    )
    n = np.array([r["samples"] for r in kept])
    c = np.array([r["correct"] for r in kept])
    values["pass@1"][index] = c / n
    values["pass@64"][index] = pass_at_k(n, c, 64)
    values["distinct"][index] = [r["distinct"] for r in kept]
    return Cube(tuple(arms), tuple(seeds), tuple(steps), values)


def above_frontier(pass1: Array, kept: Array, base_pass1: Array, base_kept: Array) -> Array:
    """(..., arms): ``kept`` minus the best of the baseline's points that have as much pass@1.

    pass1, kept (..., arms); base_pass1, base_kept (..., points).  Where no point of the baseline
    reaches the pass@1, its point of largest pass@1 is taken.
    """
    import numpy as np

    enough = base_pass1[..., None, :] >= pass1[..., :, None]
    best = np.where(enough, base_kept[..., None, :], -np.inf).max(axis=-1)
    highest = np.take_along_axis(base_kept, base_pass1.argmax(axis=-1)[..., None], axis=-1)
    return np.asarray(kept - np.where(np.isfinite(best), best, highest))


def table(study: Study, out: Path) -> list[dict[str, Any]]:
    """One row per arm, at the last step; each quantity as (value, low, high).

    The ends are NaN where there are less than three seeds, or problems.
    """
    import numpy as np

    found = cube(study, out)
    _, seeds, _, problems = found.values["pass@1"].shape
    base = next(i for i, a in enumerate(study.arms) if _is_baseline(a))
    baseline = found.arms.index(study.arms[base].name)
    paths = [found.arms.index(a.name) for a in study.arms
             if _is_grpo(a) and a.name in found.arms]  # fmt: skip

    def statistics(weights: Sequence[Array]) -> dict[str, Array]:
        """Each (arms,), from weights (seeds,) and (problems,) that add to 1."""
        mean = {
            name: np.einsum("asij,s,j->ai", x, *weights, optimize=True)
            for name, x in found.values.items()
        }
        last = {name: x[:, -1] for name, x in mean.items()}
        stats = dict(last)
        for name, x in last.items():
            stats[f"{name} - GRPO"] = x - x[baseline]
        points = {name: x[paths].reshape(-1) for name, x in mean.items()}
        for name in MEASURES:
            stats[f"{name} - GRPO's frontier"] = above_frontier(
                last["pass@1"], last[name], points["pass@1"], points[name]
            )
        return stats

    centre = statistics([np.full(seeds, 1 / seeds), np.full(problems, 1 / problems)])
    spans = {key: (x, x + np.nan, x + np.nan) for key, x in centre.items()}
    if min(seeds, problems) >= LEAST:
        samples = study.measurement.samples
        for key in centre:

            def one(weights: Sequence[Array], key: str = key) -> Array:
                return statistics(weights)[key]

            spans[key] = jackknife(one, (seeds, problems), bounds=limits(key, samples))
    return [
        {
            "arm": name,
            "seeds": seeds,
            "step": found.steps[-1],
            **{key: tuple(float(x[i]) for x in ends) for key, ends in spans.items()},
        }
        for i, name in enumerate(found.arms)
    ]


def limits(quantity: str, samples: int) -> tuple[float, float] | None:
    """What a quantity of the table can be; differences of a run to itself are 0 without doubt."""
    if " - " in quantity:
        return None
    return (0.0, float(samples)) if quantity == "distinct" else (0.0, 1.0)


def _is_grpo(arm: Arm) -> bool:
    return arm.rule == RuleChoice("grpo")


def _is_baseline(arm: Arm) -> bool:
    return _is_grpo(arm) and arm.learning_rate_factor == 1.0


def write(study: Study, out: Path) -> tuple[Path, Path]:
    """``out/frontier.parquet`` (one row per arm and quantity) and ``out/frontier.md``."""
    import pyarrow as pa

    rows = table(study, out)
    keys = [k for k in rows[0] if isinstance(rows[0][k], tuple)]
    long = [
        {"arm": r["arm"], "seeds": r["seeds"], "step": r["step"], "quantity": k,
         "value": r[k][0], "low": r[k][1], "high": r[k][2]}
        for r in rows for k in keys
    ]  # fmt: skip
    parquet = records.write_table(out / "frontier.parquet", pa.Table.from_pylist(long))
    return parquet, records.write_bytes(out / "frontier.md", markdown(rows).encode())


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table in Markdown."""
    shown = [k for k in rows[0] if isinstance(rows[0][k], tuple) and k != "pass@1 - GRPO"]
    lines = ["| arm | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for row in rows:
        cells = [_cell(*row[k]) for k in shown]
        lines.append(f"| {row['arm']} | " + " | ".join(cells) + " |")
    said = "95 % intervals over seeds and problems"
    if rows[0]["seeds"] < LEAST:
        said = f"no intervals from less than {LEAST} seeds"
    head = f"Step {rows[0]['step']}, {rows[0]['seeds']} seeds; {said}.\n\n"
    return head + "\n".join(lines) + "\n"


def _cell(value: float, low: float, high: float) -> str:
    return f"{value:.3f} [{low:.3f}, {high:.3f}]" if isfinite(low) else f"{value:.3f}"


def figure(study: Study, out: Path, path: Path | None = None) -> Path:
    """Pass@1 against what is kept: GRPO's frontier in grey, three settings of every remedy.

    Settings whose pass@1 fell below a quarter of GRPO's are named in the title, not drawn.
    """
    import io

    import matplotlib as mpl
    import numpy as np
    from matplotlib.figure import Figure

    found = cube(study, out)
    mean = {name: x.mean(axis=(1, 3)) for name, x in found.values.items()}
    rows = {r["arm"]: r for r in table(study, out)}
    families = [
        (r.name, [found.arms.index(a.name) for a in r.arms if a.name in found.arms])
        for r in remedies()
    ]
    families = [(name, arms) for name, arms in families if arms]
    picture = Figure(figsize=(12.0, 6.0), layout="constrained")
    marks = "osD^vP*X<>ph"
    least = 0.25 * mean["pass@1"][families[0][1], -1].max()
    outside = [
        f"{found.arms[a]} ({mean['pass@1'][a, -1]:.2f}, {mean[MEASURES[0]][a, -1]:.2f})"
        for _, arms in families
        for a in arms
        if mean["pass@1"][a, -1] < least
    ]
    for axis, kept in zip(picture.subplots(1, 2), MEASURES, strict=True):
        paths = families[0][1]
        x, y = mean["pass@1"][paths].ravel(), mean[kept][paths].ravel()
        order = np.argsort(x)
        best = np.maximum.accumulate(y[order][::-1])[::-1]
        axis.step(x[order], best, where="pre", color="0.75", lw=6, label="GRPO's frontier")
        for i, (name, whole) in enumerate(families):
            arms = [a for a in whole if mean["pass@1"][a, -1] >= least]
            if not arms:
                continue
            colour = COLOURS[i % len(COLOURS)]
            px, py = mean["pass@1"][arms, -1], mean[kept][arms, -1]
            bars = [np.array([rows[found.arms[a]][k] for a in arms]) for k in ("pass@1", kept)]
            spread = [np.abs(b[:, 1:].T - b[:, 0]) for b in bars]
            axis.errorbar(
                px, py, xerr=spread[0], yerr=spread[1], color=colour, alpha=0.25, lw=0.8, fmt="none"
            )
            # Twelve marks, filled in the first round of colours and open in the second.
            look: dict[str, Any] = {"color": colour, "marker": marks[i % len(marks)]}
            look["mfc"] = colour if i < len(COLOURS) else "white"
            axis.plot(px, py, ms=6, lw=1.2, label=name, **look)
            if arms[-1] == whole[-1]:
                axis.plot(px[-1:], py[-1:], ms=10, **look)
        axis.set_xlabel("pass@1")
        axis.set_ylabel({"distinct": "distinct correct solutions in all samples"}.get(kept, kept))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = picture.axes[0].get_legend_handles_labels()
    picture.legend(handles, names, fontsize=8, frameon=False, loc="outside lower center", ncols=6)
    note = f"; not drawn (pass@1, {MEASURES[0]}): {', '.join(outside)}" if outside else ""
    bars_said = "bars 95 %" if len(found.seeds) >= LEAST else "too few seeds for bars"
    picture.suptitle(
        f"step {found.steps[-1]}, {len(found.seeds)} seeds; "
        f"the larger mark is the strongest setting; {bars_said}{note}",
        fontsize=10,
    )
    target = path or out / "frontier.svg"
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "diffsmooth"}):
        picture.savefig(buffer, format=target.suffix.removeprefix("."), metadata={"Date": None})
    return records.write_bytes(target, buffer.getvalue())
