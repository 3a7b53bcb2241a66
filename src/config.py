"""Layered JSON files and the command line become one validated, immutable `Settings` object.

Layers, later wins: defaults of the schema < config/tasks/<task>.json < config/<model>.json < its "tasks" part < command line.
A complete flat file of the original project, config/<task>/<file>.json, stands for everything between the defaults and the
command line. Nothing heavy is imported here, so that `--help` and a wrong setting answer at once.
"""

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from attrdict import AttrDict
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from src.cli import Parser
from src.errors import ConfigError, did_you_mean, list_problems
from src.settings import ALIASES, COMMAND_LINE, COMMAND_LINE_ONLY, DEFAULT, DERIVED, MODEL_SETTINGS, Settings

logger = logging.getLogger(__name__)

LARGEST = 2**32 - 1  # whole number that can be meant


def load_settings(argv: Sequence[str], *, script: str, tasks: Sequence[str], default_task: str = "") -> Settings:
    """Read the command line and the config files it names.

    `tasks` are the tasks this script runs. Prints and leaves with code 0 on --help and --print_settings.
    Raises ConfigError with every problem found, each with its source.
    """
    given, problems = parse_command_line(argv)
    config_dir = Path(given.get("config_dir", Settings.model_fields["config_dir"].default))
    if "help" in given:
        print(help_text(script, tasks, config_dir))
        sys.exit(0)
    print_settings = given.pop("print_settings", None) is not None
    given.setdefault("task", default_task)
    task = given["task"]
    if task not in tasks:
        what = f"--task {task!r} is not one {script} runs" if task else "--task is missing"
        problems.insert(0, f"{what}; choose from {', '.join(tasks)}.{did_you_mean(task, tasks)}")
        raise ConfigError(list_problems("these settings cannot be used:", problems))

    layers = _file_layers(config_dir, task, given.get("config_file", Settings.model_fields["config_file"].default), problems)
    values, sources = _merge([*layers, (COMMAND_LINE, given)], task, problems)
    if not problems:
        _derive(values, sources)
        problems += _cross_check(values, sources)
    if problems:
        raise ConfigError(list_problems("these settings cannot be used:", problems))
    settings = Settings(**values)
    settings._layers.update(sources)
    if print_settings:
        shown = {name: {"value": value, "layer": settings.layer_of(name)} for name, value in settings.model_dump().items()}
        print(json.dumps(shown, ensure_ascii=False, indent=2))
        sys.exit(0)
    return settings


def config_files(config_dir: Path) -> list[str]:
    """Names of the model files in `config_dir`, sorted."""
    return sorted(path.name for path in config_dir.glob("*.json"))


def help_text(script: str, tasks: Sequence[str], config_dir: Path) -> str:
    """What --help prints: usage, tasks, config files found, every setting with type, default and meaning."""
    lines = [
        f"usage: python3 {script} --task TASK [--config_file FILE] [--SETTING VALUE ...]",
        "",
        f"tasks:        {', '.join(tasks)}",
        f"config files: {', '.join(config_files(config_dir)) or 'none'}  (in {config_dir}/)",
        "",
        "A boolean setting without a value means true. Later wins: default < config/tasks/<task>.json < config/<file>.json",
        "< its part for the task < command line. --print_settings prints the effective settings and where each comes from.",
        "",
        f"{'setting':<31} {'type':<12} {'default':<12} meaning",
    ]
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else json.dumps(field.default) if field.default != "" else "-"
        lines.append(f"--{name:<29} {_type_name(field.annotation):<12} {default:<12} {field.description}")
    return "\n".join(lines)


def _type_name(annotation: Any) -> str:
    """`int`, `str|null`, `a|b` for the choices of a Literal."""
    if annotation is type(None):
        return "null"
    parts = get_args(annotation)
    return "|".join(part if isinstance(part, str) else _type_name(part) for part in parts) or annotation.__name__


