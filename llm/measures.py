"""What is measured on samples: pass@k for every k, and the diversity of the correct answers.

Everything is per problem first; means and intervals are over problems, which are the units that
would be drawn again.  Estimators of pass@k and of the distinct answers in k draws are the
unbiased ones (draws without replacement from the n samples).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_WORD = re.compile(r"\w|[^\w\s]")
_LONG_WORD = re.compile(r"\w+|[^\w\s]")


def pass_curve(samples: int, correct: Sequence[int], ks: Sequence[int]) -> Array:
    """Unbiased pass@k per problem: shape (problems, len(ks)).

    ``samples`` is n for every problem, ``correct`` the number of correct ones of each.  The
    estimator is ``diffsmooth.theory.passk.pass_at_k``; its product over k is taken once for all
    k and once for equal counts.  Raises ``ValueError`` where a k lies outside 1..n or a count
    outside 0..n.
    """
    import numpy as np

    wanted = np.asarray(ks, dtype=np.int64)
    if np.any((wanted < 1) | (wanted > samples)):
        raise ValueError(f"ks is {list(ks)}; allowed: 1 to samples = {samples}")
    counts, row = np.unique(np.asarray(correct, dtype=np.int64), return_inverse=True)
    if np.any((counts < 0) | (counts > samples)):
        raise ValueError(f"correct is {list(correct)}; allowed: 0 to samples = {samples}")
    drawn = np.arange(wanted.max(initial=0))
    ratios = np.maximum(samples - counts[:, None] - drawn, 0) / (samples - drawn)
    return np.asarray((1.0 - np.cumprod(ratios, axis=1))[:, wanted - 1][row])


def distinct_curve(samples: int, classes: Sequence[Sequence[int]], ks: Sequence[int]) -> Array:
    """Expected number of distinct correct answers in k draws: shape (problems, len(ks)).

    ``classes[p]`` are the sizes of problem p's classes of correct answers.  An answer of size m
    is seen with probability pass@k of m in n, so the estimator is unbiased as that one is.
    """
    import numpy as np

    sizes, number = np.unique([m for row in classes for m in row], return_inverse=True)
    seen = pass_curve(samples, sizes.astype(np.int64).tolist(), ks)
    problem = np.repeat(np.arange(len(classes)), [len(row) for row in classes])
    held = np.zeros((len(classes), len(sizes)))
    np.add.at(held, (problem, number), 1.0)
    return np.asarray(held @ seen)


def entropy(sizes: Sequence[int]) -> float | None:
    """Plug-in Shannon entropy (nats) of classes of these sizes; ``None`` where there are none.

    It underestimates by about (classes - 1) / (2 * draws): compare equal numbers of samples.
    """
    import math

    total = sum(sizes)
    if total == 0:
        return None
    # Each term is >= 0 and that of a single class exactly 0.
    return sum(m * math.log(total / m) for m in sizes if m) / total


def ngrams(text: str, order: int = 3) -> Counter[tuple[str, ...]]:
    """Counts of the ``order``-grams of a text's words, ends marked.

    Words are runs of letters and digits and single signs; texts without spaces (expressions)
    are cut into characters.
    """
    pattern = _LONG_WORD if re.search(r"\s", text.strip()) else _WORD
    words = ["<s>", *pattern.findall(text), "</s>"]
    if len(words) < order:
        return Counter({tuple(words): 1})
    return Counter(zip(*(words[i:] for i in range(order)), strict=False))


def self_similarity(texts: Sequence[str], order: int = 3) -> float | None:
    """Mean cosine of the n-gram counts over all pairs of different texts' positions, in [0, 1].

    1 where all texts are equal, 0 where no two share an n-gram; ``None`` for fewer than two.
    Linear in the number of texts: the pairs' sum is the squared length of the sum of the unit
    vectors.
    """
    if len(texts) < 2:
        return None
    counts = Counter(texts)
    total: dict[tuple[str, ...], float] = {}
    for text, times in counts.items():
        grams = ngrams(text, order)
        length = float(sum(v * v for v in grams.values())) ** 0.5
        for gram, v in grams.items():
            total[gram] = total.get(gram, 0.0) + times * v / length
    n = len(texts)
    mean = (sum(v * v for v in total.values()) - n) / (n * (n - 1))
    return float(min(1.0, max(0.0, mean)))


def resampled_means(values: Array, resamples: int, seed: int) -> Array:
    """Means over bootstrap draws of the problems: (resamples, columns) from (problems, columns).

    One draw of problems serves all columns, and all calls with the same seed and number of
    problems, so whole curves can be compared within a draw.
    """
    import numpy as np

    blocks = _draws(values.shape[0], resamples, seed)
    return np.concatenate([block.astype(np.float64) @ values for block in blocks]) / len(values)


@lru_cache(maxsize=2)
def _draws(problems: int, resamples: int, seed: int) -> tuple[NDArray[np.uint32], ...]:
    """How often each problem is drawn, in blocks of at most 256 draws of all problems."""
    import numpy as np

    rng = np.random.Generator(np.random.Philox(seed))
    uniform = np.full(problems, 1.0 / problems)
    return tuple(
        rng.multinomial(problems, uniform, size=min(256, resamples - start)).astype(np.uint32)
        for start in range(0, resamples, 256)
    )


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are known; ``None`` where none is."""
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def problem_measures(
    correct: Sequence[bool],
    canonical: Sequence[str | None],
    texts: Sequence[str],
    multiplicity: int | None,
) -> dict[str, Any]:
    """All measures of one problem's samples, as one row.

    A correct answer without a canonical form is its own text.  ``classes`` are the sizes of the
    classes of correct answers in descending order.
    """
    right = [i for i, ok in enumerate(correct) if ok]
    names = [canonical[i] if canonical[i] is not None else texts[i].strip() for i in right]
    sizes = sorted(Counter(names).values(), reverse=True)
    return {
        "samples": len(correct),
        "correct": len(right),
        "distinct_correct": len(sizes),
        "entropy_correct": entropy(sizes),
        "distinct_texts": len(set(texts)),
        "self_similarity": self_similarity(texts),
        "self_similarity_correct": self_similarity([texts[i] for i in right]),
        "multiplicity": multiplicity,
        "coverage": None if not multiplicity else len(sizes) / multiplicity,
        "classes": sizes,
    }
