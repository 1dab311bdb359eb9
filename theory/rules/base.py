"""What a rule is: a frozen object that turns a group of answers into advantages."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from diffsmooth.theory.rules._backend import Array, compiling, is_symbolic
from diffsmooth.theory.rules.batch import GroupBatch

Part = Literal["across", "within", "both"]


@dataclass(frozen=True)
class Rule(ABC):
    """A map from a group of answers to advantages: (B,) per answer, or (B, T) per token.

    Advantages are to be used as constants: gradient of ``sum(advantage * log pi)``.

    part
        Where the rule acts: "across" prompts (it sees rewards only, theory.md E1), "within" a
        prompt (among its correct answers, E2), or "both".
    needs_logps, touches_incorrect, needs_reference, needs_classes, token_level
        The classifier: what the rule reads and what it changes.
    citation
        arXiv id of the source.
    """

    part: ClassVar[Part]
    citation: ClassVar[str]
    formula: ClassVar[str]
    needs_logps: ClassVar[bool] = False
    touches_incorrect: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = False
    needs_classes: ClassVar[bool] = False
    token_level: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, batch: GroupBatch) -> Array:
        """Advantages of the batch: (B,) or (B, T), in the rewards' type.

        Raises ValueError, naming the argument, if the batch lacks what the rule needs.
        """


class RewardOnly(Rule):
    """A rule that depends on the group's rewards alone.

    By theory.md E1 it maximises the mean over prompts of some utility u(C) and is blind to which
    correct answer it reinforces.
    """

    part: ClassVar[Part] = "across"

    def two_values(self, k: int, group_size: int, *, exact: bool = False) -> tuple[Any, Any]:
        """(A+, A-): the advantage of a correct and of an incorrect answer, k of G being correct.

        Binary rewards.  The value of an absent kind (A+ at k = 0, A- at k = G) is 0.  With
        ``exact`` the very same rule runs on sympy integers and returns exact numbers.

        Raises ValueError unless 0 <= k <= G and G >= 1.
        """
        if not 0 <= k <= group_size or group_size < 1:
            raise ValueError(f"k: must lie in [0, G] with G >= 1, got k={k}, G={group_size}")
        correct = np.arange(group_size) < k
        reward: Array = correct.astype(np.float64)
        if exact:
            import sympy

            reward = np.array([sympy.Integer(int(c)) for c in correct], dtype=object)
        batch = GroupBatch(reward, correct, np.zeros(group_size, dtype=np.int64))
        out = self(batch)
        zero = reward[0] * 0
        return (out[0] if k else zero, out[-1] if k < group_size else zero)


def nonnegative(name: str, value: Any) -> None:
    """Raise ValueError, naming ``name``, unless ``value`` is a finite number >= 0.

    A sympy symbol passes unless it is known to be negative.
    """
    negative = getattr(value, "is_negative", None)
    if getattr(value, "free_symbols", None):
        if negative:
            raise ValueError(f"{name}: must be >= 0, got {value}")
        return
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{name}: must be a finite number >= 0, got {value}")


def check_values(condition: Any, message: str) -> None:
    """Raise ValueError(message) if any element of ``condition`` is true (not under compile)."""
    if compiling() or is_symbolic(condition):
        return
    if bool(condition.any()):
        raise ValueError(message)


def is_zero(strength: Any) -> bool:
    """True if the strength (a number or a sympy expression) is exactly 0."""
    return bool(strength == 0)


def among(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raise ValueError, naming ``name``, unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"{name}: must be one of {', '.join(allowed)}; got {value!r}")
