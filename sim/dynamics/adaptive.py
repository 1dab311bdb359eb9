"""The critical smoothing strength of theory.md C5, from the policy as it stands."""

from __future__ import annotations

import numpy as np

from diffsmooth.sim.dynamics.expected import group_derivative, kept_share
from diffsmooth.sim.dynamics.models import Bool, Float
from diffsmooth.theory.rules import RewardOnly

#: Strengths above this are not used: C5 goes to infinity where groups hold one correct answer.
LARGEST = 2.0


def critical_strengths(log_probs: Float, correct: Bool, rule: RewardOnly, group_size: int) -> Float:
    """(...,) the centred strength at which H(q) stands still, for sampled groups of G answers.

    C5's centred strength is for the reward's push 1 and exact centring.  A reward-only rule pushes
    with u'(C) (theory.md E1), and a group's own mean leaves ``1 - E[1/k]`` of the term, so the
    strength is scaled by their ratio.  Bounded by ``LARGEST``.  log_probs, correct (..., K).
    """
    from diffsmooth.theory.critical import critical_strength
    from diffsmooth.theory.policy import Policy

    success = np.exp(np.where(correct, log_probs, -np.inf)).sum(-1)
    plain = critical_strength(Policy(log_probs, correct), form="centred")
    push = group_derivative(rule, success, group_size)
    kept = kept_share(success, group_size)
    with np.errstate(divide="ignore", invalid="ignore"):
        strength = np.where(kept > 0, plain * push / kept, LARGEST)
    return np.asarray(np.clip(strength, 0.0, LARGEST))
