"""Tabular policies: from parameters to log-probs, and back from weights on answers to gradients.

Every policy here is a set of softmaxes, one per node, and an answer is a path of (node, token)
pairs.  A plain softmax over answers is the case of one node.  Leading axes are L copies (strengths
of one remedy) and S seeds; P prompts; K answers; n nodes with V tokens each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsmooth.sim import kernels

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]


#: NumPy reduces a short last axis slowly; up to this length it is done column by column.
_SHORT = 8


def _over_last(f: np.ufunc, x: Float) -> Float:
    """``f`` reduced over the last axis, which stays with length 1."""
    if x.shape[-1] > _SHORT:
        return np.asarray(f.reduce(x, axis=-1, keepdims=True))
    out = x[..., :1].copy()
    for j in range(1, x.shape[-1]):
        f(out, x[..., j : j + 1], out=out)
    return out


def softmax(logits: Float) -> tuple[Float, Float]:
    """(log-probs, probabilities) over the last axis; -inf logits (padding) get -inf and 0."""
    # One layout whatever the logits': NumPy sums in the order in which numbers lie.
    log_probs = np.empty(logits.shape)
    rows = log_probs.reshape(-1, logits.shape[-1])
    fast = kernels.available()  # the same operations, bit for bit, but for exponential and sum
    if fast:
        kernels.kernel("below_top")(logits.reshape(rows.shape), rows)
    else:
        np.subtract(logits, _over_last(np.maximum, logits), out=log_probs)
    law = np.exp(log_probs)
    total = _over_last(np.add, law)
    log_total = np.log(total)
    if fast:
        kernels.kernel("normalise")(rows, law.reshape(rows.shape), total.ravel(), log_total.ravel())
    else:
        log_probs -= log_total
        law /= total
    return log_probs, law


def log_softmax(logits: Float) -> Float:
    """Log-probs over the last axis; -inf logits (padding) stay -inf."""
    return softmax(logits)[0]


class Model(ABC):
    """Parameters <-> log-probs of one kind of policy."""

    @property
    @abstractmethod
    def nodes(self) -> Int:
        """(K, T) node visited by each answer at each token; 0 where masked."""

    @property
    @abstractmethod
    def tokens(self) -> Int:
        """(K, T) token taken there."""

    @property
    @abstractmethod
    def mask(self) -> Bool:
        """(K, T) True where the answer has a token."""

    @classmethod
    @abstractmethod
    def joined(cls, models: Sequence[Any]) -> Model:
        """Models of the same kind and size, stacked along the seeds."""

    @abstractmethod
    def start(self, copies: int) -> Float:
        """Parameters of the base policy, (copies, S, ...)."""

    @abstractmethod
    def logits(self, parameters: Float) -> Float:
        """(L, S, P, n, V) logits of every token at every node."""

    def local(self, parameters: Float) -> Float:
        """(L, S, P, n, V) log-probs of every token at every node."""
        return log_softmax(self.logits(parameters))

    @abstractmethod
    def answers(self, local: Float) -> Float:
        """(L, S, P, K) log-probs of whole answers."""

    @abstractmethod
    def table(self, weights: Float) -> Float:
        """(L, S, P, n, V) weight of every token from weights (L, S, P, K) of whole answers."""

    @abstractmethod
    def pull(self, gradient: Float) -> Float:
        """From the gradient in the logits (L, S, P, n, V) to that in the parameters."""

    def gradient(self, law: Float, table: Float) -> Float:
        """Gradient of ``sum(table * local)`` in the parameters, of their shape.

        law (L, S, P, n, V): the probabilities, ``exp(local)``.
        """
        return self.pull(softmax_gradient(law, table))

    def log_probs(self, parameters: Float) -> Float:
        """(L, S, P, K) log-probs of whole answers."""
        return self.answers(self.local(parameters))


def softmax_gradient(law: Float, table: Float) -> Float:
    """Gradient in the logits of ``sum(table * log law)``: table - (sum table) law."""
    return np.asarray(table - _over_last(np.add, table) * law)


def token_gradient(law: Float, node: Int, where: Int, weight: Float) -> Float:
    """The same for a table that holds ``weight`` at the flat places ``where``, at ``node``.

    ``law`` may be overwritten: the table itself, mostly zeros, is never formed.
    """
    # Flat places need one flat view: of a law in another layout, reshape(-1) would be a copy.
    law = np.ascontiguousarray(law)
    rows = law.size // law.shape[-1]
    total = np.bincount(node.reshape(-1), weight.reshape(-1), minlength=rows)
    law *= -total.reshape(*law.shape[:-1], 1)
    np.add.at(law.reshape(-1), where.reshape(-1), weight.reshape(-1))
    return law


class _OneNode(Model):
    """Answers are single tokens: K = V."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of answers K."""

    @cached_property
    def nodes(self) -> Int:
        return np.zeros((self.size, 1), dtype=np.int64)

    @cached_property
    def tokens(self) -> Int:
        return np.arange(self.size, dtype=np.int64)[:, None]

    @cached_property
    def mask(self) -> Bool:
        return np.ones((self.size, 1), dtype=np.bool_)

    def answers(self, local: Float) -> Float:
        return local[..., 0, :]

    def table(self, weights: Float) -> Float:
        return weights[..., None, :]


