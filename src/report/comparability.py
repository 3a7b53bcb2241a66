"""Which runs can be compared: with the published scores, and with the other runs of their column."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from src.common.files import read_json
from src.data.task import Tasks
from src.report.published import Published
from src.report.record import ModelAndTask, Record, affecting_scores, group
from src.settings.aliases import ALIASES
from src.settings.schema import Settings, default_of, defaults_of, settings_of

# Settings that change how something is computed, not what; the published runs used yet another implementation. `answer_text` is
# among them because both of its values are compared; a note in the report says which one the published runs used.
IMPLEMENTATION = settings_of("how")
Conditions = Callable[[Record], Mapping[str, Any]]
Differences = dict[str, dict[str, list[Record]]]  # name of a fact -> value -> runs that have it


class PublishedSettings:
    """The settings of the published runs, as this project's own config files hold them."""

    def __init__(self, config_dir: Path, tasks: Tasks, published: Published) -> None:
        self.config_dir, self.tasks, self.published = config_dir, tasks, published
        self.settings = cache(self._settings)

    def _settings(self, model: str, task: str) -> dict[str, Any]:
        kind = self.tasks[task].kind
        of_task, of_model = (read_json(self.config_dir / name) for name in (f"tasks/{task}.json", f"{model}.json"))
        defaults = {**{name: default_of(name) for name in Settings.model_fields}, **defaults_of(kind)}
        written = of_task | of_model | of_model.get("tasks", {}).get(task, {})
        return affecting_scores(defaults | {ALIASES.get(name, name): value for name, value in written.items()}, kind)

    def is_same_model(self, record: Record) -> bool:
        """Return whether the run is of the published model of its name, and not of another one with that name."""
        tasks = self.published.scores(record.model)
        if not tasks or not self._has_config(record.model):
            return False
        settings = self.settings(record.model, record.task if record.task in tasks else next(iter(tasks)))
        return all(record.settings.get(name) == settings[name] for name in ("model_name_or_path", "from_scratch"))

    def _has_config(self, model: str) -> bool:
        return (self.config_dir / f"{model}.json").is_file()

    def reason_not_comparable(self, record: Record) -> str:
        """Return why a run cannot be compared with the published score; empty if it can, or if there is no such score."""
        source = self.published.source(record.model, record.task)
        if source is None:
            return ""
        if reason := self.published.reason_not_compared(source):
            return reason
        if not self._has_config(record.model):
            return "the settings of the published runs are not in a config file"
        published, actual = self.settings(record.model, record.task), record.settings
        other = [
            name for name in published if name not in IMPLEMENTATION and actual.get(name, default_of(name)) != published[name]
        ]
        if other:
            values = ", ".join(f"{name} {actual.get(name)}" for name in other)
            return f"settings differ from the published runs ({values})"
        data = record.results.data
        splits = dict.fromkeys(["train", "test", *data])
        changed = [split for split in splits if split not in data or data[split].status != "published"]
        return f"not the published {' and '.join(changed)} file" if changed else ""


def find_differences(records: Sequence[Record], tasks: Tasks) -> tuple[dict[str, list[str]], set[ModelAndTask]]:
    """Find what differs between the runs of a task and can change a score.

    Between models: settings that do not come from the model's own file, data, precision, libraries, and how checkpoints were
    selected. Between seeds of a model: everything. Returns {description: tasks}, and the (model, task) whose runs deviate.
    """
    descriptions: dict[str, list[str]] = defaultdict(list)
    flagged: set[ModelAndTask] = set()
    for task in tasks:
        column = [record for record in records if record.task == task]
        between_models = _differences(column, _conditions_of_column)
        differences = list(between_models.items())
        for runs in group((record.model, record) for record in column).values():
            for name, runs_by_value in _differences(runs, _conditions_of_model).items():
                if not _varies_within(runs[0].model, between_models.get(name, {})):  # else it is described already
                    differences.append((name, runs_by_value))
        for name, runs_by_value in differences:
            values = "; ".join(f"{value} ({_name_runs(runs)})" for value, runs in runs_by_value.items())
            descriptions[f"{name}: {values}"].append(task)
            flagged |= {(record.model, task) for record in _minority(runs_by_value)}
    return dict(descriptions), flagged


def _conditions_of_column(record: Record) -> dict[str, Any]:
    """Return what should be the same for all models."""
    settings = {name: value for name, value in record.shared_settings.items() if name != "model_name_or_path"}
    return {**settings, **record.conditions, "checkpoint selected by": record.results.selected.by}


def _conditions_of_model(record: Record) -> dict[str, Any]:
    """Return what should be the same for all seeds of a model."""
    scored = sum("test" in splits for splits in record.results.scores.values())
    return {**record.settings, **record.conditions, "weights": record.weights, "checkpoints scored on test": scored}


def _differences(records: Iterable[Record], conditions_of: Conditions) -> Differences:
    """Return the conditions that have more than one value. A run without a condition does not count as different."""
    values = group((name, (str(value), record)) for record in records for name, value in conditions_of(record).items())
    runs_by_value = {name: group(pairs) for name, pairs in values.items()}
    return {name: runs for name, runs in runs_by_value.items() if len(runs) > 1}


def _varies_within(model: str, runs_by_value: Mapping[str, Sequence[Record]]) -> bool:
    return sum(any(record.model == model for record in runs) for runs in runs_by_value.values()) > 1


def _minority(runs_by_value: Mapping[str, Sequence[Record]]) -> list[Record]:
    """Return the runs that do not have the most frequent value; all runs if no value is the most frequent."""
    most = max(map(len, runs_by_value.values()))
    has_majority = sum(len(runs) == most for runs in runs_by_value.values()) == 1
    return [record for runs in runs_by_value.values() if not (has_majority and len(runs) == most) for record in runs]


def _name_runs(records: Iterable[Record]) -> str:
    """Return `tiny seed 1 2, kobert seed 1`."""
    seeds = group((record.model, record.seed) for record in records)
    return ", ".join(f"{model} seed {' '.join(map(str, sorted(numbers)))}" for model, numbers in seeds.items())
