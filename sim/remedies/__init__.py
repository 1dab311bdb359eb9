"""Remedies for collapse: small objects over the rule library, each with a classifier."""

from diffsmooth.sim.remedies.base import Remedy, Update
from diffsmooth.sim.remedies.registry import REMEDIES, named, register, remedy_named, two_part

__all__ = ["REMEDIES", "Remedy", "Update", "named", "register", "remedy_named", "two_part"]
