"""Groups drawn from a policy by inverse CDF, from uniforms that every heuristic shares.

Two heuristics with equal policies draw equal answers, so that their differences are paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffsmooth.sim.dynamics import compiled
from diffsmooth.sim.dynamics.models import Bool, Float, Int
from diffsmooth.sim.environment import Environment


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
    nodes, tokens, mask, old (L, S, Q, G, T): path and log-prob of each token as drawn; where: flat
    index of each token into the local table (L, S, P, n, V).
    """

    seed: Int
    prompt: Int
    answers: Int
    accepted: Bool
    nodes: Int
    tokens: Int
    mask: Bool
    old: Float
    where: Int

    def gather(self, local: Float) -> Float:
        """Log-prob of each drawn token under another policy, 0 where masked."""
        return np.asarray(np.where(self.mask, local.reshape(-1)[self.where], 0.0))


def draw(log_probs: Float, uniforms: Float) -> Int:
    """Inverse-CDF draws: log_probs (L, S, Q, K), uniforms (S, Q, G) -> ids (L, S, Q, G).

    The first answer whose cumulated probability exceeds the uniform: one that has probability 0
    is never drawn.
    """
    probabilities = np.exp(log_probs)
    if compiled.available():
        return compiled.draw_compiled(probabilities, uniforms)
    return draw_plainly(probabilities, uniforms)


def draw_plainly(probabilities: Float, uniforms: Float) -> Int:
    """The same draws without numba, bit for bit."""
    cumulated = np.cumsum(probabilities, axis=-1)
    cumulated /= cumulated[..., -1:]
    return np.asarray((uniforms[None, ..., None] >= cumulated[..., None, :]).sum(-1))


def draw_rows(
    environment: Environment, local: Float, log_probs: Float, randomness: Randomness, step: int
) -> Rows:
    """The groups of one step, one for every trained prompt of every seed and copy."""
    e = environment
    prompts = np.flatnonzero(e.train)
    uniforms = randomness.draws[:, step]
    seed, prompt, _ = (np.asarray(i) for i in np.indices(uniforms.shape))
    prompt = prompts[prompt]
    answers = draw(log_probs[:, :, prompts], uniforms)
    accepted = randomness.noise[:, step][None] < e.verified[seed, prompt, answers]
    nodes, tokens = e.model.nodes[answers], e.model.tokens[answers]
    copies, seeds, count, n, vocabulary = local.shape
    copy = np.arange(copies)[:, None, None, None]
    row = (copy * seeds + seed) * count + prompt
    where = (row[..., None] * n + nodes) * vocabulary + tokens
    mask = e.model.mask[answers]
    old = np.where(mask, local.reshape(-1)[where], 0.0)
    return Rows(seed, prompt, answers, accepted, nodes, tokens, mask, old, where)
