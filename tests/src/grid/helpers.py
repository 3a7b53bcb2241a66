"""Cells of command lines, without run_benchmark.py."""

from processor.definition import TASKS
from src.grid import cells
from src.grid.cells import GridRequest
from src.settings.command_line import parse_command_line


def no_files(settings):
    return {}


def request_for(models="tiny", tasks="nsmc", seeds="1", rest=(), all_tasks=TASKS, find_files=no_files, **others):
    """What is asked for by these comma-separated lists, and words that set settings."""
    given, problems = parse_command_line(rest)
    about = {"models": models, "tasks": tasks, "seeds": seeds, "rest": rest, "given": given, "problems": problems}
    return GridRequest(**about, all_tasks=all_tasks, find_files=find_files, **others)


def make_cells(*arguments, **others):
    return cells.make_cells(request_for(*arguments, **others))
