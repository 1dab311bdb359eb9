"""Softmax policies with any number of trajectories, for sympy and z3.

The trajectories that play no part of their own are lumped: a claim about i and j sees the others
only through the sum of their weights ``w = exp(theta)``, one for the rest of S and one for F (or
for the rest of F).  An identity in these four symbols holds for every number of trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffsmooth.theory.verify.core import Outcome


@dataclass(frozen=True)
class Lumped:
    """Weights of two trajectories and of the lumps around them, as positive sympy symbols.

    ``correct``: i and j belong to S, otherwise to F.
    """

    w_i: Any
    w_j: Any
    rest_correct: Any
    rest_incorrect: Any
    correct: bool

    @classmethod
    def pair(cls, correct: bool) -> Lumped:
        """Fresh symbols for a pair in S (``correct``) or in F."""
        import sympy as sp

        w_i, w_j, rest_correct, rest_incorrect = sp.symbols("w_i w_j W_S W_F", positive=True)
        return cls(w_i, w_j, rest_correct, rest_incorrect, correct)

    @property
    def symbols(self) -> tuple[Any, ...]:
        return (self.w_i, self.w_j, self.rest_correct, self.rest_incorrect)

    @property
    def mass(self) -> Any:
        """The sum of all weights."""
        return sum(self.symbols)

    @property
    def correctness(self) -> Any:
        """C = pi(S)."""
        own = self.w_i + self.w_j if self.correct else 0
        return (own + self.rest_correct) / self.mass

    def prob(self, w: Any) -> Any:
        """The probability of the trajectory (or lump) with this weight."""
        return w / self.mass

    def slope(self, value: Any, w: Any) -> Any:
        """Derivative of ``value`` in the logit theta = log w."""
        import sympy as sp

        return sp.cancel(w * sp.diff(value, w))


def top_mass_grows() -> Outcome:
    """Lemma: if heavier trajectories are multiplied by more, the law becomes more majorising.

    Every trajectory i is multiplied by m_i > 0 (and the law renormalised), with m_i >= m_j
    whenever q_i >= q_j.  Let A be the mass of the m likeliest trajectories and B that of the
    others, and l the least multiplier on the former: the new masses are A' >= l A and B' <= l B.
    z3: A'/(A' + B') >= A/(A + B), for every m, so each sum of the m largest entries grows or
    stays.  That is majorisation, whatever the number of trajectories.
    """
    import z3

    from diffsmooth.theory.verify import smt

    a, b, a1, b1, least = z3.Reals("A B A1 B1 l")
    return smt.prove(
        [a > 0, b >= 0, least > 0, a1 >= least * a, b1 >= 0, b1 <= least * b],
        a1 * (a + b) >= a * (a1 + b1),
        "monotone multipliers majorise: the mass of the m likeliest cannot fall, every m",
    )


def bottom_mass_grows() -> Outcome:
    """The mirror image of ``top_mass_grows``: lighter ones are multiplied by more.

    The order must survive (an assumption the caller proves): then the m likeliest stay the m
    likeliest and their mass cannot grow, so the old law majorises the new one.
    """
    import z3

    from diffsmooth.theory.verify import smt

    a, b, a1, b1, least = z3.Reals("A B A1 B1 l")
    return smt.prove(
        [a > 0, b >= 0, least > 0, a1 > 0, a1 <= least * a, b1 >= least * b],
        a1 * (a + b) <= a * (a1 + b1),
        "antitone multipliers flatten: the mass of the m likeliest cannot grow, every m",
    )
