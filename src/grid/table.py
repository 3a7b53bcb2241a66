"""From finished runs to the numbers of the table: means over seeds beside what was published, and what makes them unlike."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from src.grid.cells import Task, make_cells
from src.grid.published import Published, PublishedScore
from src.grid.read_runs import Left
from src.grid.record import Record, scores_of, that_matter
from src.metrics import METRICS

SMALL = 300 * 2**20  # bytes of weights; the published tables call models of up to 213M small, and those from 351M on base
# Settings by which the same is computed in another way; the published runs did it in yet another. Of how answers are put together
# both ways are compared, and a note says which was theirs.
HOW = ("padding", "mixed_precision", "torch_compile", "on_nonfinite", "no_cuda", "answer_text")
COSTS = ("training_seconds", "peak_memory_bytes", "tokens_per_s")
Facts = Callable[[Record], Mapping[str, Any]]


@dataclass(frozen=True)
class Value:
    """One number of the table, in percent."""

    mean: float
    sd: float | None  # of the sample; None where there is one run
    n: int
    published: PublishedScore | None
    comparable: bool  # whether it was made as the published score was

    @property
    def shown(self) -> float:
        """The mean as it is shown."""
        return round(self.mean, 2)

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
    table: str  # base, small, or unknown
    size: str  # of the weights, as in the published tables: 431M, 1.03G
    records: Mapping[str, Sequence[Record]]


class Shipped:
    """The settings that this project's own files give the published models: those of the published runs."""

    def __init__(self, config_dir: Path, known: Mapping[str, Task]) -> None:
        self.config_dir, self.known = config_dir, known
        self.settings = cache(self._settings)

    def _settings(self, model: str, task: str) -> dict[str, Any]:
        (cell,) = make_cells(model, task, "1", ["--config_dir", str(self.config_dir)], self.known)
        return that_matter(cell.settings.model_dump(), self.known[task].kind)

    def is_their_model(self, record: Record) -> bool:
        """Whether a run is of the model that the file of its model's name holds."""
        theirs = self.settings(record.model, record.task)
        return all(record.settings.get(name) == theirs[name] for name in ("model_name_or_path", "from_scratch"))

    def why_not_comparable(self, record: Record) -> str:
        """What keeps a run of a published model from being compared with the published score, if anything."""
        theirs, ours = self.settings(record.model, record.task), record.settings
        other = [f"{name} {ours.get(name)}" for name in theirs if name not in HOW and ours.get(name) != theirs[name]]
        if other:
            return f"other settings than those of the published runs ({', '.join(other)})"
        data = record.results.data
        strange = [
            split for split in dict.fromkeys(["train", "test", *data]) if split not in data or data[split].status != "published"
        ]
        return f"not the published {' and '.join(strange)} file" if strange else ""


def rows_of(records: Iterable[Record], published: Published, shipped: Shipped) -> list[Row]:
    """A row a model, base models first, in the order of the published tables and then by name."""
    by_model: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        by_model[record.model][record.task].append(record)
    order = list(published.models)
    places = {model: (0, order.index(model)) if model in order else (1, 0) for model in by_model}
    rows = [_row(model, tasks, published, shipped) for model, tasks in by_model.items()]
    return sorted(rows, key=lambda row: (row.table, places[row.model], row.model))


def _row(model: str, tasks: Mapping[str, Sequence[Record]], published: Published, shipped: Shipped) -> Row:
    known = published.models.get(model)
    if known and all(shipped.is_their_model(record) for records in tasks.values() for record in records):
        return Row(model, known["title"], known["table"], known["size"], tasks)
    sizes = [size for records in tasks.values() for record in records if (size := record.weight_bytes)]
    if not sizes:
        return Row(model, model, "unknown", "-", tasks)
    return Row(model, model, "small" if min(sizes) < SMALL else "base", _size(min(sizes)), tasks)


def _size(count: int) -> str:
    megabytes = count / 2**20
    return f"{megabytes:.0f}M" if megabytes < 1000 else f"{megabytes / 1024:.2f}G"


