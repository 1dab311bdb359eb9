"""B7's pieces on their own: the criterion against brute force, the map, the certificate."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from diffsmooth.theory import optima
from diffsmooth.theory.diversity import shannon
from diffsmooth.theory.policy import Policy, kl
from diffsmooth.theory.statements import _b7_certificate as certificate
from diffsmooth.theory.statements._b7 import Counterexample, Dominance
from diffsmooth.theory.statements._b7_map import LARGEST, Parts, failures
from diffsmooth.theory.verify.core import Budget


def _base(parts: Parts, i: int) -> Policy:
    log_b = np.concatenate([parts.correct[i], parts.incorrect[i]])
    correct = np.arange(2 * LARGEST) < LARGEST
    there = np.isfinite(log_b)
    return Policy.from_logits(log_b[there], correct[there])


def test_the_map_agrees_with_a_search_over_literal_and_coupled_policies() -> None:
    """Brute force over (g_p, beta) grids decides the same way, away from the boundary."""
    parts = Parts.sample(8, 5)
    decided = 0
    for y in (0.1, 0.7, 3.0):
        _, literal_fails, coupled_fails = failures(parts, y)
        for i in range(8):
            base, a = _base(parts, i), float(parts.a[i])
            entropy = optima.entropy_bonus(base, 1 / y, (1 - a) / y, form="base")
            budget, h, c = float(kl(entropy, base)), float(shannon(entropy.log_q)), entropy.log_C
            for fails, coupled in ((literal_fails[i], 0.0), (coupled_fails[i], 1.0)):
                margins = []
                idle = optima.smoothing(base, 1e9, (1 - a) * 1e9, coupled * (1 - a) * 1e9)
                # The 1/beta that reaches the entropy policy's C, and beyond.
                start = max(0.0, float(entropy.logit_C - idle.logit_C))
                for beta in 1 / (start + np.geomspace(1e-9, 30, 50)):
                    g = (1 - a) * beta  # the dearest diversity that is enough (theory.md B6)
                    rival = optima.smoothing(base, beta, g, coupled * g)
                    assert float(shannon(rival.log_q)) >= h - 1e-9
                    if rival.log_C >= c - 1e-9:
                        margins.append(budget - float(kl(rival, base)))
                best = max(margins, default=-np.inf)
                if abs(best) > 0.02:  # the grid cannot see finer than this
                    decided += 1
                    assert (best < 0) == fails
    assert decided > 25


def test_diversity_beyond_the_entropy_policys_only_costs_the_literal_rule_more() -> None:
    parts = Parts.sample(6, 8)
    for i in range(6):
        base, a = _base(parts, i), float(parts.a[i])
        costs = [
            float(kl(optima.smoothing(base, 1e6, (1 - x) * 1e6), base)) for x in (a, a / 2, -0.5)
        ]
        assert costs == sorted(costs)


def test_the_certificate_needs_two_ordered_correct_trajectories() -> None:
    example = Counterexample(correct=(Fraction(1, 5), Fraction(3, 10)))
    with pytest.raises(ValueError, match="two correct trajectories"):
        certificate.certify(Dominance(counterexample=example))


def test_undecided_where_the_balls_cannot_tell() -> None:
    """A bound equal to the infimum itself is neither proved nor refuted."""
    claim = Dominance(dominated=lambda y, reach, kl, price: False)
    easy = Counterexample(y=Fraction(3))  # (ii) holds: nothing to certify
    assert certificate._verdict(claim, easy, False).verdict == "undecided"


def test_the_measured_sentence_is_repeatable() -> None:
    from diffsmooth.theory.statements._b7_map import measured

    assert measured(Budget(seed=3)) == measured(Budget(seed=3))
    assert measured(Budget(seed=3)) != measured(Budget(seed=4))
