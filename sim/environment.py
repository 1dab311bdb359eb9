"""What is trained on and tested on: a policy's model, and which answers are correct.

S seeds (independent draws of the same kind of problem), P prompts, K answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffsmooth.sim.dynamics.models import Bool, Float, Int, Model


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
    def full_lengths(self) -> Int:
        """(S, P, K) number of tokens of every answer."""
        return np.asarray(np.broadcast_to(self.lengths, self.base.shape))

    @property
    def seeds(self) -> int:
        """Number of independent draws S."""
        return int(self.base.shape[0])
