"""diffsmooth.sim.heuristics."""
