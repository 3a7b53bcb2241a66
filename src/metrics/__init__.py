"""The scores of tasks, their resampled forms, and the bootstrap."""
