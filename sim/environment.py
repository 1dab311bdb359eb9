"""What is trained on and tested on: a policy's model, and which answers are correct.

S seeds (independent draws of the same kind of problem), P prompts, K answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffsmooth.sim.policies import Bool, Float, Int, Model


@dataclass(frozen=True, eq=False)
class Solutions:
    """Of S seeds and Q trained prompts, the M correct answers that a prompt has at most.

    prompt (Q, 1); answer (S, Q, M) ids; there (S, Q, M) False on padding; first (S, Q, M): the
    place of the first correct answer of the same class.
    """

    prompt: Int
    answer: Int
    there: Bool
    first: Int

    def of(self, values: Float) -> Float:
        """(L, S, Q, M) of ``values`` (L, S, P, K); what stands on padding means nothing."""
        seed = np.arange(len(self.answer))[:, None, None]
        return np.asarray(values[:, seed, self.prompt, self.answer])

    @cached_property
    def single(self) -> bool:
        """Is every correct answer a class of its own?"""
        return bool(np.all(self.first == np.arange(self.first.shape[-1])))

    def by_class(self, mass: Float) -> Float:
        """(L, S, Q, M) mass of each class, at the place of its first answer, 0 elsewhere."""
        if self.single:
            return mass
        row = np.arange(mass.size // mass.shape[-1]).reshape(*mass.shape[:-1], 1)
        index = row * mass.shape[-1] + self.first
        summed = np.bincount(index.reshape(-1), mass.reshape(-1), minlength=mass.size)
        return np.asarray(summed.reshape(mass.shape))


@dataclass(frozen=True, eq=False)
class Environment:
    """Problems and their base policy, S independent draws of them.

    model
        The policy's parametrisation, with its base.
    correct
        (S, P, K) bool: the truth on the prompts as trained.
    test_correct
        (S, P, K) bool: which answers pass at test time.  Where it differs from ``correct``, an
        answer that training may ignore can be the one that is needed: the link through which
        diversity within a prompt reaches pass@k (theory.md D2).
    verified
        (S, P, K) chance that the verifier accepts the answer: 0 or 1 but for noise that is drawn
        afresh at every look.
    classes
        (S, P, K) integer id of the answer's class (its canonical form).
    lengths
        (K,) or (S, P, K) number of tokens.
    train, test
        (P,) bool: which prompts are trained on and which are tested on.

    Raises ValueError, naming the array, on wrong shapes, chances outside [0, 1], or prompts
    without a correct or without an incorrect answer.
    """

    model: Model
    correct: Bool
    test_correct: Bool
    verified: Float
    classes: Int
    lengths: Int
    train: Bool
    test: Bool

    def __post_init__(self) -> None:
        shape = self.base.shape
        for name in ("correct", "test_correct", "verified", "classes"):
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name}: must be {shape}, got {getattr(self, name).shape}")
        if np.any((self.verified < 0) | (self.verified > 1)):
            raise ValueError("verified: chances must lie in [0, 1]")
        for name, mask in (("correct", self.correct), ("incorrect", self.incorrect)):
            if not mask.any(axis=-1).all():
                raise ValueError(f"correct: every prompt needs an {name} answer")
        if np.any(self.correct & ~self.valid):
            raise ValueError("correct: padding cannot be correct")
        for name in ("train", "test"):
            mask = getattr(self, name)
            if mask.shape != shape[1:2] or not mask.any():
                raise ValueError(f"{name}: must be ({shape[1]},) bool with a prompt in it")

    @cached_property
    def base(self) -> Float:
        """(S, P, K) log-probs of the base policy."""
        return np.asarray(self.model.log_probs(self.model.start(1))[0])

    @cached_property
    def base_local(self) -> Float:
        """(S, P, n, V) local log-probs of the base policy."""
        return np.asarray(self.model.local(self.model.start(1))[0])

    @cached_property
    def valid(self) -> Bool:
        """(S, P, K) False on padding."""
        return np.asarray(np.isfinite(self.base))

    @cached_property
    def incorrect(self) -> Bool:
        """(S, P, K) the answers that are wrong (padding is neither)."""
        return np.asarray(~self.correct & self.valid)

    @cached_property
    def solutions(self) -> Solutions:
        """The correct answers of the trained prompts, side by side."""
        train = np.flatnonzero(self.train)
        correct, classes = self.correct[:, train], self.classes[:, train]
        counts = correct.sum(-1)
        # A stable sort puts the correct answers first, in their order.
        answer = np.argsort(~correct, axis=-1, kind="stable")[..., : int(counts.max())]
        there = np.arange(answer.shape[-1]) < counts[..., None]
        kind = np.take_along_axis(classes, answer, -1)
        # Classes by first appearance: an answer's class is the first answer of the same class.
        same = (kind[..., :, None] == kind[..., None, :]) & there[..., None, :]
        first = np.where(there, same.argmax(-1), np.arange(answer.shape[-1]))
        return Solutions(train[:, None], answer, there, first)

    @cached_property
    def full_lengths(self) -> Int:
        """(S, P, K) number of tokens of every answer."""
        return np.asarray(np.broadcast_to(self.lengths, self.base.shape))

    @property
    def seeds(self) -> int:
        """Number of independent draws S."""
        return int(self.base.shape[0])
