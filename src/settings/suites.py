"""Suites, the groups of tasks that are usually reported together, and how the tasks of a command are chosen."""

from collections.abc import Sequence

from src.common.errors import did_you_mean, quote
from src.data.task import Tasks
from src.settings.schema import task_name

ALL = "all"  # on a command line: the tasks of the published table
PUBLISHED_SUITE = "koelectra"


def find_tasks(entries: Sequence[str], tasks: Tasks, flag: str, problems: list[str]) -> dict[str, str]:
    """Return the chosen tasks: name -> the value of --task that chooses it. Unknown entries are added to `problems`.

    An entry is a task's name, the path of its file (its name is in `tasks`, too), a suite, or "all" for PUBLISHED_SUITE.
    flag: what the entries are the value of, for messages.
    """
    found: dict[str, str] = {}
    suites = sorted({task.suite for task in tasks.values() if task.suite})
    for entry in entries:
        suite = PUBLISHED_SUITE if entry == ALL else entry
        if task_name(entry) in tasks:
            chosen = {task_name(entry): entry}
        else:
            chosen = {name: name for name, task in tasks.items() if task.suite == suite}
        if not chosen:
            names = [ALL, *suites, *tasks]
            problems.append(f"{flag}: unknown task {quote(entry)}; choose from {', '.join(names)}.{did_you_mean(entry, names)}")
        if both := [name for name in chosen if found.get(name, chosen[name]) != chosen[name]]:
            problems.append(f"{flag}: two tasks have the name {both[0]!r}: {found[both[0]]}, {entry}. Rename a file")
        found |= chosen
    return found
