"""Replay of verified answers: what it pushes, and where it comes to rest beside smoothing.

Replay adds ``strength`` times the mean of log pi over a bank of verified distinct answers of the
prompt.  Source: theory.md E5, E6.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

from diffsmooth.theory.policy import Policy

Float = npt.NDArray[np.float64]


def replay_gradient(policy: Policy, bank: ArrayLike, strength: float = 1.0) -> Float:
    """Gradient of strength * mean over the bank of log pi in the logits (theory.md E6).

    ``policy``: one prompt of K answers.  ``bank`` (K,) bool, at least one answer, all of them
    correct.  Returns (K,).  Raises ValueError on a bank of another shape, without an answer, or
    with one that is not correct.
    """
    stored = np.asarray(bank)
    if stored.dtype != np.bool_ or stored.shape != policy.correct.shape or stored.ndim != 1:
        raise ValueError(
            f"bank: must be bool of shape {policy.correct.shape}, got {stored.dtype} {stored.shape}"
        )
    if not stored.any():
        raise ValueError("bank: must hold at least one answer")
    if (stored & ~policy.correct).any():
        raise ValueError("bank: holds an answer that is not correct")
    share = stored / stored.sum() - np.exp(policy.log_probs)
    return np.asarray(strength * share, dtype=np.float64)


def replay_log_odds(ratio: ArrayLike, seen: ArrayLike, unseen: ArrayLike) -> Float:
    """log of (an unseen answer's probability / a seen one's) at the rest point (theory.md E5).

    ``ratio``: strength of replay over strength of centred smoothing, lam/g > 0.  ``seen``,
    ``unseen``: numbers of correct answers in the bank (>= 1) and outside it (>= 0).  Broadcast.

    With r = lam/g and k = unseen/seen it is -(r + W(r k e^-r)), W Lambert's function: the larger
    the ratio, the rarer what has not been seen.  Raises ValueError outside those ranges.
    """
    from scipy.special import wrightomega

    r, m, n = (np.asarray(v, dtype=np.float64) for v in (ratio, seen, unseen))
    if not (np.isfinite(r).all() and (r > 0).all()):
        raise ValueError("ratio: must be positive and finite")
    if not ((m >= 1).all() and (n >= 0).all() and np.isfinite(m).all() and np.isfinite(n).all()):
        raise ValueError("seen: must be at least 1; unseen: must be at least 0")
    with np.errstate(divide="ignore"):
        # W(e^z) with z = log(r k) - r: never forms r k e^-r, which may underflow.
        z = np.log(r) + np.log(n) - np.log(m) - r
    return np.asarray(-(r + np.real(wrightomega(z))), dtype=np.float64)


def replay_limit(ratio: float, seen: int, unseen: int) -> tuple[float, float]:
    """(log-prob of a seen answer, of an unseen one) at the rest point, C = 1 (theory.md E5).

    The second is -inf where nothing is unseen.  Raises ValueError as :func:`replay_log_odds`.
    """
    odds = float(replay_log_odds(ratio, seen, unseen))
    if unseen == 0:
        return -float(np.log(seen)), -float("inf")
    mass = np.logaddexp(np.log(seen), np.log(unseen) + odds)
    return -float(mass), odds - float(mass)
