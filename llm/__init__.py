"""diffsmooth.llm."""
