"""Shared parameters: what an update of one prompt does to the diversity of another.

Logits theta_x = Phi_x w of every prompt x share the parameters w (any features; a network to first
order).  Source: theory.md F1 to F4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

from diffsmooth.theory.gradients import expected_gradient
from diffsmooth.theory.policy import Policy, about_mean_and_entropy

Float = npt.NDArray[np.float64]


def entropy_gradient(policy: Policy) -> Float:
    """(K,) dH(q)/dtheta: -q (log q + H(q)) on correct answers, 0 on the others (theory.md F1)."""
    about, _ = about_mean_and_entropy(policy.log_probs, policy.correct)
    q = np.where(policy.correct, np.exp(policy.log_probs - policy.log_C[..., None]), 0.0)
    return np.asarray(np.where(policy.correct, -q * about, 0.0), dtype=np.float64)


def diversity_direction(policy: Policy, features: ArrayLike) -> Float:
    """(D,) dH(q)/dw = Phi^T v for features (K, D) of the prompt's answers (theory.md F1).

    Raises ValueError on features of another shape.
    """
    return np.asarray(_features(policy, features).T @ entropy_gradient(policy), dtype=np.float64)


def critical_strength(policy: Policy, features: ArrayLike) -> float:
    """The strength of centred smoothing from which H(q) does not fall, under shared parameters.

    g* = -v.K d / (C v.K v), K = Phi Phi^T (theory.md F1; K = I is C5).  Negative where the reward
    itself raises H(q); nan where the parameters cannot change H(q) at all.
    """
    phi = _features(policy, features)
    push, reward = phi.T @ entropy_gradient(policy), phi.T @ expected_gradient(policy)
    own = float(push @ push)
    return float("nan") if own == 0 else -float(push @ reward) / (float(np.exp(policy.log_C)) * own)


def smoothing_rates(policies: Sequence[Policy], features: Sequence[ArrayLike]) -> Float:
    """(n,) rates of every H(q_x) that centred smoothing of strength 1 on all n prompts gives.

    dH(q_z)/dt = u_z . sum_x C_x u_x with u_x = Phi_x^T v_x (theory.md F2, F3).  The C-weighted sum
    of the rates is a square; a single one may be negative.  Raises ValueError on lists of different
    lengths or no prompt.
    """
    if not policies or len(policies) != len(features):
        raise ValueError(f"features: {len(features)} for {len(policies)} policies")
    u = np.array([diversity_direction(p, f) for p, f in zip(policies, features, strict=True)])
    c = np.array([float(np.exp(p.log_C)) for p in policies])
    return np.asarray(u @ (c @ u), dtype=np.float64)


def _features(policy: Policy, features: ArrayLike) -> Float:
    phi = np.asarray(features, dtype=np.float64)
    if phi.ndim != 2 or phi.shape[0] != policy.log_probs.shape[-1] or policy.log_probs.ndim != 1:
        raise ValueError(
            f"features: must be (K, D) with K = {policy.log_probs.shape[-1]}, got {phi.shape}"
        )
    return phi
