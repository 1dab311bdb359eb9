"""The group of answers to prompts: what travels through every floor of the package.

A proof, a table and a trainer hand the same object to the same rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffsmooth.theory.rules._backend import (
    Array,
    cached,
    compiling,
    divide,
    is_symbolic,
    namespace,
    segment_max,
    segment_sum,
    working,
)


@dataclass(frozen=True)
class GroupBatch:
    """B answers, each to the prompt named by its group id.

    reward
        (B,) what the verifier (or a sum of reward functions) paid.
    correct
        (B,) bool: is the answer correct?  Explicit: never inferred from a total reward, of which a
        format bonus may be part.
    logps
        Log-probs in nats under the policy that produced the answers: (B,) of whole answers, or
        (B, T) of tokens with ``mask`` (B, T) bool.  None for rules that do not read them.
        The rules treat them as they come: pass detached values for a stop-gradient.
    group
        (B,) integer id of the prompt.  Any order, any group sizes: rows are never reshaped.
    lengths
        (B,) number of tokens, where ``logps`` is (B,) and a rule needs means per token.
    classes
        (B,) integer id of the answer's class (canonical form), for the quotient rule.
    ref_logps
        log-probs under a reference policy, of the shape of ``logps``.

    Answers whose mask is empty (truncated ones that a trainer masks out) have no log-prob: they
    get no term and count in no mean of log-probs.

    Raises ValueError, naming the argument, on wrong shapes, NaN, infinite values, log-probs above
    0, masks or correctness that are not boolean, ids that are not integers; TypeError on arrays of
    different libraries.  Under ``torch.compile`` only shapes and types are checked.
    """

    reward: Array
    correct: Array
    group: Array
    logps: Array = None
    mask: Array = None
    lengths: Array = None
    classes: Array = None
    ref_logps: Array = None

    def __post_init__(self) -> None:
        _check(self)

    @cached
    def xp(self) -> Any:
        """The array namespace of the batch."""
        return namespace(self.reward, self.logps)

    @cached
    def groups(self) -> Groups:
        """The partition of the rows by ``group``."""
        return Groups(self.group)

    @cached
    def correct_as_number(self) -> Array:
        """(B,) 1 on correct answers, 0 on the others, in the reward's working type."""
        return self.xp.astype(self.correct, self.work_reward.dtype)

    @cached
    def work_reward(self) -> Array:
        """(B,) the reward in the precision the rules compute in."""
        return working(self.xp, self.reward)

    @cached
    def sequence_logps(self) -> Array:
        """(B,) log-prob of each whole answer, the sum over its tokens.

        Raises ValueError if the batch has no ``logps``.
        """
        return self._over_tokens(self._need_logps())

    @cached
    def sequence_ref_logps(self) -> Array:
        """(B,) log-prob of each whole answer under the reference.

        Raises ValueError if the batch has no ``ref_logps``.
        """
        if self.ref_logps is None:
            raise ValueError("ref_logps: this rule needs the reference's log-probs; got None")
        return self._over_tokens(self.ref_logps)

    @cached
    def token_counts(self) -> Array:
        """(B,) number of tokens of each answer, as numbers of the log-probs' type.

        Raises ValueError if ``logps`` is (B,) and no ``lengths`` were given.
        """
        logps = working(self.xp, self._need_logps())
        if logps.ndim == 2:
            return self.xp.sum(self.xp.astype(self.full_mask, logps.dtype), axis=1)
        if self.lengths is None:
            raise ValueError(
                "lengths: means per token of sequence log-probs (B,) need the lengths (B,); "
                "pass them, or token log-probs (B, T) with a mask"
            )
        return self.xp.astype(self.lengths, logps.dtype)

    @cached
    def mean_logps(self) -> Array:
        """(B,) mean log-prob per token; 0 on answers without a token."""
        return divide(self.xp, self.sequence_logps, self.token_counts)

    @cached
    def has_tokens(self) -> Array:
        """(B,) bool: False on answers whose mask (or length) is empty."""
        if self.logps is not None and self.logps.ndim == 2:
            return self.xp.any(self.full_mask, axis=1)
        if self.lengths is not None:
            return self.lengths > 0
        return self.xp.ones_like(self.correct)

    @cached
    def mixed(self) -> Array:
        """(B,) bool: does the row's group hold both kinds of answers?"""
        number = self.xp.astype(self.correct, self.xp.int64)
        successes = self.groups.sum(number)
        return (successes > 0) & (successes < self.groups.sum(self.xp.ones_like(number)))

    @property
    def full_mask(self) -> Array:
        """(B, T) bool: the mask, all true where none was given."""
        if self.mask is not None:
            return self.mask
        return self.xp.ones_like(self.logps, dtype=self.xp.bool)

    def _need_logps(self) -> Array:
        if self.logps is None:
            raise ValueError("logps: this rule needs the answers' log-probs; got None")
        return self.logps

    def _over_tokens(self, logps: Array) -> Array:
        logps = working(self.xp, logps)
        if logps.ndim == 1:
            return logps
        if self.mask is not None:
            logps = self.xp.where(self.mask, logps, self.xp.zeros_like(logps))
        return self.xp.sum(logps, axis=1)


