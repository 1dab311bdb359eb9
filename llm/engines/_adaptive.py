"""A smoothing strength that follows theory.md C5: just enough to stop the entropy from falling.

C5 gives, for one prompt's policy, the critical strength g* at which the entropy of the correct
part stops falling.  A trainer sees a group of samples, not the policy; the *plug-in* estimate
puts the distinct correct answers that were seen, weighted by their own probabilities, and the
share of correct answers in the place of the policy.  Answers that were not seen are missing from
it, so it is an estimate (biased), named so in the logs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from diffsmooth.theory.critical import Form
    from diffsmooth.theory.rules import SmoothingTerm

#: Log-prob of the answers that fill a row of the table: its exponential is exactly 0.
_NEVER = -1e4


@dataclass(frozen=True)
class Adaptive:
    """``gamma="adaptive"``: g_correct = ``multiplier`` times a running median of C5's g*.

    ``decay`` in [0, 1) is the weight of the past; ``maximum`` bounds the strength (the estimate
    is a ratio and can be large), and the log says how often it binds; ``start`` holds until the
    first group with two distinct correct answers.
    """

    multiplier: float = 1.0
    decay: float = 0.9
    maximum: float = 2.0
    start: float = 0.0

    def __post_init__(self) -> None:
        if not (self.multiplier >= 0 and math.isfinite(self.multiplier)):
            raise ValueError(
                f"Adaptive.multiplier is {self.multiplier}; it must be finite and >= 0"
            )
        if not 0 <= self.decay < 1:
            raise ValueError(f"Adaptive.decay is {self.decay}; it must lie in [0, 1)")
        if not (self.maximum > 0 and 0 <= self.start <= self.maximum):
            raise ValueError("Adaptive needs maximum > 0 and 0 <= start <= maximum")


def check_adaptive_term(term: SmoothingTerm | None) -> None:
    """Raise ``ValueError`` unless C5 speaks of this term: a sum of log-probs, without classes."""
    if term is None or term.quotient or term.reduction != "sum":
        raise ValueError(
            'gamma="adaptive" follows theory.md C5, which is about a smoothing term over the '
            "sum of log-probs: give a Smoothed rule with reduction='sum' and without quotient"
        )


class AdaptiveState:
    """The strength in force; part of a checkpoint."""

    def __init__(self, config: Adaptive) -> None:
        self.config = config
        self.value = config.start
        self.updates = 0

    def update(self, critical: float) -> float:
        """Take in a new estimate of g* (NaN: none this time) and return the strength in force."""
        if not math.isnan(critical):
            target = self.config.multiplier * critical
            past = self.config.decay if self.updates else 0.0
            self.value = min(past * self.value + (1 - past) * target, self.config.maximum)
            self.updates += 1
        return self.value

    def state_dict(self) -> dict[str, float]:
        return {"value": self.value, "updates": float(self.updates)}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.value, self.updates = float(state["value"]), int(state["updates"])


def critical_strengths(
    logps: NDArray[np.float64],
    correct: NDArray[np.bool_],
    group: NDArray[np.int64],
    answer: NDArray[np.int64],
    *,
    form: Form,
) -> NDArray[np.float64]:
    """Plug-in estimate of C5's g* for every group, in order of group id: shape (groups,).

    ``logps`` (B,) sequence log-probs in nats, ``answer`` (B,) ids of identical answers; ``form``
    is that of :func:`diffsmooth.theory.critical.critical_strength`.  NaN where a group has fewer
    than two distinct correct answers or no wrong one; ``inf`` where no strength suffices (literal
    forms).
    """
    from diffsmooth.theory.critical import critical_strength
    from diffsmooth.theory.policy import Policy

    ids, place, size = np.unique(group, return_inverse=True, return_counts=True)
    out = np.full(len(ids), math.nan)
    rows = np.flatnonzero(correct)
    # By group and answer; an answer that was drawn several times counts once in its law.
    rows = rows[np.lexsort((answer[rows], place[rows]))]
    owner, name = place[rows], answer[rows]
    hits = np.bincount(owner, minlength=len(ids))
    first = np.ones(len(rows), dtype=bool)
    first[1:] = (owner[1:] != owner[:-1]) | (name[1:] != name[:-1])
    rows, owner = rows[first], owner[first]
    distinct = np.bincount(owner, minlength=len(ids))
    usable = (distinct >= 2) & (hits < size)
    if not usable.any():
        return out
    width = int(distinct[usable].max())
    column = np.arange(len(rows)) - (np.cumsum(distinct) - distinct)[owner]
    kept = usable[owner]
    line = (np.cumsum(usable) - 1)[owner[kept]]
    table = np.full((int(usable.sum()), width + 1), _NEVER)
    table[line, column[kept]] = logps[rows[kept]]
    share = hits[usable] / size[usable]
    law = table[:, :-1]
    law += (np.log(share) - np.logaddexp.reduce(law, axis=1))[:, None]
    law[np.arange(width) >= distinct[usable][:, None]] = _NEVER
    table[:, -1] = np.log1p(-share)
    out[usable] = critical_strength(Policy(table, np.arange(width + 1) < width), form)
    return out
