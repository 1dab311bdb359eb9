"""Identities for any number of trajectories: expectations as formal moments.

The expectation of a polynomial in the coordinates of one trajectory (say ``x = q_i`` and
``l = log q_i``) becomes a linear combination of free symbols, one for each monomial.  An identity
that holds in those symbols holds for every law on any finite set, because every law only assigns
numbers to them.  Independent copies give products of moments, so that covariances and sums over
pairs are expressible too.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any


class Law:
    """Expectation under an arbitrary law of trajectories with the given coordinates.

    Two laws (say on the correct and on the incorrect part) need different ``name``.
    """

    def __init__(self, name: str, coordinates: Sequence[Any]) -> None:
        self.name = name
        self.coordinates = tuple(coordinates)

    def mean(self, expr: Any) -> Any:
        """E[expr]: ``expr`` must be a polynomial in the coordinates (other symbols are constants).

        Raises sympy's PolynomialError where it is none.
        """
        return self._over((self.coordinates,), expr)

    def pair(self, copy: Sequence[Any], expr: Any) -> Any:
        """E[expr] over two independent draws; ``copy`` are the coordinates of the second one."""
        return self._over((self.coordinates, tuple(copy)), expr)

    def covariance(self, a: Any, b: Any) -> Any:
        """Cov(a, b) under the law."""
        return self.mean(a * b) - self.mean(a) * self.mean(b)

    def _over(self, copies: Sequence[Sequence[Any]], expr: Any) -> Any:
        import sympy as sp

        generators = [x for copy in copies for x in copy]
        width = len(self.coordinates)
        terms = sp.Poly(sp.expand(expr), *generators).terms()
        return sp.Add(
            *(
                coefficient
                * prod(
                    self._moment(powers[k * width : (k + 1) * width]) for k in range(len(copies))
                )
                for powers, coefficient in terms
            )
        )

    def _moment(self, powers: Sequence[int]) -> Any:
        import sympy as sp

        if not any(powers):
            return sp.Integer(1)
        monomial = sp.Mul(*(x**n for x, n in zip(self.coordinates, powers, strict=True)))
        return sp.Symbol(f"E_{self.name}[{monomial}]", real=True)
