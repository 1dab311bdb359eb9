"""Figures, drawn from tables only: readable in print, in black and white, and by the colour-blind.

Every method has a colour (Okabe and Ito), a dash pattern and a marker of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D1F")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.5)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (9, 3)),
    (0, (2, 2)),
    (0, (7, 1)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def style(index: int) -> dict[str, Any]:
    """Colour, dashes and marker of the method with that index."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 4,
        "linewidth": 1.6,
    }


@contextmanager
def canvas(
    path: Path | None, rows: int = 1, columns: int = 1, size: tuple[float, float] = (3.4, 2.9)
) -> Iterator[tuple[Figure, Any]]:
    """A figure with ``rows x columns`` axes, saved atomically to ``path`` (if any) as PNG.

    Equal tables give equal bytes: no clock, no version in the file.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from diffsmooth import records

    settings: Any = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
        FigureCanvasAgg(figure)
        # A notebook shows it whether or not matplotlib's own hooks are loaded.
        figure._repr_png_ = lambda: _png(figure)  # type: ignore[attr-defined]
        yield figure, figure.subplots(rows, columns, squeeze=False)
        if path is not None:
            records.write_bytes(path, _png(figure))


def _png(figure: Figure) -> bytes:
    """Equal figures give equal bytes: no clock, no version in the file."""
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def columns(table: pa.Table) -> dict[str, np.ndarray]:
    """The columns of a table as arrays."""
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def collapse(table: pa.Table, labels: Mapping[str, str], path: Path) -> Path:
    """The demonstration: correctness, diversity and pass@k along training, pass@k at the end.

    Open circles on vanilla are the closed form of theory.md A3.
    """
    data = columns(table)

    def series(method: str, measure: str) -> tuple[np.ndarray, np.ndarray]:
        chosen = (data["method"] == method) & (data["measure"] == measure)
        order = np.argsort(data["time"][chosen], kind="stable")
        return data["time"][chosen][order], data["value"][chosen][order]

    panels = (
        ("pass@1", "correctness (pass@1)"),
        ("entropy", "diversity of correct answers, H(q)"),
        ("test_pass@64", "pass@64, test"),
    )
    with canvas(path, 1, 4, (3.3, 3.0)) as (figure, grid):
        axes: Sequence[Axes] = grid[0]
        for ax, (measure, title) in zip(axes, panels, strict=False):
            for index, method in enumerate(labels):
                x, y = series(method, measure)
                ax.plot(x, y, **{**style(index), "marker": None}, label=labels[method])
            x, y = series("A3", measure)
            ax.plot(
                x[::4],
                y[::4],
                "o",
                mfc="none",
                mec="black",
                ms=5,
                label="closed form (A3)",
            )
            ax.set(xlabel="training time", title=title)
        axes[1].set_ylabel("nats")
        axes[0].set_ylim(0, 1.02)
        _final_pass_at_k(axes[3], series, labels)
        handles, names = axes[0].get_legend_handles_labels()
        base, name = axes[3].get_legend_handles_labels()
        figure.legend([*handles, base[0]], [*names, name[0]], loc="outside lower center", ncols=6)
    return path


def _final_pass_at_k(ax: Axes, series: Any, labels: Mapping[str, str]) -> None:
    from diffsmooth.sim.measures import KS

    def curve(method: str, index: int) -> list[float]:
        return [float(series(method, f"test_pass@{k}")[1][index]) for k in KS]

    first = next(iter(labels))
    ax.plot(KS, curve(first, 0), color="0.55", lw=3, label="base policy")
    for index, method in enumerate(labels):
        ax.plot(KS, curve(method, -1), **style(index))
    ax.set_xscale("log", base=2)
    ax.set(xlabel="k", title="pass@k, test, after training", ylim=(0, 1.02))
