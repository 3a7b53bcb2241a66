"""The figures of the HTML report: data for the charts, and the same numbers as text."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from src.common.files import DAMAGE
from src.data.task import Task
from src.metrics.analysis import Analysis
from src.metrics.metrics import display_name, in_percent
from src.report.charts import Figure, thin
from src.report.history import History
from src.report.record import Record
from src.report.table import Table, Value
from src.runs.files import LOG_LINES

LOSSES = 60  # points of a line
HEIGHT_OF_ROW = 26  # pixels
COLUMNS = ("model", "what", "seed", "score", "low", "high")  # of the dots
Runs = Mapping[str, Sequence[Record]]  # title of a model -> its runs


def of_task(table: Table, name: str, view: str) -> list[Figure]:
    """Return the figures of all runs of a task."""
    rows, task = table.rows_of(name), table.tasks[name]
    runs = {row.title: row.records[name] for row in rows}
    values = {row.title: table.values(row, name, view) for row in rows}
    of_score = {score: {title: found[score] for title, found in values.items()} for score in task.scores}
    return [*(dots(runs, of_score[score], view, task, score) for score in task.scores), cost(runs, view, task)]


def dots(runs: Runs, values: Mapping[str, Value], view: str, task: Task, score: str) -> Figure:
    """Return the figure of the scores of all runs. values: of each model."""
    rows: list[tuple[object, ...]] = []
    texts = []
    for model, records in runs.items():
        value = values[model]
        spread = value.sd or 0.0
        rows += [(model, "seed", record.seed, record.percent(view, task, score), "", "") for record in records]
        rows.append((model, "mean", "", value.mean, value.mean - spread, value.mean + spread))
        text = f"{model}: mean {value.with_sd} (n={value.n})"
        if value.published:
            rows.append((model, "published", "", value.published.value, "", ""))
            text += f", published {value.published.text}"
        texts.append(text)
    caption = f"{display_name(task, score)}, {view}: a point per seed; mean ± standard deviation as a line"
    caption += ", published score as a diamond" * any(value.published for value in values.values())
    return Figure("dots", caption, "; ".join(texts), COLUMNS, rows, height=HEIGHT_OF_ROW * len(runs))


def cost(runs: Runs, view: str, task: Task) -> Figure:
    """Return the figure of score against training time."""
    rows = [
        (model, record.seed, record.cost.training_seconds / 60, record.percent(view, task, task.headline))
        for model, records in runs.items()
        for record in records
    ]
    texts = [
        f"{model}: {statistics.fmean(run.cost.training_seconds for run in records) / 60:.3g} minutes, "
        f"{statistics.fmean(run.percent(view, task, task.headline) for run in records):.2f}"
        for model, records in runs.items()
    ]
    caption = f"{display_name(task, task.headline)}, {view}, against minutes of training, a point per run"
    devices = dict.fromkeys(record.origin.device for records in runs.values() for record in records)
    if len(devices) > 1:
        caption += f"; times are not comparable, the runs were made on {' and '.join(devices)}"
    return Figure("cost", caption, "Means: " + "; ".join(texts), ("model", "seed", "minutes", "score"), rows)


def curves(records: Sequence[Record], task: Task) -> list[Figure]:
    """Return the learning curves of a model's runs: the loss, and the headline score on dev and test, by step."""
    losses = {record.seed: thin(list(_losses(record)), LOSSES) for record in records}
    scores = {(record.seed, split): sorted(_scores(record, split, task)) for record in records for split in ("dev", "test")}
    texts = [_trend(f"seed {seed}", points) for seed, points in losses.items() if points]
    rows: list[tuple[object, ...]] = [(seed, *point) for seed, points in losses.items() for point in points]
    found = [Figure("loss", "Training loss by step, a line per seed", "; ".join(texts), ("seed", "step", "loss"), rows, False)]
    texts = [_trend(f"seed {seed}, {split}", points) for (seed, split), points in scores.items() if points]
    rows = [(seed, split, *point) for (seed, split), points in scores.items() for point in points]
    caption = f"{display_name(task, task.headline)} by step, a line per seed and split"
    found.append(Figure("scores", caption, "; ".join(texts), ("seed", "split", "step", "score"), rows, False))
    return [figure for figure in found if figure.rows]


def _losses(record: Record) -> Iterator[tuple[int, float]]:
    """Yield step and loss of the lines of log.jsonl; lines that are torn or without a loss are left out."""
    with suppress(OSError), open(record.folder / LOG_LINES, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            with suppress(*DAMAGE):
                values = json.loads(line)
                yield int(values["step"]), float(values["loss"])


def _scores(record: Record, split: str, task: Task) -> Iterator[tuple[int, float]]:
    for step, splits in record.results.scores.items():
        if task.headline in splits.get(split, {}):
            yield int(step), in_percent(task, splits[split][task.headline])


def _trend(name: str, points: Sequence[tuple[int, float]]) -> str:
    (first, start), (last, end) = points[0], points[-1]
    return f"{name}: {start:.4g} at step {first}, {end:.4g} at step {last}"


def about_search(history: History) -> str:
    """Return how the trials of a search have ended, or why they are not shown."""
    counts = Counter(trial.state for trial in history.trials)
    ended = ", ".join(f"{count} {state}" for state, count in counts.items())
    return history.note or f"Trials: {ended or 'none has ended'}."


def of_search(history: History, task: Task) -> Iterator[Figure]:
    """Yield the figures of a search: the scores of its trials, and the importance of the settings."""
    best, rows = -math.inf, list[tuple[object, ...]]()
    for trial in history.trials:
        if trial.score is not None:
            score = in_percent(task, trial.score)
            rows.append((trial.number, trial.state, score))
            best = max(best, score) if trial.state == "finished" else best
        if best > -math.inf:
            rows.append((trial.number, "best so far", best))
    if rows:
        caption = f"{display_name(task, task.headline)} on dev by trial; the line is the best so far"
        ended = f"{len(history.trials)} trials" + (f", best {best:.2f}" if best > -math.inf else "")
        yield Figure("history", caption, ended, ("trial", "what", "score"), rows)
    if history.importance:
        texts = (f"{name} {share:.2f}" for name, share in history.importance.items())
        caption, shares = "Importance of the settings for the score on dev, by fANOVA", list(history.importance.items())
        height = HEIGHT_OF_ROW * len(shares)
        yield Figure("importance", caption, "; ".join(texts), ("setting", "importance"), shares, height=height)


def of_predictions(analysis: Analysis) -> Iterator[Figure]:
    """Yield the figures of a run's predictions: its reliability curve, or the scatter plot of a regression."""
    if analysis.bins:
        rows = [(part.probability, part.right, part.count) for part in analysis.bins]
        texts = (f"at {part.probability:.2f} {part.right:.2f} of {part.count:,}" for part in analysis.bins)
        error = f"expected calibration error {analysis.calibration_error:.3f}"
        caption = f"Reliability: share of right predictions by their probability; {error}"
        yield Figure("reliability", caption, "; ".join(texts), ("probability", "right", "predictions"), rows)
    if analysis.points:
        caption = f"Predicted score by the score in the file, {len(analysis.points):,} of {analysis.rows:,} rows"
        distances = [abs(prediction - label) for label, prediction in analysis.points]
        description = f"Mean distance {statistics.fmean(distances):.2f}, largest {max(distances):.2f}"
        yield Figure("scatter", caption, description, ("label", "prediction"), analysis.points, False)
