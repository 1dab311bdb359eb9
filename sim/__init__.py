"""What happens on tables: heuristics, regimes, dynamics, and the map of where each remedy fails."""
