"""The numbers of the report: mean scores over seeds beside the published ones, and mean costs."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from src.data.task import Task, Tasks
from src.report.comparability import PublishedSettings
from src.report.published import Published, PublishedRow, PublishedScore, with_sd
from src.report.read_runs import NotReported
from src.report.record import ModelAndTask, Record, cautions, group
from src.runs.grid_folder import is_tuned

SMALL = 300 * 2**20  # bytes of weights; the published tables call models of up to 213M small and those from 351M on base
DOUBT = "‡"  # marks scores that there are reasons to doubt
FLAG = "†"  # marks runs that differ from the others of their column in more than the model
COSTS = ("training_seconds", "peak_memory_bytes", "tokens_per_s")


@dataclass(frozen=True)
class Value:
    """A mean score in percent."""

    mean: float
    sd: float | None  # of the sample; None for a single run
    n: int
    published: PublishedScore | None
    comparable: bool  # whether the runs were made like the published one
    trials: int = 0  # on dev, by which the settings were found

    @property
    def with_sd(self) -> str:
        """The mean with its standard deviation, if there is one: 90.60 ± 0.14."""
        return with_sd(f"{self.mean:.2f}", self.sd)

    @property
    def runs(self) -> str:
        """The number of runs, and of the trials by which their settings were found: n=3, 30 trials on dev."""
        return f"n={self.n}" + (f", {self.trials} trials on dev" if self.trials else "")

    @property
    def comparison(self) -> str:
        """The difference from the published score and its verdict: -0.03 inside; empty if they cannot be compared."""
        # Adding 0.0 turns -0.0 into 0.0.
        return "" if self.difference is None else f"{round(self.difference, 2) + 0.0:+.2f} {self.verdict}".rstrip()

    @property
    def difference(self) -> float | None:
        """Mean minus published score; None if they cannot be compared."""
        return self.mean - self.published.value if self.published and self.comparable else None

    @property
    def verdict(self) -> str:
        """Whether a rerun of the published model may differ as much: "inside", "outside", or empty if unknown."""
        return self.published.verdict(self.mean) if self.published and self.comparable else ""


@dataclass(frozen=True)
class Smallest:
    """The smallest difference of a score on a task, in percent."""

    task: str
    score: str
    difference: float  # see smallest_difference in src.metrics.uncertainty
    models: tuple[str, str]
    runs: tuple[int, int]
    rows: int

    @property
    def about(self) -> str:
        """What it rests on: koelectra-base-v3 and kcbert-base, 3 and 1 runs, 50,000 rows; without seeds."""
        text = f"{' and '.join(self.models)}, {self.runs[0]} and {self.runs[1]} runs, {self.rows:,} rows"
        return text + "; of rows only, without the seeds of a single run" * (min(self.runs) == 1)


@dataclass(frozen=True)
class Row:
    """The runs of a model, by task."""

    model: str
    title: str
    table: str  # base, small, tuned or unknown
    size: str  # of the weights, as in the published tables: 431M, 1.03G
    records: Mapping[str, Sequence[Record]]


@dataclass(frozen=True)
class Table:
    """Everything that the report shows."""

    rows: Sequence[Row]
    published_rows: Sequence[PublishedRow]
    records: Sequence[Record]
    not_reported: Sequence[NotReported]
    tasks: Tasks
    published: Published
    not_comparable: Mapping[ModelAndTask, Sequence[str]]  # reasons why runs are not compared with the published score
    differences: Mapping[str, Sequence[str]]  # description of what differs between runs -> tasks
    flagged: set[ModelAndTask]  # runs that differ from the others of their column
    smallest: Sequence[Smallest] = ()  # differences that the columns can show

    @property
    def has_published(self) -> bool:
        """Whether there is a published score for one of the cells."""
        return any(task in self.published.scores(row.model) for row in self.rows for task in row.records)

    @property
    def rows_with_published(self) -> list[Row | PublishedRow]:
        """The rows of runs and all published ones: base models first, a model's runs before its published rows, in the order of
        the published tables and then by name.
        """
        return sorted([*self.rows, *self.published_rows], key=lambda row: _order(row, self.published))

    @property
    def columns(self) -> dict[str, Task]:
        """The tasks with runs or published scores that are shown."""
        used = {name for row in self.rows for name in row.records} | {name for row in self.published_rows for name in row.scores}
        return {name: task for name, task in self.tasks.items() if name in used}

    def rows_of(self, task: str) -> list[Row]:
        """Return the rows with runs of a task."""
        return [row for row in self.rows if task in row.records]

    def is_compared(self, row: Row | PublishedRow) -> bool:
        """Return whether a row is of runs, or a published one that runs are compared with."""
        return isinstance(row, Row) or not self.published.reason_not_compared(row.source)

    def flag(self, model: str, task: str) -> str:
        """Return FLAG if the runs of a model on a task are flagged, else nothing."""
        return FLAG if (model, task) in self.flagged else ""

    def doubt(self, row: Row, task: str) -> str:
        """Return DOUBT if there are reasons to doubt the scores of a cell, else nothing."""
        return DOUBT if cautions(row.records[task]) else ""

    def best(self, view: str) -> set[tuple[str, str, str]]:
        """Return (model, task, score) of the best means, as they are displayed, among base, small and tuned models.

        Runs that differ from the others of their column do not take part.
        """
        columns: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
        for row in self.rows:
            for task in (task for task in row.records if (row.model, task) not in self.flagged):
                for score, value in self.values(row, task, view).items():
                    columns[row.table, task, score][row.model] = round(value.mean, 2)
        best = {column: max(means.values()) for column, means in columns.items()}
        return {(model, *column[1:]) for column, means in columns.items() for model in means if means[model] == best[column]}

    @property
    def other_published_rows(self) -> list[PublishedRow]:
        """The published rows with a protocol that runs are not compared with, in the order of the protocols."""
        rows = [row for row in self.published_rows if not self.is_compared(row)]
        return sorted(rows, key=lambda row: list(self.published.protocols).index(row.protocol))

    def values(self, row: Row, name: str, view: str) -> dict[str, Value]:
        """Return score -> value for a row's cell; empty if it has no runs."""
        records, task = row.records.get(name), self.tasks[name]
        if not records:
            return {}
        comparable, trials = not self.not_comparable.get((row.model, name)), max(record.trials for record in records)
        found = {}
        for score in task.scores:
            published = self.published.score(row.model, name, score)
            found[score] = mean_of([record.percent(view, task, score) for record in records], published, comparable, trials)
        return found


