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

from diffsmooth.theory.verify.core import Budget
from diffsmooth.theory.verify.domains import Instances, Trials
from diffsmooth.theory.verify.receipts import Engine, Outcome, finite_bound, not_a_truth_value

_ENGINE = Engine("random")

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

T = TypeVar("T")

_CLAIM = "margin >= -error bound"


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
    error bound 0.  ``error_bound`` (finite, >= 0) is the rounding error of ``value``, derived from
    its conditioning.  A value of ``+inf`` says that there is nothing to compare on this instance:
    it is counted as skipped.  ``examples`` overrides ``budget.examples``; ``show`` writes the
    instance.

    "holds" with the smallest margin ``value + error_bound`` seen, the instances compared and the
    largest error bound granted; "refuted" with the minimal instance.  An exception of ``margin``
    passes through.  Raises ``ValueError`` if the strategy yields nothing, if nothing was compared
    on any instance, or if an error bound is negative or infinite; ``TypeError`` for a margin that
    is True or False (False is 0, which would hold).
    """
    from hypothesis import HealthCheck, Phase, Verbosity, find, settings
    from hypothesis.errors import NoSuchExample, Unsatisfiable

    seen = skipped = 0
    smallest, widest = math.inf, 0.0
    compared: list[T] = []

    def judge(instance: T) -> tuple[float, float]:
        result = margin(instance)
        value, error = result if isinstance(result, tuple) else (result, 0.0)
        not_a_truth_value(value, f"random.for_all: {detail}: margin")
        if math.isnan(error):  # fails below, whatever the value
            return float(value), math.nan
        return float(value), finite_bound(error, f"random.for_all: {detail}: error bound")

    def fails(instance: T) -> bool:
        nonlocal seen, skipped, smallest, widest
        value, error = judge(instance)
        seen += 1
        if not value >= -error:
            return True
        if value == math.inf:
            skipped += 1
            return False
        compared.append(instance)
        smallest, widest = min(smallest, value + error), max(widest, error)
        return False

    def domain() -> Instances:
        return Instances.of(compared, skipped)

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
        return _ENGINE.issue(
            "refuted",
            f"{detail}: margin {value:.6g} is below -{error_bound:.3g}",
            decided=[f"{detail}: {_CLAIM}"],
            domain=Instances.of([worst]),
            cases=1,
            residual=value,
            counterexample=f"{text}: margin {value:.6g}, error bound {error_bound:.3g}",
        )
    if seen == 0:
        raise ValueError(f"random.for_all: {detail}: no instance was generated")
    if not compared:
        raise ValueError(
            f"random.for_all: {detail}: the margin is inf on all {seen} instances;"
            " nothing was compared"
        )
    more = f", {skipped} more with nothing to compare" if skipped else ""
    bound = f", error bounds up to {widest:.2g}" if widest else ""
    return _ENGINE.issue(
        "holds",
        f"{detail}: {len(compared)} instances{more}{bound}",
        decided=[f"{detail}: {_CLAIM}"],
        domain=domain(),
        cases=len(compared),
        residual=smallest,
    )


def frequency(
    hits: int, trials: int, low: float, high: float, detail: str, *, level: float = 0.999
) -> Outcome:
    """Whether the chance behind ``hits`` in ``trials`` independent draws lies in (low, high).

    "holds" where the whole Wilson interval of this level does, "refuted" otherwise, with the
    interval.  Raises ``ValueError`` for no trial or a range that is not inside [0, 1].
    """
    from scipy.stats import binomtest

    if trials < 1 or not 0 <= low < high <= 1:
        raise ValueError(
            f"random.frequency: {detail}: {trials} trials against ({low}, {high});"
            " needs a trial and 0 <= low < high <= 1"
        )
    interval = binomtest(hits, trials).proportion_ci(level, "wilson")
    inside = low < interval.low and interval.high < high
    text = f"{hits / trials:.4f} [{interval.low:.4f}, {interval.high:.4f}] of {trials} draws"
    return _ENGINE.issue(
        "holds" if inside else "refuted",
        f"{detail}: {text}",
        decided=[f"{low} < chance < {high}"],
        domain=Trials(trials, level),
        cases=trials,
        counterexample=None if inside else f"{text} is not inside ({low}, {high})",
    )


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
