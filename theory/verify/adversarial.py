"""Adversarial engine: an optimiser with restarts minimises the margin of a claim.

Example::

    >>> from diffsmooth.theory.verify.core import Budget
    >>> sample = lambda rng: rng.normal(size=2)
    >>> minimise(lambda x: float(x @ x), sample, Budget(), "a square", 0.0).verdict
    'holds'
    >>> minimise(lambda x: float(x @ x - 0.1), sample, Budget(), "no square", 0.0).verdict
    'refuted'
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from diffsmooth.theory.verify.core import Budget
from diffsmooth.theory.verify.domains import Search
from diffsmooth.theory.verify.receipts import Engine, Outcome, finite_bound, not_a_truth_value

_ENGINE = Engine("adversarial")

Vector = npt.NDArray[np.float64]

_OUTSIDE = 1e300  # finite, so that the optimiser's own differences stay finite


class _Found(Exception):
    """Stops the optimiser at the first violation."""

    def __init__(self, point: Vector) -> None:
        super().__init__("violation")
        self.point = point


def minimise(
    margin: Callable[[Vector], float],
    sample: Callable[[np.random.Generator], Any],
    budget: Budget,
    detail: str,
    tolerance: float,
    *,
    restarts: int | None = None,
    evaluations: int = 600,
    show: Callable[[Vector], str] | None = None,
) -> Outcome:
    """Minimise ``margin(x)`` from ``sample(rng)``; "refuted" where ``margin(x) < -tolerance``.

    ``margin`` maps an unconstrained vector to the claim's margin (parametrise by logits);
    ``+inf`` marks points outside the domain.  ``tolerance`` (finite, >= 0) is the rounding error of
    the margin.
    ``evaluations`` bounds one restart (4 times as many if ``budget.deep``); ``restarts`` overrides
    ``budget.restarts``.  Methods alternate: Nelder-Mead up to 8 dimensions and Powell.

    "holds" with the smallest margin found plus the tolerance as residual, and the number of points
    that were inside the domain; raises ``ArithmeticError`` when the margin is nan and
    ``ValueError`` for a tolerance that is negative, infinite or nan, or when no point was in the
    domain; ``TypeError`` for a margin that is True or False.
    """
    from scipy.optimize import OptimizeWarning
    from scipy.optimize import minimize as scipy_minimise

    tolerance = finite_bound(tolerance, f"adversarial.minimise: {detail}: tolerance")
    inside = outside = 0
    smallest = math.inf
    sizes: list[int] = []

    def search() -> Search:
        return Search((min(sizes), max(sizes)), len(sizes), inside, outside)

    def judge(x: Vector) -> float:
        nonlocal inside, outside, smallest
        found = margin(x)
        not_a_truth_value(found, f"adversarial.minimise: {detail}: margin")
        value = float(found)
        if math.isnan(value):
            raise ArithmeticError(f"adversarial.minimise: {detail}: margin is nan at {_text(x)}")
        outside += value == math.inf
        inside += value < math.inf
        smallest = min(smallest, value)
        if value < -tolerance:
            raise _Found(np.array(x, dtype=np.float64))
        return min(value, _OUTSIDE)

    limit = evaluations * (4 if budget.deep else 1)
    streams = np.random.SeedSequence(budget.seed).spawn(restarts or budget.restarts)
    try:
        for k, stream in enumerate(streams):
            start = np.asarray(sample(np.random.default_rng(stream)), dtype=np.float64)
            sizes.append(start.size)
            method = "Nelder-Mead" if k % 2 == 0 and start.size <= 8 else "Powell"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", OptimizeWarning)
                scipy_minimise(
                    judge, start, method=method, options={"maxfev": limit, "maxiter": limit}
                )
    except _Found as found:
        point = _round(found.point, margin, tolerance)
        value = float(margin(point))
        text = show(point) if show is not None else _text(point)
        return _ENGINE.issue(
            "refuted",
            f"{detail}: margin {value:.6g} is below -{tolerance:.3g}",
            decided=[f"{detail}: margin >= -{tolerance:.3g}"],
            domain=search(),
            cases=1,
            residual=value,
            counterexample=f"{text}: margin {value:.6g}",
        )
    if not inside:
        raise ValueError(f"adversarial.minimise: {detail}: no point was inside the domain")
    return _ENGINE.issue(
        "holds",
        f"{detail}: smallest margin {smallest:.3g} in {len(streams)} restarts, {inside} points",
        decided=[f"{detail}: margin >= -{tolerance:.3g}"],
        domain=search(),
        cases=inside,
        residual=smallest + tolerance,
    )


def _round(x: Vector, margin: Callable[[Vector], float], tolerance: float) -> Vector:
    """The violating point with the fewest decimals: people should be able to check it by hand."""
    for decimals in range(0, 7):
        rounded = np.round(x, decimals) + 0.0
        try:
            value = float(margin(rounded))
        except (ArithmeticError, ValueError):
            continue
        if value < -tolerance:
            return rounded
    return x


def _text(x: Vector) -> str:
    return "x = " + np.array2string(x, precision=6, separator=", ", threshold=40)
