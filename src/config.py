"""Build the settings of a command from JSON config files and its command line.

Layers, from low to high precedence: defaults of the schema, config/tasks/<task>.json, config/<model>.json, its "tasks" part for
the task, command line. A complete flat file of the original project, config/<task>/<file>.json, takes the place of the three file
layers. This module imports nothing heavy, so that `--help` and configuration errors appear immediately.
"""

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

from attrdict import AttrDict
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from src.cli import Parser
from src.errors import MAX_QUOTED, ConfigError, did_you_mean, list_problems, quote, quote_json, shorten
from src.settings import (
    ALIASES,
    COMMAND_LINE,
    COMMAND_LINE_ONLY,
    DEFAULT,
    DERIVED,
    MODEL_SETTINGS,
    Settings,
    default_of,
    kind_of,
)

logger = logging.getLogger(__name__)

NAMES = [*Settings.model_fields, *ALIASES]
LARGEST = 2**32 - 1  # of all whole numbers that make sense as a setting


class Layer(NamedTuple):
    """Settings of one source: a file's path or "command line"."""

    source: str
    values: Mapping[str, Any]


def load_settings(argv: Sequence[str], *, script: str, tasks: Sequence[str], default_task: str = "") -> Settings:
    """Return the settings of a command line and the config files it names.

    `tasks` are the tasks that `script` can run. Prints and exits with code 0 on --help and --print_settings.
    Raises ConfigError with all problems, each with its source.
    """
    given, problems = parse_command_line(argv)
    config_dir = Path(given.get("config_dir", default_of("config_dir")))
    if "help" in given:
        print(help_text(script, tasks, config_dir))
        sys.exit(0)
    print_settings = given.pop("print_settings", None) is not None
    task = given.setdefault("task", default_task)
    if task not in tasks:
        reason = f"{script} cannot run the task {quote(task)}" if task else "--task is missing"
        problems.insert(0, f"{reason}; choose from {', '.join(tasks)}.{did_you_mean(task, tasks)}")
        raise ConfigError(list_problems("invalid settings:", problems))

    layers = _file_layers(config_dir, task, given.get("config_file", default_of("config_file")), problems)
    values, sources = _merge([*layers, Layer(COMMAND_LINE, given)], task, problems)
    if not problems:
        _derive(values, sources)
        problems += _check(values, sources)
    if problems:
        raise ConfigError(list_problems("invalid settings:", problems))
    settings = Settings.model_construct(**values)  # without validation: _merge has validated each value of every layer
    settings._layers.update(sources)
    if print_settings:
        shown = {name: {"value": value, "layer": settings.layer_of(name)} for name, value in settings.model_dump().items()}
        print(json.dumps(shown, ensure_ascii=False, indent=2))
        sys.exit(0)
    return settings


def config_dir_of(argv: Sequence[str]) -> Path:
    """Return the config folder that a command line names, or the default one."""
    return Path(parse_command_line(argv)[0].get("config_dir", default_of("config_dir")))


def config_files(config_dir: Path) -> list[str]:
    """Return the names of the model files in `config_dir`, sorted."""
    return sorted(path.name for path in config_dir.glob("*.json"))


def help_text(script: str, tasks: Sequence[str], config_dir: Path) -> str:
    """Return the text of --help: usage, tasks, config files, and every setting with type, default and meaning."""
    lines = [
        f"usage: python3 {script} --task TASK [--config_file FILE] [--SETTING VALUE ...]",
        "",
        f"tasks:        {', '.join(tasks)}",
        f"config files: {', '.join(config_files(config_dir)) or 'none'}  (in {config_dir}/)",
        "",
        "A boolean setting without a value means true. Precedence, from low to high: default, config/tasks/<task>.json,",
        'config/<file>.json, its "tasks" part for the task, command line.',
        "--print_settings prints the effective settings and where each comes from.",
        "",
        f"{'setting':<31} {'type':<12} {'default':<12} meaning",
    ]
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else json.dumps(field.default) if field.default != "" else "-"
        meaning = f"{kind} tasks: {field.description}" if (kind := kind_of(name)) else field.description
        lines.append(f"--{name:<29} {_type_name(field.annotation):<12} {default:<12} {meaning}")
    return "\n".join(lines)


