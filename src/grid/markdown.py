"""The table as Markdown: two views, what it cost, and what is not in it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from src.grid.cells import Task
from src.grid.record import VIEWS, Record, scores_of, short
from src.grid.table import COSTS, Table, Value, mean_cost
from src.metrics import METRICS
from src.progress import format_seconds

TITLES = {"base": "Base models", "small": "Small models", "unknown": "Models whose weights are not there"}
ABOUT = {
    "selected": "The checkpoint is chosen without a look at the test file: the best on dev, or the last one where there is no "
    "dev split.",
    "best_on_test": "The checkpoint is the best on the test file. Trust the other table.",
}
BESIDE_PUBLISHED = {
    "selected": "The published scores were most likely chosen on test, which is an advantage.",
    "best_on_test": "The published scores were most likely chosen so, too: compare with them here.",
}
INTRODUCTION = (
    "In percent: mean ± standard deviation over the n runs of a model on a task, each with a seed of its own; the best of a "
    "table in bold."
)
ABOUT_PUBLISHED = (
    "Below it the published score and how far the mean is from it: inside or outside of what another run of the published table "
    "may differ by (see the end)."
)
KINDS = ("missing", "failed", "unfinished", "unscored", "damaged", "foreign", "put aside")
MARK = "†"
FEW = 6  # runs that are named one by one


def lines_of(table: Table) -> Iterator[str]:
    """results.md, line by line."""
    yield from ["# Results", "", INTRODUCTION]
    if table.is_compared:
        yield ABOUT_PUBLISHED
    if table.marked:
        yield f"{MARK}: not made like the other runs of its column, see below; never in bold."
    for view in VIEWS:
        yield from ["", f"## `{view}`", "", ABOUT[view], *([BESIDE_PUBLISHED[view]] if table.is_compared else [])]
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
    yield from _section("Made with", _made_with(table))
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
    return f"**{task.title}{split}**<br/>({'/'.join(METRICS[task.metric].scores.get(score, score) for score in scores_of(task))})"


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
        marks = {name: MARK if (row.model, name) in table.marked else "" for name in costs}
        yield _line([row.title, *(_cost(costs[name], marks[name]) if name in costs else "-" for name in table.known), total])


def _cost(costs: Sequence[float | None], mark: str) -> str:
    seconds, memory, tokens = costs
    if seconds is None or memory is None or tokens is None:
        return "on several devices"
    return f"{format_seconds(seconds)}{mark}<br/>{_gigabytes(memory)}<br/>{tokens:,.0f}/s"


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


def _made_with(table: Table) -> Iterator[str]:
    others: dict[str, set[str]] = defaultdict(set)
    for record in table.records:
        others[record.task] |= {split for split, facts in record.results.data.items() if facts.status != "published"}
    told = [f"{task.title} ({', '.join(sorted(others[name]))})" for name, task in table.known.items() if others[name]]
    if told:
        yield f"**data: not the published files: {'; '.join(told)}**"
    facts: dict[str, Callable[[Record], Iterable[str]]] = {
        "settings given on the command line": lambda record: [f"{name} {value}" for name, value in record.overrides.items()],
        "device": lambda record: [record.origin.device],
        "precision": lambda record: [record.origin.mixed_precision],
        "versions": lambda record: [f"{name} {version}" for name, version in record.origin.versions.items()],
        "revision of this project": lambda record: [short(record.origin.git_revision)],
    }
    for what, values_of in facts.items():
        by_value: dict[str, list[Record]] = defaultdict(list)
        for record in table.records:
            for value in values_of(record):
                by_value[value].append(record)
        if by_value:
            yield f"{what}: " + "; ".join(value + _share(them, table.records) for value, them in by_value.items())


def _share(some: Sequence[Record], records: Sequence[Record]) -> str:
    """Which of the records those are: nothing for all, by name where they are few."""
    if len(some) == len(records):
        return ""
    if len(some) > FEW:
        return f" ({len(some)} of {len(records)} runs)"
    return f" ({', '.join(f'{record.model}/{record.task}/seed-{record.seed}' for record in some)})"


def _sources(table: Table) -> Iterator[str]:
    published = table.published
    shown = [row for row in table.rows if row.model in published.models]
    sources = {published.models[row.model]["source"] for row in shown}
    yield from (f"{each['title']}: {each['address']}" for name, each in published.sources.items() if name in sources)
    tasks = {task for row in shown for task in row.records if task in published.models[row.model]["scores"]}
    yield from (f"{table.known[task].title}: {note}" for task, note in published.notes.items() if task in tasks)
    for kind, text in published.spread_of.items():
        upto = [
            f"{table.known[task].title} {METRICS[table.known[task].metric].scores.get(score, score)} {found['largest']}"
            for task in table.known
            for score, found in published.spread.get(task, {}).items()
            if task in tasks and found["of"] == kind
        ]
        if upto:
            yield f"inside is a difference of up to {', '.join(upto)}, and half a unit of the last printed digit: {text}"
