"""How a tabular policy moves: exact flow and steps, sampled groups, natural gradient, optima."""
