"""Group advantages that see rewards only: GRPO and its relatives, and pass@k training.

Notation: G answers a group, N+ of them correct, m and s the mean and the standard deviation of
the group's rewards.  theory.md E1 gives the utility that each of them maximises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from diffsmooth.theory.rules._backend import Array, divide, sqrt
from diffsmooth.theory.rules.base import Part, RewardOnly, Rule, check_values, nonnegative
from diffsmooth.theory.rules.batch import GroupBatch


def _counts(batch: GroupBatch) -> tuple[Array, Array]:
    """(G, N+): the size of each row's group and its number of correct answers, both (B,)."""
    number = batch.correct_as_number
    return batch.groups.sum(batch.xp.ones_like(number)), batch.groups.sum(number)


def _mean(batch: GroupBatch, x: Array) -> Array:
    size, _ = _counts(batch)
    return batch.groups.sum(x) / size


@dataclass(frozen=True)
class Reinforce(RewardOnly):
    """A = r: plain policy gradient without a baseline (vanilla)."""

    citation: ClassVar[str] = "Williams 1992"
    formula: ClassVar[str] = "r"

    def __call__(self, batch: GroupBatch) -> Array:
        return batch.work_reward


@dataclass(frozen=True)
class GRPO(RewardOnly):
    """A = (r - m) / (s + eps), 0 in groups of one reward.

    eps
        Added to the standard deviation (1e-4 in TRL, 1e-6 in verl and the paper's public code).
    ddof
        0: divide the sum of squares by G (population); 1: by G - 1 (the sample deviation of TRL,
        verl and most code bases).  Every rule that is built over GRPO takes both by name.
    """

    eps: Any = 1e-6
    ddof: int = 0

    citation: ClassVar[str] = "2402.03300, Sec. 4.1.2"
    formula: ClassVar[str] = "(r - m) / (s + eps)"

    def __post_init__(self) -> None:
        nonnegative("eps", self.eps)
        if self.ddof not in (0, 1):
            raise ValueError(f"ddof: must be 0 or 1, got {self.ddof}")

    def __call__(self, batch: GroupBatch) -> Array:
        xp, reward = batch.xp, batch.work_reward
        size, _ = _counts(batch)
        if self.ddof:
            check_values(size < 2, "group: the sample deviation (ddof=1) needs 2 answers a group")
        centred = reward - _mean(batch, reward)
        deviation = sqrt(xp, batch.groups.sum(centred * centred) / (size - self.ddof))
        return divide(xp, centred, deviation + self.eps)


@dataclass(frozen=True)
class DrGRPO(RewardOnly):
    """A = r - m: no division by the standard deviation."""

    citation: ClassVar[str] = "2503.20783"
    formula: ClassVar[str] = "r - m"

    def __call__(self, batch: GroupBatch) -> Array:
        return batch.work_reward - _mean(batch, batch.work_reward)


@dataclass(frozen=True)
class RLOO(RewardOnly):
    """A = r - mean of the other answers' rewards.  Raises ValueError on groups of one answer."""

    citation: ClassVar[str] = "2402.14740"
    formula: ClassVar[str] = "r - mean of the others"

    def __call__(self, batch: GroupBatch) -> Array:
        size, _ = _counts(batch)
        check_values(size < 2, "group: leave-one-out needs at least 2 answers in every group")
        reward = batch.work_reward
        return reward - (batch.groups.sum(reward) - reward) / (size - 1)


@dataclass(frozen=True)
class SignedReinforce(RewardOnly):
    """A = ``positive`` on correct answers, ``-negative`` on incorrect ones.

    (1, 0) is PSR, (0, 1) NSR, (.1, 1) W-REINFORCE.
    """

    positive: Any = 1.0
    negative: Any = 1.0

    citation: ClassVar[str] = "2506.01347"
    formula: ClassVar[str] = "+a on correct, -b on incorrect"

    def __post_init__(self) -> None:
        nonnegative("positive", self.positive)
        nonnegative("negative", self.negative)

    def __call__(self, batch: GroupBatch) -> Array:
        number = batch.correct_as_number
        return self.positive * number - self.negative * (1 - number)


def _no_success(free: Array, total: Array, draws: int) -> Array:
    """C(free, draws) / C(total, draws): the chance that ``draws`` of ``total`` answers all fail.

    A product of ``draws`` factors; it is exactly 0 once ``free < draws``.
    """
    out = total * 0 + 1
    for j in range(draws):
        out = out * (free - j) / (total - j)
    return out


@dataclass(frozen=True)
class PassAtK(RewardOnly):
    """Pass@k training: the group's pass@k as reward, standardised in closed form.

    R = 1 - C(N-, k)/C(G, k), S = sqrt(R (1 - R)); A+ = (1 - R)/S;
    A- = (1 - R - C(N- - 1, k-1)/C(G-1, k-1))/S.  Groups with S = 0 get 0.
    Raises ValueError on k < 1 and on groups of fewer than k answers.
    """

    k: int = 8

    citation: ClassVar[str] = "2508.10751"
    formula: ClassVar[str] = "A+ = (1-R)/S, A- = (1-R-C(N- -1,k-1)/C(G-1,k-1))/S"

    def __post_init__(self) -> None:
        _check_k(self.k)

    def __call__(self, batch: GroupBatch) -> Array:
        size, successes = _counts(batch)
        _check_size(size, self.k)
        failures = size - successes
        fail = _no_success(failures, size, self.k)
        spread = sqrt(batch.xp, (1 - fail) * fail)
        # On an incorrect answer: the other k-1 of its draw are all wrong too.
        without = batch.xp.where(
            batch.correct,
            batch.xp.zeros_like(size),
            _no_success(failures - 1, size - 1, self.k - 1),
        )
        return divide(batch.xp, fail - without, spread)


