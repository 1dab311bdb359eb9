"""From drawn answers to advantages: the rule library, called on a group batch."""

from __future__ import annotations

import numpy as np

from diffsmooth.sim.dynamics.adaptive import LARGEST, critical_strengths
from diffsmooth.sim.dynamics.draws import Rows
from diffsmooth.sim.dynamics.models import Float
from diffsmooth.sim.environment import Environment
from diffsmooth.sim.heuristics.base import Update
from diffsmooth.theory.rules import GroupBatch, RewardOnly, SmoothingTerm, add_term

_UNIT = SmoothingTerm(1.0, centring="correct")


def advantages(
    environment: Environment, update: Update, rows: Rows, copy: int, log_probs: Float
) -> Float:
    """(S, Q, G, T) advantage of every token drawn by one copy; 0 where masked.

    log_probs (S, P, K): the copy's policy, which only the adaptive strength looks at.
    """
    batch = group_batch(environment, update, rows, copy)
    value = np.asarray(update.rule(batch))
    if update.adaptive is not None:
        if not isinstance(update.rule, RewardOnly):
            raise TypeError("adaptive: the base must be a reward-only rule")
        prompts = np.flatnonzero(environment.train)
        size = rows.answers.shape[-1]
        strength = critical_strengths(
            log_probs[:, prompts], environment.verified[:, prompts] >= 0.5, update.rule, size
        )
        each = np.repeat(np.minimum(strength, LARGEST).reshape(-1), size)
        value = add_term(value, update.adaptive * each * _UNIT(batch))
    spread = value.reshape(*rows.answers.shape[1:], -1)
    return np.asarray(np.where(rows.mask[copy], spread, 0.0))


def group_batch(environment: Environment, update: Update, rows: Rows, copy: int) -> GroupBatch:
    """What the rule sees of one copy's answers: B = S Q G rows, grouped by (seed, prompt).

    One-node policies hand over log-probs of whole answers with their lengths, others log-probs of
    tokens with a mask.
    """
    e, answers = environment, rows.answers[copy]
    accepted = rows.accepted[copy].reshape(-1)
    length = rows.old.shape[-1]
    by_token = update.rule.token_level or length > 1

    def shaped(tokens: Float) -> Float:
        # A log-softmax may round a hair above 0.
        flat = np.minimum(tokens, 0.0)
        return flat.reshape(-1, length) if by_token else flat.reshape(-1)

    needs = update.rule.needs_logps or update.adaptive is not None
    full = e.full_lengths[rows.seed, rows.prompt, answers].reshape(-1)
    classes = e.classes[rows.seed, rows.prompt, answers].reshape(-1)
    return GroupBatch(
        reward=accepted.astype(np.float64),
        correct=accepted,
        group=np.repeat(np.arange(answers.size // answers.shape[-1]), answers.shape[-1]),
        logps=shaped(rows.old[copy]) if needs else None,
        mask=rows.mask[copy].reshape(-1, length) if needs and by_token else None,
        lengths=full if needs and not by_token else None,
        classes=classes if update.rule.needs_classes else None,
        ref_logps=shaped(_reference(e, rows, copy)) if update.rule.needs_reference else None,
    )


def _reference(environment: Environment, rows: Rows, copy: int) -> Float:
    """(S, Q, G, T) log-prob of each drawn token under the base policy."""
    seed, prompt = rows.seed[..., None], rows.prompt[..., None]
    local = environment.base_local[seed, prompt, rows.nodes[copy], rows.tokens[copy]]
    return np.asarray(np.where(rows.mask[copy], local, 0.0))
