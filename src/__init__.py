"""Everything that knows no task by name: settings, models, the shared loop, results."""
