"""E1 to look at: u and u' of every rival as pictures, and u, u', -u''/u' as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from diffsmooth.theory.statements._reward_only import LIMIT_CURVATURES, LIMIT_VALUES, LIMITS
from diffsmooth.theory.verify.core import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUP, K = 8, 4
AT = (0.1, 0.5, 0.9)
LOOKS = (
    ("rloo", "vanilla, RLOO, PSR, NSR", "black", "-"),
    ("grpo", "GRPO", "#D55E00", "--"),
    ("f-grpo", "F-GRPO", "#CC79A7", (0, (5, 1))),
    ("maxrl", "MaxRL", "#009E73", "-."),
    ("pass-at-k", f"Pass@{K} training", "#0072B2", ":"),
    ("pkpo", f"PKPO, k = {K}", "#E69F00", (0, (3, 1, 1, 1))),
)


def table() -> Table:
    """Every reward-only rule at three correctnesses: groups of 8 by the library, and the limit."""
    from diffsmooth.theory import utilities

    def row(found: utilities.Row) -> tuple[str, ...]:
        name = found.name
        return (
            name,
            found.limit.utility,
            _triple(found.utility),
            _triple(LIMIT_VALUES[name](c, K, math) for c in AT),
            _triple(found.derivative),
            _triple(LIMITS[name](c, K) for c in AT),
            _triple(found.curvature),
            _triple(LIMIT_CURVATURES[name](c, K) for c in AT),
        )

    at = " / ".join(f"{c:g}" for c in AT)
    finite, limit = f"G = {GROUP}", "limit"
    return Table(
        f"Utility, slope and curvature of each rule at C = {at} (k = {K})",
        (
            *("rule", "u for large groups"),
            *(f"{what}, {size}" for what in ("u", "u′", "-u″/u′") for size in (finite, limit)),
        ),
        tuple(row(found) for found in utilities.table(np.array(AT), GROUP, K)),
    )


def _triple(values: Iterable[float]) -> str:
    # + 0.0: a curvature of -0 is 0.
    return " / ".join(f"{round(float(v), 2) + 0.0:.2f}" for v in values)


def draw(axes: Axes) -> None:
    """u (left) and u' (right) of every rival at G = 8: what a gain of correctness is worth."""
    from diffsmooth.theory import utilities
    from diffsmooth.theory.statements._reward_only import rules

    axes.set_axis_off()
    left, right = (axes.inset_axes((x, 0.0, 0.42, 1.0)) for x in (0.0, 0.58))
    c = np.linspace(0.0, 1.0, 201)
    known = rules(K)
    for name, label, colour, dash in LOOKS:
        for panel, function in ((left, utilities.utility), (right, utilities.utility_derivative)):
            values = function(known[name], c, GROUP)
            panel.plot(c, values, color=colour, ls=dash, label=label)
    left.set_ylabel(rf"utility $u(C)$, G = {GROUP}")
    right.set_ylabel(r"marginal utility $u^\prime(C)$")
    right.set_ylim(0, 5)
    for panel in (left, right):
        panel.set_xlabel("correctness C of the prompt")
    right.legend(fontsize="x-small")
