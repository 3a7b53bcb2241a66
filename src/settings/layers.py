"""Build the settings of a command from JSON config files and its command line.

Layers, from low to high precedence: defaults of the schema, config/tasks/<task>.json, config/<model>.json, its "tasks" part for
the task, the result of a search (tuned_file), command line. A complete flat file of the original project,
config/<task>/<file>.json, takes the place of the first three file layers. Nothing heavy is imported here: `--help` is immediate.
"""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from attrdict import AttrDict
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from src.common import launcher
from src.common.errors import MAX_QUOTED, ConfigError, brief, did_you_mean, list_problems, quote, quote_json, shorten
from src.common.files import absence, is_file
from src.common.strict_json import load_json
from src.data.task import Task, Tasks
from src.settings.aliases import ALIASES, PRECISIONS, advise, replace_switches
from src.settings.command_line import NAMES, PROJECT, config_dir_of, config_files, help_text, parse_command_line, types_of
from src.settings.schema import (
    COMMAND_LINE,
    COMMAND_LINE_ONLY,
    DATA_FILES,
    DEFAULT,
    DERIVED,
    MODEL_SETTINGS,
    Settings,
    default_of,
    defaults_of,
    is_task_file,
    task_name,
)

logger = logging.getLogger(__name__)

NO_FLAGS: Mapping[str, str] = {}
LARGEST = 2**32 - 1  # of all whole numbers that make sense as a setting


class Layer(NamedTuple):
    """Settings of one source: a file's path or "command line"."""

    source: str
    values: Mapping[str, Any]


def load_settings(
    argv: Sequence[str], *, script: str, tasks: Tasks, default_task: str = "", other_flags: Mapping[str, str] = NO_FLAGS
) -> Settings:
    """Return the settings of a command line and the config files it names.

    `tasks` are the tasks that `script` can run; `other_flags` its flags that are no settings, with their meaning, for --help.
    Prints and exits with code 0 on --help and --print_settings. Raises ConfigError with all problems, each with its source.
    """
    given, problems = parse_command_line(argv, other_flags)
    config_dir = config_dir_of(given)
    if (name := given.get("config_file")) and (config_dir / f"{name}.json").is_file():
        given["config_file"] += ".json"
    if "help" in given:
        print(help_text(script, list(tasks), config_dir, other_flags))
        sys.exit(0)
    print_settings = given.pop("print_settings", None) is not None
    entry = given.get("task", default_task)
    task = given["task"] = task_name(entry)
    if task not in tasks:
        reason = f"{script} cannot run the task {quote(task)}" if task else "--task is missing"
        own = " Your own data needs --train_file, see --help." if other_flags else ""
        problems.insert(0, f"{reason}; choose from {', '.join(tasks)}.{did_you_mean(task, tasks)}{own}")
        raise ConfigError(list_problems("invalid settings:", problems))

    task_file = Path(entry) if is_task_file(entry) else config_dir / "tasks" / f"{task}.json"
    defaults = Layer(DEFAULT, defaults_of(tasks[task].kind))
    layers = _file_layers(config_dir, task_file, given.get("config_file", default_of("config_file")), problems)
    if tuned_file := given.get("tuned_file"):
        tuned = _read_json(Path(tuned_file), problems)
        tuned.pop("search", None)  # src.runs.grid_folder reads it
        layers.append(Layer(tuned_file, tuned))
    values, sources = _merge([defaults, *layers, Layer(COMMAND_LINE, given)], task, problems)
    if not problems:
        _derive(values, sources)
        _locate_model(values, sources)
        _locate_files(values, sources, tasks[task], problems)
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


def _read_json(path: Path, problems: list[str]) -> AttrDict:
    try:
        loaded = load_json(path)
        if isinstance(loaded, dict):
            return AttrDict(loaded)
        problems.append(f"{path}: found a JSON {type(loaded).__name__}, expected an object of settings")
    except json.JSONDecodeError as error:
        problems.append(f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}")
    except (OSError, ValueError) as error:
        problems.append(f"{path}: cannot be read: {brief(error)}")
    return AttrDict()


