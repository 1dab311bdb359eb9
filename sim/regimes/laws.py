"""Base laws and what survives at test time: the pieces that regimes are drawn from."""

from __future__ import annotations

import numpy as np

from diffsmooth.sim.policies import Bool, Float, Int, log_softmax


def logit(p: float) -> float:
    """Log-odds.  Raises ValueError unless 0 < p < 1."""
    if not 0 < p < 1:
        raise ValueError(f"p: must lie strictly between 0 and 1, got {p}")
    return float(np.log(p) - np.log1p(-p))


def two_part_law(log_weights: Float, correct: Bool, logit_success: Float) -> Float:
    """(P, K) log-probs with the given log-odds of a correct answer, prompt by prompt.

    log_weights (P, K) shape the two parts, -inf on padding; logit_success (P,).
    """
    log_success = -np.logaddexp(0.0, -logit_success)[:, None]
    log_failure = -np.logaddexp(0.0, logit_success)[:, None]
    right = log_softmax(np.where(correct, log_weights, -np.inf)) + log_success
    wrong = log_softmax(np.where(correct, -np.inf, log_weights)) + log_failure
    return np.asarray(np.where(correct, right, wrong))


def surviving(rng: np.random.Generator, correct: Bool, classes: Int, survive: float) -> Bool:
    """(P, K) the correct answers that still pass at test time: each class with chance ``survive``.

    At least one class of every prompt survives (the one with the smallest uniform), so that no
    test prompt is impossible.  Raises ValueError unless 0 < survive <= 1.
    """
    if not 0 < survive <= 1:
        raise ValueError(f"survive: must lie in (0, 1], got {survive}")
    uniform = rng.random((correct.shape[0], int(classes.max()) + 1))
    mine = np.where(correct, np.take_along_axis(uniform, classes, axis=1), 2.0)
    return np.asarray(correct & ((mine < survive) | (mine == mine.min(axis=1, keepdims=True))))
