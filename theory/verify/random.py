"""Random engine: hypothesis generates instances and shrinks a failing one.

Repeatable: the choices come from ``budget.seed`` alone, nothing is read from or written to a
database.

Example::

    >>> from hypothesis import strategies as st
    >>> from diffsmooth.theory.verify.core import Budget
    >>> for_all(st.integers(0, 1000), lambda n: (400.0 - n, 0.0), Budget(), "n <= 400").verdict
    'refuted'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from diffsmooth.theory.verify.core import Budget, Outcome

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

T = TypeVar("T")


def for_all(
    strategy: SearchStrategy[T],
    margin: Callable[[T], tuple[float, float] | float],
    budget: Budget,
    detail: str,
    *,
    examples: int | None = None,
    show: Callable[[T], str] | None = None,
) -> Outcome:
    """Look for an instance that fails; ``margin(instance)`` is ``(value, error_bound)``.

    The claim fails where ``value < -error_bound``, and where either is nan.  A bare float has
    error bound 0.  ``error_bound`` (>= 0) is the rounding error of ``value``, derived from its
    conditioning.  ``examples`` overrides ``budget.examples``; ``show`` writes the instance.

    "holds" with the smallest margin ``value + error_bound`` seen; "refuted" with the minimal
    instance.  An exception of ``margin`` passes through.  Raises ``ValueError`` if the strategy
    yields nothing or an error bound is negative.
    """
    from hypothesis import HealthCheck, Phase, Verbosity, find, settings
    from hypothesis.errors import NoSuchExample, Unsatisfiable

    seen = 0
    smallest = math.inf

    def judge(instance: T) -> tuple[float, float]:
        result = margin(instance)
        value, error = result if isinstance(result, tuple) else (result, 0.0)
        if error < 0:
            raise ValueError(f"random.for_all: error bound {error} is negative")
        return float(value), float(error)

    def fails(instance: T) -> bool:
        nonlocal seen, smallest
        value, error = judge(instance)
        seen += 1
        if not value >= -error:
            return True
        smallest = min(smallest, value + error)
        return False

    phases = (Phase.generate, Phase.shrink) if budget.shrink else (Phase.generate,)
    chosen = settings(
        max_examples=examples if examples is not None else budget.examples,
        database=None,
        deadline=None,
        phases=phases,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    try:
        with _no_constants_from_loaded_modules():
            worst = find(strategy, fails, settings=chosen, random=Random(budget.seed))
    except NoSuchExample:
        pass
    except Unsatisfiable as error:
        raise ValueError(f"random.for_all: {detail}: no instance fits the strategy") from error
    else:
        value, error_bound = judge(worst)
        text = show(worst) if show is not None else _show(worst)
        return Outcome(
            "refuted",
            f"{detail}: margin {value:.6g} is below -{error_bound:.3g}",
            residual=value,
            counterexample=f"{text}: margin {value:.6g}, error bound {error_bound:.3g}",
        )
    if seen == 0:
        raise ValueError(f"random.for_all: {detail}: no instance was generated")
    return Outcome("holds", f"{detail}: {seen} instances", residual=smallest)


@contextmanager
def _no_constants_from_loaded_modules() -> Iterator[None]:
    """Keep hypothesis from drawing constants found in the source of the modules loaded so far.

    Otherwise the instances depend on what else was imported and on every edit of the code under
    test, and a cache is written to the working directory.  There is no setting for it, hence the
    private name; where that name is missing there is nothing to switch off.
    """
    from hypothesis.internal.conjecture import providers as module

    providers: Any = module
    original = getattr(providers, "_get_local_constants", None)
    if original is None:
        yield
        return
    empty = providers.Constants()
    providers._get_local_constants = lambda: empty
    providers.CONSTANTS_CACHE.cache.clear()
    try:
        yield
    finally:
        providers._get_local_constants = original
        providers.CONSTANTS_CACHE.cache.clear()


def _show(value: Any) -> str:
    import numpy as np

    if isinstance(value, np.ndarray):
        return np.array2string(value, precision=6, separator=", ", threshold=40)
    if isinstance(value, dict):
        return ", ".join(f"{k} = {_show(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(_show, value)) + ")"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
