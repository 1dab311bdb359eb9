"""Groups drawn from a policy by inverse CDF, from uniforms that every remedy shares.

Two remedies with equal policies draw equal answers, so that their differences are paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffsmooth.sim import kernels
from diffsmooth.sim.dynamics import compiled
from diffsmooth.sim.environment import Environment
from diffsmooth.sim.policies import Bool, Float, Int, Model


@dataclass(frozen=True, eq=False)
class Randomness:
    """Shared uniforms: draws and noise (S, steps, Q, G), tokens (S, steps, Q, G, T).

    Q trained prompts.  ``noise`` decides what a verifier with chances says; ``tokens`` what
    Clip-Cov drops.
    """

    draws: Float
    noise: Float
    tokens: Float


@dataclass(frozen=True, eq=False)
class Rows:
    """The answers of one step: L copies, S seeds, Q trained prompts, G draws, T tokens.

    seed, prompt (S, Q, G): where a row belongs; answers (L, S, Q, G) ids; accepted: the verdicts;
    old (L, S, Q, G, T): log-prob of each token as drawn, 0 where masked; where: flat index of each
    token into the local table (L, S, P, n, V).
    """

    model: Model
    vocabulary: int
    seed: Int
    prompt: Int
    answers: Int
    accepted: Bool
    old: Float
    where: Int

    @cached_property
    def tokens(self) -> Int:
        """(L, S, Q, G, T) token taken there."""
        return np.asarray(self.model.tokens[self.answers])

    @cached_property
    def node(self) -> Int:
        """(L, S, Q, G, T) node of each token, counted over copies, seeds, prompts and nodes."""
        return self.where // self.vocabulary

    @cached_property
    def mask(self) -> Bool:
        """(L, S, Q, G, T) False beyond an answer's end."""
        return np.asarray(self.model.mask[self.answers])

    @cached_property
    def full(self) -> bool:
        """Have all answers the same length, so that nothing is masked?"""
        return bool(self.model.mask.all())

    def masked(self, values: Float) -> Float:
        """``values`` (..., T), 0 where masked."""
        return values if self.full else np.asarray(np.where(self.mask, values, 0.0))

    def gather(self, local: Float) -> Float:
        """Log-prob of each drawn token under another policy, 0 where masked."""
        return self.masked(local.reshape(-1).take(self.where))


class Sampler:
    """Draws the groups of one environment, step after step, for L copies of a policy.

    Inverse CDF: the first answer whose cumulated probability exceeds the uniform, so that one of
    probability 0 is never drawn.  With numba (extra ``fast``) one kernel cumulates, searches and
    gathers; without it NumPy does the same, bit for bit.
    """

    def __init__(self, environment: Environment, copies: int, group_size: int) -> None:
        e, model = environment, environment.model
        self.environment = e
        self.prompts = np.flatnonzero(e.train)
        shape = (e.seeds, len(self.prompts), group_size)
        seed, prompt, _ = np.indices(shape)
        self.seed, self.prompt = seed, self.prompts[prompt]
        nodes, self.vocabulary = e.base_local.shape[-2:]
        #: Index of each answer's tokens into one prompt's table, and that table's size.
        self.position = model.nodes * self.vocabulary + model.tokens
        self.table = nodes * self.vocabulary
        ids = np.arange(len(self.position))[:, None]
        self.single = bool(model.mask.all()) and np.array_equal(self.position, ids)
        policies = e.base.shape[1]
        #: (S, Q) which of the S x P policies a group belongs to, and the first of each copy.
        self.policy = (self.seed * policies + self.prompt)[..., 0]
        self.first = np.arange(copies) * e.seeds * policies

    def __call__(
        self, local: Float, probabilities: Float, randomness: Randomness, step: int
    ) -> Rows:
        """The groups of one step, one for every trained prompt of every seed and copy.

        local (L, S, P, n, V); probabilities (L, S, P, K) of whole answers.
        """
        drawn = self._compiled if kernels.available() else self._plain
        uniforms, noise = randomness.draws[:, step], randomness.noise[:, step]
        return Rows(
            self.environment.model,
            self.vocabulary,
            self.seed,
            self.prompt,
            *drawn(local, probabilities, uniforms, noise),
        )

    def _plain(
        self, local: Float, probabilities: Float, uniforms: Float, noise: Float
    ) -> tuple[Int, Bool, Float, Int]:
        e = self.environment
        answers = draw(probabilities[:, :, self.prompts], uniforms)
        accepted = noise < e.verified[self.seed, self.prompt, answers]
        row = self.first[:, None, None] + self.policy
        where = row[..., None, None] * self.table + self.position[answers]
        old = local.reshape(-1).take(where)
        if not e.model.mask.all():
            old = np.where(e.model.mask[answers], old, 0.0)
        return answers, accepted, old, where

    def _compiled(
        self, local: Float, probabilities: Float, uniforms: Float, noise: Float
    ) -> tuple[Int, Bool, Float, Int]:
        e = self.environment
        return compiled.draw_rows(
            probabilities,
            local,
            policy=self.policy,
            uniforms=uniforms,
            noise=noise,
            verified=e.verified,
            position=self.position,
            mask=e.model.mask,
            single=self.single,
        )


def draw(probabilities: Float, uniforms: Float) -> Int:
    """Inverse-CDF draws: probabilities (L, S, Q, K), uniforms (S, Q, G) -> ids (L, S, Q, G)."""
    cumulated = np.cumsum(probabilities, axis=-1)
    cumulated /= cumulated[..., -1:]
    return np.asarray((uniforms[None, ..., None] >= cumulated[..., None, :]).sum(-1))
