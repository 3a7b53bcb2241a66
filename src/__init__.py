"""Settings, models, the training loop and results. Nothing here knows a task by name."""
