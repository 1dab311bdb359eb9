"""diffsmooth.llm.engines."""
