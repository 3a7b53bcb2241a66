"""The published scores, where they come from, and how far they are to be trusted."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PublishedScore:
    """A score in percent as it was printed, and by how much another run of the same may differ."""

    text: str
    tolerance: float

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text)

    def is_near(self, mean: float) -> bool:
        """Whether a mean in percent lies within the tolerance, with room for the last bit."""
        return abs(mean - self.value) <= self.tolerance + 1e-9


@dataclass(frozen=True)
class Published:
    """The tables of KoELECTRA and Soongsil-BERT: models by the stem of their config file, in the order of the tables."""

    models: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, Mapping[str, str]]
    spread: Mapping[str, Mapping[str, Mapping[str, Any]]]  # task -> score -> by how much a second run differs
    spread_of: Mapping[str, str]
    notes: Mapping[str, str]  # task -> what to know when scores are compared

    @classmethod
    def read(cls, path: Path) -> "Published":
        """From the JSON file that holds them."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(content["models"], content["sources"], content["spread"], content["spread_of"], content["notes"])

    def score(self, model: str, task: str, name: str) -> PublishedScore | None:
        """The published score of a model, None where there is none.

        Its tolerance is the largest change of the published table's own second run, and half a unit of the last digit it was
        printed with: a table that rounds leaves more room.
        """
        text = self.models.get(model, {}).get("scores", {}).get(task, {}).get(name)
        if text is None:
            return None
        digits = len(text.partition(".")[2])
        return PublishedScore(text, self.spread[task][name]["largest"] + 0.5 * 10**-digits)
