"""The critical smoothing strength of theory.md C5, from the policy as it stands."""

from __future__ import annotations

import numpy as np

from diffsmooth.sim.dynamics.expected import group_derivative, kept_share
from diffsmooth.sim.policies import Bool, Float
from diffsmooth.theory.rules import RewardOnly

#: The adaptive remedy goes no further: C5 diverges where groups hold one correct answer.
LARGEST = 2.0
#: Log-prob of padding, an answer that never comes: the smallest double.
NEVER = -745.0


def critical_strengths(
    log_probs: Float, correct: Bool, rule: RewardOnly, group_size: int | None
) -> Float:
    """(...,) the centred strength at which H(q) stands still, for sampled groups of G answers.

    C5's centred strength is for the reward's push 1 and exact centring.  A reward-only rule pushes
    with u'(C) (theory.md E1), and a group's own mean leaves ``1 - E[1/k]`` of the term, so the
    strength is scaled by their ratio; inf where groups hold one correct answer at most.
    log_probs, correct (..., K).
    """
    from diffsmooth.theory.critical import critical_strength
    from diffsmooth.theory.policy import Policy

    # Padding is an incorrect answer that never comes: the smallest double's log.
    policy = Policy(np.maximum(log_probs, NEVER), correct)
    plain = critical_strength(policy, form="centred")
    # Each from its own log: u' may vanish with 1 - C, which a rounded C has forgotten.
    success, failure = policy.C, np.exp(policy.log_1mC)
    push = group_derivative(rule, success, group_size, failure)
    kept = kept_share(success, group_size, failure)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(kept > 0, plain * push / kept, np.inf))


def literal_works(log_probs: Float, correct: Bool) -> Bool:
    """(...,) does any literal strength (Eq. 6 with g_incorrect = 0) hold H(q) up here?

    theory.md C5: where its bracket is not positive, literal smoothing speeds the collapse up.
    """
    from diffsmooth.theory.critical import critical_strength
    from diffsmooth.theory.policy import Policy

    policy = Policy(np.maximum(log_probs, NEVER), correct)
    return np.asarray(np.isfinite(critical_strength(policy, form="literal")))