def _type_name(annotation: Any) -> str:
    """Return the type as --help shows it: `int`, `str|null`, or the choices of a Literal as `a|b`."""
    if annotation is type(None):
        return "null"
    parts = get_args(annotation)
    return "|".join(part if isinstance(part, str) else _type_name(part) for part in parts) or annotation.__name__


def parse_command_line(argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the given values as strings by canonical name, and one problem for each argument that is not a setting."""
    parser = Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--print_settings", action="store_true")
    for name in NAMES:
        canonical = ALIASES.get(name, name)
        is_bool = bool in _types(canonical)
        parser.add_argument(f"--{name}", dest=canonical, nargs="?", const="true" if is_bool else None)
    parsed, unknown = parser.parse_known_args(argv)
    given = {name: value for name, value in vars(parsed).items() if value is not None}
    problems = [f"{COMMAND_LINE}: --{name} needs a value" for name, value in vars(parsed).items() if value is None]
    for position, argument in enumerate(unknown):
        if argument.startswith("--"):
            flag = argument.split("=")[0]
            hint = did_you_mean(flag, [f"--{name}" for name in NAMES])
            problems.append(f"{COMMAND_LINE}: unknown setting {shorten(flag, MAX_QUOTED)}.{hint} See --help.")
        elif position == 0 or not unknown[position - 1].startswith("--"):
            shown = shorten(argument, MAX_QUOTED)
            flag = f"--name {shlex.quote(shown)}"
            problems.append(f"{COMMAND_LINE}: unexpected argument {shown!r}: write it as {flag}. See --help.")
    return given, problems


def _types(name: str) -> tuple[Any, ...]:
    """Return the types that a setting may have: those of a union, or the only one."""
    annotation = Settings.model_fields[name].annotation
    return get_args(annotation) or (annotation,)


def _read_json(path: Path, problems: list[str]) -> AttrDict:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(loaded, dict):
            return AttrDict(loaded)
        problems.append(f"{path}: found a JSON {type(loaded).__name__}, expected an object of settings")
    except json.JSONDecodeError as error:
        problems.append(f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read: {error}")
    return AttrDict()


def _file_layers(config_dir: Path, task: str, config_file: str, problems: list[str]) -> list[Layer]:
    """Return the layers between the defaults and the command line, from low to high precedence."""
    flat, plain = config_dir / task / config_file, config_dir / config_file
    if flat.is_file() and flat != plain:
        if plain.is_file():
            logger.info("%s is a complete file for this task and is used instead of %s", flat, plain)
        return [Layer(str(flat), _read_json(flat, problems))]
    if not plain.is_file() and Path(config_file).is_file():
        plain = Path(config_file)
    if not plain.is_file():
        files = config_files(config_dir)
        problems.append(
            f"--config_file {quote(config_file)} is not in {config_dir}/; choose from {', '.join(files) or 'nothing'}."
            f"{did_you_mean(config_file, files)}"
        )
        return []
    model = _read_json(plain, problems)
    parts = model.pop("tasks", {})
    layers = []
    task_file = config_dir / "tasks" / f"{task}.json"
    if task_file.is_file():
        settings = _read_json(task_file, problems)
        settings.pop("definition", None)  # processor.definition reads it
        layers.append(Layer(str(task_file), settings))
    layers.append(Layer(str(plain), model))
    if not isinstance(parts, Mapping) or not all(isinstance(part, Mapping) for part in parts.values()):
        problems.append(f'{plain}: "tasks" must be an object with one object of settings per task')
        return layers
    tasks = [path.stem for path in (config_dir / "tasks").glob("*.json")]
    for name in parts:
        if name not in tasks:
            problems.append(f'{plain}: unknown task {quote(name)} in "tasks".{did_you_mean(name, tasks)}')
    if task in parts:
        layers.append(Layer(f"{plain} (tasks.{task})", parts[task]))
    return layers


def _merge(layers: Sequence[Layer], task: str, problems: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the effective values, defaults included, and the source of every value that is not a default.

    Values in files must have the right JSON type; the strings of the command line are converted.
    """
    values = {name: field.default for name, field in Settings.model_fields.items() if not field.is_required()}
    sources: dict[str, str] = {}
    for source, layer in layers:
        if "model_name_or_path" in layer:
            for name in MODEL_SETTINGS:
                values[name] = default_of(name)
                sources.pop(name, None)
        for written, value in layer.items():
            name = ALIASES.get(written, written)
            if name not in Settings.model_fields:
                problems.append(f"{source}: unknown setting {quote(written)}.{did_you_mean(written, NAMES)}")
                continue
            if written != name and layer.get(name, value) != value:
                problems.append(
                    f"{source}: {written!r} is an alias of {name!r}, but they differ: {quote(value)}, {quote(layer[name])}"
                )
            try:
                values[name] = _convert(name, value, from_string=source == COMMAND_LINE)
                sources[name] = source
            except ValidationError as error:
                reasons = " or ".join(detail["msg"] for detail in error.errors()[:2])  # two if there are two types
                problems.append(f"{source}: {written} = {quote_json(value)}: {reasons}")
        if layer.get("task", task) != task:
            problems.append(f"{source}: is for task {quote(layer['task'])}, not {task!r}")
    return values, sources


def _convert(name: str, value: Any, *, from_string: bool) -> Any:
    if from_string and value in ("null", "none", "None") and type(None) in _types(name):
        return None
    field: FieldInfo = Settings.model_fields[name]
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
    return adapter.validate_strings(value) if from_string else adapter.validate_python(value, strict=True)


def _derive(values: dict[str, Any], sources: dict[str, str]) -> None:
    """Fill in model_type and output_dir if no layer sets them."""
    stem = Path(values["config_file"]).stem
    if not values["model_type"]:
        values["model_type"], sources["model_type"] = stem, DERIVED
    if not values["output_dir"]:
        if sources.get("model_name_or_path") == COMMAND_LINE:
            stem = Path(values["model_name_or_path"]).absolute().name
        values["output_dir"], sources["output_dir"] = f"{stem}-{values['task']}-ckpt", DERIVED


def _check(values: dict[str, Any], sources: dict[str, str]) -> list[str]:
    """Return the problems that the types do not express: missing settings, unusable values and conflicts."""

    def given(name: str) -> str:
        return f"{sources.get(name, DEFAULT)}: {name} = {quote_json(values[name])}"

    required = [name for name, field in Settings.model_fields.items() if field.is_required()]
    problems = [f"{name} is missing; set it in the config file or as --{name}" for name in required if not values.get(name)]
    problems += [f"{given(name)}: {reason}" for name, value in values.items() if (reason := _unusable(name, value))]
    problems += [
        f"{given(name)}: only allowed on the command line, as --{name}"
        for name in COMMAND_LINE_ONLY
        if values[name] and sources[name] != COMMAND_LINE
    ]
    if values["do_train"] and not values["train_file"]:
        problems.append("train_file is missing; set it in the task's file, or pass --train_file or --do_train false")
    if values["dev_ratio"] and values["dev_file"]:
        problems.append(
            f"{given('dev_ratio')}: conflicts with dev_file = {shorten(values['dev_file'], MAX_QUOTED)}; remove one of them"
        )
    if values["overwrite_output_dir"] and sources["overwrite_output_dir"] == COMMAND_LINE and not values["do_train"]:
        problems.append("--overwrite_output_dir would remove the checkpoints that --do_train false needs; remove one of them")
    return problems


def _unusable(name: str, value: Any) -> str:
    """Return why a value of the right type cannot be used, or "" if it can."""
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"should be at most {LARGEST:,}"
    if name == "max_steps" and value == 0:
        return "should be -1 (from num_train_epochs) or the number of updates"
    if name == "version_2_with_negative" and value:
        return "questions without an answer are not supported"
    if not isinstance(value, str):
        return ""
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        return "contains a NUL or an unpaired surrogate"
    leaves_folder = not Path(value).is_absolute() and ".." in Path(value).parts
    if name == "output_dir" and (leaves_folder or Path(value).name in ("", "..")):
        return "should be the name of a folder in ckpt_dir"
    if name in ("train_file", "dev_file", "test_file") and leaves_folder:
        return "should be a file in <data_dir>/<task>, or an absolute path"
    return ""
