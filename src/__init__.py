"""The benchmark. Nothing here knows a task or a model by its name."""
