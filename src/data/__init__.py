"""What a task and its features are."""
