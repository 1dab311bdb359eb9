"""A run's numbers depend on its own seed alone, whatever runs beside it, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from diffsmooth.sim.paths import Laboratory, closed_remedies
from diffsmooth.sim.regimes import Training, regime
from diffsmooth.sim.remedies import REMEDIES

SHORT = Training(steps=6, checkpoints=3)


@pytest.mark.parametrize(
    ("place", "dynamics"),
    [
        *((name, "sampled") for name in ("bandit", "tree", "strategies", "noisy", "multiplicity")),
        *(("bandit", name) for name in ("exact", "flow", "natural", "response")),
        *(("tree", name) for name in ("exact", "flow")),
    ],
)
def test_a_seed_alone_equals_a_seed_among_others(place, dynamics):
    among = Laboratory(regime(place), range(1, 4), dynamics, SHORT)
    for name in REMEDIES if dynamics == "sampled" else closed_remedies():
        together = among.run(name).measures
        for seed in (1, 3):
            alone = Laboratory(regime(place), range(seed, seed + 1), dynamics, SHORT)
            for key, value in alone.run(name).measures.items():
                np.testing.assert_array_equal(
                    value[..., 0], together[key][..., seed - 1], f"{name}: {key} of seed {seed}"
                )
