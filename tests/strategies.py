"""Hypothesis strategies for policies, laws and groups of answers, for the tests of every floor.

Laws are drawn by their logs, so that probabilities of 1e-300 are ordinary instances.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from diffsmooth.theory.policy import Policy, log_normalise
from tests.theory.rules.batches import batches as groups_of_answers

__all__ = ["LEAST_LOG", "correct_sets", "groups_of_answers", "log_laws", "policies", "seeds"]

Float = npt.NDArray[np.float64]

#: log of the smallest probability drawn, 1e-300.
LEAST_LOG = -300 * float(np.log(10.0))

seeds = st.integers(0, 2**32 - 1)


def _logits(size: int, spread: float) -> st.SearchStrategy[list[float]]:
    # Ties and moderate ratios are as interesting as extreme ones.
    entry = st.one_of(
        st.sampled_from([0.0, -1.0, spread]),
        st.floats(max(-5.0, spread), 0.0),
        st.floats(spread, 0.0),
    )
    return st.lists(entry, min_size=size, max_size=size)


@st.composite
def log_laws(
    draw: st.DrawFn,
    min_size: int = 1,
    max_size: int = 8,
    least_log: float = LEAST_LOG,
    empty: bool = False,
) -> Float:
    """(M,) log-probs of a law whose probabilities are above e^least_log.

    ``empty`` lets entries (not all) have no mass: -inf.
    """
    size = draw(st.integers(min_size, max_size))
    logits = np.array(draw(_logits(size, least_log + float(np.log(max_size)))))
    law = np.asarray(log_normalise(logits))
    if empty and size > 1:
        kept = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
        kept[draw(st.integers(0, size - 1))] = True
        law = np.asarray(log_normalise(logits, kept))
    return law


@st.composite
def correct_sets(draw: st.DrawFn, size: int) -> npt.NDArray[np.bool_]:
    """(K,) bool with both kinds."""
    mask = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    first = draw(st.integers(0, size - 2))
    mask[first], mask[first + 1] = True, False
    return mask


@st.composite
def policies(
    draw: st.DrawFn,
    min_size: int = 2,
    max_size: int = 8,
    least_log: float = LEAST_LOG,
    batch: int | None = None,
) -> Policy:
    """A policy (K,), or with ``batch`` a batch (batch, K) with a correct set for each."""
    size = draw(st.integers(min_size, max_size))
    entry = _logits(size, least_log + float(np.log(max_size)))
    if batch is None:
        return Policy.from_logits(draw(entry), draw(correct_sets(size)))
    rows = draw(st.lists(st.tuples(entry, correct_sets(size)), min_size=batch, max_size=batch))
    return Policy.from_logits([r[0] for r in rows], np.array([r[1] for r in rows]))
