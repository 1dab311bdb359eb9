"""What happens on tables: remedies, regimes, dynamics, and the map of where each remedy fails."""
