"""From finished runs to the numbers of the table: means over seeds beside what was published, and what makes them unlike."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src.grid.cells import Task
from src.grid.published import Published, PublishedScore
from src.grid.records import Left, Record

SMALL = 300 * 2**20  # bytes of weights; the published tables call models of up to 213M small, and those from 351M on base
NOT_GIVEN = "not given"
Facts = Callable[[Record], Mapping[str, Any]]


@dataclass(frozen=True)
class Value:
    """One number of the table, in percent."""

    mean: float
    sd: float | None  # of the sample; None where there is one run
    n: int
    published: PublishedScore | None
    comparable: bool  # whether it was made from what the published score was made from

    @property
    def difference(self) -> float | None:
        """How far the mean is above the published score; None where that would say nothing."""
        return self.mean - self.published.value if self.published and self.comparable else None

    @property
    def verdict(self) -> str:
        """Whether the published table's own second run could have moved as far; empty where nothing is compared."""
        if self.published is None or not self.comparable:
            return ""
        return "inside" if self.published.is_near(self.mean) else "outside"


@dataclass(frozen=True)
class Row:
    """A model's runs, by task."""

    model: str
    title: str
    table: str  # base or small
    size: str  # of the weights, as in the published tables: 431M, 1.03G
    records: Mapping[str, Sequence[Record]]


def rows_of(records: Iterable[Record], published: Published) -> list[Row]:
    """A row a model, base models first, in the order of the published tables and then by name."""
    by_model: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        by_model[record.model][record.task].append(record)
    order = list(published.models)
    rows = [_row(model, tasks, published) for model, tasks in by_model.items()]
    places = {model: (0, order.index(model)) if model in order else (1, 0) for model in by_model}
    return sorted(rows, key=lambda row: (row.table, places[row.model], row.model))


def _row(model: str, tasks: Mapping[str, Sequence[Record]], published: Published) -> Row:
    sizes = [record.weight_bytes for records in tasks.values() for record in records if record.weight_bytes]
    size, is_small = (_size(min(sizes)), min(sizes) < SMALL) if sizes else ("-", False)
    known = published.models.get(model)
    if known and any(_is_the_published_model(record) for records in tasks.values() for record in records):
        return Row(model, known["title"], known["table"], known["size"], tasks)
    return Row(model, model, "small" if is_small else "base", size, tasks)


def _size(count: int) -> str:
    megabytes = count / 2**20
    return f"{megabytes:.0f}M" if megabytes < 1000 else f"{megabytes / 1024:.2f}G"


def _is_the_published_model(record: Record) -> bool:
    return not record.overrides.keys() & {"model_name_or_path", "revision"} and not record.settings.get("from_scratch")


def why_not_comparable(record: Record) -> str:
    """What keeps a run from being compared with the published score of its model, if anything."""
    if not _is_the_published_model(record):
        return "other weights than the model's file names"
    other = [split for split, facts in record.results["data"].items() if facts["status"] != "published"]
    return f"not the published {' and '.join(other)} file" if other else ""


def value_of(records: Sequence[Record], view: str, name: str, task: Task, published: PublishedScore | None) -> Value:
    """The score `name` of the runs of a model on a task, by `view`; there is at least one."""
    scores = [100 * record.score(view, name) / task.scale for record in records]
    sd = statistics.stdev(scores) if len(scores) > 1 else None
    comparable = not any(why_not_comparable(record) for record in records)
    return Value(statistics.fmean(scores), sd, len(scores), published, comparable)


def mean_cost(records: Sequence[Record], name: str) -> float:
    """The mean of a cost over runs."""
    return statistics.fmean(record.cost[name] for record in records)


def missing(records: Sequence[Record], left: Sequence[Left], known: Mapping[str, Task]) -> list[Left]:
    """What other models or seeds of the grid have, and a model has not; a line a model and task."""
    there = {f"{record.model}/{record.task}/seed-{record.seed}" for record in records} | {
        each.place for each in left if each.place.count("/") == 2
    }
    parts = [place.split("/") for place in there]
    numbers = {int(part) for *_, seed in parts if (part := seed.removeprefix("seed-")).isdigit()}
    tasks = [task for task in known if task in {task for _, task, _ in parts}]
    found = []
    for model in dict.fromkeys(model for model, *_ in sorted(parts)):
        for task in tasks:
            absent = [seed for seed in sorted(numbers) if f"{model}/{task}/seed-{seed}" not in there]
            if absent:
                found.append(Left("missing", f"{model}/{task}", f"seed {', '.join(map(str, absent))}"))
    return found


def unlike(records: Sequence[Record], known: Mapping[str, Task]) -> tuple[dict[str, list[str]], set[tuple[str, str]]]:
    """What differs between runs of one column and can change a score: text -> tasks; and the (model, task) it is about.

    Across models: what was said on the command line, the data, the precision, the libraries and how checkpoints were chosen; what
    models' files say of their models may differ. Between the seeds of a model: everything.
    """
    texts: dict[str, list[str]] = defaultdict(list)
    marked: set[tuple[str, str]] = set()
    for task in known:
        column = [record for record in records if record.task == task]
        groups = [(column, _of_the_column)] + [
            ([record for record in column if record.model == model], _of_the_model)
            for model in dict.fromkeys(record.model for record in column)
        ]
        told: set[str] = set()
        for group, facts in groups:
            for name, by_value in _differences(group, facts).items():
                if group is not column and name in told:
                    continue
                told.add(name)
                texts[f"{name}: " + "; ".join(f"{value} ({_who(who)})" for value, who in by_value.items())].append(task)
                most = max(len(who) for who in by_value.values())
                usual = [who for who in by_value.values() if len(who) == most]
                odd = [who for who in by_value.values() if len(usual) > 1 or who is not usual[0]]
                marked |= {(record.model, task) for who in odd for record in who}
    return dict(texts), marked


def _of_the_column(record: Record) -> dict[str, Any]:
    overrides = {name: value for name, value in record.overrides.items() if name != "model_name_or_path"}
    return overrides | {**record.conditions, "checkpoint selected by": record.results["selected"]["by"]}


def _of_the_model(record: Record) -> dict[str, Any]:
    return {**record.settings, **record.conditions, "weights": record.weights}


def _differences(records: Sequence[Record], facts: Facts) -> dict[str, dict[str, list[Record]]]:
    """Name -> value -> the records that have it, of the facts in which records differ."""
    all_facts = [(record, facts(record)) for record in records]
    names = dict.fromkeys(name for _, found in all_facts for name in found)
    differing: dict[str, dict[str, list[Record]]] = {}
    for name in names:
        by_value: dict[str, list[Record]] = defaultdict(list)
        for record, found in all_facts:
            value = found.get(name, NOT_GIVEN)
            by_value[str(value)].append(record)
        if len(by_value) > 1:
            differing[name] = by_value
    return differing


def _who(records: Sequence[Record]) -> str:
    seeds: dict[str, list[int]] = defaultdict(list)
    for record in records:
        seeds[record.model].append(record.seed)
    return ", ".join(f"{model} seed {' '.join(map(str, sorted(numbers)))}" for model, numbers in seeds.items())
