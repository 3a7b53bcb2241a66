"""Read the definitions of tasks: the "definition" in each config/tasks/<task>.json, with the fields of src.data.task.Task."""

import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from processor.kinds import KINDS, Kind
from src.common.errors import (
    CheckpointError,
    ConfigError,
    brief,
    did_you_mean,
    list_problems,
    quote,
    quote_json,
)
from src.common.files import read_json
from src.common.strict_json import load_json
from src.data.task import FileFields, Task, Tasks
from src.metrics.metrics import METRICS
from src.settings.aliases import ALIASES
from src.settings.command_line import PROJECT
from src.settings.schema import is_task_file

logger = logging.getLogger(__name__)

FIELD_NAMES: Mapping[str, str] = {}  # the fields are called as in src.data.task.Task
RECORD = "settings.json"  # of a run, with the definition of its task

ENCODINGS = ("utf-8", "cp949", "utf-16")  # that Korean files usually have


def make_task(name: str, definition: Mapping[str, Any], source: str, names: Mapping[str, str] = FIELD_NAMES) -> Task:
    """Return the task of a definition, with the defaults of its kind.

    source: where the definition is, for messages; names: field -> its name there. Raises ConfigError with every problem.
    """
    kind = KINDS.get(str(definition.get("kind")))
    fields = {"title": name, **(kind.defaults if kind else {}), **definition}
    fields = _listed(fields)
    if isinstance(per_file := fields.get("per_file"), dict):
        fields["per_file"] = {file: _listed(of) if isinstance(of, dict) else of for file, of in per_file.items()}
    if kind and kind.labelled and isinstance(fields.get("label"), list) and len(fields["label"]) > 1:
        fields.setdefault("labels", {column: column for column in fields["label"]})
    if isinstance(fields["title"], str):
        fields["title"] = " ".join(fields["title"].split())  # it stands in tables and lists
    metric = METRICS.get(str(fields.get("metric")))
    fields.setdefault("headline", metric.headline if metric else "")
    try:
        task = Task.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        problems = [_problem_of(detail) for detail in error.errors(include_url=False)]
    else:
        problems = _misfits(task, kind) if kind else []
    if kind is None and isinstance(given := definition.get("kind"), str):
        problems.insert(0, f"kind = {quote_json(given)}: choose from {', '.join(map(repr, KINDS))}.{did_you_mean(given, KINDS)}")
    if problems or kind is None:
        problems = [re.sub(r"^\w+", lambda field: names.get(field[0], field[0]), problem) for problem in problems]
        raise ConfigError(list_problems(f"{source}: the definition of {name!r} is invalid:", problems))
    task._script = kind.script
    return task


def _listed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with the name of one column as a list of it."""
    return {
        name: [value] if name in ("text", "spans", "choices", "label", "group") and isinstance(value, str) else value
        for name, value in fields.items()
    }


def _problem_of(detail: Mapping[str, Any]) -> str:
    """Return one line about an error of pydantic: field, what is wrong, and the nearest right name."""
    field, error = ".".join(map(str, detail["loc"])), detail["type"]
    if error == "extra_forbidden":
        known = FileFields if field.startswith("per_file.") else Task
        return f"unknown field {field!r}.{did_you_mean(str(detail['loc'][-1]), known.model_fields)}"
    if error == "missing":
        return f"{field} is missing"
    return f"{field} = {quote_json(detail['input'])}: {detail['msg']}."


def _misfits(task: Task, kind: Kind) -> list[str]:
    """Return the problems of fields that are valid one by one, in all files and in those of `per_file`."""
    problems = _misfits_of_columns(task, kind) + _misfits_of_metric(task, kind)
    problems += _misfits_of_labels(task, kind) + _misfits_of_files(task, kind)
    for name in task.per_file:
        there = task.of_file(Path(name))
        found = _misfits_of_columns(there, kind) + _misfits_of_labels(there, kind) + _misfits_of_files(there, kind)
        found += [
            f"{field}: found {len(getattr(there, field))} columns, expected {len(getattr(task, field))} as in the other files"
            for field in ("text", "choices", "label")
            if len(getattr(there, field)) != len(getattr(task, field))
        ]
        problems += [f"per_file.{name}: {problem}" for problem in found if problem not in problems]
    return problems


def _misfits_of_columns(task: Task, kind: Kind) -> list[str]:
    """Return the problems of the fields that name columns."""
    problems = []
    if task.columns:
        if len(set(task.columns)) < len(task.columns):
            problems.append("columns: a name occurs twice")
        named = {"text": task.text, "spans": task.spans, "choices": task.choices}
        named |= {"label": task.label, "group": task.group}
        problems += [
            f"{field}: {column!r} is not one of the columns {', '.join(task.columns)}.{did_you_mean(column, task.columns)}"
            for field, columns in named.items()
            for column in columns
            if column not in task.columns
        ]
    elif not task.header:
        problems.append("columns is missing: the names of the file's columns, in their order, as no line of the file names them")
    if task.spans and (len(task.spans) != 4 or len(task.text) > 1):
        problems.append("spans: name four columns, of the first and last character of two spans, beside one text")
    for field, most in {"choices": 0, "spans": 0, **kind.max_columns}.items():
        if len(getattr(task, field)) > most:
            others = [name for name, other in KINDS.items() if other.max_columns.get(field)]
            none = f"none; {' and '.join(others)} tasks have them (kind)" if others else "none"
            allowed = {0: none, 1: "one column"}.get(most, f"at most {most} columns")
            problems.append(f"{field}: a {task.kind} task has {allowed}")
    return problems


def _misfits_of_metric(task: Task, kind: Kind) -> list[str]:
    """Return the problem of `metric`, if there is one."""
    if task.metric not in METRICS:
        return [f"metric = {task.metric!r}: choose from {', '.join(METRICS)}.{did_you_mean(task.metric, METRICS)}"]
    fitting = [name for name, metric in METRICS.items() if metric.kind == task.kind or name == kind.defaults["metric"]]
    if task.metric not in fitting:
        return [f"metric = {task.metric!r}: does not score {task.kind} tasks; choose from {', '.join(fitting)}."]
    return []


def _misfits_of_labels(task: Task, kind: Kind) -> list[str]:
    """Return the problems of `labels`."""
    problems = []
    if task.labels == {}:
        problems.append("labels is empty: name labels, in the order of label ids, or leave the field out to take those of train")
    if not kind.labelled and task.labels:
        problems.append(f"labels: a {task.kind} task has none")
    if task.spellings and (not kind.labelled or len(task.label) > 1):
        problems.append("spellings: there are no labels in a column of their own")
    problems += [
        f"spellings: {quote(label)} is not one of the labels {', '.join(task.labels)}.{did_you_mean(label, task.labels)}"
        for label in dict.fromkeys(task.spellings.values())
        if task.labels and label not in task.labels
    ]
    return problems + kind.problems_of(task)


def _misfits_of_files(task: Task, kind: Kind) -> list[str]:
    """Return the problems of `format` and `encoding`."""
    problems = []
    if task.format is not None and task.format not in kind.formats:
        problems.append(
            f"format = {task.format!r}: a {task.kind} task has files in the format {', '.join(map(repr, kind.formats))}"
        )
    try:
        b"a".decode(task.encoding, "ignore")
    except (LookupError, ValueError):
        near = did_you_mean(task.encoding.lower(), ENCODINGS)
        problems.append(
            f"encoding = {quote(task.encoding)}: is not the name of an encoding, such as {', '.join(ENCODINGS)}.{near}"
        )
    return problems


def named_files(entry: str, config_dir: Path = PROJECT) -> dict[str, str]:
    """Return split -> data file, as the task's file names them; empty if there is no such file. entry: its name, or its path."""
    paths = [folder / "tasks" / f"{entry}.json" for folder in (config_dir, PROJECT)]
    if is_task_file(entry):
        paths = [Path(entry)]
    content = next((read_json(path) for path in paths if path.is_file()), {})
    given = {ALIASES.get(key, key): value for key, value in content.items()}
    files = {split: given.get(f"{split}_file") for split in ("train", "dev", "test")}
    return {split: file for split, file in files.items() if isinstance(file, str) and file}


