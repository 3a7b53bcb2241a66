"""The cells of the grid: each one run of a model on a task with a seed, the command that makes it, and what there is of it."""

import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from src.config import config_files, load_settings, parse_command_line
from src.data import DataFile, Task
from src.errors import BenchmarkError, ConfigError, did_you_mean, list_problems
from src.files import digest_folder, read_json
from src.run_folder import SETTINGS
from src.run_status import find_run
from src.settings import COMMAND_LINE, Settings

logger = logging.getLogger(__name__)

GRID = "benchmark"  # the folder of the grid in ckpt_dir
WRITTEN = ("results.md", "results.csv")  # what `report` leaves in it
ANY_MODEL = "auto.json"  # the config file for models that have none
# Settings that are not for all cells alike, and what to do instead.
OF_THE_CELL = {
    "task": "give --tasks",
    "config_file": "give --models",
    "model_name_or_path": "give it as one of --models",
    "seed": "give --seeds",
    "output_dir": "it follows from model, task and seed; --ckpt_dir is the folder of them all",
    "resume": "a grid goes on; move runs away that are to start afresh, or give another --ckpt_dir",
    "overwrite_output_dir": "a grid goes on; move runs away that are to start afresh, or give another --ckpt_dir",
    "print_settings": "ask run_seq_cls.py, run_ner.py or run_squad.py",
}
MOST_DIGITS = 10  # of a seed; more is none

# finished: nothing is left to do; resumed: it goes on; afresh: what is there is of other settings and gives way; broken: what is
# there cannot be told, and the run itself will say why; new: nothing is there.
Status = Literal["finished", "resumed", "afresh", "broken", "new"]


@dataclass(frozen=True)
class Cell:
    """One run of the grid. `flags` make it with the task's script."""

    model: str
    task: str
    seed: int
    script: str
    flags: tuple[str, ...]
    settings: Settings

    @property
    def name(self) -> str:
        """`<model>/<task>/seed-<n>`, as its folder's place in the grid."""
        return f"{self.model}/{self.task}/seed-{self.seed}"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.settings.run_folder

    @property
    def output(self) -> Path:
        """The file with what the last process that worked on it has said."""
        return output_of(self.folder)

    @property
    def command(self) -> str:
        """What a user would type."""
        return shlex.join(["python3", self.script, *self.flags])


def output_of(folder: Path) -> Path:
    """Where what a cell's process says lies: beside its folder, which is the run's own."""
    return folder.with_name(f"{folder.name}.log")


def name_of(settings: Mapping[str, Any], layers: Mapping[str, str]) -> str:
    """What a model is called in the grid: by its config file, or by its path where that is given instead."""
    if layers.get("model_name_or_path") == COMMAND_LINE:
        return Path(settings["model_name_or_path"]).absolute().name
    return Path(settings["config_file"]).stem


def make_cells(models: str, tasks: str, seeds: str, rest: Sequence[str], known: Mapping[str, Task]) -> list[Cell]:
    """The cells of a command line: lists with commas, "all" for the tasks, and in `rest` the settings of every cell.

    In the order in which they are to run: the first seed of every model and task comes first, so that the table is soon whole.
    Raises ConfigError with every problem found.
    """
    given, problems = parse_command_line(rest)
    problems += [f"--{name} is not for all runs: {instead}" for name, instead in OF_THE_CELL.items() if name in given]
    config_dir = Path(given.get("config_dir", Settings.model_fields["config_dir"].default))
    chosen = _models(list_of(models), config_dir, problems)
    task_names = list(known) if "all" in list_of(tasks) else list_of(tasks)
    problems += [
        f"--tasks: {task!r} is no task; choose from all, {', '.join(known)}.{did_you_mean(task, known)}"
        for task in task_names
        if task not in known
    ]
    numbers = list_of(seeds)
    problems += [f"--seeds: {seed!r} is not a whole number from 0 on" for seed in numbers if not _is_seed(seed)]
    if given.get("do_train") == given.get("do_eval") == "false":
        problems.append("--do_train false --do_eval false leaves nothing to report; ask the run scripts for features")
    for flag, values in {"--models": chosen, "--tasks": task_names, "--seeds": numbers}.items():
        if not values and not problems:
            problems.append(f"{flag} names nothing")
    if problems:
        raise ConfigError(list_problems("this grid cannot be run:", problems))
    return _load(chosen, task_names, [int(seed) for seed in numbers], rest, known)


