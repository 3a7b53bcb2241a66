"""results.md and results.csv: the table in two views, what it cost, and what is not in it."""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from src.files import write_lines
from src.grid.cells import GRID, WRITTEN, Task
from src.grid.folders import Left, read_grid
from src.grid.published import Published
from src.grid.record import VIEWS, Record, scores_of, short
from src.grid.table import Row, Shipped, Value, mean_cost, missing, rows_of, unlike, value_of, who
from src.progress import format_seconds

TITLES = {"base": "Base models", "small": "Small models", "unknown": "Models whose weights are not there"}
SHOWN = {"acc": "acc", "f1": "F1", "spearmanr": "spearman", "exact_match": "EM"}  # scores as the published tables call them
ABOUT = {
    "selected": "The checkpoint is chosen without a look at the test file: the best on dev, or the last one where there is no "
    "dev split. The published scores beside it were most likely chosen on test, which is an advantage.",
    "best_on_test": "The checkpoint is the best on the test file, as it most likely was for the published scores. Compare with "
    "them here, and trust the other table.",
}
INTRODUCTION = (
    "In percent: mean ± standard deviation over the n runs of a model on a task, each with a seed of its own; the best of a "
    "table in bold. Below it the published score and how far the mean is from it: inside or outside of what another run of the "
    "published table may differ by (see the end)."
)
COSTS = ("training_seconds", "peak_memory_bytes", "tokens_per_s")
KINDS = ("missing", "failed", "unfinished", "unscored", "damaged", "foreign", "put aside")
MARK = "†"


@dataclass(frozen=True)
class Table:
    """All that the report is made of."""

    rows: Sequence[Row]
    records: Sequence[Record]
    left: Sequence[Left]
    known: Mapping[str, Task]
    published: Published
    reasons: Mapping[tuple[str, str], Sequence[str]]  # (model, task) -> what keeps it from being compared
    texts: Mapping[str, Sequence[str]]  # what was not made alike -> tasks
    marked: set[tuple[str, str]]

    def values(self, row: Row, name: str, view: str) -> dict[str, Value]:
        """Score -> value of a row's cell; empty where there are no runs."""
        records, task = row.records.get(name), self.known[name]
        if not records:
            return {}
        fair = not self.reasons.get((row.model, name))
        return {
            score: value_of(records, view, score, task, self.published.score(row.model, name, score), fair)
            for score in scores_of(task)
        }


def write_report(ckpt_dir: Path, known: Mapping[str, Task], published: Published, config_dir: Path) -> str:
    """Write results.md and results.csv into the grid of `ckpt_dir`, from its run folders alone; the text of the first.

    `config_dir`: the files that say how the published runs were made. Raises CheckpointError where there is no grid.
    """
    records, left = read_grid(ckpt_dir, known)
    shipped = Shipped(config_dir, known)
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in records:
        is_published = record.task in published.models.get(record.model, {}).get("scores", {})
        if is_published and (why := shipped.why_not_comparable(record)):
            reasons[record.model, record.task].append(why)
    texts, marked = unlike(records, known)
    left = left + missing(records, left, known)
    table = Table(rows_of(records, published), records, left, known, published, reasons, texts, marked)
    lines = list(_lines(table))
    for name, content in zip(WRITTEN, (lines, _csv_lines(table)), strict=True):
        write_lines(ckpt_dir / GRID / name, content, shared=True)
    return "\n".join(lines)


def _lines(table: Table) -> Iterator[str]:
    yield from ["# Results", "", INTRODUCTION]
    if table.marked:
        yield f"{MARK}: not made like the other runs of its column, see below; never in bold."
    for view in VIEWS:
        yield from ["", f"## `{view}`", "", ABOUT[view]]
        if view == "selected":
            yield from _how_chosen(table)
        for kind, title in TITLES.items():
            if any(row.table == kind for row in table.rows):
                yield from ["", f"### {title}", "", *_score_table(table, kind, view)]
    if table.rows:
        yield from ["", "## Cost", "", "Means over the runs of a cell: training time, peak memory, tokens per second.", ""]
        yield from _cost_table(table)
    yield from _section("What is not in the tables", _left_lines(table))
    yield from _section(
        f"{MARK} Runs that were not made alike", (f"{', '.join(tasks)}: {text}" for text, tasks in table.texts.items())
    )
    yield from _section("Not compared with the published scores", _not_compared(table))
    yield from _section("Made with", _made_with(table.records))
    yield from _section("Published scores", _sources(table))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    listed = [f"- {line}" for line in lines]
    if listed:
        yield from ["", f"## {title}", "", *listed]


