"""The benchmark grid, models x tasks x seeds: run it, report its scores, compare two models."""
