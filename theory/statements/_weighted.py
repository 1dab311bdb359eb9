"""Exactly weighted groups: a rule run on a group whose empirical law *is* the policy.

With rational probabilities n_i / B, a group that holds trajectory i exactly n_i times turns the
group average of ``advantage * grad log pi`` into the expectation under the policy, with no
sampling noise: the rule objects themselves can be compared with exact gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from diffsmooth.theory.rules import GroupBatch

Vector = npt.NDArray[np.float64]

#: Unit roundoff of float64.
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class WeightedPolicy:
    """A policy with probabilities ``counts / sum(counts)``; the first ``successes`` are correct."""

    counts: tuple[int, ...]
    successes: int
    lengths: tuple[int, ...] | None = None
    classes: tuple[int, ...] | None = None

    @property
    def probs(self) -> Vector:
        """(K,) probabilities."""
        return np.array(self.counts, dtype=np.float64) / sum(self.counts)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """(K,) bool."""
        return np.arange(len(self.counts)) < self.successes

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """(B,) the trajectory of each answer in the group."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def batch(self, tokens: bool = False, correct_only: bool = False) -> GroupBatch:
        """The group, answer by answer.

        ``tokens``: log-probs as (B, T) with a mask, each answer's log-prob spread evenly over its
        length, and 0 (masked) behind it.  ``correct_only``: without the incorrect answers.
        """
        from diffsmooth.theory.rules import GroupBatch

        rows = self.rows[self.correct[self.rows]] if correct_only else self.rows
        logps: Any = np.log(self.probs)[rows]
        lengths = None if self.lengths is None else np.array(self.lengths)[rows]
        mask = None
        if tokens:
            if lengths is None:
                raise ValueError("tokens: the policy has no lengths")
            mask = np.arange(int(lengths.max()))[None, :] < lengths[:, None]
            logps = np.where(mask, (logps / lengths)[:, None], 0.0)
        return GroupBatch(
            reward=self.correct[rows].astype(np.float64),
            correct=self.correct[rows],
            group=np.zeros(rows.size, dtype=np.int64),
            logps=logps,
            mask=mask,
            lengths=None if tokens else lengths,
            classes=None if self.classes is None else np.array(self.classes)[rows],
        )

    def gradient(self, advantages: Vector) -> Vector:
        """(K,) group average of ``advantage * grad log pi`` with respect to the logits."""
        total = np.bincount(self.rows, weights=advantages, minlength=len(self.counts))
        weight: Vector = np.asarray(total, dtype=np.float64) / self.rows.size
        return np.asarray(weight - self.probs * weight.sum(), dtype=np.float64)

    def advantages(self, per_answer: Vector) -> Vector:
        """(B,) -> (K,): the advantage of each trajectory (equal answers have equal advantages)."""
        first = np.searchsorted(self.rows, np.arange(len(self.counts)))
        return np.asarray(per_answer[first], dtype=np.float64)

    def __str__(self) -> str:
        total = sum(self.counts)
        text = ", ".join(f"{n}/{total}" for n in self.counts)
        extra = "" if self.lengths is None else f", lengths {self.lengths}"
        extra += "" if self.classes is None else f", classes {self.classes}"
        return f"pi = ({text}), first {self.successes} correct{extra}"


def weighted_policies(
    max_correct: int = 4,
    max_incorrect: int = 3,
    max_count: int = 9,
    max_length: int | None = None,
    max_classes: int | None = None,
) -> SearchStrategy[WeightedPolicy]:
    """Hypothesis strategy of weighted policies with both parts non-empty."""
    from hypothesis import strategies as st

    @st.composite
    def build(draw: Any) -> WeightedPolicy:
        successes = draw(st.integers(1, max_correct))
        size = successes + draw(st.integers(1, max_incorrect))
        counts = st.lists(st.integers(1, max_count), min_size=size, max_size=size)
        lengths = classes = None
        if max_length is not None:
            lengths = tuple(
                draw(st.lists(st.integers(1, max_length), min_size=size, max_size=size))
            )
        if max_classes is not None:
            labels = st.lists(st.integers(0, max_classes - 1), min_size=size, max_size=size)
            classes = tuple(draw(labels))
        return WeightedPolicy(tuple(draw(counts)), successes, lengths, classes)

    strategy: SearchStrategy[WeightedPolicy] = build()
    return strategy


def strengths(largest: float = 3.0) -> SearchStrategy[float]:
    """Hypothesis strategy of strengths: multiples of 1/8 in [0, largest] (they shrink well)."""
    from hypothesis import strategies as st

    return st.integers(0, int(8 * largest)).map(lambda n: n / 8)
