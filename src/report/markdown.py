"""The report as Markdown: a table per view, costs, and notes on what is not in the tables or not comparable."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from string import ascii_lowercase
from typing import get_args

from src.common.progress import format_seconds
from src.data.task import Task
from src.metrics.metrics import display_name
from src.report.published import PublishedRow
from src.report.read_runs import NotReportedKind
from src.report.record import VIEWS, Record, cautions, group, shorten_digest
from src.report.table import COSTS, DOUBT, FLAG, Row, Table, Value, mean_cost

TITLES = {"base": "Base models", "small": "Small models", "unknown": "Models without saved weights", "tuned": "Tuned models"}
ABOUT_TUNED = (
    "The settings of models named @tuned were searched on dev, with as many trials as the cell says. Other models are not tuned."
)
ABOUT = {
    "selected": "The checkpoint is selected without using the test set: the best on dev, or the last one if there is no dev.",
    "best_on_test": "The checkpoint is the best on the test set, which overestimates it. Rely on `selected`.",
}
BESIDE_PUBLISHED = {
    "selected": "The published scores were most likely selected on the test set, which gives them an advantage.",
    "best_on_test": "The published scores were most likely selected like this, too: compare them with this table.",
}
INTRODUCTION = (
    "Scores in percent: mean ± standard deviation over n runs of a model on a task, each with a different seed. The best score "
    "of a table is bold."
)
ABOUT_PUBLISHED = (
    "Below each score: the published score, the difference, and whether a rerun of the published model may differ as much "
    "(inside or outside; see the end)."
)
ABOUT_ROWS = (
    "Rows in italics are published: single runs, unless n says otherwise. Their letter names the source, see the end; they are "
    "never bold."
)
ABOUT_FLAG = f"{FLAG}: differs from the other runs of its column in more than the model, see below; never bold."
ABOUT_DOUBT = f"{DOUBT}: there are reasons to doubt the score, see Cautions."
ABOUT_SMALLEST = (
    "True differences in percent that the runs and rows of the two best models of `selected` show as significant (p < 0.05) with "
    "a probability of 80 %: smaller ones cannot be told from chance."
)
KINDS = get_args(NotReportedKind)
MAX_NAMED_RUNS = 6  # more are counted instead


def format_report(table: Table) -> Iterator[str]:
    """Yield results.md, line by line."""
    yield from ["# Results", "", INTRODUCTION]
    if table.has_published:
        yield ABOUT_PUBLISHED
    if table.published_rows:
        yield ABOUT_ROWS
    if table.flagged:
        yield ABOUT_FLAG
    if any(cautions(table.records)):
        yield ABOUT_DOUBT
    for view in VIEWS:
        beside = [BESIDE_PUBLISHED[view]] if table.has_published or table.published_rows else []
        yield from ["", f"## `{view}`", "", ABOUT[view], *beside]
        if view == "selected":
            yield from _selection(table)
        for size, title in TITLES.items():
            if rows := [row for row in table.rows_with_published if row.table == size and table.is_compared(row)]:
                about = [ABOUT_TUNED, ""] if size == "tuned" else []
                yield from ["", f"### {title}", "", *about, *_score_table(table, rows, view)]
    if table.rows:
        yield from ["", "## Cost", "", "Means over the runs of a cell: training time, peak memory, tokens per second.", ""]
        yield from _cost_table(table)
    yield from _other_protocols(table)
    for title, lines in notes(table):
        yield from ["", f"## {title}", "", *(f"- {line}" for line in lines)]


def notes(table: Table) -> Iterator[tuple[str, list[str]]]:
    """Yield the titles and the lines of the notes below the tables, without those that have no line."""
    sections: dict[str, Iterable[str]] = {
        "Smallest differences": _smallest(table),
        f"{DOUBT} Cautions": _cautions(table),
        "Not in the tables": _not_reported(table),
        f"{FLAG} Differences between runs": (f"{', '.join(tasks)}: {text}" for text, tasks in table.differences.items()),
        "Not compared with the published scores": _not_comparable(table),
        "Environment": _environment(table),
        "Published scores": _sources(table),
    }
    for title, lines in sections.items():
        if found := list(lines):
            yield title, found


def _selection(table: Table) -> Iterator[str]:
    tasks: dict[str, set[str]] = defaultdict(set)
    for record in table.records:
        tasks[record.results.selected.by].add(record.task)
    for by, text in {"dev": "Best on dev", "last": "Last checkpoint"}.items():
        if titles := [task.title for name, task in table.tasks.items() if name in tasks[by]]:
            yield f"{text}: {', '.join(titles)}."


def _heading(task: Task) -> str:
    split = "" if task.scored_on == "test" else f" ({task.scored_on.capitalize()})"
    return f"**{task.title}{split}**<br/>({'/'.join(display_name(task, score) for score in task.scores)})"


def _score_table(table: Table, rows: Sequence[Row | PublishedRow], view: str) -> Iterator[str]:
    best = table.best(view)
    yield _line(["model", "size", *map(_heading, table.columns.values())])
    yield _line([":---", "---:", *[":---:"] * len(table.columns)])
    for row in rows:
        if isinstance(row, PublishedRow):
            yield _line([_published_title(row, table), row.size, *(_published_cell(row, name) for name in table.columns)])
            continue
        texts = []
        for name in table.columns:
            values = table.values(row, name, view)
            bold = {score for score in values if (row.model, name, score) in best}
            marks = table.flag(row.model, name) + table.doubt(row, name) if values else ""
            texts.append(_score_cell(values, bold, marks) if values else "-")
        yield _line([row.title, row.size, *texts])


def _other_protocols(table: Table) -> Iterator[str]:
    rows = table.other_published_rows
    tasks = {name: task for name, task in table.tasks.items() if any(name in row.scores for row in rows)}
    if not tasks:
        return
    yield from ["", "## Published scores of other protocols", "", "Runs are not compared with these; the end says why.", ""]
    yield _line(["model", "protocol", *map(_heading, tasks.values())])
    yield _line([":---", ":---", *[":---:"] * len(tasks)])
    for row in rows:
        yield _line([_published_title(row, table), row.protocol, *(_published_cell(row, name) for name in tasks)])


def _published_title(row: PublishedRow, table: Table) -> str:
    return f"*{row.title}* <sup>{_letters(table)[row.source]}</sup>"


def _letters(table: Table) -> dict[str, str]:
    """Return the footnote letter of each source that has a row."""
    shown = {row.source for row in table.published_rows}
    return dict(zip([name for name in table.published.sources if name in shown], ascii_lowercase, strict=False))


def _published_cell(row: PublishedRow, task: str) -> str:
    if task not in row.scores:
        return "-"
    scores = list(row.scores[task].values())
    n = f" ({scores[0].runs})" if scores[0].runs else ""
    return f"*{' / '.join(score.with_sd for score in scores)}{n}*"


def _score_cell(values: Mapping[str, Value], bold: set[str], marks: str) -> str:
    means = [f"**{value.with_sd}**" if score in bold else value.with_sd for score, value in values.items()]
    text = f"{' / '.join(means)} ({next(iter(values.values())).runs}){marks}"
    published = [value.published.text for value in values.values() if value.published]
    if not published:
        return text
    comparisons = [value.comparison for value in values.values() if value.comparison]
    return f"{text}<br/>published {' / '.join(published)}: {' / '.join(comparisons) or 'not compared'}"


def _cost_table(table: Table) -> Iterator[str]:
    used = {name for row in table.rows for name in row.records}
    tasks = {name: task for name, task in table.columns.items() if name in used}
    yield _line(["model", *(f"**{task.title}**" for task in tasks.values()), "total time per seed, peak memory"])
    yield _line([":---", *[":---:"] * (len(tasks) + 1)])
    for row in table.rows:
        costs = {name: [mean_cost(records, cost) for cost in COSTS] for name, records in row.records.items()}
        cells = [_cost_cell(costs[name], table.flag(row.model, name)) if name in costs else "-" for name in tasks]
        devices = {record.origin.device for records in row.records.values() for record in records}
        if len(devices) > 1:
            total = "on several devices"
        else:
            times, memories, _ = zip(*costs.values(), strict=True)
            number = f"{len(costs)} task{'s' * (len(costs) > 1)}"
            total = f"{format_seconds(sum(times))} for {number}<br/>{_gigabytes(max(memories))}"
        yield _line([row.title, *cells, total])


def _cost_cell(costs: Sequence[float | None], flag: str) -> str:
    seconds, memory, tokens = costs
    if seconds is None or memory is None or tokens is None:
        return "on several devices"
    return f"{format_seconds(seconds)}{flag}<br/>{_gigabytes(memory)}<br/>{tokens:,.0f}/s"


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"  # a title may have line breaks


def _cautions(table: Table) -> Iterator[str]:
    for row in table.rows:
        for task, records in row.records.items():
            if reasons := cautions(records):
                yield f"`{row.model}/{task}`: {'; '.join(reasons)}"


def _smallest(table: Table) -> Iterator[str]:
    if table.smallest:
        yield ABOUT_SMALLEST
    for item in table.smallest:
        task = table.tasks[item.task]
        yield f"{task.title} {display_name(task, item.score)}: {item.difference:.2f} ({item.about})"


def _not_reported(table: Table) -> Iterator[str]:
    runs = sorted(table.not_reported, key=lambda run: (KINDS.index(run.kind), run.place))
    places = group(((run.kind, run.reason), f"`{run.place}`") for run in runs)
    yield from (f"{kind}: {', '.join(names)}: {reason}" for (kind, reason), names in places.items())
    tasks = {record.task for record in table.records}
    if empty := [task.title for name, task in table.tasks.items() if name not in tasks]:
        yield f"no finished run of any model: {', '.join(empty)}"


def _not_comparable(table: Table) -> Iterator[str]:
    items = table.not_comparable.items()
    cells = group((reason, f"`{model}/{task}`") for (model, task), reasons in items for reason in dict.fromkeys(reasons))
    yield from (f"{reason}: {', '.join(names)}" for reason, names in cells.items())


def _environment(table: Table) -> Iterator[str]:
    other_files: dict[str, set[str]] = defaultdict(set)
    for record in table.records:
        other_files[record.task] |= {split for split, facts in record.results.data.items() if facts.status != "published"}
    other = [f"{task.title} ({', '.join(sorted(other_files[name]))})" for name, task in table.tasks.items() if other_files[name]]
    if other:
        yield f"**data: not the published files: {'; '.join(other)}**"
    folders = {record.ckpt_dir for record in table.records}
    columns: dict[str, Callable[[Record], Iterable[str]]] = {
        "results from": lambda record: [str(record.ckpt_dir)] if len(folders) > 1 else [],
        "settings from the command line": lambda record: [f"{name} {value}" for name, value in record.overrides.items()],
        "device": lambda record: [record.origin.device],
        "precision": lambda record: [record.origin.mixed_precision],
        "versions": lambda record: [f"{name} {version}" for name, version in record.origin.versions.items()],
        "revision of this project": lambda record: [shorten_digest(record.origin.git_revision)],
    }
    for name, values_of in columns.items():
        runs_by_value = group((value, record) for record in table.records for value in values_of(record))
        if runs_by_value:
            yield f"{name}: " + "; ".join(value + _share(runs, table.records) for value, runs in runs_by_value.items())


def _share(some: Sequence[Record], records: Sequence[Record]) -> str:
    """Return which of the records `some` are: empty if all, their names if they are few, else their number."""
    if len(some) == len(records):
        return ""
    if len(some) > MAX_NAMED_RUNS:
        return f" ({len(some)} of {len(records)} runs)"
    return f" ({', '.join(record.name for record in some)})"


def _sources(table: Table) -> Iterator[str]:
    published, letters = table.published, _letters(table)
    cells = [(row.model, name) for row in table.rows for name in published.scores(row.model).keys() & row.records.keys()]
    used = {published.source(model, name) for model, name in cells} | letters.keys()
    for name, source in published.sources.items():
        if name in used:
            title = f"{letters[name]}: {source['title']} ({source['protocol']})" if name in letters else source["title"]
            yield f"{title}: {source['address']}"
    protocols = {published.sources[name]["protocol"] for name in letters}
    for name, protocol in published.protocols.items():
        if name in protocols:
            why = f"; not compared: {protocol['not_compared']}" if "not_compared" in protocol else ""
            yield f"{name}: {protocol['about']}{why}"
    names = {name for _, name in cells}
    tasks = {name: task for name, task in table.tasks.items() if name in names}
    yield from (f"{tasks[name].title}: {note}" for name, note in published.notes.items() if name in tasks)
    for kind, description in published.spread_of.items():
        largest = [(task, score, published.largest_spread(name, score)) for name, task in tasks.items() for score in task.scores]
        if texts := [f"{task.title} {display_name(task, score)} {spread}" for task, score, (of, spread) in largest if of == kind]:
            yield f"inside: a difference of up to {', '.join(texts)}, plus half a unit of the last printed digit: {description}"