class Groups:
    """The rows of a batch partitioned by group id, in any order.

    ``labels`` (B,) numbers the groups from 0; there are at most B of them, so that every shape is
    known beforehand (no data-dependent shape under ``torch.compile``).  Built from sorts alone.
    """

    def __init__(self, ids: Array) -> None:
        xp = self.xp = namespace(ids)
        self.rows = int(ids.shape[0])
        order = xp.argsort(ids, stable=True)
        arranged = xp.take(ids, order)
        step = xp.astype(arranged[1:] != arranged[:-1], xp.int64)
        first = xp.zeros_like(arranged[:1], dtype=xp.int64)
        ranked = xp.cumulative_sum(xp.concat([first, step]))
        self.labels = xp.take(ranked, xp.argsort(order, stable=True))

    def sum(self, x: Array) -> Array:
        """(B, ...) -> (B, ...): each row gets the sum over its group."""
        return self._spread(segment_sum(self.xp, x, self.labels, self.rows))

    def max(self, x: Array) -> Array:
        """(B,) -> (B,): each row gets the maximum over its group."""
        return self._spread(segment_max(self.xp, x, self.labels, self.rows))

    def _spread(self, totals: Array) -> Array:
        return totals[self.labels]


def _check(batch: GroupBatch) -> None:
    arrays = {
        name: getattr(batch, name)
        for name in (
            "reward",
            "correct",
            "group",
            "logps",
            "mask",
            "lengths",
            "classes",
            "ref_logps",
        )
    }
    for name, value in arrays.items():
        if value is not None and not hasattr(value, "shape"):
            raise TypeError(
                f"{name}: must be a NumPy array or torch tensor, got {type(value).__name__}"
            )
    symbolic = any(is_symbolic(a) for a in arrays.values())
    xp = namespace(*arrays.values())
    if batch.reward.ndim != 1:
        raise ValueError(f"reward: shape must be (B,), got {tuple(batch.reward.shape)}")
    rows = batch.reward.shape[0]
    for name in ("correct", "group", "lengths", "classes"):
        value = arrays[name]
        if value is not None and tuple(value.shape) != (rows,):
            raise ValueError(
                f"{name}: shape must be ({rows},) like reward, got {tuple(value.shape)}"
            )
    logps = batch.logps
    if logps is not None and (logps.ndim not in (1, 2) or logps.shape[0] != rows):
        raise ValueError(f"logps: shape must be ({rows},) or ({rows}, T), got {tuple(logps.shape)}")
    if batch.mask is not None and (
        logps is None or logps.ndim != 2 or tuple(batch.mask.shape) != tuple(logps.shape)
    ):
        raise ValueError(
            f"mask: shape must be that of token log-probs (B, T), got {tuple(batch.mask.shape)}"
        )
    if batch.ref_logps is not None and (
        logps is None or tuple(batch.ref_logps.shape) != tuple(logps.shape)
    ):
        raise ValueError(
            f"ref_logps: shape must be that of logps, got {tuple(batch.ref_logps.shape)}"
        )
    for name in ("correct", "mask"):
        value = arrays[name]
        if value is not None and not xp.isdtype(value.dtype, "bool"):
            raise ValueError(f"{name}: must be boolean, got {value.dtype}")
    for name in ("group", "classes", "lengths"):
        value = arrays[name]
        if value is not None and not xp.isdtype(value.dtype, "integral"):
            raise ValueError(f"{name}: must hold integers, got {value.dtype}")
    if symbolic or compiling():
        return
    if not bool(xp.all(xp.isfinite(working(xp, batch.reward)))):
        raise ValueError("reward: holds NaN or infinite values; drop or score those answers first")
    if batch.lengths is not None and bool(xp.any(batch.lengths < 0)):
        raise ValueError("lengths: must not be negative")
    for name in ("logps", "ref_logps"):
        if arrays[name] is not None:
            _check_logps(xp, name, arrays[name], batch.mask)


def _check_logps(xp: Any, name: str, logps: Array, mask: Array) -> None:
    if not xp.isdtype(logps.dtype, "real floating"):
        raise ValueError(f"{name}: must hold floating-point numbers, got {logps.dtype}")
    values = logps if mask is None else xp.where(mask, logps, xp.zeros_like(logps))
    if bool(xp.any(xp.isnan(values))):
        raise ValueError(f"{name}: holds NaN")
    if bool(xp.any(values == -float("inf"))):
        raise ValueError(f"{name}: holds -inf: an answer that was drawn has a positive probability")
    # A log-softmax may round a hair above 0; anything beyond that is no log-prob.
    if bool(xp.any(values > 16 * xp.finfo(logps.dtype).eps)):
        raise ValueError(f"{name}: log-probs must be <= 0, got {float(xp.max(values)):.6g}")
