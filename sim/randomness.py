"""One Philox stream per (regime, seed, purpose), never per remedy.

Every remedy meets the same problems and the same uniforms, so that differences between them are
paired; seed 5 is the same whether 6 or 600 seeds are asked for.
"""

from __future__ import annotations

import hashlib

import numpy as np

from diffsmooth.sim.policies import Float

ENVIRONMENT, DRAWS, NOISE, TOKENS = range(4)


def stream(regime: str, seed: int, purpose: int) -> np.random.Generator:
    """The generator of one regime (by its id), one seed and one purpose.

    Raises ValueError on a negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed: must be at least 0, got {seed}")
    name = int.from_bytes(hashlib.sha256(regime.encode()).digest()[:8], "little")
    sequence = np.random.SeedSequence(entropy=name, spawn_key=(seed, purpose))
    return np.random.Generator(np.random.Philox(sequence))


def uniforms(regime: str, seeds: range, purpose: int, shape: tuple[int, ...]) -> Float:
    """(seeds, *shape) uniforms in [0, 1)."""
    return np.stack([stream(regime, seed, purpose).random(shape) for seed in seeds])
