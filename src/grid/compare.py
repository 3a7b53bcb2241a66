"""Two models on a task, row by row: is one better, or did it only meet the right rows and seeds?"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.checkpoint import prediction_file
from src.errors import CheckpointError, ConfigError, did_you_mean
from src.files import DAMAGE, damaged
from src.grid.cells import Task
from src.grid.records import Record, read_grid
from src.grid.resample import SAMPLES, SCORES, Columns, p_value, sampled_differences

logger = logging.getLogger(__name__)

ROUNDED = 1e-3  # of the scale: predictions are written with six digits
OF_THE_MODEL = ("prediction", "exact_match", "f1", "prob_")  # how columns begin that differ between runs


@dataclass(frozen=True)
class Comparison:
    """Two models on a task by one score, in percent."""

    task: str
    score: str
    means: tuple[float, float]  # over the runs of each
    low: float  # 95 % of the difference
    high: float
    p: float  # of a difference as large where there is none
    rows: int
    runs: tuple[int, int]

    @property
    def difference(self) -> float:
        """By how much the first is better."""
        return self.means[0] - self.means[1]


def compare(
    ckpt_dir: Path, models: tuple[str, str], tasks: Sequence[str], view: str, known: Mapping[str, Task]
) -> list[Comparison]:
    """Both models on each of the tasks, or, where none is named, on all of which both have finished runs.

    Raises ConfigError for a model or task without such runs, CheckpointError where their predictions cannot be compared.
    """
    records, _ = read_grid(ckpt_dir, known)
    there = sorted({record.model for record in records})
    for model in models:
        if model not in there:
            raise ConfigError(
                f"{model!r} has no finished run; those that have: {', '.join(there) or 'none'}.{did_you_mean(model, there)}"
            )
    runs = {task: [[each for each in records if (each.model, each.task) == (model, task)] for model in models] for task in known}
    shared = [task for task in known if all(runs[task])]
    for task in tasks or (["any task"] if not shared else []):
        if task not in shared:
            raise ConfigError(f"{' and '.join(models)} have not both finished runs of {task}; they have of {', '.join(shared)}.")
    return [found for task in tasks or shared for found in _on_task(task, known[task], runs[task], view)]


def _on_task(name: str, task: Task, runs: Sequence[Sequence[Record]], view: str) -> Iterator[Comparison]:
    logger.info("%s: %d and %d runs", name, len(runs[0]), len(runs[1]))
    predictions = [[read_predictions(record, view) for record in each] for each in runs]
    together = [columns for each in predictions for columns in each]
    for record, columns in zip([record for each in runs for record in each], together, strict=True):
        if _given(columns) != _given(together[0]):
            raise CheckpointError(
                f"{record.folder} and {runs[0][0].folder} were not scored on the same rows: nothing to compare."
            )
    for score, score_of in SCORES[task.metric].items():
        rows = len(set(together[0]["sentence"])) if "sentence" in together[0] else len(together[0]["prediction"])
        by_weights = [[score_of(columns) for columns in each] for each in predictions]
        whole = [[float(each(np.ones((1, rows)))[0]) / task.scale for each in of_model] for of_model in by_weights]
        for record, found in zip([*runs[0], *runs[1]], [*whole[0], *whole[1]], strict=True):
            if abs(found - record.score(view, score) / task.scale) > ROUNDED:
                raise CheckpointError(f"{record.folder}: its predictions do not give the {score} of its results. Run it again.")
        first, second = (100 * sum(found) / len(found) for found in whole)
        differences = 100 * sampled_differences(by_weights[0], by_weights[1], rows) / task.scale
        low, high = np.percentile(differences, [2.5, 97.5]).tolist()
        p = p_value(differences, first - second)
        yield Comparison(name, score, (first, second), low, high, p, rows, (len(runs[0]), len(runs[1])))


def read_predictions(record: Record, view: str) -> Columns:
    """The columns of the predictions of the checkpoint that `view` chooses. Raises CheckpointError where they are not there."""
    path = prediction_file(record.folder, record.results[view]["step"])
    try:
        header, *lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        columns = zip(*(line.split("\t") for line in lines), strict=True)
        return dict(zip(header.split("\t"), columns, strict=True))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}. Run it again: only predictions can be compared.") from None
    except DAMAGE as error:
        raise damaged(path, error) from None


def _given(columns: Columns) -> dict[str, Sequence[str]]:
    return {name: column for name, column in columns.items() if not name.startswith(OF_THE_MODEL)}


def show(found: Sequence[Comparison], models: tuple[str, str], view: str) -> str:
    """The comparisons as a table, and how to read it."""
    lines = [
        f"| task | score | {models[0]} | {models[1]} | difference | 95 % interval | p | rows | runs |",
        "| :--- | :--- | ---: | ---: | ---: | :---: | ---: | ---: | :---: |",
    ]
    for each in found:
        numbers = f"{each.means[0]:.2f} | {each.means[1]:.2f} | {each.difference:+.2f} | {each.low:+.2f} to {each.high:+.2f}"
        runs = f"{each.runs[0]} and {each.runs[1]}"
        lines.append(f"| {each.task} | {each.score} | {numbers} | {each.p:.4f} | {each.rows:,} | {runs} |")
    lines += ["", f"View `{view}`, in percent; paired bootstrap, {SAMPLES:,} samples of the rows, and of the runs of each model."]
    if min(min(each.runs) for each in found) == 1:
        lines.append("Where a model has one run, how much its seed matters is not in the interval.")
    if len({each.task for each in found}) > 1:
        lines.append(f"With {len(found)} comparisons some p below 0.05 is to be expected by chance; divide 0.05 by their number.")
    return "\n".join(lines)