def _load(
    models: Mapping[str, list[str]], tasks: Sequence[str], seeds: Sequence[int], rest: Sequence[str], known: Mapping[str, Task]
) -> list[Cell]:
    cells, mistakes = [], {}
    for seed in dict.fromkeys(seeds):
        for model, flags in models.items():
            for task in tasks:
                script = known[task].script
                place = f"{GRID}/{model}/{task}/seed-{seed}"
                all_flags = ("--task", task, *flags, "--seed", str(seed), "--output_dir", place, *rest)
                try:
                    settings = load_settings(all_flags, script=script, tasks=[task])
                    cells.append(Cell(model, task, seed, script, all_flags, settings))
                except ConfigError as error:
                    mistakes[str(error)] = f"{model} on {task}"
    if mistakes:
        raise ConfigError("\n".join(f"{where}: {what}" for what, where in mistakes.items()))
    return cells


def _is_seed(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS


def list_of(text: str) -> list[str]:
    """The items of a list with commas, each once."""
    return list(dict.fromkeys(item for part in text.split(",") if (item := part.strip())))


def _models(entries: Sequence[str], config_dir: Path, problems: list[str]) -> dict[str, list[str]]:
    """Name -> the flags that choose the model, for config files with or without .json, folders and hub ids."""
    found: dict[str, list[str]] = {}
    stems = [Path(name).stem for name in config_files(config_dir)]
    for entry in entries:
        if entry in (ANY_MODEL, Path(ANY_MODEL).stem):
            problems.append(f"--models: {ANY_MODEL} names no model; give a model's folder or hub id, which take its settings")
            continue
        if entry in stems or entry.endswith(".json"):
            name, flags = Path(entry).stem, ["--config_file", entry.removesuffix(".json") + ".json"]
        elif Path(entry).is_dir() or (entry.count("/") == 1 and entry[0] not in "./~"):
            name, flags = Path(entry).absolute().name, ["--config_file", ANY_MODEL, "--model_name_or_path", entry]
        else:
            near = did_you_mean(entry, stems)
            problems.append(f"--models: {entry!r} is neither a file in {config_dir}/ nor a model's folder or hub id.{near}")
            continue
        if not name or name[0] in ".-" or name in WRITTEN:
            problems.append(f"--models: {entry!r}: a model cannot be called {name!r}; give it a config file of another name")
        if name in found:
            problems.append(f"--models: two of them are called {name!r}; give one of them a config file of another name")
        found[name] = flags
    return found


def look(
    cells: Sequence[Cell], known: Mapping[str, Task], find_files: Callable[[Settings], Mapping[str, DataFile]]
) -> dict[Cell, tuple[Status, str]]:
    """The status of each cell, and why where it starts afresh or is broken. Changes and fetches nothing.

    Raises ConfigError where a folder holds a run of another model of that name.
    """
    files_of = cache(lambda paths: find_files(settings_of[paths]))  # digests of large files, and the same for many cells
    digest = cache(digest_folder)
    settings_of: dict[Any, Settings] = {}
    found: dict[Cell, tuple[Status, str]] = {}
    for cell in cells:
        if not cell.folder.exists():
            found[cell] = ("new", "")
            continue
        paths = tuple(cell.settings.data_files.items())
        settings_of[paths] = cell.settings.model_copy(update={"download": False})
        try:
            run = find_run(cell.settings, known[cell.task].headline, files_of(paths), digest)
        except (BenchmarkError, OSError) as error:
            found[cell] = ("broken", str(error))
            continue
        if run.state == "replace":
            _require_same_model(cell)
            found[cell] = ("afresh", run.reason)
        else:
            found[cell] = ("finished" if run.complete else "new" if run.state == "new" else "resumed", "")
    return found


def _require_same_model(cell: Cell) -> None:
    """What one model has made must not give way to another that happens to be called the same."""
    before = read_json(cell.folder / SETTINGS)["settings"].get("model_name_or_path")
    if before != cell.settings.model_name_or_path:
        raise ConfigError(
            f"{cell.folder} holds a run of {before}, another model that is called {cell.model!r}. Give this one a config file of "
            "another name, or move those runs away."
        )
