"""The cells of the grid. A cell is one run of a model on a task with a seed: its command, and its status on disk."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from src.common.errors import BenchmarkError, ConfigError, did_you_mean, list_problems
from src.data.task import DataFile, Tasks
from src.runs.files import digest_model
from src.runs.folder import State
from src.runs.grid_folder import GRID, REPORTS, TUNED, is_tuned, output_file, tuned_file, tuned_problems
from src.runs.status import find_run
from src.settings.command_line import config_files, find_tasks, parse_command_line
from src.settings.layers import load_settings
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
SEED = re.compile(r"[0-9]{1,10}")  # int() rejects numbers of thousands of digits, and no seed is that long

# "damaged": the folder cannot be read, or the run cannot start, which its own process will report.
Status = State | Literal["finished", "damaged"]
FindFiles = Callable[[Settings], Mapping[str, DataFile]]  # returns the data file of each split


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


def make_cells(models: str, tasks: str, seeds: str, rest: Sequence[str], all_tasks: Tasks, tuned: bool = False) -> list[Cell]:
    """Return the cells of a command line: comma-separated lists, and in `rest` settings of all cells.

    tuned: with the settings that a search has found. Cells are ordered by seed, so that a complete one-seed table is ready early.
    Raises ConfigError with every problem found.
    """
    given, problems = parse_command_line(rest)
    problems += [f"--{name} cannot be set for all runs: {instead}" for name, instead in SET_BY_GRID.items() if name in given]
    config_dir = Path(given.get("config_dir", Settings.model_fields["config_dir"].default))
    model_flags = _find_models(split_list(models), config_dir, problems)
    chosen = find_tasks(split_list(tasks), all_tasks, "--tasks", problems)
    seed_texts = split_list(seeds)
    problems += [f"--seeds: {seed!r} is not a non-negative integer" for seed in seed_texts if not SEED.fullmatch(seed)]
    if given.get("do_train") == given.get("do_eval") == "false":
        problems.append("--do_train false --do_eval false: nothing to report. Use the run scripts to build features")
    for flag, values in {"--models": model_flags, "--tasks": chosen, "--seeds": seed_texts}.items():
        if not values and not problems:
            problems.append(f"{flag} is empty: give one or more names, separated by commas")
    if tuned and not problems:
        problems += tuned_problems(config_dir, model_flags, chosen, set(map(int, seed_texts)))
    if problems:
        raise ConfigError(list_problems("the benchmark cannot run:", problems))
    return _load_cells(model_flags, chosen, list(map(int, seed_texts)), rest, all_tasks, config_dir if tuned else None)


def _load_cells(
    models: Mapping[str, list[str]],
    tasks: Mapping[str, str],
    seeds: Sequence[int],
    rest: Sequence[str],
    all_tasks: Tasks,
    tuned_in: Path | None,
) -> list[Cell]:
    """Load the settings of every cell. tuned_in: the config folder with the results of searches, if the cells use them."""
    cells, problems = [], {}
    for seed in dict.fromkeys(seeds):
        for model, model_flags in models.items():
            for task, entry in tasks.items():
                script, name, tuned = all_tasks[task].script, model, list[str]()
                if tuned_in is not None:
                    name, tuned = f"{model}{TUNED}", ["--tuned_file", str(tuned_file(tuned_in, model, task))]
                place = ("--seed", str(seed), "--output_dir", f"{GRID}/{name}/{task}/seed-{seed}")
                flags = ("--task", entry, *model_flags, *tuned, *place, *rest)
                try:
                    settings = load_settings(flags, script=script, tasks={task: all_tasks[task]})
                    cells.append(Cell(name, task, seed, script, flags, settings))
                except ConfigError as error:
                    problems[str(error)] = f"{model} on {task}"  # most problems are the same for every cell
    if problems:
        raise ConfigError("\n".join(f"{cell}: {problem}" for problem, cell in problems.items()))
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
