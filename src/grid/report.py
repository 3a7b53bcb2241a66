"""results.md and results.csv: the table in two views, what it cost, and what is not in it."""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from src.files import write_lines
from src.grid.cells import GRID, Task
from src.grid.published import Published
from src.grid.records import COSTS, VIEWS, WRITTEN, Left, Record, read_grid, scores_of
from src.grid.table import Row, Value, mean_cost, missing, rows_of, unlike, value_of, why_not_comparable
from src.progress import format_seconds

TITLES = {"base": "Base models", "small": "Small models"}
SHOWN = {"acc": "acc", "f1": "F1", "spearmanr": "spearman", "exact_match": "EM"}  # scores as the published tables call them
ABOUT = {
    "selected": "The checkpoint is chosen without a look at the test file: the best on dev, or the last one where there is no "
    "dev split. The published scores beside it were most likely chosen on test, which is an advantage.",
    "best_on_test": "The checkpoint is the best on the test file, as it most likely was for the published scores. Compare with "
    "them here, and trust the other table.",
}
MARK = "†"


def write_report(ckpt_dir: Path, known: Mapping[str, Task], published: Published) -> str:
    """Write results.md and results.csv into the grid of `ckpt_dir`, from its run folders alone; the text of the first.

    Raises CheckpointError where there is no grid.
    """
    records, left = read_grid(ckpt_dir, known)
    rows = rows_of(records, published)
    left = left + missing(records, left, known)
    lines = list(_lines(rows, records, left, known, published))
    markdown, table = (ckpt_dir / GRID / name for name in WRITTEN)
    write_lines(markdown, lines)
    write_lines(table, _csv_lines(rows, known, published))
    return "\n".join(lines)


def _values(row: Row, name: str, view: str, task: Task, published: Published) -> dict[str, Value]:
    """Score -> value of a row's cell; empty where there are no runs."""
    records = row.records.get(name)
    if not records:
        return {}
    return {score: value_of(records, view, score, task, published.score(row.model, name, score)) for score in scores_of(task)}


def _lines(
    rows: Sequence[Row], records: Sequence[Record], left: Sequence[Left], known: Mapping[str, Task], published: Published
) -> Iterator[str]:
    texts, marked = unlike(records, known)
    yield "# Results"
    yield ""
    yield (
        "In percent: mean ± standard deviation over the n runs of a model on a task, each with a seed of its own; the best of a "
        "table in bold. Below it the published score and how far the mean is from it: inside or outside of what a second run "
        f"of the published table moved by. {MARK}: the runs of the column were not made alike, see below."
    )
    for view in VIEWS:
        yield from ["", f"## `{view}`", "", ABOUT[view]]
        if view == "selected":
            yield from _how_chosen(records, known)
        for table, title in TITLES.items():
            here = [row for row in rows if row.table == table]
            if here:
                yield from ["", f"### {title}", ""]
                yield from _score_table(here, view, known, published, marked)
    if rows:
        yield from ["", "## Cost", "", "Means over the runs of a cell: training time, peak memory, tokens per second.", ""]
        yield from _cost_table(rows, known)
    yield from _section("What is not in the tables", _left_lines(left, records, known))
    yield from _section(f"{MARK} Runs that were not made alike", [f"{', '.join(tasks)}: {text}" for text, tasks in texts.items()])
    yield from _section("Not compared with the published scores", _not_compared(rows, published))
    yield from _section("Made with", _made_with(records))
    yield from _section("Published scores", _sources(rows, known, published))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    listed = [f"- {line}" for line in lines]
    if listed:
        yield from ["", f"## {title}", "", *listed]


def _how_chosen(records: Sequence[Record], known: Mapping[str, Task]) -> Iterator[str]:
    by: dict[str, set[str]] = defaultdict(set)
    for record in records:
        by[record.results["selected"]["by"]].add(record.task)
    for how, text in {"dev": "Best on dev", "last": "The last one"}.items():
        if titles := [task.title for name, task in known.items() if name in by[how]]:
            yield f"{text}: {', '.join(titles)}."


def _header(known: Mapping[str, Task]) -> list[str]:
    def heading(task: Task) -> str:
        split = "" if task.scored_on == "test" else f" ({task.scored_on.capitalize()})"
        return f"**{task.title}{split}**<br/>({'/'.join(SHOWN[score] for score in scores_of(task))})"

    return [heading(task) for task in known.values()]


def _score_table(
    rows: Sequence[Row], view: str, known: Mapping[str, Task], published: Published, marked: set[tuple[str, str]]
) -> Iterator[str]:
    cells = {(row.model, name): _values(row, name, view, task, published) for row in rows for name, task in known.items()}
    best: dict[tuple[str, str], float] = defaultdict(lambda: -1e9)
    for (_, name), values in cells.items():
        for score, value in values.items():
            best[name, score] = max(best[name, score], round(value.mean, 2))
    yield _line(["model", "size", *_header(known)])
    yield _line([":---", "---:", *[":---:"] * len(known)])
    for row in rows:
        shown = []
        for name in known:
            values = cells[row.model, name]
            bold = {score for score, value in values.items() if round(value.mean, 2) == best[name, score]}
            shown.append(_cell(values, bold, MARK if (row.model, name) in marked else ""))
        yield _line([row.title, row.size, *shown])


