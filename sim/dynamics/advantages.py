"""From drawn answers to advantages: the rule library, called on a group batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from typing import Any

import array_api_compat.numpy
import numpy as np

from diffsmooth.sim.dynamics.adaptive import LARGEST, critical_strengths
from diffsmooth.sim.dynamics.draws import Rows
from diffsmooth.sim.environment import Environment
from diffsmooth.sim.policies import Float
from diffsmooth.sim.remedies.base import Update
from diffsmooth.theory.rules import GroupBatch, RewardOnly, SmoothingTerm, add_term
from diffsmooth.theory.rules.batch import Groups

_UNIT = SmoothingTerm(1.0, centring="correct")


class _InOrder(Groups):
    """The partition of rows that lie group by group: what sorting would find."""

    def __init__(self, count: int, size: int) -> None:
        self.xp = array_api_compat.numpy
        self.rows = count * size
        self.labels = np.repeat(np.arange(count), size)


@dataclass(frozen=True)
class DrawnBatch(GroupBatch):
    """A batch whose partition is known; ``checked``: its rows are part of a batch that was."""

    partition: Groups | None = None
    checked: InitVar[bool] = False

    def __post_init__(self, checked: bool) -> None:
        if not checked:
            super().__post_init__()

    @property
    def groups(self) -> Any:
        """The partition of the rows by ``group``."""
        return self.partition

    def part(self, index: int, parts: int) -> DrawnBatch:
        """The rows of one of ``parts`` equal parts, whole groups each."""
        rows = len(self.group) // parts
        mine = slice(index * rows, (index + 1) * rows)
        size = len(self.group) // (int(self.group[-1]) + 1)

        def cut(value: Any) -> Any:
            return None if value is None else value[mine]

        return DrawnBatch(
            reward=self.reward[mine],
            correct=self.correct[mine],
            group=self.group[:rows],
            logps=cut(self.logps),
            mask=cut(self.mask),
            lengths=cut(self.lengths),
            classes=cut(self.classes),
            ref_logps=cut(self.ref_logps),
            partition=_InOrder(rows // size, size),
            checked=True,
        )


def advantages(
    environment: Environment, updates: Sequence[Update], rows: Rows, log_probs: Float
) -> Float:
    """(L, S, Q, G, T) advantage of every token drawn by every copy; 0 where masked.

    log_probs (L, S, P, K): the policies, which only the adaptive strength looks at.
    """
    copies, first = len(updates), updates[0]
    batch = group_batch(environment, updates, rows)
    if all(u.rule == first.rule for u in updates):
        value = np.asarray(first.rule(batch))
    else:
        parts = [np.asarray(u.rule(batch.part(c, copies))) for c, u in enumerate(updates)]
        if any(p.ndim == 2 for p in parts):  # a rule of tokens at strength 0 is one of answers
            width = rows.old.shape[-1]
            parts = [np.broadcast_to(p.reshape(len(p), -1), (len(p), width)) for p in parts]
        value = np.concatenate(parts)
    if any(u.adaptive is not None for u in updates):
        value = add_term(value, _adaptive(environment, updates, rows, batch, log_probs))
    return rows.masked(np.broadcast_to(_shaped(value, rows), rows.old.shape))


def _shaped(value: Float, rows: Rows) -> Float:
    return value.reshape(*rows.answers.shape, -1)


def _adaptive(
    environment: Environment,
    updates: Sequence[Update],
    rows: Rows,
    batch: GroupBatch,
    log_probs: Float,
) -> Float:
    """The centred term at each copy's multiple of the critical strength."""
    prompts, size = np.flatnonzero(environment.train), rows.answers.shape[-1]
    accepted = environment.verified[:, prompts] >= 0.5
    strength = np.empty((*rows.answers.shape[:3], 1))
    for copy, update in enumerate(updates):
        if not isinstance(update.rule, RewardOnly) or update.adaptive is None:
            raise TypeError("adaptive: all strengths or none, and a reward-only base")
        critical = critical_strengths(log_probs[copy][:, prompts], accepted, update.rule, size)
        strength[copy, ..., 0] = update.adaptive * np.minimum(critical, LARGEST)
    each = np.repeat(strength.reshape(-1), size)
    return np.asarray(each * np.asarray(_UNIT(batch)))


def group_batch(environment: Environment, updates: Sequence[Update], rows: Rows) -> DrawnBatch:
    """What the rules see of all copies: B = L S Q G rows, grouped by (copy, seed, prompt).

    One-node policies hand over log-probs of whole answers with their lengths, others log-probs of
    tokens with a mask.
    """
    e, answers = environment, rows.answers
    rules = [u.rule for u in updates]
    size, length = answers.shape[-1], rows.old.shape[-1]
    by_token = length > 1 or any(r.token_level for r in rules)
    needs = any(r.needs_logps for r in rules) or any(u.adaptive is not None for u in updates)

    def shaped(tokens: Float) -> Float:
        # A log-softmax may round a hair above 0.
        flat = np.minimum(tokens, 0.0)
        return flat.reshape(-1, length) if by_token else flat.reshape(-1)

    def looked_up(table: Any) -> Any:
        return table[rows.seed, rows.prompt, answers].reshape(-1)

    partition = _InOrder(answers.size // size, size)
    accepted = rows.accepted.reshape(-1)
    return DrawnBatch(
        reward=accepted.astype(np.float64),
        correct=accepted,
        group=partition.labels,
        logps=shaped(rows.old) if needs else None,
        mask=rows.mask.reshape(-1, length) if needs and by_token else None,
        lengths=looked_up(e.full_lengths) if needs and not by_token else None,
        classes=looked_up(e.classes) if any(r.needs_classes for r in rules) else None,
        ref_logps=shaped(_reference(e, rows)) if any(r.needs_reference for r in rules) else None,
        partition=partition,
    )


def _reference(e: Environment, rows: Rows) -> Float:
    """(L, S, Q, G, T) log-prob of each drawn token under the base policy."""
    return rows.masked(e.base_local.reshape(-1).take(rows.where % e.base_local.size))