def _how_chosen(table: Table) -> Iterator[str]:
    by: dict[str, set[str]] = defaultdict(set)
    for record in table.records:
        by[record.results.selected.by].add(record.task)
    for how, text in {"dev": "Best on dev", "last": "The last one"}.items():
        if titles := [task.title for name, task in table.known.items() if name in by[how]]:
            yield f"{text}: {', '.join(titles)}."


def _heading(task: Task) -> str:
    split = "" if task.scored_on == "test" else f" ({task.scored_on.capitalize()})"
    return f"**{task.title}{split}**<br/>({'/'.join(SHOWN[score] for score in scores_of(task))})"


def _score_table(table: Table, kind: str, view: str) -> Iterator[str]:
    rows = [row for row in table.rows if row.table == kind]
    cells = {(row.model, name): table.values(row, name, view) for row in rows for name in table.known}
    best: dict[tuple[str, str], float] = {}
    for (model, name), values in cells.items():
        for score, value in values.items():
            if (model, name) not in table.marked:
                best[name, score] = max(best.get((name, score), value.shown), value.shown)
    yield _line(["model", "size", *map(_heading, table.known.values())])
    yield _line([":---", "---:", *[":---:"] * len(table.known)])
    for row in rows:
        shown = []
        for name in table.known:
            values, is_marked = cells[row.model, name], (row.model, name) in table.marked
            bold = {score for score, value in values.items() if not is_marked and value.shown == best[name, score]}
            shown.append(_cell(values, bold, MARK if is_marked else "") if values else "-")
        yield _line([row.title, row.size, *shown])


def _cell(values: Mapping[str, Value], bold: set[str], mark: str) -> str:
    means = []
    for score, value in values.items():
        text = f"{value.mean:.2f}" + ("" if value.sd is None else f" ± {value.sd:.2f}")
        means.append(f"**{text}**" if score in bold else text)
    text = f"{' / '.join(means)} (n={next(iter(values.values())).n}){mark}"
    texts = [value.published.text for value in values.values() if value.published]
    if not texts:
        return text
    differences = [f"{_signed(value.difference)} {value.verdict}" for value in values.values() if value.difference is not None]
    return f"{text}<br/>published {' / '.join(texts)}: {' / '.join(differences) or 'not compared'}"


def _signed(difference: float) -> str:
    return f"{round(difference, 2) + 0.0:+.2f}"  # a sum, as -0.0 is no difference with a sign


def _cost_table(table: Table) -> Iterator[str]:
    yield _line(["model", *(f"**{task.title}**" for task in table.known.values()), "sum of a seed, most memory"])
    yield _line([":---", *[":---:"] * (len(table.known) + 1)])
    for row in table.rows:
        costs = {name: [mean_cost(records, cost) for cost in COSTS] for name, records in row.records.items()}
        devices = {record.origin.device for records in row.records.values() for record in records}
        times, memories = zip(*((seconds, memory) for seconds, memory, _ in costs.values()), strict=True)
        number = f"{len(costs)} task{'s' * (len(costs) > 1)}"
        total = (
            "on several devices"
            if len(devices) > 1
            else f"{format_seconds(sum(times))} for {number}<br/>{_gigabytes(max(memories))}"
        )
        yield _line([row.title, *(_cost(*costs[name]) if name in costs else "-" for name in table.known), total])


