"""TRL's own GRPO tests with the smoothed trainer at strength 0 in the place of the plain one."""