@dataclass(frozen=True)
class PKPO(RewardOnly):
    """Unbiased gradient of pass@k with a leave-one-out baseline, for binary correctness.

    The expected update is the gradient of pass@k = 1 - (1 - C)^k, whatever the baseline.
    Raw weights (times G): k on correct answers, k rho(G-1, N+, k-1) on incorrect ones, with
    rho(n, c, k) = 1 - C(n-c, k)/C(n, k).  Baseline "loo-1" (the authors' choice) leaves
    k C(N-, k-1)/C(G-1, k-1) on correct answers and exactly 0 on incorrect ones; "loo" subtracts
    k G/(G-1) rho(G-1, N+ without the answer, k), needs G > k; "none" subtracts nothing.
    Raises ValueError on k < 1, groups smaller than k (or k + 1 for "loo").
    """

    k: int = 8
    baseline: str = "loo-1"

    citation: ClassVar[str] = "2505.15201"
    formula: ClassVar[str] = "k C(N-,k-1)/C(G-1,k-1) on correct, 0 on incorrect (loo-1)"

    def __post_init__(self) -> None:
        _check_k(self.k)
        if self.baseline not in ("none", "loo", "loo-1"):
            raise ValueError(f"baseline: must be none, loo or loo-1, got {self.baseline!r}")

    def __call__(self, batch: GroupBatch) -> Array:
        k, number = self.k, batch.correct_as_number
        size, successes = _counts(batch)
        _check_size(size, k + (self.baseline == "loo"))
        failures = size - successes
        # The other answers of the group: size - 1 of them, of which so many are wrong.
        others_wrong = failures - (1 - number)
        others_fail = _no_success(others_wrong, size - 1, k - 1)
        if self.baseline == "loo-1":
            return number * k * others_fail
        raw = k * (number + (1 - number) * (1 - others_fail))
        if self.baseline == "none":
            return raw
        pass_rate = 1 - _no_success(others_wrong, size - 1, k)
        return raw - k * pass_rate * size / (size - 1)  # in this order: exact on exact numbers


@dataclass(frozen=True)
class MaxRL(RewardOnly):
    """A = (c - m)/(m + eps) with c the correctness and m its group mean; 0 without a success."""

    eps: Any = 0.0

    citation: ClassVar[str] = "2602.02710"
    formula: ClassVar[str] = "(c - m) / (m + eps)"

    def __post_init__(self) -> None:
        nonnegative("eps", self.eps)

    def __call__(self, batch: GroupBatch) -> Array:
        number = batch.correct_as_number
        mean = _mean(batch, number)
        # Without a success every c - m is 0 already; divide() covers eps = 0.
        return divide(batch.xp, number - mean, mean + self.eps)


def _focal(batch: GroupBatch, gamma: Any, base: Rule) -> Array:
    """(1 - m)^gamma times the base's advantage, (B,) or (B, T)."""
    weight = (1 - _mean(batch, batch.correct_as_number)) ** gamma
    advantage = base(batch)
    return (weight if advantage.ndim == 1 else weight[:, None]) * advantage


@dataclass(frozen=True)
class FGRPO(RewardOnly):
    """(1 - m)^gamma times the advantage of ``base``, m the group's share of correct answers.

    The focal weight of F-GRPO over any advantage that sees rewards only: GRPO's (which DAPO and
    CISPO have too: they differ in the loss), Dr. GRPO's, ...  :class:`Focal` is the same over a
    rule that reads more.
    """

    gamma: Any = 1.0
    base: RewardOnly = GRPO()

    citation: ClassVar[str] = "2602.06717"
    formula: ClassVar[str] = "(1 - m)^gamma A, A = (r - m)/(s + eps) or any other"

    def __post_init__(self) -> None:
        nonnegative("gamma", self.gamma)
        if not isinstance(self.base, RewardOnly):
            raise ValueError(
                f"base: must be a rule that sees rewards only, got {self.base!r}; "
                "rule('f-grpo', base=...) and Focal take any rule"
            )

    def __call__(self, batch: GroupBatch) -> Array:
        return _focal(batch, self.gamma, self.base)


@dataclass(frozen=True)
class Focal(Rule):
    """F-GRPO's weight over a rule that reads more than rewards: all of its advantage is scaled."""

    gamma: Any = 1.0
    base: Rule = GRPO()

    citation: ClassVar[str] = FGRPO.citation
    formula: ClassVar[str] = FGRPO.formula

    def __post_init__(self) -> None:
        nonnegative("gamma", self.gamma)
        if not isinstance(self.base, Rule):
            raise ValueError(f"base: must be a rule, got {self.base!r}")

    @property
    def part(self) -> Part:  # type: ignore[override]
        return "across" if self.base.part == "across" else "both"

    @property
    def needs_logps(self) -> bool:  # type: ignore[override]
        return self.base.needs_logps

    @property
    def touches_incorrect(self) -> bool:  # type: ignore[override]
        return self.base.touches_incorrect

    @property
    def needs_reference(self) -> bool:  # type: ignore[override]
        return self.base.needs_reference

    @property
    def needs_classes(self) -> bool:  # type: ignore[override]
        return self.base.needs_classes

    @property
    def token_level(self) -> bool:  # type: ignore[override]
        return self.base.token_level

    def __call__(self, batch: GroupBatch) -> Array:
        return _focal(batch, self.gamma, self.base)


def _check_k(k: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k: must be an integer >= 1, got {k!r}")


def _check_size(size: Array, least: int) -> None:
    check_values(size < least, f"group: this rule needs at least {least} answers in every group")