def _cell(values: Mapping[str, Value], bold: set[str], mark: str) -> str:
    if not values:
        return "-"
    means = []
    for score, value in values.items():
        text = f"{value.mean:.2f}" + ("" if value.sd is None else f" ± {value.sd:.2f}")
        means.append(f"**{text}**" if score in bold else text)
    n = next(iter(values.values())).n
    lines = [f"{' / '.join(means)} (n={n}){mark}"]
    compared = [value for value in values.values() if value.published]
    if compared:
        texts = [value.published.text for value in compared if value.published]
        differences = [
            f"{value.difference:+.2f} {value.verdict}" if value.difference is not None else "not compared" for value in compared
        ]
        lines.append(f"published {' / '.join(texts)}: {' / '.join(dict.fromkeys(differences))}")
    return "<br/>".join(lines)


def _cost_table(rows: Sequence[Row], known: Mapping[str, Task]) -> Iterator[str]:
    yield _line(["model", *(f"**{task.title}**" for task in known.values()), "all tasks, one seed"])
    yield _line([":---", *[":---:"] * (len(known) + 1)])
    for row in rows:
        costs = {name: [mean_cost(records, cost) for cost in COSTS] for name, records in row.records.items()}
        cells = [_cost(*costs[name]) if name in costs else "-" for name in known]
        seconds, memory, _ = zip(*costs.values(), strict=True)
        yield _line([row.title, *cells, f"{format_seconds(sum(seconds))}<br/>{max(memory) / 1e9:.2f} GB"])


def _cost(seconds: float, memory: float, tokens: float) -> str:
    return f"{format_seconds(seconds)}<br/>{memory / 1e9:.2f} GB<br/>{tokens:,.0f}/s"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _left_lines(left: Sequence[Left], records: Sequence[Record], known: Mapping[str, Task]) -> Iterator[str]:
    kinds = ["missing", "failed", "unfinished", "unscored", "damaged", "foreign", "put aside"]
    for each in sorted(left, key=lambda each: (kinds.index(each.kind), each.place)):
        yield f"{each.kind}: `{each.place}`: {each.why}"
    tasks = {record.task for record in records}
    if empty := [task.title for name, task in known.items() if name not in tasks]:
        yield f"no model has a finished run of {', '.join(empty)}"


def _not_compared(rows: Sequence[Row], published: Published) -> Iterator[str]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for task, records in row.records.items():
            if task in published.models.get(row.model, {}).get("scores", {}):
                for reason in dict.fromkeys(why for record in records if (why := why_not_comparable(record))):
                    reasons[reason].append(f"`{row.model}/{task}`")
    for reason, places in reasons.items():
        yield f"{reason}: {', '.join(places)}"


def _made_with(records: Sequence[Record]) -> Iterator[str]:
    for what, values_of in {
        "settings given on the command line": lambda record: [f"{name} {value}" for name, value in record.overrides.items()],
        "device": lambda record: [record.made_with["device"]],
        "revision of this project": lambda record: [record.made_with["revision"]],
    }.items():
        count = Counter(value for record in records for value in values_of(record))
        if count:
            yield f"{what}: " + "; ".join(f"{value} ({number} of {len(records)} runs)" for value, number in count.items())


def _sources(rows: Sequence[Row], known: Mapping[str, Task], published: Published) -> Iterator[str]:
    shown = {published.models[row.model]["source"] for row in rows if row.model in published.models}
    for name, source in published.sources.items():
        if name in shown:
            yield f"{source['title']}: {source['address']}"
    compared = {task for row in rows for task in row.records if task in published.models.get(row.model, {}).get("scores", {})}
    yield from (f"{known[task].title}: {note}" for task, note in published.notes.items() if task in compared)
    for kind, text in published.spread_of.items() if shown else ():
        within = [
            f"{known[task].title} {SHOWN[score]} {found['largest']}"
            for task, scores in published.spread.items()
            for score, found in scores.items()
            if found["of"] == kind
        ]
        yield f"inside, and half a unit of the last printed digit more, is {', '.join(within)}: {text}"


def _csv_lines(rows: Sequence[Row], known: Mapping[str, Task], published: Published) -> list[str]:
    """A line a view and model, in percent, with the same columns for every task."""
    columns = ["mean", "sd", "n", "published", "difference", "tolerance", "verdict"]
    header = ["view", "table", "model", "size"]
    for name, task in known.items():
        header += [f"{name}.{score}.{column}" for score in scores_of(task) for column in columns]
        header += [f"{name}.{cost}" for cost in COSTS]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for view in VIEWS:
        for row in rows:
            line: list[str] = [view, row.table, row.model, row.size]
            for name, task in known.items():
                values = _values(row, name, view, task, published)
                for score in scores_of(task):
                    line += _csv_value(values.get(score)) or [""] * len(columns)
                line += [f"{mean_cost(row.records[name], cost):.1f}" if values else "" for cost in COSTS]
            writer.writerow(line)
    return stream.getvalue().splitlines()


def _csv_value(value: Value | None) -> list[str]:
    if value is None:
        return []
    published = value.published
    numbers = [value.mean, value.sd, value.n, published and published.value, value.difference, published and published.tolerance]
    return ["" if number is None else f"{number:.6g}" for number in numbers] + [value.verdict]
