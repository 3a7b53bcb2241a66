"""Tasks that a command line defines: its flags become a definition, as in config/tasks/<task>.json."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processor.definition import make_task, read_content, read_task_file, read_tasks, tasks_of
from processor.kinds import KINDS
from src.common.cli import Parser
from src.common.errors import ConfigError, list_problems, quote
from src.data.task import Task, Tasks
from src.metrics.metrics import METRICS
from src.settings.command_line import PROJECT, config_dir_of
from src.settings.layers import load_settings
from src.settings.schema import (
    COMMAND_LINE,
    DATA_FILES,
    Settings,
    is_task_file,
    settings_of,
    task_name,
)

MAX_NAME = 200  # bytes of a task's name: file systems allow 255, and the run's folder is `<model>-<task>-ckpt`


# flag -> its meaning. It sets the field of its name, or that of FIELDS.
FLAGS = {
    "kind": f"{', '.join(KINDS)}; default: classification, tagging or span, as the script",
    "text_column": "the column of the text, or of the first of two texts",
    "text_pair_column": "the column of the second text",
    "span_columns": "first and last character of two spans of the text, as a,b,c,d: their relation is the label",
    "choice_columns": "multiple_choice: the columns of the answers to choose from, as a,b,c",
    "label_column": "the column of the label; several 0/1 columns as a,b,c",
    "group_column": "a column, such as of persons: a hold-out keeps rows with the same value on one side",
    "label_separator": "what separates the labels in one column",
    "metric": f"{', '.join(METRICS)}; default: that of the kind",
    "format": "format of the files; default: by their suffix",
    "delimiter": "what separates the values of a csv file; default: a comma; \\t is a tab",
    "encoding": "encoding of the files, such as cp949; default: UTF-8",
}
FIELDS = {
    "text_column": "text",
    "text_pair_column": "text",
    "span_columns": "spans",
    "choice_columns": "choices",
    "label_column": "label",
    "group_column": "group",
}
FLAG_OF = {FIELDS.get(name, name): f"--{name}" for name in reversed(FLAGS)}  # text: --text_column

# Settings that belong to one command or one model. A task's file has none of them.
NOT_OF_A_TASK = (*settings_of("run"), *settings_of("model"), *settings_of("trust"))


@dataclass(frozen=True)
class Command:
    """The command line of a run script."""

    argv: Sequence[str]  # the arguments that are settings
    tasks: Tasks  # that the script can run, the task of the command line among them
    content: Mapping[str, Any]  # of a file of the task: its definition, and the settings of the task's file if there is one
    print_task: bool

    def task_file(self, settings: Settings) -> str:
        """Return the content of a task file that amounts to this command line: definition, settings, absolute paths of files."""
        given = {name: value for name, value in settings.model_dump().items() if settings.layer_of(name) == COMMAND_LINE}
        names = {split: name for split, name in DATA_FILES.items() if getattr(settings, name)}
        files = {name: str(settings.path_of(split).absolute()) for split, name in names.items()}
        values = {name: value for name, value in given.items() if name not in NOT_OF_A_TASK}
        if "class_weights" in values and settings.weights_file:
            files["class_weights"] = str(settings.weights_file.absolute())
        return json.dumps({**self.content, **values, **files}, ensure_ascii=False, indent=2)


def read_command(argv: Sequence[str], script: str, default_task: str = "") -> Command:
    """Return the command line of `script`, with the task that it defines, if it does.

    A definition in the task's file is the base; flags replace its fields. Raises ConfigError for an invalid definition, with the
    names of the flags.
    """
    parser = Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for name in FLAGS:
        parser.add_argument(f"--{name}")
    parser.add_argument("--print_task", action="store_true")
    flags, rest = parser.parse_known_args(argv)
    given = vars(flags)
    print_task = given.pop("print_task", False)
    for name in ("task", "train_file", "config_dir"):
        parser.add_argument(f"--{name}", nargs="?")
    settings = vars(parser.parse_known_args(rest)[0])
    entry, config_dir = settings.get("task") or default_task, config_dir_of(settings)

    tasks = dict(read_tasks(config_dir))
    if is_task_file(entry):
        tasks |= read_task_file(Path(entry))
    task = task_name(entry)
    content = _read_content(entry, config_dir)
    is_own = given or (settings.get("train_file") and task not in tasks)
    if {"-h", "--help"} & set(rest):
        pass  # help needs no valid task
    elif task and is_own:
        _check(task, given.get("kind"), script)
        content = {**content, "definition": _definition(given, content["definition"], script)}
        tasks[task] = make_task(task, content["definition"], COMMAND_LINE, FLAG_OF)
    elif task and task in {each.suite for each in tasks.values()}:
        raise ConfigError(f"{task} is a suite of tasks. Use run_benchmark.py run --tasks {task}, or name one of its tasks.")
    elif task in tasks and tasks[task].script != script:
        raise ConfigError(f"{script} cannot run the task {task!r}. Use {tasks[task].script}.")
    return Command(rest, {name: tasks[name] for name in tasks_of(script, tasks)}, content, print_task)


def read_run(argv: Sequence[str], script: str, default_task: str = "") -> tuple[Settings, Task]:
    """Return the settings and the task of a command line of `script`.

    Prints and exits with code 0 on --help, --print_settings and --print_task. Raises ConfigError, see `read_command` and
    src.settings.layers.load_settings.
    """
    command = read_command(argv, script, default_task)
    settings = load_settings(command.argv, script=script, tasks=command.tasks, default_task=default_task, other_flags=FLAGS)
    if command.print_task:
        print(command.task_file(settings))
        sys.exit(0)
    task = command.tasks[settings.task]
    if len(columns := [*task.text, *task.label, *task.group]) > len(set(columns)):
        column = next(column for column in columns if columns.count(column) > 1)
        raise ConfigError(f"the column {quote(column)} is named twice: as text, label or group. Name another one for each.")
    return settings, task


def _definition(given: Mapping[str, str], base: Mapping[str, Any], script: str) -> dict[str, Any]:
    """Return a definition with the fields that the flags set in place of those of `base`."""
    definition = {"kind": next(name for name, kind in KINDS.items() if kind.script == script), **base}
    definition |= {name: value for name, value in given.items() if name not in FIELDS}
    if given.get("delimiter") == r"\t":  # a tab is hard to type in a shell
        definition["delimiter"] = "\t"
    if "metric" in given:
        definition = {field: value for field, value in definition.items() if field not in ("headline", "reported")}
    if "text_column" in given or "text_pair_column" in given:
        text = base.get("text", [])
        first, pair = [*(text if isinstance(text, list) else [text]), None, None][:2]
        columns = [given.get("text_column", first), given.get("text_pair_column", pair)]
        if columns[0] is None:
            raise ConfigError(f"{COMMAND_LINE}: --text_pair_column needs --text_column.")
        definition["text"] = [column for column in columns if column is not None]
    for name in ("span_columns", "choice_columns", "label_column"):
        if name in given:
            definition[FIELDS[name]] = given[name].split(",")
    if "group_column" in given:
        definition["group"] = [given["group_column"]]
    return definition


def _read_content(entry: str, config_dir: Path) -> dict[str, Any]:
    """Return the settings in a task's file and its definition, which may be that of this project."""
    named = [folder / "tasks" / f"{entry}.json" for folder in (config_dir, PROJECT)]
    contents: list[dict[str, Any]] = [{}, {}]
    for place, path in enumerate([Path(entry)] if is_task_file(entry) else named):
        with suppress(ConfigError):  # there is no file, or read_tasks has warned about it
            contents[place] = read_content(path)
    definition: dict[str, Any] = next((content["definition"] for content in contents if "definition" in content), {})
    return {"definition": definition, **contents[0]}


def _check(task: str, kind: str | None, script: str) -> None:
    """Raise ConfigError for a task whose name cannot be the name of a folder, and for a kind that another script runs."""
    problems = []
    if "/" in task or "\0" in task or task in (".", ".."):
        problems.append(f"--task {quote(task)} cannot be the name of a folder")
    elif task[0] in ".-":
        problems.append(f"--task {quote(task)} begins with {task[0]!r}, as hidden files and flags do; use another name")
    if len(task.encode("utf-8", "surrogatepass")) > MAX_NAME:
        problems.append(f"--task {quote(task)} has more than {MAX_NAME} bytes")
    if kind in KINDS and KINDS[kind].script != script:
        problems.append(f"--kind {kind}: use {KINDS[kind].script}")
    if problems:
        raise ConfigError(list_problems(f"{script} cannot run this task:", problems))
