"""Names in the folder of a grid, <ckpt_dir>/benchmark/<model>/<task>/seed-<n>/, and the results of searches that its runs use.

A result is config/tuning/<model>.<task>.json: the best settings, and how they were found.
"""

import shlex
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.common.errors import CheckpointError
from src.common.files import read_json, write_json
from src.settings.schema import COMMAND_LINE

GRID = "benchmark"  # the folder of the grid in ckpt_dir
REPORTS = ("results.md", "results.csv", "results.html")  # written into it by `report`
TUNE = "tune"  # the folder of the trials of a search, beside the runs of the same model and task
FOLDER = "tuning"  # in config_dir
TUNED = "@tuned"  # ends the name of a model in the grid whose runs use such a file
SEARCH = "search"  # entry of the file that describes the search; all other entries are settings


def tuned_file(config_dir: Path, model: str, task: str) -> Path:
    """Return the path of the result for a model on a task."""
    return config_dir / FOLDER / f"{model}.{task}.json"


def write_tuned(path: Path, settings: Mapping[str, Any], search: Mapping[str, Any]) -> None:
    """Write the result of a search, atomically: the settings, and what is known about the search."""
    write_json(path, {**settings, SEARCH: search})


def tuned_problems(
    config_dir: Path, models: Mapping[str, Sequence[str]], tasks: Mapping[str, str], seeds: Container[int]
) -> Iterator[str]:
    """Yield why runs with these seeds cannot use the results for these models (name -> flags) and tasks (name -> how given)."""
    for model, flags in models.items():
        for task, entry in tasks.items():
            path = tuned_file(config_dir, model, task)
            try:
                search = read_json(path).get(SEARCH)
            except CheckpointError as error:
                yield str(error)
                continue
            if not isinstance(search, dict):
                # the last flag is what --models was given
                command = f"python3 run_benchmark.py tune --models {shlex.quote(flags[-1])} --tasks {shlex.quote(entry)}"
                yield f"--tuned: {path} is missing. Run first: {command}"
            elif search.get("seed") in seeds:
                yield f"--seeds: {search['seed']} is the seed of the search in {path}; tuned runs need other seeds"


def is_tuned(model: str) -> bool:
    """Return whether the runs of this name in the grid use the result of a search."""
    return model.endswith(TUNED)


def output_file(folder: Path) -> Path:
    """Return the file for the output of a cell's process: next to the run's folder, which only the run itself writes."""
    return folder.with_name(f"{folder.name}.log")


def model_name(settings: Mapping[str, Any], layers: Mapping[str, str]) -> str:
    """Return a model's name in the grid: the stem of its config file, or of its path if that was given instead.

    TUNED ends it if the run uses the result of a search.
    """
    is_path = layers.get("model_name_or_path") == COMMAND_LINE
    name = Path(settings["model_name_or_path"]).absolute().name if is_path else Path(settings["config_file"]).stem
    return f"{name}{TUNED}" if settings.get("tuned_file") else name
