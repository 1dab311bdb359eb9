"""Samples that two runs need to reach the same pass@k."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffsmooth.llm.measures import resampled_means
from diffsmooth.llm.summary import powers
from diffsmooth.sim.intervals import LEAST, percentile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: Decimals of pass@k that are compared: a plateau must be flat, and sums of it are not to the bit.
DECIMALS = 12


def samples_needed(curve: Array, level: Array) -> Array:
    """Number of samples at which ``curve`` (pass@1..n, nondecreasing) reaches each ``level``.

    Linear between whole numbers, at least 1, ``inf`` where n samples are not enough.
    """
    import numpy as np

    n = curve.shape[0]
    at = np.searchsorted(curve, level, side="left")  # first index whose value is >= level
    inside = np.clip(at, 1, n - 1) if n > 1 else np.zeros_like(at)
    below = curve[inside - 1] if n > 1 else curve[inside]
    step = curve[inside] - below
    part = np.divide(level - below, step, out=np.ones_like(level), where=step > 0)
    needed = np.where(at == 0, 1.0, inside + part)
    return np.where(at >= n, np.inf, needed)


def _needed(curves: Array, levels: Array) -> Array:
    """:func:`samples_needed` row by row."""
    import numpy as np

    return np.stack([samples_needed(c, lv) for c, lv in zip(curves, levels, strict=True)])


def speedups(
    solved_a: Array,
    solved_b: Array,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Samples the baseline needs / samples the new run needs, to reach the same pass@k.

    ``solved_*`` are (problems, n) pass@1..n.  One row for each power of two k and each run whose
    pass@k is the level; that run needs k samples, or fewer where its curve is flat.  Where the
    other run never reaches the level with all its samples the speed-up is only bounded:
    ``bound`` is ``">="`` or ``"<="`` instead of ``"="``.  The interval comes from bootstrap draws
    of the problems, each bounded in the same way (:func:`diffsmooth.sim.intervals.percentile`);
    ``low`` and ``high`` are ``None`` where there are less than three problems.
    """
    import numpy as np

    n_a, n_b = solved_a.shape[1], solved_b.shape[1]
    both = np.concatenate([solved_a, solved_b], axis=1)
    draws = np.concatenate([both.mean(axis=0)[None], resampled_means(both, resamples, seed)])
    a = np.maximum.accumulate(np.round(draws[:, :n_a], DECIMALS), axis=1)
    b = np.maximum.accumulate(np.round(draws[:, n_a:], DECIMALS), axis=1)
    rows = []
    for owner, own, other, n_other in (("baseline", a, b, n_b), ("new", b, a, n_a)):
        ks = powers(own.shape[1])
        levels = own[:, [k - 1 for k in ks]]
        needed = _needed(other, levels)
        mine = _needed(own, levels)
        reached = np.isfinite(needed)
        ratio = np.where(reached, needed, n_other) / mine
        if owner == "baseline":
            ratio = 1.0 / ratio
        ends = None
        if len(solved_a) >= LEAST:
            ends = percentile(ratio[1:], len(solved_a), confidence=confidence)
        for i, k in enumerate(ks):
            if levels[0, i] == 0.0:
                continue  # nothing solved is no level to reach
            count = float(needed[0, i]) if reached[0, i] else None
            least = float(mine[0, i])
            rows.append(
                {
                    "level_of": owner,
                    "k": k,
                    "level": float(levels[0, i]),
                    "baseline_samples": least if owner == "baseline" else count,
                    "new_samples": count if owner == "baseline" else least,
                    "speedup": float(ratio[0, i]),
                    "bound": "=" if reached[0, i] else "<=" if owner == "baseline" else ">=",
                    "low": None if ends is None else float(ends[0][i]),
                    "high": None if ends is None else float(ends[1][i]),
                }
            )
    return rows
