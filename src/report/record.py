"""The record of a finished run: its settings, scores and cost, as its JSON files hold them."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FiniteFloat

from src.data.task import DESCRIPTIVE_FIELDS, Task
from src.metrics.metrics import in_percent
from src.settings.schema import COMMAND_LINE, DEFAULT, Settings, affects, counts_for

VIEWS = ("selected", "best_on_test")
DIGEST_DIGITS = 12

ModelAndTask = tuple[str, str]
Key = TypeVar("Key")
Value = TypeVar("Value")


class _JsonObject(BaseModel):
    """The fields of a JSON file that are used here; others are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


class DataFacts(_JsonObject):
    """A data file of a run."""

    sha256: str
    status: str
    ceiling: dict[str, FiniteFloat] | None = None  # upper bound of the scores, for tasks that have one


class Choice(_JsonObject):
    """The checkpoint that a view chooses, and its test scores."""

    step: int
    checkpoint: str
    test: dict[str, FiniteFloat]


class Selected(Choice):
    """The checkpoint that was selected without using the test set. `by`: best on dev, or the last one."""

    by: Literal["dev", "last"]


class Results(_JsonObject):
    """eval_results.json."""

    selected: Selected
    best_on_test: Choice
    data: dict[Literal["train", "dev", "test"], DataFacts]
    scores: dict[str, dict[str, Any]]
    cautions: dict[str, dict[str, list[str]]] = {}  # step -> split -> reasons to doubt its scores


class EarlyStop(_JsonObject):
    """At which step of how many a training has stopped early."""

    step: int
    planned_steps: int


class Cost(_JsonObject):
    """cost.json."""

    training_seconds: FiniteFloat
    peak_memory_bytes: FiniteFloat
    tokens_per_s: FiniteFloat
    evaluation_seconds: FiniteFloat = 0.0
    preparation_seconds: FiniteFloat = 0.0
    stopped_early: EarlyStop | None = None


class Origin(_JsonObject):
    """settings.json."""

    settings: dict[str, Any]
    layers: dict[str, str]
    data: dict[str, DataFacts]
    weights: str | None
    model_revision: str | None = None
    device: str
    git_revision: str | None
    version: str | None = None  # of this project; older runs have none
    mixed_precision: str
    processes: int = 1
    versions: dict[str, str]
    definition: dict[str, Any] = {}  # of the task; older runs have none
    search: dict[str, Any] | None = None  # how the settings of a tuned run were found, see src.runs.grid_folder


@dataclass(frozen=True)
class Record:
    """A finished run of the grid."""

    model: str
    task: str
    kind: str
    seed: int
    folder: Path
    origin: Origin
    results: Results
    cost: Cost

    @property
    def name(self) -> str:
        return f"{self.model}/{self.task}/seed-{self.seed}"

    def choice(self, view: str) -> Choice:
        """Return the checkpoint that `view` chooses."""
        return self.results.selected if view == "selected" else self.results.best_on_test

    def percent(self, view: str, task: Task, score: str) -> float:
        """Return a test score of the checkpoint that `view` chooses, in percent."""
        return in_percent(task, self.choice(view).test[score])

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that can change a score."""
        return affecting_scores(self.origin.settings, self.kind)

    @property
    def overrides(self) -> dict[str, Any]:
        """Those of `settings` that were given on the command line."""
        return {name: value for name, value in self.settings.items() if self.origin.layers.get(name) == COMMAND_LINE}

    @property
    def shared_settings(self) -> dict[str, Any]:
        """Those of `settings` that do not come from the model's own file, and so should be the same for all models."""
        shared = (COMMAND_LINE, DEFAULT, f"{self.task}.json")  # the task's file may be in any folder
        layers = {name: Path(self.origin.layers.get(name, DEFAULT)).name for name in self.settings}
        return {name: value for name, value in self.settings.items() if layers[name] in shared}

    @property
    def conditions(self) -> dict[str, str]:
        """What else a score depends on, besides settings and weights: data, precision, processes, libraries."""
        files = {f"{split} file": shorten_digest(facts.sha256) for split, facts in self.origin.data.items()}
        versions = {f"version of {name}": version for name, version in self.origin.versions.items()}
        origin = self.origin
        if definition := {name: value for name, value in origin.definition.items() if name not in DESCRIPTIVE_FIELDS}:
            digest = hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()
            files["definition of the task"] = shorten_digest(digest)
        return {**files, "precision": origin.mixed_precision, "processes": str(origin.processes), **versions}

    @property
    def trials(self) -> int:
        """The number of trials on dev by which its settings were found; 0 if they were not searched."""
        return sum((self.origin.search or {}).get("trials", {}).values())

    @property
    def weights(self) -> str:
        """Digest or commit of the model that training started from."""
        return shorten_digest(self.origin.weights or self.origin.model_revision)

    @property
    def weight_bytes(self) -> int | None:
        """Size of a checkpoint's weights; None if the checkpoint was removed."""
        path = self.folder / self.results.selected.checkpoint / "model.safetensors"
        return path.stat().st_size if path.is_file() else None

    @property
    def seconds(self) -> float:
        return self.cost.preparation_seconds + self.cost.training_seconds + self.cost.evaluation_seconds

    @property
    def ckpt_dir(self) -> Path:
        """The folder of all runs that it was found in."""
        return self.folder.parents[3]

    @property
    def bytes_on_disk(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def affecting_scores(settings: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the settings that can change a score of a task of this kind, without the task and the seed."""
    names = settings.keys() & Settings.model_fields.keys() - {"task", "seed"}
    return {
        name: value for name, value in settings.items() if name in names and counts_for(name, kind) and affects(name) != "nothing"
    }


def group(pairs: Iterable[tuple[Key, Value]]) -> dict[Key, list[Value]]:
    """Return the values of each key."""
    groups = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return dict(groups)


def cautions(records: Sequence[Record]) -> list[str]:
    """Return the reasons to doubt scores of the shown checkpoints of a model's runs: seed, views and split of each."""
    found: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    for record in records:
        for view in VIEWS:
            for split, reasons in record.results.cautions.get(str(record.choice(view).step), {}).items():
                for reason in dict.fromkeys(reasons):
                    found[record.seed, split, reason].append(view)
    return [f"seed {seed}, {' and '.join(views)}, {split}: {reason}" for (seed, split, reason), views in found.items()]


def shorten_digest(digest: str | None) -> str:
    """Return the first digits of a digest or commit, with the + that marks a modified checkout."""
    return digest[:DIGEST_DIGITS] + ("+" if digest.endswith("+") else "") if digest else "unknown"
