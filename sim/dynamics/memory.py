"""Replay: a bank a prompt of the verified answers drawn so far, and its pull on the policy.

Source: theory.md E5, E6; replay of verified answers, arXiv 2610.11064.  The bank holds every
distinct accepted answer (tables are small: no capacity), replayed uniformly once an update.
"""

from __future__ import annotations

import numpy as np

from diffsmooth.sim.dynamics.draws import Rows
from diffsmooth.sim.environment import Environment
from diffsmooth.sim.policies import Bool, Float


class Memory:
    """Banks (L, S, P, K) bool of L copies with replay strengths (L,); empty at the start."""

    def __init__(self, environment: Environment, strengths: Float) -> None:
        self.model = environment.model
        self.strengths = np.asarray(strengths, dtype=np.float64).reshape(-1, 1, 1, 1)
        shape = (self.strengths.shape[0], *environment.base.shape)
        self.bank: Bool = np.zeros(shape, dtype=np.bool_)
        #: Tokens of an answer: replay pays the mean over them.
        self.lengths = self.model.mask.sum(axis=1)

    def add(self, rows: Rows) -> None:
        """Keep what the verifier has accepted, once each; what it accepts wrongly is kept too."""
        copies = np.arange(self.bank.shape[0])[:, None, None, None]
        at = (copies, rows.seed, rows.prompt, rows.answers)
        # Rows that were not accepted must not wipe out an answer that was.
        np.logical_or.at(self.bank, at, rows.accepted)

    def table(self) -> Float:
        """(L, S, P, n, V) weights whose softmax gradient is that of strength * mean of log pi.

        The mean runs over the bank, and over an answer's tokens; 0 where the bank is empty.
        """
        size = self.bank.sum(axis=-1, keepdims=True)
        each = self.strengths / np.maximum(size, 1)
        return self.model.table(np.where(self.bank, each / self.lengths, 0.0))
