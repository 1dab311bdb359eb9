"""Figures of the map, each from one table: frontiers, pass@k, phase diagrams, the simplex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsmooth.sim.figures import canvas, columns, style

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes

_TEST_KS = (1, 4, 16, 64, 256)


def frontier(
    table: pa.Table, chosen: Mapping[str, float], primary: str, title: str, path: Path
) -> Path:
    """Correctness against the primary measure along training, and pass@k at the end.

    ``chosen``: heuristic -> strength, at most eight so that each keeps a look of its own.
    """
    data = columns(table)
    with canvas(path, 1, 3, (3.9, 3.3)) as (figure, grid):
        axes: Sequence[Axes] = grid[0]
        for index, (name, strength) in enumerate(chosen.items()):
            rows = (data["heuristic"] == name) & np.isclose(data["strength"], strength)
            look = style(index)
            axes[0].plot(data["pass@1"][rows], data[primary][rows], **look, label=name)
            axes[1].plot(data["kl"][rows], data["class_entropy"][rows], **look)
            last = [data[f"test_pass@{k}"][rows][-1] for k in _TEST_KS]
            axes[2].plot(_TEST_KS, last, **look)
        first = data["step"] == 0
        start = [data[f"test_pass@{k}"][first][0] for k in _TEST_KS]
        axes[2].plot(_TEST_KS, start, color="0.6", lw=3, label="base policy")
        axes[2].set_xscale("log", base=2)
        axes[0].set(xlabel="pass@1 (train)", ylabel=primary, title=f"{title}: frontier")
        axes[1].set(xlabel="KL to the base [nats]", ylabel="H(q) over classes [nats]")
        axes[1].set_title("diversity against distance")
        axes[2].set(xlabel="k", title="pass@k, test, after training", ylim=(0, 1.02))
        handles, names = axes[0].get_legend_handles_labels()
        base, label = axes[2].get_legend_handles_labels()
        figure.legend([*handles, *base], [*names, *label], loc="outside lower center", ncols=5)
    return path


def boundaries(table: pa.Table, path: Path) -> Path:
    """Predicted against measured for B9 (optimum, training) and C5; a point is a cell.

    The theory's boundary is the vertical line, the measured one the horizontal line; filled points
    lie on the side that the theory names.
    """
    data = columns(table)
    panels = (
        (
            "B9",
            "h_S - h_F - 1/beta [nats]",
            "correctness, bonus - penalty",
            "B9: bonus or penalty, at the optimum?",
        ),
        (
            "B9 training",
            "h_S - h_F - log-odds bought [nats]",
            "pass@1, bonus - penalty at matched KL",
            "B9's sign, asked of training",
        ),
        (
            "C5",
            "log of strength over critical strength",
            "change of H(q), first part of training [nats]",
            "C5: does centred smoothing hold H(q) up?",
        ),
    )
    regimes = list(dict.fromkeys(data["regime"]))
    with canvas(path, 1, 3, (4.4, 3.9)) as (figure, grid):
        for ax, (question, x_label, y_label, title) in zip(grid[0], panels, strict=True):
            for index, name in enumerate(regimes):
                rows = (data["question"] == question) & (data["regime"] == name)
                rows &= np.isfinite(data["predicted"])
                look = style(index)
                for agrees in (True, False):
                    part = rows & (data["agrees"] == agrees)
                    ax.plot(
                        data["predicted"][part],
                        data["measured"][part],
                        look["marker"],
                        color=look["color"],
                        mfc=look["color"] if agrees else "none",
                        ms=4,
                        label=name if agrees else None,
                    )
            ax.axvline(0, color="black", lw=1)
            ax.axhline(0, color="black", lw=1, ls="--")
            ax.set(xlabel=x_label, ylabel=y_label, title=title)
            asked = data["question"] == question
            share = data["agrees"][asked].mean() if asked.any() else float("nan")
            ax.annotate(
                f"agree: {share:.0%} of {int(asked.sum())}",
                (0.02, 0.96),
                xycoords="axes fraction",
                va="top",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8},
            )
        handles, names = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=7)
    return path


def phase(table: pa.Table, axes_names: tuple[str, str], title: str, path: Path) -> Path:
    """Two parameters of a regime against what was measured and what was predicted.

    ``table`` has the columns x, y, bonus (measured pass@1 of bonus - penalty), bonus_predicted,
    centred (measured difference to the reference at matched pass@1) and winner (text).  Every box
    shows its number; hatched boxes are those where theory and measurement disagree in sign.
    """
    data = columns(table)
    xs, ys = np.unique(data["x"]), np.unique(data["y"])
    with canvas(path, 1, 2, (4.6, 3.6)) as (_, grid):
        for ax, key, name in zip(
            grid[0],
            ("bonus", "centred"),
            ("bonus - penalty, pass@1 at matched KL", "centred - GRPO at matched pass@1"),
            strict=True,
        ):
            value = np.full((len(ys), len(xs)), np.nan)
            said = np.full_like(value, np.nan)
            for i, y in enumerate(ys):
                for j, x in enumerate(xs):
                    rows = (data["x"] == x) & (data["y"] == y)
                    if rows.any():
                        value[i, j] = np.nanmean(data[key][rows])
                        said[i, j] = np.nanmean(data["bonus_predicted"][rows])
            top = float(np.nanmax(np.abs(value))) or 1.0
            ax.imshow(value, origin="lower", cmap="PuOr", vmin=-top, vmax=top, aspect="auto")
            ax.grid(visible=False)
            for i, j in np.ndindex(value.shape):
                if np.isnan(value[i, j]):
                    continue  # this combination was not run
                dark = abs(value[i, j]) > 0.6 * top
                ax.text(
                    j, i, f"{value[i, j]:+.3f}", ha="center", va="center", fontsize=7,
                    color="white" if dark else "black",
                )  # fmt: skip
            if key == "bonus":
                _boundary(ax, said)
            ax.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
            ax.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
            ax.set(xlabel=axes_names[0], ylabel=axes_names[1], title=name)
        grid[0][0].figure.suptitle(title)
    return path


def _boundary(ax: Axes, said: np.ndarray) -> None:
    """The predicted boundary: a line between neighbouring boxes that B9 tells apart."""
    rows, cols = said.shape
    for i, j in np.ndindex(rows, cols):
        if j + 1 < cols and _differ(said[i, j], said[i, j + 1]):
            ax.plot([j + 0.5, j + 0.5], [i - 0.5, i + 0.5], color="black", lw=2.5)
        if i + 1 < rows and _differ(said[i, j], said[i + 1, j]):
            ax.plot([j - 0.5, j + 0.5], [i + 0.5, i + 0.5], color="black", lw=2.5)


def _differ(a: Any, b: Any) -> bool:
    return bool(np.isfinite(a) and np.isfinite(b) and (a > 0) != (b > 0))


def simplex(table: pa.Table, labels: Mapping[str, str], path: Path) -> Path:
    """Paths of the law of three correct answers, a triangle per remedy; a dot is the start."""
    data = columns(table)
    with canvas(path, 1, len(labels), (2.8, 2.7)) as (_, grid):
        for index, (ax, name) in enumerate(zip(grid[0], labels, strict=True)):
            ax.plot([0, 1, 0.5, 0], [0, 0, 3**0.5 / 2, 0], color="0.4", lw=1)
            ax.plot(0.5, 3**0.5 / 6, "+", color="black", ms=8)
            for start in np.unique(data["start"]):
                rows = (data["method"] == name) & (data["start"] == start)
                order = np.argsort(data["time"][rows])
                x = (data["b"] + 0.5 * data["c"])[rows][order]
                y = (3**0.5 / 2 * data["c"])[rows][order]
                ax.plot(x, y, color=style(index)["color"], lw=1.4)
                ax.plot(x[0], y[0], "o", mfc="none", mec="black", ms=4)
                ax.plot(x[-1], y[-1], "o", color="black", ms=4)
            ax.set(title=labels[name], xticks=[], yticks=[], aspect="equal")
            ax.set_frame_on(False)
            ax.grid(visible=False)
    return path


def winners(table: pa.Table, match: str, path: Path, top: int = 12) -> Path:
    """In how many cells of each regime a remedy comes first, and in how many it is below GRPO."""
    data = columns(table)
    at = data["match"] == match
    regimes = list(dict.fromkeys(data["regime"]))
    with canvas(path, 1, 2, (5.2, 3.8)) as (figure, grid):
        for ax, rows, title in (
            (grid[0][0], at & (data["rank"] == 0), f"first at matched {match}"),
            (grid[0][1], at & data["worse"], "below GRPO (interval under 0)"),
        ):
            names, wins = np.unique(data["heuristic"][rows], return_counts=True)
            shown = [str(n) for n in names[np.argsort(-wins, kind="stable")][:top]]
            y = np.arange(len(shown))[::-1]
            left = np.zeros(len(shown))
            for index, name in enumerate(regimes):
                mine = data["heuristic"][rows & (data["regime"] == name)]
                count = np.array([(mine == h).sum() for h in shown])
                ax.barh(
                    y, count, left=left, color=style(index)["color"], label=name,
                    hatch=("", "//", "..", "xx", "\\\\", "++", "--")[index % 7],
                    edgecolor="white", linewidth=0.3,
                )  # fmt: skip
                left += count
            ax.set_yticks(y, shown)
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.set(xlabel="cells", title=title)
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=7)
    return path


def columns_of(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as an Arrow table."""
    import pyarrow as pa

    return pa.Table.from_pylist(rows)
