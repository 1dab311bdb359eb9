"""diffsmooth.configs."""
