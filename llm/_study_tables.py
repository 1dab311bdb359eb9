"""A study's tables and its figure, made from its Parquet files only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsmooth import records

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KS = (1, 4, 16, 64)


def summarise(table: Any) -> list[dict[str, Any]]:
    """One row per arm, seed and step: ``pass@k``, ``distinct`` and ``written`` in all samples,
    means over problems; ``distinct`` counts solvable and unsolved problems alike."""
    import numpy as np

    from diffsmooth.theory.passk import pass_at_k

    columns = {name: np.asarray(table[name].to_pylist()) for name in table.column_names}
    out = []
    keys = sorted(
        set(zip(columns["arm"], columns["seed"], columns["step"], strict=True)),
        key=lambda k: (str(k[0]), int(k[1]), int(k[2])),
    )
    for arm, seed, step in keys:
        rows = (columns["arm"] == arm) & (columns["seed"] == seed) & (columns["step"] == step)
        n, c = columns["samples"][rows], columns["correct"][rows]
        entry: dict[str, Any] = {"arm": str(arm), "seed": int(seed), "step": int(step)}
        for k in KS:
            if k <= int(n.min()):
                entry[f"pass@{k}"] = float(np.mean(pass_at_k(n, c, k)))
        entry["distinct"] = float(columns["distinct"][rows].mean())
        entry["written"] = float(columns["written"][rows].mean())
        out.append(entry)
    return out


def spread(
    rows: Sequence[dict[str, Any]], arm: str, measure_name: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps (S,) and values (seeds, S) of one measure of one arm."""
    import numpy as np

    mine = [r for r in rows if r["arm"] == arm]
    seeds = sorted({r["seed"] for r in mine})
    steps = sorted({r["step"] for r in mine})
    found = {(r["seed"], r["step"]): r[measure_name] for r in mine}
    values = [[found.get((seed, step), np.nan) for step in steps] for seed in seeds]
    return np.asarray(steps), np.asarray(values, dtype=np.float64)


def final_table(out: Path) -> list[dict[str, Any]]:
    """The last step of every arm: for each measure the mean over seeds and (lowest, highest)."""
    rows = records.read_table(out / "summary.parquet").to_pylist()
    names = [name for name in rows[0] if name not in ("arm", "seed", "step")]
    table = []
    for arm in dict.fromkeys(r["arm"] for r in rows):
        entry: dict[str, Any] = {"arm": arm}
        for name in names:
            steps, values = spread(rows, arm, name)
            last = values[:, -1]
            entry["step"], entry["seeds"] = int(steps[-1]), len(last)
            entry[name] = (float(last.mean()), float(last.min()), float(last.max()))
        table.append(entry)
    return table


def figure(out: Path, path: Path | None = None) -> Path:
    """Draw ``summary.parquet``: each measure against steps, mean and range over seeds."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = records.read_table(out / "summary.parquet").to_pylist()
    arms = list(dict.fromkeys(r["arm"] for r in rows))
    panels = [
        *(name for k in KS if (name := f"pass@{k}") in rows[0]),
        "distinct", "written",
    ]  # fmt: skip
    titles = {
        "distinct": "distinct correct solutions in all samples",
        "written": "distinct correct strings in all samples",
    }
    picture = Figure(figsize=(11.0, 6.0), layout="constrained")
    axes = picture.subplots(2, (len(panels) + 1) // 2).ravel()
    colours = mpl.colormaps["viridis"]
    for axis, name in zip(axes, panels, strict=False):
        for i, arm in enumerate(arms):
            steps, values = spread(rows, arm, name)
            colour = "black" if i == 0 else colours(0.15 + 0.7 * i / max(1, len(arms) - 1))
            # Dashes tell the arms apart in black and white too.
            dashes = ("-", "--", "-.", ":")[i % 4]
            axis.plot(steps, values.mean(axis=0), dashes, color=colour, label=arm, lw=1.8)
            axis.fill_between(
                steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, lw=0
            )
        axis.set_title(titles.get(name, name), fontsize=10)
        axis.set_xlabel("optimiser step")
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    axes[0].legend(fontsize=8, frameon=False)
    target = path or out / "study.svg"
    import io

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "diffsmooth"}):
        picture.savefig(buffer, format=target.suffix.removeprefix("."), metadata={"Date": None})
    return records.write_bytes(target, buffer.getvalue())
