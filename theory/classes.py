"""Surface forms: a partition of S into classes, and what a group can tell of them; theory.md C8.

Quotient smoothing is smoothing with classes for trajectories: ``class_log_masses`` is the quotient,
``equalised`` brings a law of the classes back to the trajectories.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsmooth.theory._sums import binomial_weights, geometric_tail, harmonic_gap, log1p_less
from diffsmooth.theory.diversity import whole
from diffsmooth.theory.optima import tempered
from diffsmooth.theory.policy import Float, floats, log1mexp, logsumexp

#: A total mass whose log is closer to 0 is that of a law.
_LAW = 1e-9


def class_log_masses(log_q: ArrayLike, classes: ArrayLike, count: int | None = None) -> Float:
    """(..., count) log mass of every class 0..count-1 of the laws log q (..., M), classes (M,).

    -inf for a class without mass.  One sort, whatever the number of classes.
    Raises ValueError on class ids that are not integers in [0, count) or do not fit ``log_q``.
    """
    x, ids, size = _classed(log_q, classes, count)
    return _split(x, ids, size)[0]


def _classed(
    log_q: ArrayLike, classes: ArrayLike, count: int | None
) -> tuple[Float, NDArray[np.integer], int]:
    """Checked: the log-probs, the class ids, the number of classes."""
    ids = np.asarray(classes)
    x = floats("log_q", log_q)
    if x.ndim < 1 or not x.shape[-1] or np.any(np.isnan(x)) or np.any(x > 1e-9):
        raise ValueError(f"log_q: must be (..., M) log-probs <= 0, M >= 1; got shape {x.shape}")
    if ids.dtype.kind not in "iu" or ids.shape != x.shape[-1:]:
        raise ValueError(f"classes: must be ({x.shape[-1]},) integers, got {ids.dtype} {ids.shape}")
    size = int(ids.max()) + 1 if count is None else whole("count", count)
    if ids.min() < 0 or ids.max() >= size:
        raise ValueError(f"classes: must lie in [0, {size})")
    return x, ids, size


def _split(x: Float, ids: NDArray[np.integer], size: int) -> tuple[Float, Float]:
    """(log masses (..., size), log law inside the own class (..., M)), both to the last digits.

    The largest member of a class enters by log1p.  A class that holds nearly all the mass of a law
    is what the others leave: the log of 1 - 1e-20 is -1e-20.
    """
    order = np.argsort(ids, kind="stable")
    present, starts, members = np.unique(ids[order], return_index=True, return_counts=True)
    arranged = x[..., order]
    top = np.maximum.reduceat(arranged, starts, axis=-1)
    shift = np.where(top > -np.inf, top, 0.0)
    shifted = arranged - np.repeat(shift, members, axis=-1)
    weight = np.exp(shifted)
    # The first of the largest members of every class.
    at = np.arange(x.shape[-1])
    largest = np.where(weight == 1.0, at, x.shape[-1])
    first = np.minimum.reduceat(largest, starts, axis=-1)
    weight = np.where(at == np.repeat(first, members, axis=-1), 0.0, weight)
    extra = np.log1p(np.add.reduceat(weight, starts, axis=-1))
    masses = np.full((*x.shape[:-1], size), -np.inf)
    masses[..., present] = top + extra
    main = np.argmax(masses, axis=-1)[..., None]
    others = masses.copy()
    np.put_along_axis(others, main, -np.inf, axis=-1)
    rest = logsumexp(others)
    is_law = (np.abs(np.logaddexp(rest, np.max(masses, axis=-1))) < _LAW) & (rest < -np.log(2))
    kept = np.take_along_axis(masses, main, axis=-1)[..., 0]
    best = np.where(is_law, log1mexp(np.minimum(rest, 0.0)), kept)
    np.put_along_axis(masses, main, best[..., None], axis=-1)
    inside = np.empty(x.shape)
    inside[..., order] = shifted - np.repeat(extra, members, axis=-1)
    return masses, inside


def equalised(log_q: ArrayLike, classes: ArrayLike, a: ArrayLike) -> Float:
    """(..., M) the law whose class masses are those of log q to the power ``a``, normalised.

    The law inside each class stays as it is.  a = 1 - g/beta: the optimum of quotient smoothing (B5
    with classes for trajectories); a = e^{-g t}: its natural-gradient flow; a = 0: its fixed point,
    uniform over the classes that have mass.  theory.md C8.

    ``a`` is a number or (...,).  Raises ValueError as :func:`class_log_masses` and
    :func:`~diffsmooth.theory.optima.tempered`.
    """
    x, ids, size = _classed(log_q, classes, None)
    masses, inside = _split(x, ids, size)
    return np.asarray(inside + tempered(masses, a)[..., ids])


def expected_log_share(q: ArrayLike, n: int) -> Float:
    """(...,) E[log share] of an answer's own class among n correct answers, q (...,) its mass.

    The answer itself is one, j ~ Bin(n-1, q) others are of its class; the share is (1 + j)/n.

    Raises ValueError unless 0 < q <= 1 and n >= 1, TypeError if n is no integer.
    """

    def mean(share: float, size: int) -> float:
        j, weight = binomial_weights(size - 1, share)
        return float(np.sum(weight * _log_share(j, size)))

    return _each(mean, q, n)


def _log_share(j: Float, n: int) -> Float:
    """log((1 + j)/n), with its digits where nearly all answers are of the class."""
    near = 2 * j >= n
    return np.where(near, np.log1p(-np.where(near, n - 1 - j, 0.0) / n), np.log((1 + j) / n))


def log_share_bias(q: ArrayLike, n: int) -> Float:
    """(...,) bias of the log class share as an estimate of log q: log 1/q at n = 1; C8.

    E log(1 + j) - log n - log q with j ~ Bin(n-1, q): about (1-q)/(2 n q) for large n q.  Not the
    difference of two logs: with x = (1 + j)/(n q) - 1 it is E x + E[log(1 + x) - x], and
    E x = (1-q)/(n q).

    Raises ValueError unless 0 < q <= 1 and n >= 1, TypeError if n is no integer.
    """

    def bias(share: float, size: int) -> float:
        j, weight = binomial_weights(size - 1, share)
        if share >= 0.5 and size < 8:  # x does not become small: as it stands
            return float(np.sum(weight * _log_share(j, size)) - np.log(share))
        if size * share < 4:
            return float(np.sum(weight * np.log1p(j)) - np.log(size * share))
        # 1 + j - n q, of the size of the deviation: n (1-q) less the answers of other classes.
        gap = (1 + j) - size * share if share < 0.5 else size * (1 - share) - (size - 1 - j)
        excess = np.sum(weight * log1p_less(gap / (size * share)))
        return float((1 - share) / (size * share) + excess)

    return _each(bias, q, n)


def harmonic_share(count: ArrayLike, n: int) -> Float:
    """(...,) H_{count-1} - H_{n-1}: an estimate of a class's log mass, nearly unbiased; C8.

    count >= 1 of n correct answers are of the class, the answer itself among them; H_m is the sum
    of 1/i to m.  It replaces log(count/n): its bias is sum_{i >= n} (1-q)^i/i
    (:func:`harmonic_share_bias`), at most (1-q)^n/(n q), and not of order 1/(n q).

    Raises ValueError unless 1 <= count <= n, TypeError if n is no integer.
    """
    number = np.asarray(count)
    if number.dtype.kind not in "iu":
        raise ValueError(f"count: must hold integers, got {number.dtype}")
    if whole("n", n) < 1 or np.any((number < 1) | (number > n)):
        raise ValueError(f"count: must lie in [1, n={n}]")
    return 0.0 - harmonic_gap(number.astype(np.float64), np.asarray(float(n)))


def harmonic_share_bias(q: ArrayLike, n: int) -> Float:
    """(...,) bias of :func:`harmonic_share`: sum_{i >= n} (1-q)^i / i > 0, summed as it stands.

    E H_j = sum_{i <= m} (1 - (1-q)^i)/i for j ~ Bin(m, q), and log q = -sum (1-q)^i/i.
    Raises ValueError unless 0 < q <= 1 and n >= 1, TypeError if n is no integer.
    """
    share, size = _share(q), _size(n)
    with np.errstate(divide="ignore"):  # q = 1: no tail
        return geometric_tail(-np.log1p(-share), size)


def _each(function: Callable[[float, int], float], q: ArrayLike, n: int) -> Float:
    share, size = _share(q), _size(n)
    values = [function(float(at), size) for at in share.ravel()]
    return np.asarray(values, dtype=np.float64).reshape(share.shape)


def _share(q: ArrayLike) -> Float:
    share = floats("q", q)
    if not np.all((share > 0) & (share <= 1)):
        raise ValueError(f"q: must lie in (0, 1], got {q!r}")
    return share


def _size(n: int) -> int:
    if whole("n", n) < 1:
        raise ValueError(f"n: must be >= 1, got {n}")
    return whole("n", n)
