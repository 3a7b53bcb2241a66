"""The cells of the grid. A cell is one run of a model on a task with a seed: its command, and its status on disk."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from src.common.errors import BenchmarkError, ConfigError, did_you_mean, list_problems
from src.data.task import DataFile, Tasks
from src.runs.files import digest_model
from src.runs.folder import State
from src.runs.grid_folder import GRID, REPORTS, TUNED, is_tuned, output_file, tuned_file, tuned_problems
from src.runs.status import find_run
from src.settings.command_line import config_dir_of, config_files, find_tasks
from src.settings.layers import convert, load_settings
from src.settings.schema import Settings

ANY_MODEL = "auto.json"  # the config file for models that have none
# Settings that differ between cells, and what to use instead.
SET_BY_GRID = {
    "task": "use --tasks",
    "config_file": "use --models",
    "model_name_or_path": "add it to --models",
    "seed": "use --seeds",
    "tuned_file": "use `run --tuned`",
    "output_dir": "it follows from model, task and seed. Use --ckpt_dir for the folder of all runs",
    "resume": "unfinished runs always resume. To start over, move runs away or use another --ckpt_dir",
    "overwrite_output_dir": "unfinished runs always resume. To start over, move runs away or use another --ckpt_dir",
    "print_settings": "use it with run_seq_cls.py, run_ner.py or run_squad.py",
}
# What a trial of a search, which is scored on dev alone, always has; and the settings that it cannot have.
DEV_ONLY = ("--test_file", "", "--do_eval", "false")
SET_BY_TUNE = ("do_train", "do_eval", "test_file", "predict_file", "evaluate_test_during_training", "evaluate_during_training")
SEED = re.compile(r"[0-9]{1,10}")  # int() rejects numbers of thousands of digits, and no seed is that long

# "damaged": the folder cannot be read, or the run cannot start, which its own process will report.
Status = State | Literal["finished", "damaged"]
FindFiles = Callable[[Settings], Mapping[str, DataFile]]  # returns the data file of each split


@dataclass(frozen=True, kw_only=True)
class GridRequest:
    """The runs that a command line of run_benchmark.py asks for. Texts are comma-separated lists, as they were given.

    rest: the words that set settings of all runs; given: their values by name; problems: what is wrong with them.
    """

    models: str
    tasks: str
    seeds: str
    rest: Sequence[str]
    given: Mapping[str, str]
    problems: Sequence[str] = ()
    all_tasks: Tasks  # those that can be chosen, and the function that finds the data files of a run
    find_files: FindFiles
    devices: str = ""
    tuned: bool = False  # with the settings that a search has found
    dry_run: bool = False

    @property
    def config_dir(self) -> Path:
        return config_dir_of(self.given)


@dataclass(frozen=True)
class Cell:
    """One run of the grid. `flags` are the arguments of the task's script."""

    model: str
    task: str
    seed: int
    script: str
    flags: tuple[str, ...]
    settings: Settings

    @property
    def name(self) -> str:
        """`<model>/<task>/seed-<n>`, the path of its folder in the grid; of a trial `<model>/<task>/tune/trial-<n>`."""
        return self.settings.output_dir.removeprefix(f"{GRID}/")

    @property
    def folder(self) -> Path:
        return self.settings.run_folder

    @property
    def output(self) -> Path:
        """The file with the output of its last process."""
        return output_file(self.folder)

    @property
    def command(self) -> str:
        """The command line that starts this run."""
        return shlex.join(["python3", self.script, *self.flags])


def make_cells(request: GridRequest) -> list[Cell]:
    """Return the cells of a request, ordered by seed, so that a complete one-seed table is ready early.

    Raises ConfigError with every problem found.
    """
    problems, given, seeds = list(request.problems), request.given, split_list(request.seeds)
    problems += [f"--{name} cannot be set for all runs: {instead}" for name, instead in SET_BY_GRID.items() if name in given]
    models = _find_models(split_list(request.models), request.config_dir, problems)
    tasks = find_tasks(split_list(request.tasks), request.all_tasks, "--tasks", problems)
    problems += [f"--seeds: {seed!r} is not a non-negative integer" for seed in seeds if not SEED.fullmatch(seed)]
    if given.get("do_train") == given.get("do_eval") == "false":
        problems.append("--do_train false --do_eval false: nothing to report. Use the run scripts to build features")
    for flag, values in {"--models": models, "--tasks": tasks, "--seeds": seeds}.items():
        if not values and not problems:
            problems.append(f"{flag} is empty: give one or more names, separated by commas")
    if request.tuned and not problems:
        problems += tuned_problems(request.config_dir, models, tasks, set(map(int, seeds)))
    if problems:
        raise ConfigError(list_problems("the benchmark cannot run:", problems))
    cells, failures = [], {}
    for seed, (model, flags), (task, entry) in product(dict.fromkeys(map(int, seeds)), models.items(), tasks.items()):
        try:
            cells.append(_load_cell(request, model, task, seed, ("--task", entry, *flags)))
        except ConfigError as error:
            failures[str(error)] = f"{model} on {task}"  # most problems are the same for every cell
    if failures:
        raise ConfigError("\n".join(f"{cell}: {problem}" for problem, cell in failures.items()))
    return cells