@cache
def read_tasks(config_dir: Path = PROJECT) -> Mapping[str, Task]:
    """Return the project's tasks and those that the task files of `config_dir` define, by name, in the order of the tables.

    A file with a broken definition is left out, with a warning: it must not affect other tasks.
    """
    folders = dict.fromkeys(folder.resolve() for folder in (PROJECT, config_dir))
    tasks = {name: task for folder in folders for name, task in _read_folder(folder / "tasks").items()}
    return dict(sorted(tasks.items(), key=lambda item: item[1].order))


def recorded_tasks(*grids: Path) -> Mapping[str, Task]:
    """Return the project's tasks and those that the runs and trials in the folders <model>/<task>/ of grids have recorded.

    Of several definitions with the same name it is the first.
    """
    tasks = dict(read_tasks())
    records = [sorted((*grid.glob(f"*/*/seed-*/{RECORD}"), *grid.glob(f"*/*/tune/trial-*/{RECORD}"))) for grid in grids]
    named = [(path.relative_to(grid).parts[1], path) for grid, paths in zip(grids, records, strict=True) for path in paths]
    for name, record in named:
        with suppress(ConfigError, CheckpointError, ValueError, OSError):  # the report says what is wrong with a run
            if name not in tasks and (definition := read_json(record).get("definition")):
                tasks[name] = make_task(name, definition, str(record))
    return dict(sorted(tasks.items(), key=lambda item: item[1].order))


def read_content(path: Path) -> dict[str, Any]:
    """Return the content of a task's file: settings and, under "definition", the definition. Raises ConfigError."""
    try:
        content = load_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("definition", {}), dict):
            raise TypeError("not a JSON object")
        return content
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {brief(error)}") from None


def read_task_file(path: Path) -> dict[str, Task]:
    """Return the task that a file outside the config folders defines, by its name. Raises ConfigError."""
    content = read_content(path)
    if "definition" not in content:
        raise ConfigError(f'{path}: "definition" is missing.')
    return {path.stem: make_task(path.stem, content["definition"], str(path))}


def _read_folder(folder: Path) -> dict[str, Task]:
    tasks: dict[str, Task] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            if path.stat().st_size and "definition" in read_content(path):  # `--print_task > FILE` begins with an empty file
                tasks |= read_task_file(path)
        except (ConfigError, OSError) as error:
            logger.warning("%s\nThe task %s is left out.", error, path.stem)
    return tasks


TASKS: Tasks = read_tasks()


def tasks_of(script: str, tasks: Tasks = TASKS) -> list[str]:
    """Return the names of the tasks that `script` runs, in the order of the tables."""
    return [name for name, task in tasks.items() if task.script == script]


def find_task(name: str, definition: Mapping[str, Any] | None, place: str) -> Task:
    """Return the task of a checkpoint, by the definition that it has recorded at `place`, or by its name.

    Raises CheckpointError if it is unknown, ConfigError if its definition is damaged.
    """
    if definition:
        return make_task(name, definition, place)
    if name not in TASKS:
        raise CheckpointError(f"{place}: unknown task {name!r}; tasks are {', '.join(TASKS)}.")
    return TASKS[name]