def _file_layers(config_dir: Path, task_file: Path, config_file: str, problems: list[str]) -> list[Layer]:
    """Return the layers between the defaults and the command line, from low to high precedence."""
    task = task_file.stem
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
    if task_file.is_file() and task_file.stat().st_size:  # `--print_task > FILE` begins with an empty file
        settings = _read_json(task_file, problems)
        settings.pop("definition", None)  # processor.definition reads it
        layers.append(Layer(str(task_file), settings))
    layers.append(Layer(str(plain), model))
    if not isinstance(parts, Mapping) or not all(isinstance(part, Mapping) for part in parts.values()):
        problems.append(f'{plain}: "tasks" must be an object with one object of settings per task')
        return layers
    tasks = [task, *(path.stem for path in (config_dir / "tasks").glob("*.json"))]
    for name in parts:
        if name not in tasks:
            problems.append(f'{plain}: unknown task {quote(name)} in "tasks".{did_you_mean(name, tasks)}')
    if task in parts:
        layers.append(Layer(f"{plain} (tasks.{task})", parts[task]))
    return layers


def _merge(layers: Sequence[Layer], task: str, problems: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the effective values, defaults included, and the source of every value that is not a general default.

    Values in files must have the right JSON type; the strings of the command line are converted.
    """
    values = {name: field.default for name, field in Settings.model_fields.items() if not field.is_required()}
    sources: dict[str, str] = {}
    for source, written_layer in layers:
        layer = dict(written_layer)
        if not layer.keys().isdisjoint(PRECISIONS):
            layer = replace_switches(layer, source, source == COMMAND_LINE, problems)
        if "model_name_or_path" in layer:
            for name in MODEL_SETTINGS:
                values[name] = default_of(name)
                sources.pop(name, None)
        for written, value in layer.items():
            name = ALIASES.get(written, written)
            if written.startswith("per_device_") and launcher.count() > 1:
                problems.append(
                    f"{source}: {written}: there are {launcher.count()} processes; use {name}, the rows of all of them"
                )
            if name not in Settings.model_fields:
                problems.append(f"{source}: unknown setting {quote(written)}{advise(written, NAMES)}")
                continue
            if written != name and layer.get(name, value) != value:
                problems.append(
                    f"{source}: {written!r} is an alias of {name!r}, but they differ: {quote(value)}, {quote(layer[name])}"
                )
            try:
                values[name] = convert(name, value, from_string=source == COMMAND_LINE)
                sources[name] = source
            except ValidationError as error:
                reasons = " or ".join(detail["msg"] for detail in error.errors()[:2])  # two if there are two types
                problems.append(f"{source}: {written} = {quote_json(value)}: {reasons}")
        if layer.get("task", task) != task:
            problems.append(f"{source}: is for task {quote(layer['task'])}, not {task!r}")
    return values, sources


def convert(name: str, value: Any, *, from_string: bool) -> Any:
    """Return the value of setting `name` as its type. Raises ValidationError."""
    if from_string and value in ("null", "none", "None") and type(None) in types_of(name):
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


def _locate_model(values: dict[str, Any], sources: Mapping[str, str]) -> None:
    """Find the model folder of a file of this project from any working directory."""
    given, source = values.get("model_name_or_path", ""), sources.get("model_name_or_path", "")
    folder = PROJECT.parent / given
    if PROJECT in Path(source).resolve().parents and folder.is_dir() and not Path(given).is_dir():
        values["model_name_or_path"] = str(folder)


def _locate_files(values: dict[str, Any], sources: Mapping[str, str], task: Task, problems: list[str]) -> None:
    """Replace data files of the command line that are outside the task's folder by their absolute paths.

    A file that is in both places or in neither is a problem, except one that is going to be downloaded.
    """
    folder = Path(values["data_dir"]) / values["task"]
    for name in DATA_FILES.values():
        value = values.get(name)
        if not value or sources[name] != COMMAND_LINE:
            continue
        inside, outside = folder / value, Path(value)
        leaves_folder = ".." in outside.parts
        if not is_file(outside):
            if not is_file(inside) and value not in task.files and not unusable(name, value):
                problems.append(f"{COMMAND_LINE}: {name} = {quote_json(value)}: {absence(inside, outside.absolute())}")
        elif leaves_folder or not is_file(inside):
            values[name] = str(outside.absolute())
        elif not inside.samefile(outside):
            problems.append(
                f"{COMMAND_LINE}: {name} = {quote_json(value)}: found {inside} and {outside.absolute()}; give one's absolute path"
            )


def _check(values: dict[str, Any], sources: dict[str, str]) -> list[str]:
    """Return the problems that the types do not express: missing settings, unusable values and conflicts."""

    def given(name: str) -> str:
        return f"{sources.get(name, DEFAULT)}: {name} = {quote_json(values[name])}"

    required = [name for name, field in Settings.model_fields.items() if field.is_required()]
    problems = [f"{name} is missing; set it in the config file or as --{name}" for name in required if not values.get(name)]
    problems += [f"{given(name)}: {reason}" for name, value in values.items() if (reason := unusable(name, value))]
    problems += [
        f"{given(name)}: only allowed on the command line, as --{name}"
        for name in COMMAND_LINE_ONLY
        if values[name] and sources[name] != COMMAND_LINE
    ]
    if values["do_train"] and not values["train_file"]:
        problems.append("train_file is missing; set it in the task's file, or pass --train_file or --do_train false")
    if values["do_eval"] and not values["test_file"] and not values["test_ratio"]:
        problems.append(
            "test_file is missing; set it in the task's file, or pass --test_file FILE, or --test_ratio 0.1 to hold out a tenth "
            "of train, or --do_eval false"
        )
    for split in ("dev", "test"):
        if values[f"{split}_ratio"] and (file := values[f"{split}_file"]):
            problems.append(
                f"{given(f'{split}_ratio')}: conflicts with {split}_file = {shorten(file, MAX_QUOTED)}; remove one of them"
            )
    if values["early_stopping_patience"] and not (values["dev_file"] or values["dev_ratio"]):
        problems.append(f"{given('early_stopping_patience')}: there is no dev set to score on; pass --dev_file or --dev_ratio")
    if values["threshold"] == "dev" and not (values["dev_file"] or values["dev_ratio"]):
        problems.append(f"{given('threshold')}: there is no dev set to choose it on; pass --dev_file or --dev_ratio")
    if values["overwrite_output_dir"] and sources["overwrite_output_dir"] == COMMAND_LINE and not values["do_train"]:
        problems.append("--overwrite_output_dir would remove the checkpoints that --do_train false needs; remove one of them")
    return problems


def unusable(name: str, value: Any) -> str:
    """Return why a value of the right type cannot be used, or "" if it can."""
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"should be at most {LARGEST:,}"
    if name == "max_steps" and value == 0:
        return "should be -1 (from num_train_epochs) or the number of updates"
    if name == "threshold" and value != "dev" and not 0 < value < 1:
        return "should be a number between 0 and 1, or dev"
    if not isinstance(value, str):
        return ""
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        return "contains a NUL or an unpaired surrogate"
    leaves_folder = not Path(value).is_absolute() and ".." in Path(value).parts
    if name == "output_dir" and (leaves_folder or Path(value).name in ("", "..")):
        return "should be the name of a folder in ckpt_dir"
    if name in DATA_FILES.values() and leaves_folder:  # _locate_files has replaced those that the command line may name
        return "should be a file in <data_dir>/<task>, or an absolute path"
    return ""
