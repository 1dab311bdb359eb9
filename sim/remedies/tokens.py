"""Remedies inside the loss: they select or reweigh tokens (Clip-Cov, KL-Cov, SimKO).

Each gets the tokens of one minibatch and returns weights for the policy-gradient table, or the
slope of a penalty on the log-ratio.  On
one-node policies an answer is one token whose vocabulary is the set of answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from diffsmooth.sim.policies import Bool, Float, Int
from diffsmooth.theory.rules import clip_cov_drop, forking_tokens, kl_cov_select, simko_parts


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """R answers of T tokens: what happens at their nodes.

    advantage, old (R, T): advantage and log-prob of the token taken under the sampling policy;
    law (N, V): log-probs over the vocabulary at every node, under the sampling policy; node (R, T)
    where each token was taken; taken (R, T) token ids; correct (R,); mask (R, T); uniforms (R, T)
    shared random numbers.
    """

    advantage: Float
    old: Float
    law: Float
    node: Int
    taken: Int
    correct: Bool
    mask: Bool
    uniforms: Float


class TokenPart(ABC):
    """A change of single tokens' weights."""

    needs_uniforms: bool = False

    @abstractmethod
    def __call__(self, batch: TokenBatch) -> tuple[Float, Float | None]:
        """(factor, spread): a factor (R, T) on each taken token's weight, and weights (N, V) to
        be added over the whole vocabularies of the nodes (None for none)."""

    def log_ratio_slope(self, batch: TokenBatch) -> Float | None:
        """(R, T) the slope of a penalty on |log pi - log pi_old| of each token; None for none."""
        return None


@dataclass(frozen=True)
class ClipCov(TokenPart):
    """Drop the gradient of a few random tokens of high covariance (2505.22617)."""

    fraction: float = 2e-4

    needs_uniforms = True

    def __call__(self, batch: TokenBatch) -> tuple[Float, Float | None]:
        if self.fraction == 0:
            return np.ones_like(batch.old), None
        drop = clip_cov_drop(
            batch.advantage, batch.old, batch.mask, batch.uniforms, fraction=self.fraction
        )
        return np.where(drop, 0.0, 1.0), None


@dataclass(frozen=True)
class KLCov(TokenPart):
    """beta |log pi - log pi_old| on the tokens of largest covariance (2505.22617).

    Slope beta from the first step off the sampling policy; gradient 0 in the first epoch, where
    pi = pi_old: like clipping, which the authors leave out beside it, it holds back later epochs.
    """

    fraction: float = 2e-3
    beta: float = 1.0

    def __call__(self, batch: TokenBatch) -> tuple[Float, Float | None]:
        return np.ones_like(batch.old), None

    def log_ratio_slope(self, batch: TokenBatch) -> Float | None:
        if self.fraction == 0 or self.beta == 0:
            return None
        chosen = kl_cov_select(batch.advantage, batch.old, batch.mask, fraction=self.fraction)
        return np.where(chosen, self.beta, 0.0)


@dataclass(frozen=True)
class SimKO(TokenPart):
    """Spread positive updates over the likeliest tokens, push harder on wrong modes (2510.14807).

    Both at forking tokens only: those whose law has an entropy strictly above the ``quantile`` of
    their response's.  An answer of one token has no quantile of its own: on one-node policies
    that of the batch's answers stands in.  What is spread is not weighed by the importance ratio.
    """

    alpha: float = 0.01
    top: int = 3
    penalty: float = 1.1
    quantile: float = 0.8

    def __call__(self, batch: TokenBatch) -> tuple[Float, Float | None]:
        nodes, vocabulary = batch.law.shape
        finite = np.where(np.isfinite(batch.law), batch.law, 0.0)
        entropy = -(np.exp(batch.law) * finite).sum(-1)[batch.node]
        alone = batch.mask.shape[1] == 1
        forking = forking_tokens(
            entropy, batch.mask, self.quantile, "batch" if alone else "response"
        )
        positive = np.broadcast_to(batch.correct[:, None], batch.mask.shape)
        # What is drawn twice at a node has the same weights: each kind is weighed once.
        kind = (batch.node * vocabulary + batch.taken) * 4 + 2 * positive + forking
        kinds, which = np.unique(kind[batch.mask], return_inverse=True)
        which = which.reshape(-1)
        node, taken = np.divmod(kinds // 4, vocabulary)
        each, spread = simko_parts(
            batch.law[node],
            taken,
            kinds % 4 >= 2,
            kinds % 2 == 1,
            alpha=self.alpha,
            top=min(self.top, vocabulary),
            penalty=self.penalty,
        )
        factor = np.ones_like(batch.old)
        factor[batch.mask] = each[which]
        advantage = np.bincount(which, batch.advantage[batch.mask], minlength=len(kinds))
        # A token that a small node lacks can be among its top; it has no log-prob to raise.
        spread = np.where(np.isfinite(batch.law[node]), spread, 0.0) * advantage[:, None]
        index = node[:, None] * vocabulary + np.arange(vocabulary)
        flat = np.bincount(index.reshape(-1), spread.reshape(-1), minlength=nodes * vocabulary)
        return factor, flat.astype(np.float64).reshape(nodes, vocabulary)
