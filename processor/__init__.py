"""Tasks and their data. No code here refers to a task by its name."""