def _load_cell(request: GridRequest, model: str, task: str, seed: int, chosen: Sequence[str]) -> Cell:
    """Load the settings of a cell. chosen: the flags that choose its task and model."""
    script, tuned = request.all_tasks[task].script, list[str]()
    if request.tuned:
        tuned = ["--tuned_file", str(tuned_file(request.config_dir, model, task))]
        model = f"{model}{TUNED}"
    flags = (*chosen, *tuned, "--seed", str(seed), "--output_dir", f"{GRID}/{model}/{task}/seed-{seed}", *request.rest)
    settings = load_settings(flags, script=script, tasks={task: request.all_tasks[task]})
    return Cell(model, task, seed, script, flags, settings)


def make_trial_cells(request: GridRequest, dev_ratio: str | None) -> list[Cell]:
    """Return a cell for each model and task of a search, in that order, that trains without a test file.

    dev_ratio: the share of train to hold out as dev for tasks that have no dev file. Raises ConfigError with every problem found.
    """
    given = [f"--{name}: a trial is always trained, and scored on dev alone" for name in SET_BY_TUNE if name in request.given]
    request = replace(request, problems=[*request.problems, *given], rest=[*request.rest, *DEV_ONLY])
    cells = make_cells(request)
    if dev_ratio is not None:
        try:
            convert("dev_ratio", dev_ratio, from_string=True)  # also if no task needs it
        except ValidationError as error:
            raise ConfigError(f"--dev_ratio {dev_ratio}: {error.errors()[0]['msg']}") from None
    without = {cell.task: cell.flags[1] for cell in cells if not cell.settings.has_dev}
    if without and dev_ratio is None:
        raise ConfigError(
            f"{', '.join(without)}: there is no dev file. Pass --dev_ratio 0.1 to hold out a tenth of the training file, "
            "for tasks without one only."
        )
    if without:
        rest = [*request.rest, "--dev_ratio", str(dev_ratio)]
        held_out = {cell.name: cell for cell in make_cells(replace(request, tasks=",".join(without.values()), rest=rest))}
        cells = [held_out.get(cell.name, cell) for cell in cells]
    return cells


def split_list(text: str) -> list[str]:
    """Return the items of a comma-separated list, without repetitions."""
    return list(dict.fromkeys(item for part in text.split(",") if (item := part.strip())))


def _find_models(entries: Sequence[str], config_dir: Path, problems: list[str]) -> dict[str, list[str]]:
    """Return the flags that choose each model, by its name, for config files with or without .json, folders and hub ids."""
    models: dict[str, list[str]] = {}
    stems = [Path(name).stem for name in config_files(config_dir)]
    for entry in entries:
        if entry in (ANY_MODEL, Path(ANY_MODEL).stem):
            problems.append(f"--models: {ANY_MODEL} is for models without a config file. Give a model folder or hub id")
            continue
        if entry in stems or entry.endswith(".json"):
            name, flags = Path(entry).stem, ["--config_file", entry.removesuffix(".json") + ".json"]
        elif Path(entry).is_dir() or (entry.count("/") == 1 and entry[0] not in "./~"):
            name, flags = Path(entry).absolute().name, ["--config_file", ANY_MODEL, "--model_name_or_path", entry]
        else:
            near = did_you_mean(entry, stems)
            problems.append(f"--models: {entry!r} is not a file in {config_dir}/, a model folder or a hub id.{near}")
            continue
        if not name or name[0] in ".-" or name in REPORTS or is_tuned(name):
            problems.append(f"--models: {entry!r}: {name!r} cannot be used as a name. Write a config file with another name")
        if name in models:
            problems.append(f"--models: two models have the name {name!r}. Write a config file with another name for one")
        models[name] = flags
    return models


def cell_statuses(cells: Sequence[Cell], tasks: Tasks, find_files: FindFiles) -> dict[Cell, tuple[Status, str]]:
    """Return the status of each cell, and the reason if it is "replace" or "damaged". Changes and downloads nothing.

    Raises ConfigError if a folder holds a run of another model of the same name.
    """
    statuses: dict[Cell, tuple[Status, str]] = {}
    # Cells share data files and model folders, and hashing them takes time.
    files_by_path: dict[Any, Mapping[str, DataFile]] = {}
    digest = cache(digest_model)
    for cell in cells:
        if not cell.folder.exists():
            statuses[cell] = ("new", "")
            continue
        paths = tuple(cell.settings.data_files.items())
        try:
            if paths not in files_by_path:
                files_by_path[paths] = find_files(cell.settings.model_copy(update={"download": False}))
            run = find_run(cell.settings, tasks[cell.task], files_by_path[paths], digest)
        except (BenchmarkError, OSError) as error:
            statuses[cell] = ("damaged", str(error))
            continue
        if run.state == "replace":
            earlier = run.contents.record["settings"].get("model_name_or_path")
            if earlier != cell.settings.model_name_or_path:
                raise ConfigError(
                    f"{cell.folder} holds a run of {earlier}, another model named {cell.model!r}. Write a config file with "
                    "another name for one of them, or move the earlier runs away."
                )
        statuses[cell] = ("finished" if run.complete else run.state, run.reason)
    return statuses
