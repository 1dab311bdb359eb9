"""diffsmooth.sim.regimes."""