def parse_command_line(argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Values as strings by canonical name, and a problem for each argument that is no setting."""
    parser = Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--print_settings", action="store_true")
    names = list(Settings.model_fields) + list(ALIASES)
    for name in names:
        is_bool = bool in _types(Settings.model_fields[ALIASES.get(name, name)])
        parser.add_argument(f"--{name}", dest=ALIASES.get(name, name), nargs="?", const="true" if is_bool else None)
    parsed, unknown = parser.parse_known_args(argv)
    known = {name: value for name, value in vars(parsed).items() if value is not None}
    problems = [f"{COMMAND_LINE}: --{name} needs a value" for name, value in vars(parsed).items() if value is None]
    for position, argument in enumerate(unknown):
        if argument.startswith("--"):
            name = argument[2:].split("=")[0]
            problems.append(f"{COMMAND_LINE}: --{name} is no setting.{did_you_mean(name, names)} See --help.")
        elif position == 0 or not unknown[position - 1].startswith("--"):
            problems.append(f"{COMMAND_LINE}: {argument!r} stands without a setting's name in front of it. See --help.")
    return known, problems


def _types(field: FieldInfo) -> tuple[Any, ...]:
    return getattr(field.annotation, "__args__", (field.annotation,))


def _read_json(path: Path, problems: list[str]) -> AttrDict:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(loaded, dict):
            problems.append(f"{path}: holds a JSON {type(loaded).__name__}, not an object of settings")
            return AttrDict()
        return AttrDict(loaded)
    except json.JSONDecodeError as error:
        problems.append(f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read: {error}")
    return AttrDict()


def _file_layers(config_dir: Path, task: str, config_file: str, problems: list[str]) -> list[tuple[str, Mapping[str, Any]]]:
    """(source, values) of the files between the defaults and the command line, lowest first."""
    flat, plain = config_dir / task / config_file, config_dir / config_file
    if flat.is_file() and flat != plain:
        if plain.is_file():
            logger.info("%s is a complete file for this task and is used instead of %s", flat, plain)
        return [(str(flat), _read_json(flat, problems))]
    if not plain.is_file() and Path(config_file).is_file():
        plain = Path(config_file)
    if not plain.is_file():
        found = config_files(config_dir)
        problems.append(
            f"--config_file {config_file!r} is not in {config_dir}/; found there: {', '.join(found) or 'nothing'}."
            f"{did_you_mean(config_file, found)}"
        )
        return []
    model = _read_json(plain, problems)
    parts = model.pop("tasks", {})
    layers: list[tuple[str, Mapping[str, Any]]] = []
    task_file = config_dir / "tasks" / f"{task}.json"
    if task_file.is_file():
        layers.append((str(task_file), _read_json(task_file, problems)))
    layers.append((str(plain), model))
    if not isinstance(parts, Mapping) or not all(isinstance(part, Mapping) for part in parts.values()):
        problems.append(f'{plain}: "tasks" must hold an object of settings for each task')
        return layers
    known_tasks = [path.stem for path in (config_dir / "tasks").glob("*.json")]
    for name in parts:
        if name not in known_tasks:
            problems.append(f'{plain}: "tasks" names the unknown task {name!r}.{did_you_mean(name, known_tasks)}')
    if task in parts:
        layers.append((f"{plain} (tasks.{task})", parts[task]))
    return layers


def _merge(
    layers: Sequence[tuple[str, Mapping[str, Any]]], task: str, problems: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Effective values and the source of each; files are held to JSON's types, the command line's strings are converted."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in layers:
        if "model_name_or_path" in layer:
            for name in MODEL_SETTINGS:
                values.pop(name, None)
                sources.pop(name, None)
        for written, value in layer.items():
            name = ALIASES.get(written, written)
            field = Settings.model_fields.get(name)
            if field is None:
                near = did_you_mean(written, [*Settings.model_fields, *ALIASES])
                problems.append(f"{source}: {written!r} is no setting.{near}")
                continue
            if written != name and layer.get(name, value) != value:
                problems.append(f"{source}: {written!r} and {name!r} name one setting but differ: {value!r}, {layer[name]!r}")
            try:
                values[name] = _convert(field, value, from_strings=source == COMMAND_LINE)
                sources[name] = source
            except ValidationError as error:
                allowed = " or ".join(detail["msg"] for detail in error.errors()[:2])  # two where there are two types
                problems.append(f"{source}: {written} = {json.dumps(value, ensure_ascii=False)}: {allowed}")
        if layer.get("task", task) != task:
            problems.append(f"{source}: is for task {layer['task']!r}, not {task!r}")
    return values, sources


def _convert(field: FieldInfo, value: Any, *, from_strings: bool) -> Any:
    if from_strings and value in ("null", "none", "None") and type(None) in _types(field):
        return None
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
    return adapter.validate_strings(value) if from_strings else adapter.validate_python(value, strict=True)


def _derive(values: dict[str, Any], sources: dict[str, str]) -> None:
    """Fill in model_type and output_dir where no layer gives them."""
    stem = Path(values.get("config_file", Settings.model_fields["config_file"].default)).stem
    if not values.get("model_type"):
        values["model_type"], sources["model_type"] = stem, DERIVED
    if not values.get("output_dir"):
        if sources.get("model_name_or_path") == COMMAND_LINE:
            stem = Path(values["model_name_or_path"]).absolute().name
        values["output_dir"], sources["output_dir"] = f"{stem}-{values['task']}-ckpt", DERIVED


def _cross_check(values: dict[str, Any], sources: dict[str, str]) -> list[str]:
    """Problems that show only when several settings are seen together."""

    def origin(name: str) -> str:
        return sources.get(name, DEFAULT)

    problems = []
    for name, field in Settings.model_fields.items():
        if field.is_required() and not values.get(name):
            problems.append(f"{name} is missing; set it in the config file or as --{name}")
    if values.get("do_train", True) and not values.get("train_file"):
        problems.append("train_file is given nowhere; give it in the task's file or as --train_file, or say --do_train false")
    if values.get("dev_ratio") and values.get("dev_file"):
        problems.append(
            f"{origin('dev_ratio')}: dev_ratio = {values['dev_ratio']}: there is a dev_file, {values['dev_file']}; drop one"
        )
    if values.get("max_steps") == 0:
        problems.append(f"{origin('max_steps')}: max_steps = 0: should be -1 (by epochs) or the number of updates")
    if values.get("version_2_with_negative"):
        source = origin("version_2_with_negative")
        problems.append(f"{source}: version_2_with_negative = true: KorQuAD 1.0 has no unanswerable questions")
    problems += [
        f"{origin(name)}: {name} = {json.dumps(value)}: {fault}"
        for name, value in values.items()
        if (fault := _fault(name, value))
    ]
    for name in COMMAND_LINE_ONLY:
        if values.get(name) and sources[name] != COMMAND_LINE:
            problems.append(f"{sources[name]}: {name} = true: this counts on the command line only, as --{name}")
    overwrite = values.get("overwrite_output_dir") and sources["overwrite_output_dir"] == COMMAND_LINE
    if overwrite and not values.get("do_train", True):
        problems.append("--overwrite_output_dir would remove the checkpoints that --do_train false needs; drop one of them")
    return problems


def _fault(name: str, value: Any) -> str:
    """What is wrong with a value that has the right type; empty where nothing is."""
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"should be no more than {LARGEST:,}"
    if not isinstance(value, str):
        return ""
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        return "holds a character that no name and no text can have"
    above = not Path(value).is_absolute() and ".." in Path(value).parts
    if name == "output_dir" and (above or Path(value).name in ("", "..")):
        return "should name a folder of its own in ckpt_dir"
    if name in ("train_file", "dev_file", "test_file") and above:
        return "should name a file in <data_dir>/<task>, or be absolute"
    return ""
