"""Two models on a task, row by row: is one better, or did it only meet the right rows and seeds?"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.errors import CheckpointError, ConfigError, did_you_mean
from src.files import DAMAGE, damaged
from src.grid.bootstrap import SAMPLES, p_value, sampled_differences
from src.grid.cells import Task
from src.grid.read_runs import read_grid
from src.grid.record import Record, scores_of
from src.grid.table import unlike
from src.metrics import METRICS, Columns, WeightedScore
from src.run_folder import prediction_file

logger = logging.getLogger(__name__)

ENOUGH = 5  # runs, of which the spread between seeds can be seen
AGAIN = "Move the folder away, and the same `run` makes it again."
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
) -> tuple[list[Comparison], list[str]]:
    """Both models on each of the tasks, or, where none is named, on all of which both have finished runs; and cautions.

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
    if not shared:
        raise ConfigError(f"{' and '.join(models)} have finished runs of no task in common.")
    for task in tasks:
        if task not in shared:
            raise ConfigError(f"{' and '.join(models)} have not both finished runs of {task}; they have of {', '.join(shared)}.")
    chosen = list(tasks or shared)
    found = [each for task in chosen for each in _on_task(task, known[task], runs[task], view)]
    compared = [record for task in chosen for of_model in runs[task] for record in of_model]
    return found, _cautions(found, unlike(compared, known)[0], known)


def _on_task(name: str, task: Task, runs: Sequence[Sequence[Record]], view: str) -> Iterator[Comparison]:
    metric = METRICS[task.metric]
    logger.info("%s: %d and %d runs", name, len(runs[0]), len(runs[1]))
    predictions = [[read_predictions(record, view) for record in each] for each in runs]
    records, together = [*runs[0], *runs[1]], [*predictions[0], *predictions[1]]
    for record, columns in zip(records, together, strict=True):
        if _given(columns) != _given(together[0]):
            raise CheckpointError(
                f"{record.folder} and {records[0].folder} were not scored on the same rows: nothing to compare."
            )
    rows = len(set(together[0]["sentence"])) if "sentence" in together[0] else len(next(iter(together[0].values())))
    for score, score_of in metric.weighted.items():
        by_weights = [
            [_score(score_of, *item, view) for item in zip(*pair, strict=True)] for pair in zip(runs, predictions, strict=True)
        ]
        whole = [[float(each(np.ones((1, rows)))[0]) / metric.scale for each in of_model] for of_model in by_weights]
        for record, found in zip(records, [*whole[0], *whole[1]], strict=True):
            if abs(found - record.choice(view).test.get(score, np.inf) / metric.scale) > metric.rounding:
                raise CheckpointError(f"{record.folder}: its predictions do not give the {score} of its results. {AGAIN}")
        first, second = (100 * sum(found) / len(found) for found in whole)
        differences = 100 * sampled_differences(by_weights[0], by_weights[1], rows) / metric.scale
        low, high = np.percentile(differences, [2.5, 97.5]).tolist()
        p = p_value(differences)
        yield Comparison(name, score, (first, second), low, high, p, rows, (len(runs[0]), len(runs[1])))


def _score(score_of: Callable[[Columns], WeightedScore], record: Record, columns: Columns, view: str) -> WeightedScore:
    try:
        return score_of(columns)
    except DAMAGE as error:
        raise damaged(prediction_file(record.folder, record.choice(view).step), error) from None


def read_predictions(record: Record, view: str) -> Columns:
    """The columns of the predictions of the checkpoint that `view` chooses. Raises CheckpointError where they are not there."""
    path = prediction_file(record.folder, record.choice(view).step)
    try:
        with open(path, encoding="utf-8", newline="\n") as stream:  # other line ends are part of the text
            header, *lines = stream.read().removesuffix("\n").split("\n")
        columns = zip(*(line.split("\t") for line in lines), strict=True)
        return dict(zip(header.split("\t"), columns, strict=True))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}. Only predictions can be compared. {AGAIN}") from None
    except DAMAGE as error:
        raise damaged(path, error) from None


def _given(columns: Columns) -> dict[str, Sequence[str]]:
    return {name: column for name, column in columns.items() if not name.startswith(OF_THE_MODEL)}


def _cautions(found: Sequence[Comparison], unlike_runs: Mapping[str, Sequence[str]], known: Mapping[str, Task]) -> list[str]:
    cautions = [f"The runs were not made alike: {', '.join(tasks)}: {text}" for text, tasks in unlike_runs.items()]
    fewest = min(min(each.runs) for each in found)
    if fewest == 1:
        cautions.append(
            "Where a model has one run, the interval and p are about this one checkpoint: how much its seed matters is unknown."
        )
    elif fewest < ENOUGH:
        cautions.append(f"With fewer than {ENOUGH} runs of a model, intervals are too narrow and p too small where seeds matter.")
    for each in found:
        if each.score not in scores_of(known[each.task]):
            shown = "/".join(scores_of(known[each.task]))
            cautions.append(f"{each.task}: {each.score} and not {shown}, as what {shown} leaves out depends on the tokenizer.")
    if len(found) > 1:
        cautions.append(
            f"Of {len(found)} comparisons some may have a p below 0.05 by chance; 0.05 / {len(found)} is a safe bound."
        )
    return cautions


def show(found: Sequence[Comparison], cautions: Sequence[str], models: tuple[str, str], view: str) -> str:
    """The comparisons as a table, and how to read it."""
    lines = [
        f"| task | score | {models[0]} | {models[1]} | difference | 95 % interval | p | rows | runs |",
        "| :--- | :--- | ---: | ---: | ---: | :---: | ---: | ---: | :---: |",
    ]
    for each in found:
        numbers = f"{each.means[0]:.2f} | {each.means[1]:.2f} | {each.difference:+.2f} | {each.low:+.2f} to {each.high:+.2f}"
        runs = f"{each.runs[0]} and {each.runs[1]}"
        lines.append(f"| {each.task} | {each.score} | {numbers} | {each.p:.4f} | {each.rows:,} | {runs} |")
    lines += ["", f"View `{view}`, in percent; paired bootstrap: {SAMPLES:,} samples of the rows, and of the runs of each model."]
    return "\n".join([*lines, "", *(f"- {caution}" for caution in cautions)])
