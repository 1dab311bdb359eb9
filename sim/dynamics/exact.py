"""Exact dynamics: discrete steps and the flow of a rule's expected update.

No sampling: every answer is weighed by its probability.  Tabular policies only know each other
through shared parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from diffsmooth.sim.dynamics.expected import Population, expected_advantage
from diffsmooth.sim.environment import Environment
from diffsmooth.sim.policies import Float
from diffsmooth.theory.rules import Rule

Field = Callable[[Float], Float]


def expected_gradient(
    environment: Environment, rules: Sequence[Rule], group_size: int | None
) -> Callable[[Float], Float]:
    """The field ``parameters -> expected update``, one rule for each of the L copies.

    Raises NoClosedFormError (when the field is called) for rules without a closed form.
    """
    e = environment
    train = e.train.astype(np.float64)[:, None]

    def field(parameters: Float) -> Float:
        local = e.model.local(parameters)
        log_probs = e.model.answers(local)
        weights = np.empty_like(log_probs)
        for copy, rule in enumerate(rules):
            population = Population(log_probs[copy], e.verified, e.full_lengths, e.base)
            advantage = expected_advantage(rule, population, group_size)
            weights[copy] = np.exp(log_probs[copy]) * advantage * train
        return e.model.gradient(np.exp(local), e.model.table(weights))

    return field


def steps(field: Field, parameters: Float, count: int, rate: float) -> Float:
    """``count`` discrete steps ``theta += rate * field(theta)``; the input is left alone."""
    out = parameters.copy()
    for _ in range(count):
        out += rate * field(out)
    return out


def flow(field: Field, parameters: Float, time: float, count: int) -> Float:
    """The flow ``d theta / dt = field(theta)`` for ``time``, by ``count`` Runge-Kutta steps.

    The classical method of order 4: fixed steps, so that equal inputs give equal bytes.
    Raises ValueError on count < 1.
    """
    if count < 1:
        raise ValueError(f"count: must be at least 1, got {count}")
    h, out = time / count, parameters.copy()
    for _ in range(count):
        a = field(out)
        b = field(out + 0.5 * h * a)
        c = field(out + 0.5 * h * b)
        d = field(out + h * c)
        out += (h / 6.0) * (a + 2.0 * b + 2.0 * c + d)
    return out
