"""Settings: layered JSON files and the command line become one validated, immutable `Settings` object.

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
from typing import Annotated, Any, Literal, NoReturn

from attrdict import AttrDict
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from src.errors import ConfigError, did_you_mean, list_problems

logger = logging.getLogger(__name__)

COMMAND_LINE = "command line"
DEFAULT = "default"
DERIVED = "derived"

ALIASES = {
    "max_seq_length": "max_seq_len",
    "predict_file": "test_file",
    "evaluate_during_training": "evaluate_test_during_training",
}


def _setting(default: Any, help: str, *, changes_results: bool = True, **constraints: Any) -> Any:
    return Field(default, description=help, json_schema_extra={"changes_results": changes_results}, **constraints)


class Settings(BaseModel):
    """The effective settings of one run. Immutable; `layer_of` says which layer each value came from."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    # What to run
    task: str = _setting("", "the task to run")
    config_file: str = _setting("koelectra-base-v3.json", "the model's file in config_dir", changes_results=False)
    config_dir: str = _setting("config", "folder of the config files", changes_results=False)

    # Model
    model_name_or_path: str = _setting("", "hub id or local folder of the encoder", min_length=1)
    revision: str | None = _setting(None, "branch, tag or commit of the hub id")
    from_scratch: bool = _setting(False, "start from random weights; model_name_or_path is a folder with config.json")
    model_type: str = _setting("", "name of the model, for the record only", changes_results=False)
    do_lower_case: bool | None = _setting(None, "lower-case the text; null: as the tokenizer's own files say")

    # Data
    data_dir: str = _setting("data", "folder of the tasks' data folders", changes_results=False)
    train_file: str = _setting("", "training file in <data_dir>/<task>")
    dev_file: str = _setting("", "development file there; empty: none")
    test_file: str = _setting("", "test file there (alias: predict_file)", min_length=1)
    feature_cache_dir: str = _setting("data/cache", "folder of the cached features", changes_results=False)
    max_seq_len: int = _setting(128, "longest input in tokens, special tokens included (alias: max_seq_length)", ge=8)
    doc_stride: int = _setting(128, "korquad: step between windows over a context, in tokens", gt=0)
    max_query_length: int = _setting(64, "korquad: longest question, in tokens", gt=0)
    max_answer_length: int = _setting(30, "korquad: longest answer, in tokens", gt=0)
    n_best_size: int = _setting(20, "korquad: number of candidate answers kept", gt=0)

    # Training
    do_train: bool = _setting(True, "fine-tune", changes_results=False)
    train_batch_size: int = _setting(32, "rows in a batch", gt=0)
    gradient_accumulation_steps: int = _setting(1, "batches in one update", gt=0)
    num_train_epochs: float = _setting(10, "passes over the training file", gt=0)
    max_steps: int = _setting(-1, "number of updates; -1: by num_train_epochs", ge=-1)
    learning_rate: float = _setting(5e-5, "peak learning rate", gt=0, allow_inf_nan=False)
    warmup_proportion: float = _setting(0.0, "share of the updates over which the learning rate rises", ge=0, le=1)
    weight_decay: float = _setting(0.0, "AdamW's decay, not applied to biases and norms", ge=0, allow_inf_nan=False)
    adam_epsilon: float = _setting(1e-8, "AdamW's epsilon", gt=0, allow_inf_nan=False)
    max_grad_norm: float = _setting(1.0, "gradients are clipped to this norm", gt=0)
    seed: int = _setting(42, "seed of the head's weights, the shuffles and dropout", ge=0)
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = _setting("auto", "auto: bf16 on a GPU that has it, else no")
    no_cuda: bool = _setting(False, "stay on the CPU")

    # Evaluation
    do_eval: bool = _setting(True, "score the checkpoints on the test file", changes_results=False)
    eval_batch_size: int = _setting(64, "rows in a batch of an evaluation", gt=0)
    logging_steps: int = _setting(1000, "score every so many updates", gt=0)
    evaluate_test_during_training: bool = _setting(
        False, "score test too, not only dev, every logging_steps (alias: evaluate_during_training)"
    )
    eval_all_checkpoints: bool = _setting(True, "score test at every checkpoint; false: at the selected and the last")
    log_every: int = _setting(50, "write a line to log.jsonl every so many updates", changes_results=False, gt=0)

    # Output
    ckpt_dir: str = _setting("ckpt", "folder of all runs", changes_results=False)
    output_dir: str = _setting(
        "", "the run's folder in ckpt_dir; not given: <config file's stem>-<task>-ckpt", changes_results=False
    )
    save_steps: int = _setting(1000, "write a checkpoint every so many updates", gt=0)
    save_total_limit: int = _setting(
        0, "keep this many checkpoints where more than last, selected and best_on_test; -1: all", changes_results=False, ge=-1
    )
    save_optimizer: bool = _setting(False, "put the optimizer's state into every checkpoint", changes_results=False)
    resume: bool = _setting(True, "false: never continue an earlier run, put it aside", changes_results=False)
    overwrite_output_dir: bool = _setting(
        False, "start afresh in place of an earlier run; counts on the command line only", changes_results=False
    )

    # Accepted from the original's files, without effect
    threads: int = _setting(4, "inert: features are built by the Rust tokenizer", changes_results=False)
    verbose_logging: bool = _setting(False, "inert", changes_results=False)
    null_score_diff_threshold: float = _setting(0.0, "inert: KorQuAD 1.0 has an answer to every question", changes_results=False)
    version_2_with_negative: bool = _setting(False, "must be false: KorQuAD 1.0 has an answer to every question")

    _layers: dict[str, str] = PrivateAttr(default_factory=dict)

    def layer_of(self, name: str) -> str:
        """Where the value of setting `name` came from: "default", "derived", "command line" or a file's path."""
        return self._layers.get(name, DEFAULT)

    @property
    def run_folder(self) -> Path:
        """Where the run's results land."""
        return Path(self.ckpt_dir) / self.output_dir

    @property
    def data_files(self) -> dict[str, Path]:
        """Split name -> data file, for the splits this task has, in the order train, dev, test."""
        names = {"train": self.train_file, "dev": self.dev_file, "test": self.test_file}
        return {split: Path(self.data_dir) / self.task / name for split, name in names.items() if name}