def _cost(seconds: float | None, memory: float | None, tokens: float | None) -> str:
    if seconds is None or memory is None or tokens is None:
        return "on several devices"
    return f"{format_seconds(seconds)}<br/>{_gigabytes(memory)}<br/>{tokens:,.0f}/s"


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _left_lines(table: Table) -> Iterator[str]:
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in sorted(table.left, key=lambda each: (KINDS.index(each.kind), each.place)):
        places[each.kind, each.why].append(f"`{each.place}`")
    yield from (f"{kind}: {', '.join(found)}: {why}" for (kind, why), found in places.items())
    tasks = {record.task for record in table.records}
    if empty := [task.title for name, task in table.known.items() if name not in tasks]:
        yield f"no model has a finished run of {', '.join(empty)}"


def _not_compared(table: Table) -> Iterator[str]:
    places: dict[str, list[str]] = defaultdict(list)
    for (model, task), reasons in table.reasons.items():
        for reason in dict.fromkeys(reasons):
            places[reason].append(f"`{model}/{task}`")
    yield from (f"{reason}: {', '.join(found)}" for reason, found in places.items())


def _made_with(records: Sequence[Record]) -> Iterator[str]:
    facts: dict[str, Callable[[Record], list[str]]] = {
        "settings given on the command line": lambda record: [f"{name} {value}" for name, value in record.overrides.items()],
        "revision of this project": lambda record: [short(record.origin.git_revision)],
    }
    for what, values_of in facts.items():
        count = Counter(value for record in records for value in values_of(record))
        if count:
            yield f"{what}: " + "; ".join(f"{value} ({number} of {len(records)} runs)" for value, number in count.items())
    on: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        on[record.origin.device].append(record)
    if on:
        yield "device: " + "; ".join(device + (f" ({who(them)})" if len(on) > 1 else "") for device, them in on.items())


def _sources(table: Table) -> Iterator[str]:
    published = table.published
    shown = [row for row in table.rows if row.model in published.models]
    sources = {published.models[row.model]["source"] for row in shown}
    yield from (f"{each['title']}: {each['address']}" for name, each in published.sources.items() if name in sources)
    tasks = {task for row in shown for task in row.records if task in published.models[row.model]["scores"]}
    yield from (f"{table.known[task].title}: {note}" for task, note in published.notes.items() if task in tasks)
    for kind, text in published.spread_of.items() if shown else ():
        within = [
            f"{table.known[task].title} {SHOWN[score]} {found['largest']}"
            for task, scores in published.spread.items()
            for score, found in scores.items()
            if found["of"] == kind
        ]
        yield f"inside, and half a unit of the last printed digit more, is {', '.join(within)}: {text}"


def _csv_lines(table: Table) -> list[str]:
    """A line a view and model, in percent, with the same columns for every task."""
    numbers = ("mean", "sd", "n", "published", "difference", "tolerance", "verdict")
    header = ["view", "table", "model", "size"]
    for name, task in table.known.items():
        header += [f"{name}.{score}.{number}" for score in scores_of(task) for number in numbers]
        header += [f"{name}.{column}" for column in ("seeds", "unlike", "not_compared", *COSTS)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for view in VIEWS:
        for row in table.rows:
            line = [view, row.table, row.model, row.size]
            for name, task in table.known.items():
                values, records = table.values(row, name, view), row.records.get(name, ())
                for score in scores_of(task):
                    line += _csv_value(values[score]) if values else [""] * len(numbers)
                line += [" ".join(str(record.seed) for record in records), "yes" if (row.model, name) in table.marked else ""]
                line += ["; ".join(dict.fromkeys(table.reasons.get((row.model, name), ())))]
                line += [_number(mean_cost(records, cost)) if records else "" for cost in COSTS]
            writer.writerow(line)
    return stream.getvalue().splitlines()


def _csv_value(value: Value) -> list[str]:
    published = value.published
    tolerance = published.tolerance if published and value.comparable else None
    theirs = published.value if published else None
    found = [value.mean, value.sd, value.n, theirs, value.difference, tolerance]
    return [*map(_number, found), value.verdict]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
