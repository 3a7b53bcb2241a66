"""The published scores, their sources, and how far a rerun may differ from them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PublishedScore:
    """A score in percent as it was printed, and by how much a rerun of the same model may differ."""

    text: str
    tolerance: float | None  # None if nothing is known about reruns

    @property
    def value(self) -> float:
        """The printed number."""
        return float(self.text)

    def verdict(self, mean: float) -> str:
        """Return whether a mean in percent is "inside" or "outside" of the tolerance; empty if there is none."""
        if self.tolerance is None:
            return ""
        # 1e-9: decimal numbers are not exact in binary
        return "inside" if abs(mean - self.value) <= self.tolerance + 1e-9 else "outside"


@dataclass(frozen=True)
class Published:
    """The published tables: models by the stem of their config file, in the order of the tables."""

    models: Mapping[str, Mapping[str, str]]  # title; table: base or small; size of the weights, if it was published
    sources: Mapping[str, Mapping[str, str]]  # title, address; not_compared: why runs are not compared with these scores
    tables: Mapping[str, Mapping[str, Mapping[str, Mapping[str, str]]]]  # source -> model -> task -> score -> text
    spread: Mapping[str, Mapping[str, Mapping[str, Any]]]  # task -> score -> by how much a rerun differs
    spread_of: Mapping[str, str]  # kind of spread -> how it was measured
    notes: Mapping[str, str]  # task -> what to know when scores are compared

    @classmethod
    def read(cls, path: Path) -> "Published":
        """Read the tables from a JSON file."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def scores(self, model: str) -> Mapping[str, Mapping[str, str]]:
        """Return the published scores of a model: task -> score -> text. Empty for other models."""
        return {task: scores for table in self.tables.values() for task, scores in table.get(model, {}).items()}

    def source(self, model: str, task: str) -> str:
        """Return the name of the source of a model's score on a task; there must be one."""
        return next(name for name, table in self.tables.items() if task in table.get(model, {}))

    def score(self, model: str, task: str, name: str) -> PublishedScore | None:
        """Return a published score, or None if there is none.

        Its tolerance is the largest change in the published table's own rerun, plus half a unit of the last printed digit: a
        rounded table leaves more room.
        """
        text = self.scores(model).get(task, {}).get(name)
        if text is None:
            return None
        spread = self.spread.get(task, {}).get(name)
        digits = len(text.partition(".")[2])
        return PublishedScore(text, spread["largest"] + 0.5 * 10**-digits if spread else None)
