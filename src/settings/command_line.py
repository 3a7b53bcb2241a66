"""The command lines: flags of the run scripts, which are the settings, their help, and the tasks that a command chooses."""

import argparse
import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from src.common.cli import Parser
from src.common.errors import MAX_QUOTED, did_you_mean, quote, shorten
from src.data.task import Tasks
from src.settings.aliases import ALIASES, PRECISIONS, advise
from src.settings.schema import COMMAND_LINE, Settings, default_of, kinds_of, task_name

ALL = "all"  # on a command line: the tasks of the published table
PUBLISHED_SUITE = "koelectra"

PROJECT = Path(__file__).resolve().parents[2] / "config"  # the config folder of this project
NUMBER = re.compile(r"-\.?\d.*")  # a negative number, which argparse takes for a flag if it is written as -1e-4

NAMES = [*Settings.model_fields, *ALIASES, *PRECISIONS]


def parse_command_line(argv: Sequence[str], other_flags: Collection[str] = ()) -> tuple[dict[str, Any], list[str]]:
    """Return the given values as strings by the names as written, and one problem for each argument that is not a setting.

    other_flags: names of flags that the script has removed from `argv`, which may be meant by a misspelled one.
    """
    parser = Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--print_settings", action="store_true")
    for name in NAMES:
        is_bool = name in PRECISIONS or bool in types_of(ALIASES.get(name, name))
        parser.add_argument(f"--{name}", nargs="?", const="true" if is_bool else None)
    parsed, unknown = parser.parse_known_args(_with_numbers(argv))
    given = {name: value for name, value in vars(parsed).items() if value is not None}
    problems = [f"{COMMAND_LINE}: --{name} needs a value" for name, value in vars(parsed).items() if value is None]
    known = [*NAMES, *other_flags]
    for position, argument in enumerate(unknown):
        if argument.startswith("--"):
            name = argument.removeprefix("--").split("=")[0]
            problems.append(
                f"{COMMAND_LINE}: unknown setting --{shorten(name, MAX_QUOTED)}{advise(name, known, '--')} See --help."
            )
        elif position == 0 or not unknown[position - 1].startswith("--"):
            shown = shorten(argument, MAX_QUOTED)
            flag = f"--name {shlex.quote(shown)}"
            problems.append(f"{COMMAND_LINE}: unexpected argument {shown!r}: write it as {flag}. See --help.")
    return given, problems


def _with_numbers(argv: Sequence[str]) -> list[str]:
    """Return arguments in which each flag has its negative number after an equals sign."""
    joined: list[str] = []
    for argument in argv:
        if NUMBER.fullmatch(argument) and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def config_dir_of(given: Mapping[str, Any]) -> Path:
    """Return the folder of config files of a command line: the one that it names, else config/ here, else that of the project."""
    usual = Path(default_of("config_dir"))
    return Path(given.get("config_dir") or (usual if usual.is_dir() else PROJECT))


def types_of(name: str) -> tuple[Any, ...]:
    """Return the types that a setting may have: those of a union, or the only one."""
    annotation = Settings.model_fields[name].annotation
    return get_args(annotation) or (annotation,)


def config_files(config_dir: Path) -> list[str]:
    """Return the names of the model files in `config_dir`, sorted."""
    return sorted(path.name for path in config_dir.glob("*.json"))


def help_text(script: str, tasks: Sequence[str], config_dir: Path, other_flags: Mapping[str, str]) -> str:
    """Return the text of --help: usage, tasks, config files, the flags of a task, and every setting with type and default."""
    lines = [
        f"usage: python3 {script} --task TASK [--config_file FILE] [--SETTING VALUE ...]",
        "",
        f"tasks:        {', '.join(tasks)}",
        f"config files: {', '.join(config_files(config_dir)) or 'none'}  (in {config_dir}/)",
        "",
        "A boolean setting without a value means true. Precedence, from low to high: default, config/tasks/<task>.json,",
        'config/<file>.json, its "tasks" part for the task, the file of --tuned_file, command line.',
        "--print_settings prints the effective settings and where each comes from; --version prints the version.",
    ]
    if other_flags:
        lines += ["", "your own data: any name as --task, --train_file and"]
        lines += [f"--{name:<29} {meaning}" for name, meaning in other_flags.items()]
        lines += ["--print_task prints the task file that the command line amounts to."]
    lines += ["", f"{'setting':<31} {'type':<12} {'default':<12} meaning"]
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else json.dumps(field.default) if field.default != "" else "-"
        meaning = f"{', '.join(kinds)} tasks: {field.description}" if (kinds := kinds_of(name)) else field.description
        lines.append(f"--{name:<29} {_type_name(field.annotation):<12} {default:<12} {meaning}")
    aliases = [f"{alias} = {name}" for alias, name in ALIASES.items()]
    aliases += [f"{precision} = mixed_precision {precision}" for precision in PRECISIONS]
    return "\n".join([*lines, "", "other names:", *(f"--{alias}" for alias in aliases)])


def _type_name(annotation: Any) -> str:
    """Return the type as --help shows it: `int`, `str|null`, or the choices of a Literal as `a|b`."""
    if annotation is type(None):
        return "null"
    parts = get_args(annotation)
    return "|".join(part if isinstance(part, str) else _type_name(part) for part in parts) or annotation.__name__


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
