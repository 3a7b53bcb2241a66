"""The content of the HTML report: what it shows of the table and of each run, before it becomes HTML."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from src.common.files import DAMAGE
from src.common.progress import format_seconds
from src.data.task import Task
from src.metrics.metrics import display_name, in_percent
from src.report import figures
from src.report.charts import Figure
from src.report.figures import SearchPart
from src.report.history import History
from src.report.markdown import ABOUT, ABOUT_PUBLISHED, ABOUT_TUNED, BESIDE_PUBLISHED, FLAG, notes, signed
from src.report.published import PublishedRow
from src.report.read_runs import shorten
from src.report.record import VIEWS, Record
from src.report.run_details import Details, read_details
from src.report.table import Row, Table, Value
from src.runs.scores import SELECTED_BY

DETAILS_OF = "selected"  # the view whose checkpoint is shown in detail
NOT_SHOWN = "not compared"


@dataclass(frozen=True)
class Column:
    """A score of a task."""

    task: str
    score: str
    title: str
    score_title: str


@dataclass(frozen=True)
class Cell:
    """A cell of the score table: its text, the number to sort by, and lines below the text."""

    text: str = "-"
    sort: str = ""
    notes: Sequence[str] = ()
    best: bool = False


@dataclass(frozen=True)
class ScoreRow:
    """A row of the score table: the runs of a model, or published scores."""

    title: str
    size: str
    source: str
    cells: Sequence[Cell]
    published: bool = False

    @property
    def bytes(self) -> float | str:
        """The size as a number to sort by; empty if it is unknown."""
        unit = {"M": 1, "G": 1024}.get(self.size[-1:])
        return float(self.size[:-1]) * unit if unit else ""


@dataclass(frozen=True)
class ModelPart:
    """The runs of a model on a task: learning curves of all, details of one."""

    title: str
    runs: int
    run: str  # the one shown in detail
    cautions: Sequence[str]
    curves: Sequence[Figure]
    facts: Sequence[str]
    details: Details | None
    figures: Sequence[Figure]

    @property
    def has_answers(self) -> bool:
        """Whether labels and predictions of the errors may be shown."""
        return self.details is not None and any(error.gold or error.prediction for error in self.details.errors)


@dataclass(frozen=True)
class TaskPart:
    """What the page shows of a task."""

    title: str
    about: str
    with_texts: bool
    text_columns: Sequence[str]
    figures: Mapping[str, Sequence[Figure]]  # of all runs, by view
    models: Sequence[ModelPart]
    searches: Sequence[SearchPart] = ()


@dataclass(frozen=True)
class Page:
    """The whole page."""

    title: str
    about: Sequence[str]
    columns: Sequence[Column]
    rows: Mapping[str, Sequence[ScoreRow]]  # by view
    tasks: Sequence[TaskPart]
    notes: Sequence[tuple[str, Sequence[str]]]
    how_to_show: str  # texts that are not shown
    has_published: bool = False
    views: Mapping[str, str] = field(default_factory=lambda: ABOUT)


def page_of_table(table: Table, with_texts: bool, histories: Sequence[History] = ()) -> Page:
    """Return the page of a grid, with the histories of its searches. with_texts: show all texts, whatever the licences say."""
    used = [row.scores for row in table.published_rows] + [row.records for row in table.rows]
    tasks = {name: task for name, task in table.tasks.items() if any(name in scores for scores in used)}
    columns = [column for name, task in tasks.items() for column in _columns(name, task)]
    about = [ABOUT_PUBLISHED] if table.has_published else []
    if any(row.table == "tuned" for row in table.rows):
        about.append(ABOUT_TUNED)
    if table.flagged:
        about.append(f"{FLAG}: differs from the other runs of its column in more than the model, see below; never bold.")
    views = {view: ABOUT[view] + (f" {BESIDE_PUBLISHED[view]}" if table.has_published else "") for view in VIEWS}
    return Page(
        title="Benchmark results",
        about=about,
        columns=columns,
        rows={view: _score_rows(table, columns, view) for view in VIEWS},
        tasks=list(_task_parts(table, with_texts, histories)),
        notes=list(notes(table)),
        how_to_show="Pass --with_texts to show them on a page that you do not pass on.",
        has_published=bool(table.published_rows),
        views=views,
    )


def _task_parts(table: Table, with_texts: bool, histories: Sequence[History]) -> Iterator[TaskPart]:
    for name, task in table.tasks.items():
        searches = [figures.search_part(history, task) for history in histories if history.task == name]
        if _rows_of(table, name) or searches:
            yield replace(_task_part(name, task, table, with_texts), searches=searches)


def _rows_of(table: Table, task: str) -> list[Row]:
    return [row for row in table.rows if task in row.records]


def _columns(name: str, task: Task) -> list[Column]:
    split = "" if task.scored_on == "test" else f" ({task.scored_on.capitalize()})"
    return [Column(name, score, f"{task.title}{split}", display_name(task, score)) for score in task.scores]


# -- the score table -------------------------------------------------------------------------------------------------------------


def _score_rows(table: Table, columns: Sequence[Column], view: str) -> list[ScoreRow]:
    """Return the rows of a view, runs and published scores."""
    values = {
        (row.model, column): table.values(row, column.task, view).get(column.score) for row in table.rows for column in columns
    }
    best = {column: _best(table, values, column) for column in columns}

    def runs_of(row: Row) -> ScoreRow:
        cells = [_cell(table, values, best, row.model, column) for column in columns]
        source = "runs of this grid, tuned on dev" if row.table == "tuned" else "runs of this grid"
        return ScoreRow(row.title, row.size, source, cells)

    return [runs_of(row) if isinstance(row, Row) else _published_row(row, table, columns) for row in table.rows_with_published]


Values = Mapping[tuple[str, Column], Value | None]


def _best(table: Table, values: Values, column: Column) -> float | None:
    """Return the best mean of a column, as it is displayed."""
    means = (
        round(value.mean, 2)
        for (model, other), value in values.items()
        if value and other == column and not value.trials and (model, column.task) not in table.flagged
    )
    return max(means, default=None)


def _cell(table: Table, values: Values, best: Mapping[Column, float | None], model: str, column: Column) -> Cell:
    value = values[model, column]
    if value is None:
        return Cell()
    is_flagged = (model, column.task) in table.flagged
    text = value.with_sd + FLAG * is_flagged
    lines = [value.runs]
    if value.published:
        difference = NOT_SHOWN if value.difference is None else f"{signed(value.difference)} {value.verdict}".rstrip()
        lines.append(f"published {value.published.text}: {difference}")
    is_best = not is_flagged and not value.trials and round(value.mean, 2) == best[column]
    return Cell(text, f"{value.mean:.4f}", lines, is_best)


def _published_row(row: PublishedRow, table: Table, columns: Sequence[Column]) -> ScoreRow:
    cells = []
    for column in columns:
        score = row.scores.get(column.task, {}).get(column.score)
        cells.append(Cell(score.with_sd, score.text, [f"n={score.n}"] if score.n else []) if score else Cell())
    title = table.published.sources[row.source]["title"].partition(",")[0]  # the rest is among the notes
    source = f"{title} ({row.protocol})"
    return ScoreRow(row.title, row.size, source, cells, published=True)


# -- a task ----------------------------------------------------------------------------------------------------------------------


def _task_part(name: str, task: Task, table: Table, with_texts: bool) -> TaskPart:
    rows = _rows_of(table, name)
    runs = {row.title: row.records[name] for row in rows}
    charts: dict[str, Sequence[Figure]] = dict.fromkeys(VIEWS, ())
    for view in VIEWS if rows else ():
        values = {row.title: table.values(row, name, view) for row in rows}
        dots = [
            figures.dots(runs, {title: scores[score] for title, scores in values.items()}, view, task, score)
            for score in task.scores
        ]
        charts[view] = [*dots, figures.cost(runs, view, task)]
    return _part(task, runs, charts, with_texts)


def _part(task: Task, runs: figures.Runs, charts: Mapping[str, Sequence[Figure]], with_texts: bool) -> TaskPart:
    with_texts = with_texts or task.texts_may_be_shown
    facts = {"Source": task.source, "licence": task.licence, "kind": task.kind, "metric": task.metric}
    about = ", ".join(f"{name}: {value}" for name, value in facts.items() if value)
    models = [_model_part(title, records, task, with_texts) for title, records in runs.items()]
    return TaskPart(task.title, f"{about}.", with_texts, task.text, charts, models)


def _model_part(title: str, records: Sequence[Record], task: Task, with_texts: bool) -> ModelPart:
    record = min(records, key=lambda record: record.seed)
    choice = record.choice(DETAILS_OF)
    seed = f"Seed {record.seed}" + (f", one of {len(records)} runs" if len(records) > 1 else "")
    run = f"{seed}; {choice.checkpoint}, {DETAILS_OF}: {SELECTED_BY[record.results.selected.by]}."
    cautions = dict.fromkeys(caution for other in records for caution in _cautions(other))
    facts, details = [run], None
    try:
        details = read_details(record.folder, choice.step, task, with_texts)
    except OSError as error:
        facts.append(f"Its predictions cannot be read: {error.filename}: {error.strerror}.")
    except DAMAGE as error:
        facts.append(f"Its predictions cannot be read: {shorten(' '.join(str(error).split()))}.")
    else:
        facts += _facts(record, task, details)
    charts = list(figures.of_predictions(details)) if details else []
    return ModelPart(title, len(records), run, list(cautions), figures.curves(records, task), facts, details, charts)


def _cautions(record: Record) -> Iterator[str]:
    for view in VIEWS:
        for split, reasons in record.results.cautions.get(str(record.choice(view).step), {}).items():
            yield from (f"seed {record.seed}, {view}, {split}: {reason}" for reason in reasons)


def _facts(record: Record, task: Task, details: Details) -> Iterator[str]:
    test = record.choice(DETAILS_OF).test
    scores = ", ".join(f"{display_name(task, score)} {in_percent(task, test[score]):.2f}" for score in task.scores)
    wrong = "" if details.points else f", {details.error_count:,} of them wrong"
    yield f"{details.rows:,} rows{wrong}. Scores: {scores}."
    if ceiling := record.results.data["test"].ceiling:
        bound = ", ".join(f"{display_name(task, score)} {in_percent(task, ceiling[score]):.2f}" for score in ceiling)
        yield f"Upper bound with this tokenizer, the scores of a model that finds every answer: {bound}."
    if task.kind == "tagging":
        yield "Entities are counted over all words; words beyond max_seq_len count as predicted O. Tags have no probabilities."


# -- a single run ----------------------------------------------------------------------------------------------------------------


def page_of_run(record: Record, task: Task, with_texts: bool) -> Page:
    """Return the page of a single run."""
    columns = _columns(record.task, task)
    rows = {}
    for view in VIEWS:
        scores = [in_percent(task, record.choice(view).test[column.score]) for column in columns]
        cells = [Cell(f"{score:.2f}", f"{score:.4f}", [f"step {record.choice(view).step}"]) for score in scores]
        rows[view] = [ScoreRow(record.model, "-", "this run", cells)]
    part = _part(task, {record.model: [record]}, dict.fromkeys(VIEWS, ()), with_texts)
    how = "Pass --html_report with_texts to show them on a page that you do not pass on."
    return Page(f"{task.title}: {record.model}", [], columns, rows, [part], [("This run", list(_about(record)))], how)


def _about(record: Record) -> Iterable[str]:
    origin, cost = record.origin, record.cost
    yield f"folder: {record.folder}"
    yield f"model: {origin.settings['model_name_or_path']}, seed {record.seed}"
    yield f"settings from the command line: {', '.join(f'{name} {value}' for name, value in record.overrides.items()) or 'none'}"
    yield f"data files: {', '.join(f'{split} ({facts.status})' for split, facts in record.results.data.items())}"
    yield f"device: {origin.device}; precision: {origin.mixed_precision}"
    speed = f"{cost.tokens_per_s:,.0f} tokens/s, {cost.peak_memory_bytes / 1e9:.2f} GB"
    stop = cost.stopped_early
    stopped = f", stopped early at step {stop.step} of {stop.planned_steps}" if stop else ""
    yield f"training: {format_seconds(cost.training_seconds)}, {speed}{stopped}"
    yield f"versions: {', '.join(f'{name} {version}' for name, version in origin.versions.items())}"
