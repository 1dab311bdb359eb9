"""diffsmooth.theory."""
