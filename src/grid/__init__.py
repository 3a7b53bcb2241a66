"""The table: a grid of runs, models x tasks x seeds; what they cost, what they score, what they say of two models."""