def value_of(records: Sequence[Record], view: str, name: str, task: Task, published: PublishedScore | None, fair: bool) -> Value:
    """The score `name` of the runs of a model on a task, by `view`; there is at least one. `fair`: whether to compare it."""
    scores = [100 * record.choice(view).test[name] / METRICS[task.metric].scale for record in records]
    sd = statistics.stdev(scores) if len(scores) > 1 else None
    return Value(statistics.fmean(scores), sd, len(scores), published, fair)


def mean_cost(records: Sequence[Record], name: str) -> float | None:
    """The mean of a cost over runs; None where they were made on different devices."""
    if len({record.origin.device for record in records}) > 1:
        return None
    return statistics.fmean(getattr(record.cost, name) for record in records)


def missing(records: Sequence[Record], left: Sequence[Left], known: Mapping[str, Task]) -> list[Left]:
    """What other models or seeds of the grid have, and a model has not; a line a model and task."""
    begun = ("failed", "unfinished", "unscored", "damaged")
    there = {f"{record.model}/{record.task}/seed-{record.seed}" for record in records} | {
        each.place for each in left if each.kind in begun and each.place.count("/") == 2
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

    Across models: settings that do not come from the model's own file, data, precision, libraries, and how checkpoints were
    chosen. Between the seeds of a model: everything.
    """
    texts: dict[str, list[str]] = defaultdict(list)
    marked: set[tuple[str, str]] = set()
    for task in known:
        column = [record for record in records if record.task == task]
        models = dict.fromkeys(record.model for record in column)
        of_models = [([record for record in column if record.model == model], _of_the_model) for model in models]
        told = _differences(column, _of_the_column)
        for group, facts in [(column, _of_the_column), *of_models]:
            for name, by_value in _differences(group, facts).items():
                if group is not column and _tells_of(told.get(name, {}), group[0].model):
                    continue
                texts[f"{name}: " + "; ".join(f"{value} ({_who(them)})" for value, them in by_value.items())].append(task)
                marked |= {(record.model, task) for record in _odd(by_value)}
    return dict(texts), marked


def _tells_of(by_value: Mapping[str, Sequence[Record]], model: str) -> bool:
    """Whether it is among these differences that runs of one model differ."""
    return sum(any(record.model == model for record in them) for them in by_value.values()) > 1


def _of_the_column(record: Record) -> dict[str, Any]:
    shared = {name: value for name, value in record.not_the_models.items() if name != "model_name_or_path"}
    return {**shared, **record.conditions, "checkpoint selected by": record.results.selected.by}


def _of_the_model(record: Record) -> dict[str, Any]:
    scored = sum("test" in splits for splits in record.results.scores.values())
    return {**record.settings, **record.conditions, "weights": record.weights, "checkpoints scored on test": scored}


def _differences(records: Sequence[Record], facts: Facts) -> dict[str, dict[str, list[Record]]]:
    """Name -> value -> the records that have it, of the facts in which records differ; one that has no such fact does not."""
    found: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for name, value in facts(record).items():
            found[name][str(value)].append(record)
    return {name: by_value for name, by_value in found.items() if len(by_value) > 1}


def _odd(by_value: Mapping[str, Sequence[Record]]) -> list[Record]:
    """Those that do not have the most frequent value; all, where none is the most frequent."""
    most = max(len(them) for them in by_value.values())
    usual = [them for them in by_value.values() if len(them) == most]
    return [record for them in by_value.values() if len(usual) > 1 or them is not usual[0] for record in them]


def _who(records: Sequence[Record]) -> str:
    """`tiny seed 1 2, kobert seed 1`."""
    seeds: dict[str, list[int]] = defaultdict(list)
    for record in records:
        seeds[record.model].append(record.seed)
    return ", ".join(f"{model} seed {' '.join(map(str, sorted(numbers)))}" for model, numbers in seeds.items())


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

    @property
    def is_compared(self) -> bool:
        """Whether there is a published score beside one of the cells."""
        theirs = self.published.models
        return any(task in theirs.get(row.model, {}).get("scores", {}) for row in self.rows for task in row.records)

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