@dataclass(frozen=True, eq=False)
class Tabular(_OneNode):
    """One softmax a prompt.  base (S, P, K): log-probs of the base policy, -inf on padding."""

    base: Float

    @property
    def size(self) -> int:
        return int(self.base.shape[-1])

    @classmethod
    def joined(cls, models: Sequence[Tabular]) -> Tabular:
        return cls(np.concatenate([m.base for m in models]))

    def start(self, copies: int) -> Float:
        return np.broadcast_to(self.base, (copies, *self.base.shape)).copy()

    def logits(self, parameters: Float) -> Float:
        return parameters[..., None, :]

    def pull(self, gradient: Float) -> Float:
        return gradient[..., 0, :]


@dataclass(frozen=True, eq=False)
class Shared(_OneNode):
    """Logits ``base + w[feature]``: prompts share one weight per feature (a strategy).

    base (S, P, K); feature (S, P, K) integer in [0, D).  Parameters are (L, S, D); a gradient is
    the sum over the prompts that its table gives weight to.
    """

    base: Float
    feature: Int
    features: int

    @property
    def size(self) -> int:
        return int(self.base.shape[-1])

    @classmethod
    def joined(cls, models: Sequence[Shared]) -> Shared:
        base = np.concatenate([m.base for m in models])
        return cls(base, np.concatenate([m.feature for m in models]), models[0].features)

    @cached_property
    def _one_hot(self) -> Float:
        seeds = self.feature.shape[0]
        flat = self.feature.reshape(seeds, -1)
        return np.asarray((flat[..., None] == np.arange(self.features)) * 1.0)

    def start(self, copies: int) -> Float:
        return np.zeros((copies, self.base.shape[0], self.features))

    def logits(self, parameters: Float) -> Float:
        seeds = np.arange(self.base.shape[0])[:, None, None]
        return np.asarray((self.base + parameters[:, seeds, self.feature])[..., None, :])

    def pull(self, gradient: Float) -> Float:
        flat = gradient.reshape(*gradient.shape[:2], 1, -1)
        return np.asarray((flat @ self._one_hot)[:, :, 0, :])


@dataclass(frozen=True, eq=False)
class Tree(Model):
    """Autoregressive tables: a softmax at every node of a tree, one tree shape for all prompts.

    base (S, P, n, V): local log-probs of the base policy, -inf where a node lacks the token.
    path_nodes, path_tokens, path_mask (K, T): the answers.
    """

    base: Float
    path_nodes: Int
    path_tokens: Int
    path_mask: Bool

    @classmethod
    def joined(cls, models: Sequence[Tree]) -> Tree:
        return replace(models[0], base=np.concatenate([m.base for m in models]))

    @property
    def nodes(self) -> Int:
        return self.path_nodes

    @property
    def tokens(self) -> Int:
        return self.path_tokens

    @property
    def mask(self) -> Bool:
        return self.path_mask

    @cached_property
    def _full(self) -> bool:
        return bool(np.isfinite(self.base).all())

    @cached_property
    def _incidence(self) -> Float:
        """(K, n * V) how often each answer takes each (node, token)."""
        nodes, vocabulary = self.base.shape[-2:]
        out = np.zeros((len(self.path_nodes), nodes * vocabulary))
        row = np.broadcast_to(np.arange(len(self.path_nodes))[:, None], self.path_nodes.shape)
        index = self.path_nodes * vocabulary + self.path_tokens
        np.add.at(out, (row[self.path_mask], index[self.path_mask]), 1.0)
        return out

    def start(self, copies: int) -> Float:
        return np.broadcast_to(self.base, (copies, *self.base.shape)).copy()

    def logits(self, parameters: Float) -> Float:
        return parameters

    def answers(self, local: Float) -> Float:
        # Tokens that no node has are on no path; their -inf must not meet a zero.
        flat = local.reshape(*local.shape[:-2], -1)
        if not self._full:
            flat = np.where(np.isfinite(flat), flat, 0.0)
        return np.asarray(flat @ self._incidence.T)

    def table(self, weights: Float) -> Float:
        nodes, vocabulary = self.base.shape[-2:]
        flat = weights @ self._incidence
        return np.asarray(flat.reshape(*weights.shape[:-1], nodes, vocabulary))

    def pull(self, gradient: Float) -> Float:
        return gradient
