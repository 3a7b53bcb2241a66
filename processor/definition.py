"""Read the definitions of tasks: the "definition" in each config/tasks/<task>.json. Its fields are those of src.data.Task."""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from src.data import Kind, Task
from src.errors import CheckpointError, ConfigError, did_you_mean, list_problems, quote_json
from src.files import read_json
from src.metrics import METRICS

logger = logging.getLogger(__name__)

PROJECT = Path(__file__).resolve().parent.parent / "config"  # the config folder of this project
RECORD = "settings.json"  # of a run, with the definition of its task

# kind -> the fields that a definition may leave out.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "classification": {"metric": "accuracy"},
    "regression": {"metric": "correlation"},
    "tagging": {"metric": "entity_f1", "text": ["sentence"], "label": "tags"},
    "span": {"metric": "answer_f1", "text": ["question", "context"], "label": "answers", "format": "squad"},
}


def make_task(name: str, definition: Mapping[str, Any], source: str) -> Task:
    """Return the task of a definition, with the defaults of its kind.

    source: where the definition is, for messages. Raises ConfigError with every problem.
    """
    fields = {"title": name, **DEFAULTS.get(str(definition.get("kind")), {}), **definition}
    for field in ("text", "label"):
        if isinstance(fields.get(field), str):
            fields[field] = [fields[field]]
    metric = METRICS.get(str(fields.get("metric")))
    fields.setdefault("headline", metric.headline if metric else "")
    try:
        task = Task.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        problems = [_describe(detail) for detail in error.errors(include_url=False)]
        raise ConfigError(list_problems(f"{source}: the definition of {name!r} is invalid:", problems)) from None
    if problems := _misfits(task):
        raise ConfigError(list_problems(f"{source}: the definition of {name!r} is invalid:", problems))
    return task


def _describe(detail: Mapping[str, Any]) -> str:
    """Return one line about an error of pydantic: field, what is wrong, and the nearest right name."""
    field, kind = ".".join(map(str, detail["loc"])), detail["type"]
    if kind == "extra_forbidden":
        return f"unknown field {field!r}.{did_you_mean(field, Task.model_fields)}"
    if kind == "missing":
        return f"{field} is missing"
    near = did_you_mean(str(detail["input"]), get_args(Kind)) if field == "kind" else ""
    return f"{field} = {quote_json(detail['input'])}: {detail['msg']}.{near}"


def _misfits(task: Task) -> list[str]:
    """Return the problems of fields that are valid one by one."""
    problems = []
    if task.metric not in METRICS:
        problems.append(f"metric = {task.metric!r}: choose from {', '.join(METRICS)}.{did_you_mean(task.metric, METRICS)}")
    if task.columns:
        named = {"text": task.text, "label": task.label}
        problems += [
            f"{field}: {column!r} is not one of the columns {', '.join(task.columns)}.{did_you_mean(column, task.columns)}"
            for field, columns in named.items()
            for column in columns
            if column not in task.columns
        ]
    elif task.format == "tsv":
        problems.append("columns is missing: the names of the file's columns, in their order")
    if task.kind in ("classification", "tagging") and not task.labels:
        problems.append("labels is missing: an object of label: readable name, in the order of label ids")
    if task.kind not in ("classification", "tagging") and task.labels:
        problems.append(f"labels: a {task.kind} task has none")
    return problems


@cache
def read_tasks(config_dir: Path = PROJECT) -> Mapping[str, Task]:
    """Return the project's tasks and those that the task files of `config_dir` define, by name, in the order of the tables.

    A file with a broken definition is left out, with a warning: it must not affect other tasks.
    """
    folders = dict.fromkeys(folder.resolve() for folder in (PROJECT, config_dir))
    tasks = {name: task for folder in folders for name, task in _read_folder(folder / "tasks").items()}
    return dict(sorted(tasks.items(), key=lambda item: item[1].order))


def recorded_tasks(grid: Path) -> Mapping[str, Task]:
    """Return the project's tasks and those that the runs of a grid, <model>/<task>/seed-<n>/, have recorded."""
    tasks = dict(read_tasks())
    for record in sorted(grid.glob(f"*/*/seed-*/{RECORD}")):
        name = record.parent.parent.name
        with suppress(ConfigError, CheckpointError, ValueError, OSError):  # the report says what is wrong with a run
            if name not in tasks and (definition := read_json(record).get("definition")):
                tasks[name] = make_task(name, definition, str(record))
    return dict(sorted(tasks.items(), key=lambda item: item[1].order))


def _read_folder(folder: Path) -> dict[str, Task]:
    tasks = {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise TypeError("not a JSON object")
            if "definition" in content:
                tasks[path.stem] = make_task(path.stem, content["definition"], str(path))
        except (ConfigError, ValueError, TypeError, AttributeError, OSError) as error:
            reason = str(error) if isinstance(error, ConfigError) else f"{path} cannot be read: {error}"
            logger.warning("%s\nThe task %s is left out.", reason, path.stem)
    return tasks
