"""Splits of generated problems that cannot leak: a problem's key alone decides where it belongs.

No choice of seed, size or order can so bring a test problem into training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Literal, TypeVar

T = TypeVar("T")

Split = Literal["train", "valid", "test"]

#: Share of all problems in each split.
SHARES: Mapping[Split, float] = {"train": 0.8, "valid": 0.1, "test": 0.1}

#: Draws in a row without a new problem after which a law counts as exhausted.
MAX_STALE = 10_000


def split_of_key(key: str) -> Split:
    """The split of the problem whose key, as text, is ``key``."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    u = int.from_bytes(digest, "big") / 2**64
    return "train" if u < 0.8 else "valid" if u < 0.9 else "test"


def check_split(split: str) -> None:
    """Raise ``ValueError`` for an unknown split."""
    if split not in SHARES:
        raise ValueError(f"split is {split!r}; allowed: {', '.join(SHARES)}")


def distinct(
    problems: Iterable[T], count: int, key: Callable[[T], Hashable], split: Split
) -> list[T]:
    """The first ``count`` of an endless stream that differ in ``key``.

    Raises ``ValueError`` where ``MAX_STALE`` draws in a row bring no new one: the law has fewer.
    """
    found: dict[Hashable, T] = {}
    stale = 0
    for problem in problems:
        if len(found) >= count:
            break
        name = key(problem)
        stale = stale + 1 if name in found else 0
        found.setdefault(name, problem)
        if stale >= MAX_STALE:
            raise ValueError(
                f"count is {count}, but only {len(found)} distinct {split} problems were found"
            )
    return list(found.values())
