"""Other geometries: the natural gradient, and the optimum of a KL-regularised objective.

Both move ``log pi`` itself, so they exist for one softmax a prompt only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from diffsmooth.sim.dynamics.expected import Population, expected_advantage
from diffsmooth.sim.environment import Environment
from diffsmooth.sim.policies import Float, Tabular, log_softmax
from diffsmooth.theory.rules import Rule


def _advantages(
    environment: Environment, rules: Sequence[Rule], log_probs: Float, group_size: int | None
) -> Float:
    e = environment
    train = e.train.astype(np.float64)[:, None]
    out = np.empty_like(log_probs)
    for copy, rule in enumerate(rules):
        population = Population(log_probs[copy], e.verified, e.full_lengths, e.base)
        out[copy] = expected_advantage(rule, population, group_size) * train
    # Padding has no log-prob to move.
    return np.asarray(np.where(np.isfinite(log_probs), out, 0.0))


def _tabular(environment: Environment) -> None:
    if not isinstance(environment.model, Tabular):
        raise ValueError(
            f"dynamics: the natural gradient and best responses need one softmax a prompt, got "
            f"{type(environment.model).__name__}; use exact or sampled dynamics"
        )


def natural_gradient(
    environment: Environment, rules: Sequence[Rule], group_size: int | None
) -> Callable[[Float], Float]:
    """The field ``d log pi = A`` (theory.md A5, C3), up to the normaliser.

    Raises ValueError unless the model is tabular; NoClosedFormError as expected_advantage.
    """
    _tabular(environment)

    def field(parameters: Float) -> Float:
        log_probs = environment.model.log_probs(parameters)
        return _advantages(environment, rules, log_probs, group_size)

    return field


def best_response(
    environment: Environment, rules: Sequence[Rule], group_size: int | None, inverse_beta: float
) -> Float:
    """(L, S, P, K) log of ``pi ∝ b exp(A_b / beta)``: the optimum with pi_ref = b.

    theory.md B1-B5; ``A_b`` is the expected advantage under the base policy.  Raises as
    natural_gradient.
    """
    _tabular(environment)
    base = np.broadcast_to(environment.base, (len(rules), *environment.base.shape))
    return log_softmax(base + inverse_beta * _advantages(environment, rules, base, group_size))