def make_rows(records: Iterable[Record], published: Published, settings: PublishedSettings) -> list[Row]:
    """Return one row per model, base models first, in the order of the published tables and then by name."""
    by_model = group((record.model, record) for record in records)
    rows = [_make_row(model, runs, published, settings) for model, runs in by_model.items()]
    return sorted(rows, key=lambda row: _order(row, published))


def _order(row: Row | PublishedRow, published: Published) -> tuple[str, int, str]:
    return row.table, published.position(row.model), row.model


def _make_row(model: str, records: Sequence[Record], published: Published, settings: PublishedSettings) -> Row:
    tasks = group((record.task, record) for record in records)
    sizes = [count for record in records if (count := record.weight_bytes)]
    size = _format_size(min(sizes)) if sizes else "-"
    if all(map(settings.is_same_model, records)):
        printed = published.models[model]
        return Row(model, printed["title"], printed["table"], printed.get("size", size), tasks)
    table = "unknown" if not sizes else "small" if min(sizes) < SMALL else "base"
    return Row(model, model, "tuned" if is_tuned(model) else table, size, tasks)


def _format_size(count: int) -> str:
    megabytes = count / 2**20
    return f"{megabytes:.0f}M" if megabytes < 1000 else f"{megabytes / 1024:.2f}G"


def mean_of(scores: Sequence[float], published: PublishedScore | None, comparable: bool, trials: int = 0) -> Value:
    """Return the mean of the scores of runs, in percent, beside the published one. For the others, see Value."""
    sd = statistics.stdev(scores) if len(scores) > 1 else None
    return Value(statistics.fmean(scores), sd, len(scores), published, comparable, trials)


def mean_cost(records: Sequence[Record], name: str) -> float | None:
    """Return the mean of a cost over runs; None if they were made on different devices."""
    if len({record.origin.device for record in records}) > 1:
        return None
    return statistics.fmean(getattr(record.cost, name) for record in records)
