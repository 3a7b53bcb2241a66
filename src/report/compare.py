"""Compare two models on the same test rows: is the difference between their scores more than chance?"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from src.common.errors import CheckpointError, ConfigError, did_you_mean
from src.common.files import DAMAGE, damaged
from src.data.task import Task, Tasks
from src.metrics.bootstrap import SAMPLES, resampled_scores
from src.metrics.metrics import METRICS
from src.metrics.uncertainty import Runs, Uncertainty, adjust, assess
from src.metrics.weighted import Columns, WeightedScore
from src.report.comparability import find_differences
from src.report.read_runs import read_grids
from src.report.record import Record
from src.runs.files import prediction_file

logger = logging.getLogger(__name__)

ENOUGH_RUNS = 5  # to estimate the spread between seeds
RERUN = "Move the folder away and rerun the same `run` command."
PREDICTION_COLUMNS = ("prediction", "prob_")  # prefixes; columns with the name of a score are predictions, too

Models = tuple[str, str]
Pair = tuple[list[Record], list[Record]]  # the runs of both models on a task


@dataclass(frozen=True)
class Comparison:
    """One score of two models on a task, in percent."""

    task: str
    score: str
    means: tuple[float, float]  # over the runs of each model
    uncertainty: Uncertainty
    rows: int
    runs: tuple[int, int]
    adjusted_p: float = 1.0  # for the number of comparisons

    @property
    def difference(self) -> float:
        """Score of the first model minus that of the second."""
        return self.means[0] - self.means[1]


def compare(
    ckpt_dirs: Sequence[Path], models: Models, chosen: Sequence[str], view: str, tasks: Tasks
) -> tuple[list[Comparison], list[str]]:
    """Compare two models on the chosen tasks, or on all tasks of which both have finished runs. Returns cautions, too.

    ckpt_dirs: the folders whose grids are read as one, see read_grids. Raises ConfigError if a model or task has no such runs
    or no score to compare by, CheckpointError if predictions are missing, damaged, or not of the same rows.
    """
    records, others = read_grids(ckpt_dirs, tasks)
    pairs = _find_pairs(records, models, chosen, tasks)
    cautions = [f"{run.place}: {run.reason}." for run in others if run.kind == "duplicate"]
    for task in [task for task in pairs if not METRICS[tasks[task].metric].weighted]:
        reason = f"{task} cannot be compared: its metric {tasks[task].metric} has no weighted form in src/metrics/metrics.py"
        if task in chosen or len(pairs) == 1:
            raise ConfigError(f"{reason}.")
        cautions.append(f"{reason}; it is left out.")
        del pairs[task]
    comparisons = [item for task, pair in pairs.items() for item in _compare_on_task(task, tasks[task], pair, view)]
    adjusted = adjust([item.uncertainty.p for item in comparisons])
    comparisons = [replace(item, adjusted_p=p) for item, p in zip(comparisons, adjusted, strict=True)]
    records = [record for pair in pairs.values() for runs in pair for record in runs]
    differences = find_differences(records, tasks)[0]
    cautions += [f"The runs differ in more than the model: {', '.join(names)}: {text}" for text, names in differences.items()]
    for model in models:
        if trials := max(record.trials for record in records if record.model == model):
            cautions.append(f"The settings of {model} were searched on dev, with {trials} trials per task at most.")
    return comparisons, cautions + _cautions(comparisons, tasks)


def _find_pairs(records: Sequence[Record], models: Models, chosen: Sequence[str], tasks: Tasks) -> dict[str, Pair]:
    """Return the runs of both models by task, for the chosen tasks or for all."""
    finished = sorted({record.model for record in records})
    for model in models:
        if model not in finished:
            near = did_you_mean(model, finished)
            raise ConfigError(f"{model!r} has no finished run; models with finished runs: {', '.join(finished) or 'none'}.{near}")
    first, second = ([record for record in records if record.model == model] for model in models)
    pairs = {task: ([run for run in first if run.task == task], [run for run in second if run.task == task]) for task in tasks}
    shared = {task: pair for task, pair in pairs.items() if all(pair)}
    if not shared:
        raise ConfigError(f"{' and '.join(models)} do not both have finished runs on any task.")
    for task in chosen:
        if task not in shared:
            raise ConfigError(f"{' and '.join(models)} do not both have finished runs on {task}, only on {', '.join(shared)}.")
    return {task: shared[task] for task in chosen or shared}


def _compare_on_task(name: str, task: Task, pair: Pair, view: str) -> Iterator[Comparison]:
    logger.info("%s: %d and %d runs", name, len(pair[0]), len(pair[1]))
    for score, (first, second), rows in score_runs(task, pair, view, SAMPLES):
        means = (float(first.scores.mean()), float(second.scores.mean()))
        yield Comparison(name, score, means, assess(first, second), rows, (len(pair[0]), len(pair[1])))


def score_runs(task: Task, pair: Pair, view: str, samples: int) -> Iterator[tuple[str, tuple[Runs, Runs], int]]:
    """Yield each score to compare by with the runs of both models, in percent, and the number of test rows.

    samples: of the rows. Raises CheckpointError if predictions are missing, damaged, or not of the same rows.
    """
    metric, records = METRICS[task.metric], [*pair[0], *pair[1]]
    predictions = {record.name: read_predictions(record, view) for record in records}
    _require_same_rows(records, predictions, view)
    rows = _count_rows(predictions[records[0].name], metric.numbered_by)
    # Compare the scores of the tables. If none of them has a weighted form (as in NER), compare those that have one.
    for score in [score for score in task.scores if score in metric.weighted] or metric.weighted:
        make = metric.weighted[score]
        runs = [_weighted_score(make, record, predictions[record.name], view) for record in records]
        scores = np.array([float(of_run(np.ones((1, rows)))[0]) for of_run in runs]) / metric.scale
        for record, value in zip(records, scores, strict=True):
            if abs(value - record.choice(view).test.get(score, np.inf) / metric.scale) > metric.rounding:
                raise CheckpointError(f"{record.folder}: its predictions do not give the {score} in its results. {RERUN}")
        scores, sampled = 100 * scores, 100 * resampled_scores(runs, rows, samples) / metric.scale
        first = len(pair[0])
        yield score, (Runs(scores[:first], sampled[:, :first]), Runs(scores[first:], sampled[:, first:])), rows


def _require_same_rows(records: Sequence[Record], predictions: Mapping[str, Columns], view: str) -> None:
    """Raise CheckpointError if runs were scored on other rows."""
    first, scores = records[0], records[0].choice(view).test

    def inputs(record: Record) -> Columns:
        columns = predictions[record.name]
        return {name: columns[name] for name in columns if not name.startswith(PREDICTION_COLUMNS) and name not in scores}

    for record in records:
        if inputs(record) != inputs(first):
            raise CheckpointError(f"{record.folder} and {first.folder} were not scored on the same rows.")


def _count_rows(columns: Columns, numbered_by: str) -> int:
    """Return the number of test rows: of sentences if words are tagged, see Metric.numbered_by."""
    return len(set(columns[numbered_by])) if numbered_by else len(next(iter(columns.values())))


def _weighted_score(make: Callable[[Columns], WeightedScore], record: Record, columns: Columns, view: str) -> WeightedScore:
    try:
        return make(columns)
    except DAMAGE as error:
        raise damaged(prediction_file(record.folder, record.choice(view).step), error) from None


def read_predictions(record: Record, view: str) -> Columns:
    """Read the predictions of the checkpoint that `view` chooses. Raises CheckpointError if they are missing or damaged."""
    path = prediction_file(record.folder, record.choice(view).step)
    try:
        with open(path, encoding="utf-8", newline="\n") as stream:  # other line ends are part of the text
            header, *lines = stream.read().removesuffix("\n").split("\n")
        columns = zip(*(line.split("\t") for line in lines), strict=True)
        return dict(zip(header.split("\t"), columns, strict=True))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}. Models are compared by their predictions. {RERUN}") from None
    except DAMAGE as error:
        raise damaged(path, error) from None


def _cautions(comparisons: Sequence[Comparison], tasks: Tasks) -> list[str]:
    cautions = []
    fewest = min(min(comparison.runs) for comparison in comparisons)
    if fewest == 1:
        cautions.append(
            "With one run of a model, chance is that of the rows only: the interval, p and the smallest difference hold for this "
            "checkpoint, not for other seeds."
        )
    elif fewest < ENOUGH_RUNS:
        cautions.append(
            f"With fewer than {ENOUGH_RUNS} runs of a model, the spread of its seeds is a rough estimate, and so are the "
            "interval, p and the smallest difference."
        )
    for comparison in comparisons:
        task, score, reported = comparison.task, comparison.score, tasks[comparison.task].scores
        if score not in reported:
            cautions.append(f"{task}: compared by {score}: {'/'.join(reported)} cannot be computed from predictions alone.")
    if len(comparisons) > 1:
        cautions.append(f"Of {len(comparisons)} comparisons some may have p < 0.05 by chance: rely on `p (Holm)`.")
    return cautions


def format_comparisons(comparisons: Sequence[Comparison], cautions: Sequence[str], models: Models, view: str) -> str:
    """Return the comparisons as a Markdown table, followed by the cautions."""
    columns: list[tuple[str, str, Callable[[Comparison], str]]] = [
        ("task", ":---", lambda item: item.task),
        ("score", ":---", lambda item: item.score),
        (models[0], "---:", lambda item: f"{item.means[0]:.2f}"),
        (models[1], "---:", lambda item: f"{item.means[1]:.2f}"),
        ("difference", "---:", lambda item: f"{item.difference:+.2f}"),
        ("95 % interval", ":---:", lambda item: f"{item.uncertainty.low:+.2f} to {item.uncertainty.high:+.2f}"),
        ("p", "---:", lambda item: f"{item.uncertainty.p:.4f}"),
        ("p (Holm)", "---:", lambda item: f"{item.adjusted_p:.4f}"),
        ("P(A > B)", "---:", lambda item: f"{item.uncertainty.better:.2f}"),
        ("smallest difference", "---:", lambda item: f"{item.uncertainty.smallest:.2f}" if item.uncertainty.smallest else "-"),
        ("rows", "---:", lambda item: f"{item.rows:,}"),
        ("runs", ":---:", lambda item: f"{item.runs[0]} and {item.runs[1]}"),
    ]
    if len(comparisons) == 1:
        columns = [column for column in columns if column[0] != "p (Holm)"]
    table = [[heading for heading, _, _ in columns], [alignment for _, alignment, _ in columns]]
    table += [[text(item) for _, _, text in columns] for item in comparisons]
    lines = [f"| {' | '.join(cells)} |" for cells in table]
    lines += [
        "",
        f"View `{view}`, in percent. Chance: the rows (paired bootstrap, {SAMPLES:,} samples) and the seeds (Student's t).",
        "P(A > B): probability that a run of the first model scores higher than one of the second. Smallest difference: a true",
        "difference that such runs and rows show as significant (p < 0.05) with a probability of 80 %.",
    ]
    return "\n".join([*lines, "", *(f"- {caution}" for caution in cautions)])
