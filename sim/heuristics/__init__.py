"""Remedies for collapse: small objects over the rule library, each with a classifier."""

from diffsmooth.sim.heuristics.base import Heuristic, Update
from diffsmooth.sim.heuristics.registry import HEURISTICS, heuristic, named, register, two_part

__all__ = ["HEURISTICS", "Heuristic", "Update", "heuristic", "named", "register", "two_part"]
