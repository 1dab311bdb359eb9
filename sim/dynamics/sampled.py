"""Training on sampled groups: any group size, several epochs with PPO clipping.

The L strengths of one remedy and all seeds run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from diffsmooth.sim.dynamics.advantages import advantages
from diffsmooth.sim.dynamics.draws import Randomness, Rows, Sampler
from diffsmooth.sim.dynamics.memory import Memory
from diffsmooth.sim.environment import Environment
from diffsmooth.sim.policies import Bool, Float, softmax, softmax_gradient, token_gradient
from diffsmooth.sim.remedies.base import Update
from diffsmooth.sim.remedies.tokens import TokenBatch

Observe = Callable[[int, Float], None]


class Trainer:
    """One remedy at L strengths on one environment; ``parameters`` (L, S, ...) are its state.

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
        self.sampler = Sampler(environment, len(updates), group_size)
        rates = rate * np.array([u.rate for u in updates])
        self.rates = rates.reshape(-1, 1, 1, 1, 1)
        replayed = np.array([u.replay for u in updates])
        self.memory = Memory(environment, replayed) if replayed.any() else None

    def run(self, steps: int, randomness: Randomness, observe: Observe, every: int) -> None:
        """``steps`` updates; ``observe(step, log_probs (L, S, P, K))`` at 0 and each ``every``."""
        model = self.environment.model
        for step in range(steps):
            local, law = softmax(model.logits(self.parameters))
            log_probs = model.answers(local)
            if step % every == 0:
                observe(step, log_probs)
            self.step(local, law, log_probs, randomness, step)
        observe(steps, model.log_probs(self.parameters))

    def step(
        self, local: Float, law: Float, log_probs: Float, randomness: Randomness, step: int
    ) -> None:
        """One group per prompt, then ``epochs`` gradient steps on it; overwrites ``law``."""
        model = self.environment.model
        answers = law[..., 0, :] if law.shape[-2] == 1 else np.exp(log_probs)
        rows = self.sampler(local, answers, randomness, step)
        advantage = advantages(self.environment, self.updates, rows, log_probs)
        pushed, extra, slope = self._token_parts(advantage, local, rows, randomness.tokens[:, step])
        scale = self.rates / self.group_size
        pushed = pushed * scale
        recalled = None
        if self.memory is not None:
            self.memory.add(rows)
            recalled = self.rates * self.memory.table()
        for epoch in range(self.epochs):
            weight = pushed
            if epoch:  # in the first epoch every ratio is 1 and nothing is clipped
                local, law = softmax(model.logits(self.parameters))
                log_ratio = rows.gather(local) - rows.old
                ratio = np.exp(log_ratio)
                weight = pushed * ratio
                weight *= self._passes(ratio, advantage)
                if slope is not None:
                    weight -= scale * slope * np.sign(log_ratio)
            whole = None if extra is None else scale * extra
            if recalled is not None:
                whole = recalled if whole is None else whole + recalled
            added = None if whole is None else softmax_gradient(law, whole)
            change = token_gradient(law, rows.node, rows.where, weight)
            if added is not None:
                change += added
            self.parameters += model.pull(change)

    def _passes(self, ratio: Float, advantage: Float) -> Bool:
        """Where the clipped surrogate still has a gradient."""
        first = self.updates[0].clip
        if all(u.clip == first for u in self.updates):
            return np.asarray(first.passes(ratio, advantage))
        return np.stack(
            [u.clip.passes(r, a) for u, r, a in zip(self.updates, ratio, advantage, strict=True)]
        )

    def _token_parts(
        self, advantage: Float, local: Float, rows: Rows, uniforms: Float
    ) -> tuple[Float, Float | None, Float | None]:
        """(the advantage times the factor of remedies that act on tokens (L, S, Q, G, T), the
        table (L, S, P, n, V) of the weights that they add, the slope of their penalty on
        |log ratio| (L, S, Q, G, T); None for none)."""
        if not any(u.tokens for u in self.updates):
            return advantage, None, None
        pushed, extra, slope = advantage.copy(), None, None
        length, vocabulary = advantage.shape[-1], local.shape[-1]
        shape, seeds = (-1, length), advantage.shape[1]
        nodes = local[0, 0].size // vocabulary
        for copy, update in enumerate(self.updates):
            if update.tokens is None:
                continue
            # Seed by seed: fractions and quantiles are of one run's batch, not of its neighbours'.
            for seed in range(seeds):
                at = (copy, seed)
                batch = TokenBatch(
                    advantage=advantage[at].reshape(shape),
                    old=rows.old[at].reshape(shape),
                    law=local[at].reshape(nodes, vocabulary),
                    node=rows.node[at].reshape(shape) - (copy * seeds + seed) * nodes,
                    taken=rows.tokens[at].reshape(shape),
                    correct=rows.accepted[at].reshape(-1),
                    mask=rows.mask[at].reshape(shape),
                    uniforms=uniforms[seed].reshape(shape),
                )
                part, added = update.tokens(batch)
                pushed[at] *= part.reshape(pushed[at].shape)
                if added is not None:
                    extra = np.zeros(local.shape) if extra is None else extra
                    extra[at] = added.reshape(local.shape[2:])
                steep = update.tokens.log_ratio_slope(batch)
                if steep is not None:
                    slope = np.zeros_like(advantage) if slope is None else slope
                    slope[at] = steep.reshape(slope[at].shape)
        return pushed, extra, slope
