"""Tasks and their data. TASKS are the tasks of this project, from config/tasks; no code refers to a task by name."""

from processor.definition import read_tasks
from src.data import Tasks

TASKS: Tasks = read_tasks()


def tasks_of(script: str, tasks: Tasks = TASKS) -> list[str]:
    """Return the names of the tasks that `script` runs, in the order of the tables."""
    return [name for name, task in tasks.items() if task.script == script]
