"""diffsmooth.theory.verify."""