def changes_results(name: str) -> bool:
    """Whether two runs that differ in setting `name` can have different scores."""
    extra = Settings.model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra["changes_results"])


def load_settings(argv: Sequence[str], *, script: str, tasks: Sequence[str], default_task: str = "") -> Settings:
    """Read the command line and the config files it names.

    `tasks` are the tasks this script runs. Prints and leaves with code 0 on --help and --print_settings.
    Raises ConfigError with every problem found, each with its source.
    """
    given, problems = _parse_command_line(argv)
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
        default = json.dumps(field.default) if field.default != "" else "-"
        lines.append(f"--{name:<29} {_type_name(field):<12} {default:<12} {field.description}")
    return "\n".join(lines)


def _type_name(field: FieldInfo) -> str:
    text = getattr(field.annotation, "__name__", None) or str(field.annotation)
    if text == "Literal":
        return "|".join(field.annotation.__args__)  # type: ignore[union-attr]
    return text.replace(" | None", "|null").replace("None", "null")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. See --help.")


def _parse_command_line(argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Values as strings by canonical name, and a problem for each argument that is no setting."""
    parser = _Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--print_settings", action="store_true")
    names = list(Settings.model_fields) + list(ALIASES)
    for name in names:
        is_bool = bool in _types(Settings.model_fields[ALIASES.get(name, name)])
        optional_value: dict[str, Any] = {"nargs": "?", "const": "true"} if is_bool else {}
        parser.add_argument(f"--{name}", dest=ALIASES.get(name, name), **optional_value)
    known, unknown = parser.parse_known_args(argv)
    problems = []
    for position, argument in enumerate(unknown):
        if argument.startswith("--"):
            name = argument[2:].split("=")[0]
            problems.append(f"{COMMAND_LINE}: --{name} is no setting.{did_you_mean(name, names)} See --help.")
        elif position == 0 or not unknown[position - 1].startswith("--"):
            problems.append(f"{COMMAND_LINE}: {argument!r} stands without a setting's name in front of it. See --help.")
    return vars(known), problems


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
                allowed = "; ".join(detail["msg"] for detail in error.errors()[:1])
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
            stem = Path(values["model_name_or_path"]).resolve().name
        values["output_dir"], sources["output_dir"] = f"{stem}-{values['task']}-ckpt", DERIVED


def _cross_check(values: dict[str, Any], sources: dict[str, str]) -> list[str]:
    """Problems that show only when several settings are seen together."""

    def origin(name: str) -> str:
        return sources.get(name, DEFAULT)

    problems = []
    for name in ("model_name_or_path", "test_file"):
        if not values.get(name):
            problems.append(f"{name} is given nowhere; give it in the config file or as --{name}")
    if values.get("do_train", True) and not values.get("train_file"):
        problems.append("train_file is given nowhere; give it in the task's file or as --train_file, or say --do_train false")
    if values.get("max_steps") == 0:
        problems.append(f"{origin('max_steps')}: max_steps = 0: should be -1 (by epochs) or the number of updates")
    if values.get("version_2_with_negative"):
        source = origin("version_2_with_negative")
        problems.append(f"{source}: version_2_with_negative = true: KorQuAD 1.0 has no unanswerable questions")
    if Path(values["output_dir"]).name in ("", ".."):
        problems.append(f"{origin('output_dir')}: output_dir = {values['output_dir']!r}: should name a folder of its own")
    overwrite = values.get("overwrite_output_dir") and sources["overwrite_output_dir"] == COMMAND_LINE
    if overwrite and not values.get("do_train", True):
        problems.append("--overwrite_output_dir would remove the checkpoints that --do_train false needs; drop one of them")
    return problems
