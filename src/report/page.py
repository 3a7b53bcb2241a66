"""What the HTML report says besides the table, its records and their figures, which the template reads itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from src.common.errors import brief
from src.common.files import DAMAGE
from src.common.progress import format_seconds
from src.data.task import Task
from src.metrics.analysis import Analysis
from src.metrics.metrics import METRICS, display_name, in_percent
from src.report.history import History
from src.report.markdown import ABOUT, ABOUT_FLAG, ABOUT_PUBLISHED, ABOUT_TUNED, BESIDE_PUBLISHED, notes
from src.report.published import NOTHING_PUBLISHED, PrintedScore, PublishedRow
from src.report.record import VIEWS, Record
from src.report.table import Row, Table, Value
from src.runs.files import prediction_file
from src.runs.scores import SELECTED_BY

DETAILS_OF = "selected"  # the view whose checkpoint is shown in detail
HOW_TO_SHOW = "show them on a page that you do not pass on."


@dataclass(frozen=True)
class Inspection:
    """What is said of the run that stands for a model on a task; `analysis` of its predictions, if it can be read."""

    run: str
    lines: Sequence[str]
    analysis: Analysis | None


@dataclass(frozen=True)
class Page:
    """The page of a grid, or of a single run."""

    title: str
    table: Table
    notes: Sequence[tuple[str, Sequence[str]]]
    with_texts: bool  # show all texts, whatever the licences say
    how_to_show: str  # texts that are not shown
    histories: Sequence[History] = ()
    run: Record | None = None  # the only one

    @property
    def about(self) -> Iterator[str]:
        """The lines above the score table."""
        if self.table.has_published:
            yield ABOUT_PUBLISHED
        if any(row.table == "tuned" for row in self.table.rows):
            yield ABOUT_TUNED
        if self.table.flagged:
            yield ABOUT_FLAG

    @property
    def views(self) -> Mapping[str, str]:
        """What each view is."""
        return {view: ABOUT[view] + f" {BESIDE_PUBLISHED[view]}" * self.table.has_published for view in VIEWS}

    @property
    def columns(self) -> list[tuple[str, Task, str]]:
        """The columns of the score table: every score of the tasks with runs or published scores, as (name, task, score)."""
        return [(name, task, score) for name, task in self.table.columns.items() for score in task.scores]

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks with runs or searches."""
        used = {record.task for record in self.table.records} | {history.task for history in self.histories}
        return {name: task for name, task in self.table.tasks.items() if name in used}

    def source(self, row: Row | PublishedRow) -> str:
        """Return where the scores of a row come from."""
        if isinstance(row, PublishedRow):
            title = self.table.published.sources[row.source]["title"].partition(",")[0]  # the rest is among the notes
            return f"{title} ({row.protocol})"
        return "this run" if self.run else "runs of this grid" + ", tuned on dev" * (row.table == "tuned")

    def value(self, row: Row | PublishedRow, name: str, score: str, view: str) -> Value | PrintedScore | None:
        """Return what stands in a cell of the score table, if anything."""
        if isinstance(row, PublishedRow):
            return row.scores.get(name, {}).get(score)
        return self.table.values(row, name, view).get(score)

    def shows_texts(self, task: Task) -> bool:
        """Return whether the page may show texts of a task."""
        return self.with_texts or task.texts_may_be_shown

    def inspect(self, records: Sequence[Record], task: Task) -> Inspection:
        """Return what is said of the one of a model's runs that is shown in detail: the one with the lowest seed."""
        record = min(records, key=lambda record: record.seed)
        choice = record.choice(DETAILS_OF)
        seed = f"Seed {record.seed}" + (f", one of {len(records)} runs" if len(records) > 1 else "")
        run = f"{seed}; {choice.checkpoint}, {DETAILS_OF}: {SELECTED_BY[record.results.selected.by]}."
        path = prediction_file(record.folder, choice.step, name="analysis.json")
        try:
            analysis = Analysis.model_validate_json(path.read_bytes())
        except (OSError, *DAMAGE) as error:
            return Inspection(run, [run, f"The analysis of its predictions cannot be read: {path}: {brief(error)}."], None)
        lines = [run, *_about_analysis(record, task, analysis)]
        return Inspection(run, lines, analysis if self.shows_texts(task) else analysis.hide_texts())


def page_of_table(table: Table, with_texts: bool, histories: Sequence[History] = ()) -> Page:
    """Return the page of a grid, with the histories of its searches. with_texts: show all texts, whatever the licences say."""
    return Page("Benchmark results", table, list(notes(table)), with_texts, f"Pass --with_texts to {HOW_TO_SHOW}", histories)


def page_of_run(record: Record, task: Task, with_texts: bool) -> Page:
    """Return the page of a single run."""
    row = Row(record.model, record.model, "unknown", "-", {record.task: [record]})
    table = Table([row], [], [record], [], {record.task: task}, NOTHING_PUBLISHED, {}, {}, set())
    how_to_show = f"Pass --html_report with_texts to {HOW_TO_SHOW}"
    about = [("This run", list(_about_run(record)))]
    return Page(f"{task.title}: {record.model}", table, about, with_texts, how_to_show, run=record)


def _about_analysis(record: Record, task: Task, analysis: Analysis) -> Iterator[str]:
    test = record.choice(DETAILS_OF).test
    wrong = "" if analysis.points else f", {analysis.error_count:,} of them wrong"
    yield f"{analysis.rows:,} rows{wrong}. Scores: {_write_scores(task, {score: test[score] for score in task.scores})}."
    if ceiling := record.results.data["test"].ceiling:
        bound = _write_scores(task, ceiling)
        yield f"Upper bound with this tokenizer, the scores of a model that finds every answer: {bound}."
    if METRICS[task.metric].numbered_by:
        yield "Entities are counted over all words; words beyond max_seq_len count as predicted O. Tags have no probabilities."


def _write_scores(task: Task, scores: Mapping[str, float]) -> str:
    return ", ".join(f"{display_name(task, score)} {in_percent(task, value):.2f}" for score, value in scores.items())


def _about_run(record: Record) -> Iterator[str]:
    origin, cost = record.origin, record.cost
    yield f"folder: {record.folder}"
    yield f"model: {origin.settings['model_name_or_path']}, seed {record.seed}"
    yield f"settings from the command line: {', '.join(f'{name} {value}' for name, value in record.overrides.items()) or 'none'}"
    yield f"data files: {', '.join(f'{split} ({file.status})' for split, file in record.results.data.items())}"
    yield f"device: {origin.device}; precision: {origin.mixed_precision}"
    speed = f"{cost.tokens_per_s:,.0f} tokens/s, {cost.peak_memory_bytes / 1e9:.2f} GB"
    stop = cost.stopped_early
    stopped = f", stopped early at step {stop.step} of {stop.planned_steps}" if stop else ""
    yield f"training: {format_seconds(cost.training_seconds)}, {speed}{stopped}"
    yield f"versions: {', '.join(f'{name} {version}' for name, version in origin.versions.items())}"
