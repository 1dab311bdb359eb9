"""What the theory says of a cell before anything is trained: B9 and C5 on the base policies."""

from __future__ import annotations

import numpy as np

from diffsmooth.sim.dynamics.adaptive import LARGEST, NEVER, critical_strengths, literal_works
from diffsmooth.sim.dynamics.expected import group_derivative, kept_share
from diffsmooth.sim.environment import Environment
from diffsmooth.sim.policies import Bool, Float
from diffsmooth.theory.rules import GRPO

#: The KL coefficient and the strength at which B9 is asked of the optimum.
BETA, SMALL = 0.5, 0.02


def predictions(environment: Environment, group_size: int) -> dict[str, Float]:
    """By name, one number a seed (S,), means over the trained prompts.

    surprisal_gap
        h_S - h_F in nats (theory.md B9): a bonus on entropy raises correctness at the
        KL-regularised optimum iff it exceeds 1/beta, the gain in log-odds that the reward buys.
    log_odds
        Base logit C, to tell what a run has bought.
    critical
        The centred strength at which H(q) stands still at the start (theory.md C5), for GRPO with
        groups of G.
    literal_works
        Share of prompts where some literal strength would do (C5's bracket is positive).
    optimum_bonus
        Correctness at the KL-regularised optimum with a small entropy bonus less that with a
        penalty of equal strength (beta = BETA): B9's own question, answered exactly.
    solutions
        Effective number of classes of correct answers at the base.
    """
    from diffsmooth.sim.measures import measure

    e, prompts = environment, np.flatnonzero(environment.train)
    base, correct = e.base[:, prompts], e.correct[:, prompts]
    rewarded = e.verified[:, prompts] >= 0.5
    log_success = _log_sum(base, correct)
    log_failure = _log_sum(base, e.incorrect[:, prompts])
    gap = _surprisal(base, correct, log_success) - _surprisal(
        base, e.incorrect[:, prompts], log_failure
    )
    critical = critical_strengths(base, rewarded, GRPO(), group_size)
    return {
        "surprisal_gap": gap.mean(-1),
        "log_odds": (log_success - log_failure).mean(-1),
        "critical": critical.mean(-1),
        "literal_works": literal_works(base, rewarded).mean(-1),
        "optimum_bonus": _optimum_bonus(base, correct).mean(-1),
        "solutions": measure(e, e.base[None])["effective"][0],
    }


def entropy_speeds(environment: Environment, group_size: int) -> dict[str, float]:
    """What moves H(q) at the first instant of the flow from the base (theory.md C5), term by term.

    Means over trained prompts and seeds of dH(q)/dt: of GRPO alone (``grpo``, not positive), and of
    each smoothing term at strength 1: ``centred``, ``adaptive`` (one time g*, capped as the
    remedy caps it) and ``literal``.  Groups of G as in ``critical_strengths``: the reward pushes
    with u'(C), a group's own mean keeps 1 - E[1/k] of a centred term.  C5 is a theorem about one
    softmax a prompt; for shared features and trees this is an extrapolation.
    """
    from diffsmooth.theory.critical import entropy_rate
    from diffsmooth.theory.policy import Policy

    prompts = np.flatnonzero(environment.train)
    base = environment.base[:, prompts]
    rewarded = environment.verified[:, prompts] >= 0.5
    policy = Policy(np.maximum(base, NEVER), rewarded)
    success = np.exp(policy.log_C)
    fall = entropy_rate(policy, 0.0)
    kept = kept_share(success, group_size)
    centred = kept * (entropy_rate(policy, 1.0) - fall)
    critical = critical_strengths(base, rewarded, GRPO(), group_size)
    speeds = {
        "grpo": group_derivative(GRPO(), success, group_size) * fall,
        "centred": centred,
        "adaptive": np.minimum(critical, LARGEST) * centred,
        "literal": entropy_rate(policy, 1.0, "literal") - fall,
    }
    return {name: float(speed.mean()) for name, speed in speeds.items()}


def _optimum_bonus(base: Float, correct: Bool) -> Float:
    from diffsmooth.theory import optima
    from diffsmooth.theory.policy import Policy

    policy = Policy(np.maximum(base, NEVER), correct)
    bonus, penalty = (optima.entropy_bonus(policy, BETA, s * SMALL).C for s in (1.0, -1.0))
    return np.asarray(bonus - penalty)


def _log_sum(log_probs: Float, part: Bool) -> Float:
    inside = np.where(part, log_probs, -np.inf)
    top = inside.max(-1, keepdims=True)
    return np.asarray(top[..., 0] + np.log(np.exp(inside - top).sum(-1)))


def _surprisal(log_probs: Float, part: Bool, log_mass: Float) -> Float:
    """Mean of -log b under b given the part."""
    law = np.where(part, np.exp(log_probs - log_mass[..., None]), 0.0)
    return np.asarray(-(law * np.where(part, log_probs, 0.0)).sum(-1))
