"""Trials of a search: the command lines that train on train and dev alone, and their folders. Imports nothing heavy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from src.common.errors import CheckpointError, ConfigError, list_problems
from src.common.files import read_json, remove
from src.data.task import Tasks
from src.grid.cells import Cell, make_cells
from src.runs.files import RESULTS, RESUME, SCORES, SETTINGS, checkpoints_in
from src.settings.command_line import parse_command_line
from src.settings.layers import convert

POINTS = range(10, 100, 10)  # percentages of a run at which trials are compared: their numbers of updates differ
DEV_ONLY = ("--test_file", "", "--do_eval", "false")
SET_BY_TUNE = ("do_train", "do_eval", "test_file", "predict_file", "evaluate_test_during_training", "evaluate_during_training")


def make_trial_cells(
    models: str, tasks: str, seed: int, dev_ratio: str | None, rest: Sequence[str], all_tasks: Tasks
) -> list[Cell]:
    """Return a cell for each model and task, in that order, that trains without a test file; `rest`: settings of all cells.

    dev_ratio: the share of train to hold out as dev for tasks that have no dev file. Raises ConfigError with every problem found.
    """
    given = parse_command_line(rest)[0]
    if problems := [f"--{name}: a trial is always trained, and scored on dev alone" for name in SET_BY_TUNE if name in given]:
        raise ConfigError(list_problems("tune cannot run:", problems))
    cells = make_cells(models, tasks, str(seed), [*rest, *DEV_ONLY], all_tasks)
    if dev_ratio is not None:
        try:
            convert("dev_ratio", dev_ratio, from_string=True)  # also if no task needs it
        except ValidationError as error:
            raise ConfigError(f"--dev_ratio {dev_ratio}: {error.errors()[0]['msg']}") from None
    without = list(dict.fromkeys(cell.task for cell in cells if not cell.settings.has_dev))
    if without and dev_ratio is None:
        raise ConfigError(
            f"{', '.join(without)}: there is no dev file. Pass --dev_ratio 0.1 to hold out a tenth of the training file, "
            "for tasks without one only."
        )
    if without:
        flags = [*rest, *DEV_ONLY, "--dev_ratio", str(dev_ratio)]
        entries = ",".join(cell.flags[1] for cell in cells if cell.task in without)
        held_out = {(cell.model, cell.task): cell for cell in make_cells(models, entries, str(seed), flags, all_tasks)}
        cells = [held_out.get((cell.model, cell.task), cell) for cell in cells]
    return cells


def read_points(folder: Path, headline: str) -> dict[int, float]:
    """Return the best score on dev up to each of POINTS that the run in `folder` has passed with an evaluation.

    Raises one of DAMAGE or CheckpointError if its files are damaged, or are just being replaced.
    """
    updates = read_json(folder / SETTINGS).get("updates")
    if not updates:
        return {}
    saved = read_json(folder / RESULTS) or read_json(folder / SCORES)
    scores = {int(step): splits["dev"][headline] for step, splits in saved.get("scores", {}).items() if "dev" in splits}
    return points_of(scores, updates)


def points_of(scores: Mapping[int, float], updates: int) -> dict[int, float]:
    """Return the best of the scores, by step, up to each of POINTS. Points beyond the last score are left out."""
    last = max(scores, default=0)
    points = {}
    for percent in POINTS:
        earlier = [score for step, score in scores.items() if 100 * step <= percent * updates]
        if earlier and percent * updates <= 100 * last:
            points[percent] = max(earlier)
    return points


def read_score(folder: Path, headline: str) -> float:
    """Return the score on dev of the checkpoint that a finished run selected. Raises CheckpointError if there is none."""
    selected: dict[str, Any] = read_json(folder / RESULTS).get("selected") or {}
    score = (selected.get("dev") or {}).get(headline)
    if score is None:
        raise CheckpointError(f"{folder / RESULTS} has no {headline} on dev.")
    return float(score)


def tidy(folder: Path, keep_checkpoints: bool) -> None:
    """Remove the saved state of a trial that has ended and, unless they are to be kept, its checkpoints."""
    remove(folder / RESUME)
    if not keep_checkpoints:
        for step in checkpoints_in(folder):
            remove(folder / f"checkpoint-{step}")
