"""What a finished run of the grid says of itself: its settings, scores and cost, as its JSON files hold them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat

from src.grid.cells import Task
from src.settings import COMMAND_LINE, DEFAULT, Settings, affects, counts_for

VIEWS = ("selected", "best_on_test")
CHANGE_THE_BEST = ("eval_all_checkpoints",)  # no score, but which of them there are to choose the best on test from
DIGITS = 12  # of a sha256, that tell two files apart


class _Facts(BaseModel):
    """What a JSON file has to hold of what is used here; more is left alone."""

    model_config = ConfigDict(strict=True, frozen=True)


class DataFacts(_Facts):
    """A data file."""

    sha256: str
    status: str


class Choice(_Facts):
    """A checkpoint that a view chooses, and its scores on test."""

    step: int
    checkpoint: str
    test: dict[str, FiniteFloat]


class Selected(Choice):
    """The one that was chosen without a look at test: by what."""

    by: Literal["dev", "last"]


class Results(_Facts):
    """eval_results.json."""

    selected: Selected
    best_on_test: Choice
    data: dict[Literal["train", "dev", "test"], DataFacts]
    scores: dict[str, dict[str, Any]]


class Cost(_Facts):
    """cost.json."""

    training_seconds: FiniteFloat
    peak_memory_bytes: FiniteFloat
    tokens_per_s: FiniteFloat
    evaluation_seconds: FiniteFloat = 0.0
    preparation_seconds: FiniteFloat = 0.0


class Origin(_Facts):
    """settings.json."""

    settings: dict[str, Any]
    layers: dict[str, str]
    data: dict[str, DataFacts]
    weights: str | None
    model_revision: str | None = None
    device: str
    git_revision: str | None
    mixed_precision: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Record:
    """A finished run of the grid."""

    model: str
    task: str
    kind: str  # of the task
    seed: int
    folder: Path
    origin: Origin
    results: Results
    cost: Cost

    def choice(self, view: str) -> Choice:
        """The checkpoint that `view` chooses."""
        return self.results.selected if view == "selected" else self.results.best_on_test

    @property
    def settings(self) -> dict[str, Any]:
        """What can change a score."""
        return that_matter(self.origin.settings, self.kind)

    @property
    def overrides(self) -> dict[str, Any]:
        """What of that stood on the command line."""
        return {name: value for name, value in self.settings.items() if self.origin.layers.get(name) == COMMAND_LINE}

    @property
    def not_the_models(self) -> dict[str, Any]:
        """What of that does not come from the model's file, and so should be the same for all models."""

        shared = (COMMAND_LINE, DEFAULT, str(Path(str(self.origin.settings.get("config_dir")), "tasks", f"{self.task}.json")))
        return {name: value for name, value in self.settings.items() if self.origin.layers.get(name, DEFAULT) in shared}

    @property
    def conditions(self) -> dict[str, str]:
        """What a score depends on besides settings and weights: data files, precision, versions of the libraries."""
        files = {f"{split} file": short(facts.sha256) for split, facts in self.origin.data.items()}
        versions = {f"version of {name}": version for name, version in self.origin.versions.items()}
        return {**files, "precision": self.origin.mixed_precision, **versions}

    @property
    def weights(self) -> str:
        """Digest or commit of the model that training started from."""
        return short(self.origin.weights or self.origin.model_revision)

    @property
    def weight_bytes(self) -> int | None:
        """Size of a checkpoint's weights; None where there is no checkpoint."""
        path = self.folder / self.results.selected.checkpoint / "model.safetensors"
        return path.stat().st_size if path.is_file() else None

    @property
    def seconds(self) -> float:
        """What the run took in all."""
        return self.cost.preparation_seconds + self.cost.training_seconds + self.cost.evaluation_seconds

    @property
    def bytes_on_disk(self) -> int:
        """What it has left on the disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def scores_of(task: Task) -> tuple[str, ...]:
    """The names of the scores that stand in the task's column."""
    return task.reported or (task.headline,)


def that_matter(settings: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Those of the settings that can change a score of a task of that output mode and are not the cell's own."""
    known = settings.keys() & Settings.model_fields.keys() - {"task", "seed"}
    return {
        name: value
        for name, value in settings.items()
        if name in known and counts_for(name, kind) and (affects(name) != "nothing" or name in CHANGE_THE_BEST)
    }


def short(digest: str | None) -> str:
    """The first digits of a digest or commit, with the + of a checkout that was changed."""
    return digest[:DIGITS] + ("+" if digest.endswith("+") else "") if digest else "unknown"
