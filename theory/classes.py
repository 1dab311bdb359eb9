"""Surface forms: a partition of S into classes, and what a group can tell of them; theory.md C8.

Quotient smoothing is smoothing with classes for trajectories: ``class_log_masses`` is the quotient,
``equalised`` brings a law of the classes back to the trajectories.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from diffsmooth.theory.diversity import whole
from diffsmooth.theory.optima import tempered
from diffsmooth.theory.policy import Float, floats


def class_log_masses(log_q: ArrayLike, classes: ArrayLike, count: int | None = None) -> Float:
    """(..., count) log mass of every class 0..count-1 of the laws log q (..., M), classes (M,).

    -inf for a class without mass.  One sort, whatever the number of classes.
    Raises ValueError on class ids that are not integers in [0, count) or do not fit ``log_q``.
    """
    ids = np.asarray(classes)
    x = floats("log_q", log_q)
    if x.ndim < 1 or not x.shape[-1] or np.any(np.isnan(x)) or np.any(x > 1e-9):
        raise ValueError(f"log_q: must be (..., M) log-probs <= 0, M >= 1; got shape {x.shape}")
    if ids.dtype.kind not in "iu" or ids.shape != x.shape[-1:]:
        raise ValueError(f"classes: must be ({x.shape[-1]},) integers, got {ids.dtype} {ids.shape}")
    size = int(ids.max()) + 1 if count is None else whole("count", count)
    if ids.min() < 0 or ids.max() >= size:
        raise ValueError(f"classes: must lie in [0, {size})")
    order = np.argsort(ids, kind="stable")
    present, starts, members = np.unique(ids[order], return_index=True, return_counts=True)
    arranged = x[..., order]
    top = np.maximum.reduceat(arranged, starts, axis=-1)
    shift = np.where(top > -np.inf, top, 0.0)
    total = np.add.reduceat(np.exp(arranged - np.repeat(shift, members, axis=-1)), starts, axis=-1)
    out = np.full((*x.shape[:-1], size), -np.inf)
    with np.errstate(divide="ignore"):  # a class whose members have no mass has none
        out[..., present] = np.log(total) + top
    return out


def equalised(log_q: ArrayLike, classes: ArrayLike, a: ArrayLike) -> Float:
    """(..., M) the law whose class masses are those of log q to the power ``a``, normalised.

    The law inside each class stays as it is.  a = 1 - g/beta: the optimum of quotient smoothing (B5
    with classes for trajectories); a = e^{-g t}: its natural-gradient flow; a = 0: its fixed point,
    uniform over the classes that have mass.  theory.md C8.

    ``a`` is a number or (...,).  Raises ValueError as :func:`class_log_masses` and
    :func:`~diffsmooth.theory.optima.tempered`.
    """
    x = floats("log_q", log_q)
    masses = class_log_masses(x, classes)
    with np.errstate(invalid="ignore"):  # -inf - -inf in classes without mass
        moved = x + (tempered(masses, a) - masses)[..., np.asarray(classes)]
    return np.where(x > -np.inf, moved, -np.inf)


def expected_log_share(q: ArrayLike, n: int) -> Float:
    """(...,) E[log share] of an answer's own class among n correct answers, q (...,) its mass.

    The answer itself is one, j ~ Bin(n-1, q) others are of its class; the share is (1 + j)/n.

    Raises ValueError unless 0 < q <= 1 and n >= 1, TypeError if n is no integer.
    """
    return _expectation(q, n, lambda size: np.log(np.arange(1, size + 1) / size))


def log_share_bias(q: ArrayLike, n: int) -> Float:
    """(...,) bias of the log class share as an estimate of log q: log 1/q at n = 1; C8.

    E log(1 + j) - log n - log q with j ~ Bin(n-1, q): about (1-q)/(2 n q) for large n q.
    """
    return np.asarray(expected_log_share(q, n) - np.log(floats("q", q)))


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
    return np.asarray(_harmonic(n)[number - 1])


def harmonic_share_bias(q: ArrayLike, n: int) -> Float:
    """(...,) bias of :func:`harmonic_share`: sum_{i >= n} (1-q)^i / i > 0, exactly.

    E H_j = sum_{i <= m} (1 - (1-q)^i)/i for j ~ Bin(m, q), and log q = -sum (1-q)^i/i.
    """
    return np.asarray(_expectation(q, n, _harmonic) - np.log(floats("q", q)))


def _harmonic(n: int) -> Float:
    """H_0 - H_{n-1}, ..., H_{n-1} - H_{n-1} = 0: summed from the small end."""
    steps = 1.0 / np.arange(n - 1, 0, -1)
    return np.asarray(-np.concatenate([[0.0], np.cumsum(steps)])[::-1])


def _expectation(q: ArrayLike, n: int, values: Callable[[int], Float]) -> Float:
    """(...,) mean of values(n)[j] over j ~ Bin(n-1, q), the binomial weights taken in logs."""
    from scipy.special import gammaln, xlog1py, xlogy

    share = floats("q", q)
    if not np.all((share > 0) & (share <= 1)):
        raise ValueError(f"q: must lie in (0, 1], got {q!r}")
    if whole("n", n) < 1:
        raise ValueError(f"n: must be >= 1, got {n}")
    j = np.arange(n, dtype=np.float64)
    ways = gammaln(n) - gammaln(j + 1) - gammaln(n - j)
    at = share[..., None]
    weight = np.exp(ways + xlogy(j, at) + xlog1py(n - 1 - j, -at))
    return np.asarray(np.sum(weight * values(n), axis=-1))
