"""Settings shared by all tests."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# One thread, as the Makefile says: sums over threads round in another order, and tests compare runs
# of this process with those of its children bit for bit.  Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Shared machines stall: a slow example is no failure.  CI draws the same examples every time, so
# that a red run can be repeated; a developer's machine draws new ones.
settings.register_profile("diffsmooth", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("diffsmooth"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "diffsmooth")
