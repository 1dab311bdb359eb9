"""diffsmooth.sim."""
