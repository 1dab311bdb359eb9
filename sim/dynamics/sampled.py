"""Training on sampled groups: any group size, several epochs with PPO clipping.

The L strengths of one heuristic and all seeds run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from diffsmooth.sim.dynamics.advantages import advantages
from diffsmooth.sim.dynamics.draws import Randomness, Rows, draw_rows
from diffsmooth.sim.dynamics.models import Bool, Float, Int
from diffsmooth.sim.environment import Environment
from diffsmooth.sim.heuristics.base import Update
from diffsmooth.sim.heuristics.tokens import TokenBatch

Observe = Callable[[int, Float], None]


class Trainer:
    """One heuristic at L strengths on one environment; ``parameters`` (L, S, ...) are its state.

    rate
        Learning rate; each update may scale it.  A step adds ``rate`` times the gradient of the
        mean over the group of ``ratio * advantage``, summed over the prompts that share parameters.
    """

    def __init__(
        self,
        environment: Environment,
        updates: Sequence[Update],
        *,
        group_size: int,
        epochs: int,
        rate: float,
    ) -> None:
        self.environment = environment
        self.updates = updates
        self.group_size = group_size
        self.epochs = epochs
        self.parameters = environment.model.start(len(updates))
        rates = rate * np.array([u.rate for u in updates])
        self.rates = rates.reshape(-1, *(1,) * (self.parameters.ndim - 1))

    def run(self, steps: int, randomness: Randomness, observe: Observe, every: int) -> None:
        """``steps`` updates; ``observe(step, log_probs (L, S, P, K))`` at 0 and each ``every``."""
        model = self.environment.model
        for step in range(steps):
            local = model.local(self.parameters)
            log_probs = model.answers(local)
            if step % every == 0:
                observe(step, log_probs)
            self.step(local, log_probs, randomness, step)
        observe(steps, model.log_probs(self.parameters))

    def step(self, local: Float, log_probs: Float, randomness: Randomness, step: int) -> None:
        """One group per prompt, then ``epochs`` gradient steps on it."""
        model = self.environment.model
        rows = draw_rows(self.environment, local, log_probs, randomness, step)
        advantage = np.stack(
            [
                advantages(self.environment, update, rows, copy, log_probs[copy])
                for copy, update in enumerate(self.updates)
            ]
        )
        factor, extra = self._token_parts(advantage, local, rows, randomness.tokens[:, step])
        for epoch in range(self.epochs):
            if epoch:
                local = model.local(self.parameters)
            ratio = np.exp(rows.gather(local) - rows.old)
            weight = advantage * ratio * self._passes(ratio, advantage) * factor / self.group_size
            table = _scatter(rows.where, weight, local.shape)
            if extra is not None:
                _add(table, extra, rows)
            self.parameters += self.rates * model.gradient(local, table)

    def _passes(self, ratio: Float, advantage: Float) -> Bool:
        """Where the clipped surrogate still has a gradient: everywhere in the first epoch."""
        return np.stack(
            [u.clip.passes(r, a) for u, r, a in zip(self.updates, ratio, advantage, strict=True)]
        )

    def _token_parts(
        self, advantage: Float, local: Float, rows: Rows, uniforms: Float
    ) -> tuple[Float, Float | None]:
        """(factor (L, S, Q, G, T), extra (L, S, Q, G, T, V)) of heuristics that act on tokens."""
        factor = np.ones_like(advantage)
        if not any(u.tokens for u in self.updates):
            return factor, None
        extra = np.zeros((*advantage.shape, local.shape[-1]))
        shape = (-1, advantage.shape[-1])
        seed, prompt = rows.seed[..., None], rows.prompt[..., None]
        for copy, update in enumerate(self.updates):
            if update.tokens is None:
                continue
            law = local[copy, seed, prompt, rows.nodes[copy]]
            part, added = update.tokens(
                TokenBatch(
                    advantage=advantage[copy].reshape(shape),
                    old=rows.old[copy].reshape(shape),
                    law=law.reshape(-1, *law.shape[-2:]),
                    taken=rows.tokens[copy].reshape(shape),
                    correct=rows.accepted[copy].reshape(-1),
                    mask=rows.mask[copy].reshape(shape),
                    uniforms=uniforms.reshape(shape),
                )
            )
            factor[copy] = part.reshape(factor[copy].shape)
            if added is not None:
                extra[copy] = added.reshape(extra[copy].shape) / self.group_size
        return factor, extra


def _scatter(where: Int, weight: Float, shape: tuple[int, ...]) -> Float:
    """The table (L, S, P, n, V) of the drawn tokens' weights."""
    size = int(np.prod(shape))
    flat = np.bincount(where.reshape(-1), weight.reshape(-1), minlength=size)
    return np.asarray(flat, dtype=np.float64).reshape(shape)


def _add(table: Float, extra: Float, rows: Rows) -> None:
    """Add weights over whole vocabularies at the drawn nodes."""
    vocabulary = table.shape[-1]
    index = (rows.where - rows.tokens)[..., None] + np.arange(vocabulary)
    flat = np.bincount(index.reshape(-1), extra.reshape(-1), minlength=table.size)
    table += flat.reshape(table.shape)
