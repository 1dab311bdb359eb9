"""Figures of the map, each from one table: frontiers, pass@k, phase diagrams, winners, the simplex.

Nothing is told by colour alone: lines differ by dashes and markers, boxes carry their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsmooth.sim.cells import REFERENCE
from diffsmooth.sim.figures import canvas, columns, style
from diffsmooth.sim.intervals import LEAST, mean_interval, mean_or_point
from diffsmooth.sim.measures import KS

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from diffsmooth.sim.policies import Float

#: Measures in words, for axes.
WORDS = {
    "test_pass@16": "pass@16, test prompts",
    "test_pass@256": "pass@256, test prompts",
    "class_entropy": "H(q) over solutions [nats]",
    "distinct@16": "distinct solutions in 16 draws",
}
#: Parameters that span the phase diagrams, in words.
PARAMETERS = {
    "solutions": "solutions per prompt",
    "correctness": "base correctness",
    "forms": "mean wordings per solution",
    "density": "share of prompts a strategy solves",
    "shift": "shift from train to test",
    "depth": "depth of the tree",
    "few": "solutions per instance, at least",
    "spread": "spread of base log-odds",
    "false_positive": "verifier: false positive rate",
    "false_negative": "verifier: false negative rate",
}


def frontier(
    table: pa.Table,
    chosen: Mapping[str, tuple[float, float]],
    primary: str,
    title: str,
    path: Path | None,
) -> Figure:
    """Correctness against the primary measure along training; pass@k on test and on train.

    ``chosen``: remedy -> (strength, rate), at most eight so that each keeps a look of its own.
    Lines are means over seeds and bars their 95 % intervals, unpaired; an open circle is the base
    policy, where every line starts.
    """
    data = columns(table)
    with canvas(path, 2, 2, (4.4, 3.3)) as (figure, grid):
        paths, distance, test, train = grid.reshape(-1)
        for index, (name, (strength, rate)) in enumerate(chosen.items()):
            rows = (data["remedy"] == name) & np.isclose(data["strength"], strength)
            rows &= np.isclose(data["rate"], rate)
            # Each remedy has its markers and bars at places of its own.
            at = (1 + index % 4, 4)
            look = {**style(index), "markevery": at, "errorevery": at, "elinewidth": 0.8}
            label = f"{name} ({strength:g}, x{rate:.3g})"
            for ax, x, y in ((paths, "pass@1", primary), (distance, "kl", "class_entropy")):
                middle = data[y][rows]
                reach = [middle - data[f"{y}:low"][rows], data[f"{y}:high"][rows] - middle]
                ax.errorbar(data[x][rows], middle, np.maximum(reach, 0.0), **look, label=label)
            last = int(np.flatnonzero(rows)[-1])
            _pass_at_k(test, data, last, "test_pass@", **style(index))
            _pass_at_k(train, data, last, "pass@", **style(index))
        first = int(np.flatnonzero(data["step"] == 0)[0])
        base: dict[str, Any] = {"color": "0.6", "lw": 4, "zorder": 1, "label": "base policy"}
        _pass_at_k(test, data, first, "test_pass@", **base)
        _pass_at_k(train, data, first, "pass@", **base)
        start: dict[str, Any] = {"mfc": "white", "mec": "black", "ms": 7, "zorder": 5}
        paths.plot(data["pass@1"][first], data[primary][first], "o", **start)
        distance.plot(data["kl"][first], data["class_entropy"][first], "o", **start)
        paths.set(xlabel="pass@1, train prompts", ylabel=WORDS[primary], title="frontier")
        distance.set(xlabel="KL to the base policy [nats]", ylabel=WORDS["class_entropy"])
        distance.set_title("diversity against distance")
        for ax, where in ((test, "test"), (train, "train")):
            ax.set_xscale("log", base=2)
            ax.set_xticks(KS, [str(k) for k in KS])
            ax.set(xlabel="draws k", ylabel=f"pass@k, {where} prompts", ylim=(0, 1.03))
            ax.set_title(f"{where} prompts, after training")
        said = "strength and learning rate in brackets; bars: 95 % interval of the mean; "
        said += "open circle: base policy"
        figure.suptitle(f"{title} ({said})", fontsize=10)
        handles, names = paths.get_legend_handles_labels()
        more, label = train.get_legend_handles_labels()
        figure.legend([*handles, *more], [*names, *label], loc="outside lower center", ncols=4)
    return figure


def _pass_at_k(ax: Axes, data: Mapping[str, Any], row: int, prefix: str, **look: Any) -> None:
    """pass@k of one row of the table."""
    ax.plot(KS, [data[f"{prefix}{k}"][row] for k in KS], **look)


#: Question, x, y and title of each panel of :func:`boundaries`.
_PANELS = (
    (
        "B9",
        "surprisal gap $h_S-h_F$ less $1/\\beta$ [nats]",
        "correctness, bonus less penalty",
        "B9 at the optimum: bonus or penalty?",
    ),
    (
        "B9 training",
        "surprisal gap less log-odds bought [nats]",
        "pass@1, bonus less penalty",
        "the sign of B9, asked of training at matched KL",
    ),
    (
        "C5",
        "log (strength / critical strength)",
        "early change of H(q) [nats]",
        "C5: does centred smoothing hold H(q) up?",
    ),
    (
        "C5 adaptive",
        "log (what it gives / what GRPO takes)",
        "early change of H(q) [nats]",
        "C5: does a multiple of $g^*$ hold H(q) up?",
    ),
)


def boundaries(table: pa.Table, shares: pa.Table, path: Path) -> Path:
    """Predicted against measured for B9 (optimum, training) and C5; a point is an answer.

    The theory's boundary is the solid vertical line, the measured one the dashed horizontal line;
    filled points lie on the side that the theory names.
    """
    data = columns(table)
    overall = {r["question"]: r for r in shares.to_pylist() if r["scope"] == "all"}
    regimes = list(dict.fromkeys(data["regime"]))
    with canvas(path, 2, 2, (4.1, 3.1)) as (figure, grid):
        for ax, (question, x_label, y_label, title) in zip(grid.reshape(-1), _PANELS, strict=True):
            for index, name in enumerate(regimes):
                rows = (data["question"] == question) & (data["regime"] == name)
                look = style(index)
                for agrees in (True, False):
                    part = rows & (data["agrees"] == agrees)
                    ax.plot(
                        data["predicted"][part],
                        data["measured"][part],
                        look["marker"],
                        color=look["color"],
                        mfc=look["color"] if agrees else "none",
                        ms=2.6,
                        mew=0.7,
                    )
            ax.axvline(0, color="black", lw=1.2)
            ax.axhline(0, color="black", lw=1.2, ls="--")
            ax.set(xlabel=x_label, ylabel=y_label)
            share = overall.get(question)
            said = f"agree {share['share']:.0%} of {share['asked']}; " if share else "not asked"
            worth = (
                f"commonest {share['commonest']:.0%}; "
                rf"$\kappa$ {number(share['kappa'])}"
                if share
                else ""
            )
            ax.set_title(f"{title}\n{said}{worth}", fontsize=8)
        handles = [_point(style(i)) for i in range(len(regimes))]
        grey = {"color": "0.4", "marker": "o"}
        handles += [_point(grey), _point(grey, filled=False)]
        names = [*regimes, "theory names the side", "it does not"]
        figure.legend(handles, names, loc="outside lower center", ncols=5)
    return path


def number(x: float) -> str:
    """Two digits, or "undefined"."""
    return f"{round(x, 2) + 0.0:.2f}" if np.isfinite(x) else "undefined"


def _point(look: Mapping[str, Any], *, filled: bool = True) -> Any:
    from matplotlib.lines import Line2D

    colour = look["color"]
    return Line2D(
        [], [], ls="", marker=look["marker"], color=colour, mfc=colour if filled else "none"
    )


#: Column, its prediction (None: no theorem), title and unit of each panel of :func:`phase`.
_PHASE = (
    ("bonus", "entropy bonus or penalty, at matched KL?", "pass@1, bonus less penalty"),
    ("held", "does centred smoothing hold H(q) up?", "early change of H(q) [nats]"),
    ("centred", "centred or GRPO, at matched pass@1?", "{}, less GRPO"),
)


def phase(
    table: pa.Table, axes_names: tuple[str, str], primary: str, title: str, path: Path
) -> Path:
    """Two parameters of a regime against what was measured and what was predicted.

    ``table`` has a row a cell: x, y; bonus (measured pass@1 of bonus less penalty) and
    bonus_predicted (B9's sign, asked of training); held (early change of H(q) under centred
    smoothing) and held_predicted (C5); centred (difference to the reference at matched pass@1),
    above and below (is it so surely?).  A box is the mean over the other parameters.
    Solid lines are predicted boundaries, dashed ones measured; boxes where the two disagree in sign
    are hatched; in the last panel a triangle counts the cells surely below GRPO.
    """
    data = columns(table)
    xs, ys = np.unique(data["x"]), np.unique(data["y"])
    with canvas(path, 1, 3, (3.4, 3.7)) as (figure, grid):
        for ax, (key, name, unit) in zip(grid[0], _PHASE, strict=True):
            value = _boxes(data, key, xs, ys)
            said = _boxes(data, f"{key}_predicted", xs, ys) if key != "centred" else None
            _map(figure, ax, value, unit.format(WORDS[primary]))
            if np.isnan(value).all():
                ax.text(0.5, 0.5, "not asked", ha="center", transform=ax.transAxes)
            for i, j in np.ndindex(value.shape):
                if np.isnan(value[i, j]):
                    continue  # this combination was not run, or nobody reached the level
                text = f"{value[i, j]:+.3f}"
                if said is None:
                    rows = (data["x"] == xs[j]) & (data["y"] == ys[i])
                    rows &= np.isfinite(data["centred"])
                    below = int(data["below"][rows].sum())
                    text += f"\n$\\blacktriangledown$ {below} of {rows.sum()}" if below else ""
                elif _differ(value[i, j], said[i, j]):
                    _hatch(ax, i, j)
                ax.text(
                    j, i, text, ha="center", va="center", fontsize=7,
                    bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
                )  # fmt: skip
            if said is not None:
                _boundary(ax, said, color="black", lw=4, solid_capstyle="butt")
                _boundary(ax, value, color="white", lw=1.6, ls=(0, (2, 1.5)))
            ax.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
            ax.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
            ax.set_xlabel(PARAMETERS[axes_names[0]])
            ax.set_title(name, fontsize=9)
            ax.set_ylabel(PARAMETERS[axes_names[1]])
        figure.suptitle(title)
        handles, names = _phase_legend()
        figure.legend(handles, names, loc="outside lower center", ncols=4)
    return path


def _boxes(data: Mapping[str, Any], key: str, xs: Float, ys: Float) -> Float:
    """Mean of a column in each box, NaN where there is none."""
    out = np.full((len(ys), len(xs)), np.nan)
    for i, j in np.ndindex(out.shape):
        mine = data[key][(data["x"] == xs[j]) & (data["y"] == ys[i])]
        mine = mine[np.isfinite(mine)]
        if len(mine):
            out[i, j] = mine.mean()
    return out


def _map(figure: Figure, ax: Axes, value: Float, unit: str) -> None:
    """Boxes on a scale that is white at 0, with its bar."""
    known = np.abs(value[np.isfinite(value)])
    # Beyond the largest, so that hatches and lines show on the darkest box.
    top = 1.35 * float(known.max()) if known.size and known.max() > 0 else 1.0
    image = ax.imshow(value, origin="lower", cmap="PuOr", vmin=-top, vmax=top, aspect="auto")
    ax.grid(visible=False)
    bar = figure.colorbar(image, ax=ax, location="bottom", shrink=0.9)
    bar.set_label(unit, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.ax.locator_params(nbins=5)


def _hatch(ax: Axes, i: int, j: int) -> None:
    from matplotlib.patches import Rectangle

    box = Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch="////", edgecolor="0.35", lw=0)
    ax.add_patch(box)


def _boundary(ax: Axes, value: Float, **look: Any) -> None:
    """A line between neighbouring boxes on different sides of 0."""
    rows, cols = value.shape
    for i, j in np.ndindex(rows, cols):
        if j + 1 < cols and _differ(value[i, j], value[i, j + 1]):
            ax.plot([j + 0.5, j + 0.5], [i - 0.5, i + 0.5], **look)
        if i + 1 < rows and _differ(value[i, j], value[i + 1, j]):
            ax.plot([j - 0.5, j + 0.5], [i + 0.5, i + 0.5], **look)


def _differ(a: Any, b: Any) -> bool:
    return bool(np.isfinite(a) and np.isfinite(b) and (a > 0) != (b > 0))


def _phase_legend() -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dashed = (
        Line2D([], [], color="0.6", lw=4),
        Line2D([], [], color="white", lw=1.6, ls=(0, (2, 1.5))),
    )
    handles = [
        Line2D([], [], color="black", lw=4),
        dashed,
        Patch(facecolor="white", edgecolor="0.35", hatch="////"),
        Line2D([], [], ls="", marker="v", color="black"),
    ]
    names = [
        "predicted boundary (B9, C5)",
        "measured boundary",
        "theory and measurement disagree",
        "cells surely below GRPO",
    ]
    return handles, names


def simplex(table: pa.Table, labels: Mapping[str, str], path: Path) -> Path:
    """Paths of the law of three correct answers, a triangle per remedy."""
    from matplotlib.lines import Line2D

    data = columns(table)
    with canvas(path, 1, len(labels), (2.8, 3.0)) as (figure, grid):
        for index, (ax, name) in enumerate(zip(grid[0], labels, strict=True)):
            ax.plot([0, 1, 0.5, 0], [0, 0, 3**0.5 / 2, 0], color="0.4", lw=1)
            ax.plot(0.5, 3**0.5 / 6, "+", color="black", ms=11, mew=1.5, zorder=4)
            for start in np.unique(data["start"]):
                rows = (data["method"] == name) & (data["start"] == start)
                order = np.argsort(data["time"][rows])
                x = (data["b"] + 0.5 * data["c"])[rows][order]
                y = (3**0.5 / 2 * data["c"])[rows][order]
                ax.plot(x, y, color=style(index)["color"], lw=1.4)
                ax.plot(x[0], y[0], "o", mfc="white", mec="black", ms=5, zorder=5)
                ax.plot(x[-1], y[-1], "o", color="black", ms=5, zorder=6)
            for text, (x, y), across in (
                ("only 1st", (0.0, -0.04), "center"),
                ("only 2nd", (1.0, -0.04), "center"),
                ("only 3rd", (0.5, 3**0.5 / 2 + 0.10), "center"),
            ):
                ax.text(x, y, text, ha=across, va="top", fontsize=7)
            ax.set(title=labels[name], xticks=[], yticks=[], aspect="equal")
            ax.set(xlim=(-0.2, 1.2), ylim=(-0.14, 1.0))
            ax.set_frame_on(False)
            ax.grid(visible=False)
        dot: dict[str, Any] = {"ls": "", "marker": "o", "color": "black", "ms": 5}
        handles = [
            Line2D([], [], mfc="white", **dot),
            Line2D([], [], color="0.3", lw=1.4),
            Line2D([], [], **dot),
            Line2D([], [], ls="", marker="+", color="black", ms=11, mew=1.5),
        ]
        names = ["base policy", "path of the law of correct answers", "end", "uniform law"]
        figure.legend(handles, names, loc="outside lower center", ncols=4)
    return path


def winners_name(match: str, link: str) -> str:
    """File name of the figure of :func:`winners`."""
    words = f"winners-{match.replace('@', '')}-{link}.png"
    return words.replace(" ", "-")


def winners(table: pa.Table, match: str, link: str, path: Path) -> Path:
    """Every remedy at a glance: mean difference to GRPO with its interval, how often it comes
    first, and in how many cells it is surely above or below GRPO.

    The interval is over cells (Student's, 95 %), the thin line holds the middle 80 % of cells.
    """
    data = columns(table)
    at = data["match"] == match
    names = [n for n in dict.fromkeys(data["remedy"][at]) if n != REFERENCE]
    mean = {n: float(data["difference"][at & (data["remedy"] == n)].mean()) for n in names}
    names.sort(key=lambda n: mean[n])
    y = np.arange(len(names))
    with canvas(path, 1, 3, (3.7, 1.4 + 0.21 * max(len(names), 8))) as (figure, grid):
        effect, first, sure = grid[0]
        for place, name in enumerate(names):
            rows = at & (data["remedy"] == name)
            difference = data["difference"][rows]
            tenth, ninth = np.quantile(difference, (0.1, 0.9))
            effect.plot([tenth, ninth], [place, place], color="0.6", lw=1)
            if len(difference) >= LEAST:
                mine = mean_interval(difference)
                effect.plot([mine.low, mine.high], [place, place], color="black", lw=3)
            effect.plot(mean[name], place, "o", color="black", mfc="white", ms=4.5)
            led = rows & (data["rank"] == 0)
            ahead = led & data["ahead"]
            first.barh(place, led.sum(), color="white", edgecolor="black", lw=0.8)
            first.barh(place, ahead.sum(), color=style(2)["color"])
            sure.barh(place, (rows & data["better"]).sum(), color=style(2)["color"])
            sure.barh(place, -(rows & data["worse"]).sum(), color=style(1)["color"], hatch="///")
        effect.set(xlabel="difference to GRPO", title=f"{level(match)}: by how much?")
        first.set(xlabel="cells (filled: surely ahead of the second)", title="comes first")
        sure.set(xlabel="cells", title="surely below (left) or above (right) GRPO")
        for ax in grid[0]:
            ax.set_yticks(y, names if ax is effect else [], fontsize=8)
            ax.set_ylim(-0.7, len(names) - 0.3)
            ax.axvline(0, color="black", lw=1)
        effect.xaxis.get_major_locator().set_params(nbins=5)
        for ax in (first, sure):
            ax.xaxis.get_major_locator().set_params(integer=True, nbins=6)
        sure.xaxis.set_major_formatter(lambda x, _: f"{abs(x):.0f}")
        figure.suptitle(
            f"{link}: every remedy, tuned, over {len(set(data['cell'][at]))} cells "
            "(thick: 95 % interval of the mean; thin: middle 80 % of cells)",
            fontsize=9,
        )
    return path


def by_survive(rows: Sequence[dict[str, Any]], names: Sequence[str], path: Path) -> Path:
    """Mean difference to GRPO of the named remedies by ``survive``, with 95 % over cells.

    ``rows`` of the summary at one match; cells differ from one value of ``survive`` to the next.
    """
    levels = sorted({r["survive"] for r in rows})
    with canvas(path, 1, 1, (6.0, 3.8)) as (_, grid):
        ax = grid[0][0]
        for index, name in enumerate(names):
            found = [
                [r["difference"] for r in rows if r["remedy"] == name and r["survive"] == x]
                for x in levels
            ]
            made = [mean_or_point(values) for values in found]
            middle = np.array([m.value for m in made])
            reach = [middle - [m.low for m in made], [m.high for m in made] - middle]
            at = np.array(levels) + 0.012 * (index - (len(names) - 1) / 2)
            ax.errorbar(at, middle, yerr=reach, label=name, elinewidth=0.8, **style(index))
        ax.axhline(0, color="black", lw=1)
        cells = [len({r["cell"] for r in rows if r["survive"] == x}) for x in levels]
        ax.set_xticks(levels, [f"{x:g}\n{n} cells" for x, n in zip(levels, cells, strict=True)])
        ax.set(
            xlabel="chance that a correct solution still passes at test (1: control)",
            ylabel="pass@16 at test, minus GRPO's",
        )
        ax.legend(ncols=2, fontsize=8)
        ax.set_title("at matched pass@1, all tuned alike; bars: 95 % over cells", fontsize=9)
    return path


def level(match: str) -> str:
    """Where remedies are compared, in words."""
    words = {"kl": "at matched KL", "steps": "at equal steps", "frontier": "area under frontier"}
    return words.get(match, f"at matched {match}")


def columns_of(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as an Arrow table."""
    import pyarrow as pa

    return pa.Table.from_pylist(rows)
