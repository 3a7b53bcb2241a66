"""The published scores, their sources and protocols, and how far a rerun may differ from them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

SHOWN = ("all", "seeds", "none")  # which published rows a report shows: every one, those of the two seed tables, or none


def with_sd(score: str, sd: float | None) -> str:
    """Return a score with its standard deviation, if there is one: 90.60 ± 0.14."""
    return score if sd is None else f"{score} ± {sd:.2f}"


class PrintedScore(NamedTuple):
    """A score in percent as its source prints it, and the standard deviation over n runs if the source gives one."""

    text: str
    sd: float | None = None
    n: int | None = None

    @property
    def with_sd(self) -> str:
        """The score with its standard deviation, if there is one: 89.28 ± 0.42."""
        return with_sd(self.text, self.sd)

    @property
    def runs(self) -> str:
        """The number of runs, n=3; empty if it is not known."""
        return f"n={self.n}" if self.n else ""


TaskScores = Mapping[str, Mapping[str, PrintedScore]]  # task -> score -> as it is printed


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
class PublishedRow:
    """The scores that one source prints for a model."""

    model: str
    title: str
    table: str  # base or small
    size: str  # of the weights; "-" if it was not published
    source: str
    protocol: str
    scores: TaskScores


@dataclass(frozen=True)
class Published:
    """The published tables. Models are named by the stem of their config file, if they have one, and are in the order of rows."""

    models: Mapping[str, Mapping[str, str]]  # title; table: base or small; size of the weights, if it was published
    protocols: Mapping[str, Mapping[str, str]]  # about; not_compared: why runs are not compared with the scores made like this
    sources: Mapping[str, Mapping[str, str]]  # title, address, protocol
    seeds: Sequence[str]  # the sources that this project started with
    tables: Mapping[str, Mapping[str, TaskScores]]  # source -> model -> its scores
    spread: Mapping[str, Mapping[str, Mapping[str, float]]]  # task -> score -> kind of spread -> by how much a rerun differs
    spread_of: Mapping[str, str]  # kind of spread -> how it was measured
    notes: Mapping[str, str]  # task -> what to know when scores are compared

    @classmethod
    def read(cls, path: Path) -> "Published":
        """Read the tables from a JSON file, in which a score is its text, or [text, sd, n]."""
        content = json.loads(path.read_text(encoding="utf-8"))
        tables = {
            source: {model: _printed_scores(scores) for model, scores in models.items()}
            for source, models in content.pop("tables").items()
        }
        return cls(tables=tables, **content)

    def rows(self, shown: str) -> Iterator[PublishedRow]:
        """Yield the rows that are shown (see SHOWN) in the order of models, those of a model in the order of sources."""
        sources = {"all": list(self.sources), "seeds": self.seeds, "none": ()}[shown]
        for model, about in self.models.items():
            for name in (name for name in sources if model in self.tables[name]):
                columns = (about["title"], about["table"], about.get("size", "-"))
                yield PublishedRow(model, *columns, name, self.sources[name]["protocol"], self.tables[name][model])

    def position(self, model: str) -> int:
        """Return where the rows of a model stand; other models come after all published ones."""
        return list(self.models).index(model) if model in self.models else len(self.models)

    def reason_not_compared(self, source: str) -> str:
        """Return why runs are not compared with the scores of a source; empty if they are."""
        return self.protocols[self.sources[source]["protocol"]].get("not_compared", "")

    def source(self, model: str, task: str) -> str | None:
        """Return the source whose scores stand beside the runs of a model on a task; None if there is none.

        It is the first one with a protocol that runs are compared with, KoELECTRA's own table before all others. If there is no
        such source, it is the first of the others: its scores are shown, but not compared.
        """
        sources = [name for name, table in self.tables.items() if task in table.get(model, {})]
        return min(sources, key=lambda name: self.reason_not_compared(name) != "", default=None)

    def scores(self, model: str) -> TaskScores:
        """Return the published scores of a model that stand beside its runs: those of `source`. Empty for other models."""
        tasks = {task: self.source(model, task) for table in self.tables.values() for task in table.get(model, {})}
        return {task: self.tables[source][model][task] for task, source in tasks.items() if source}

    def score(self, model: str, task: str, name: str) -> PublishedScore | None:
        """Return a published score, or None if there is none.

        Its tolerance is the largest known spread, plus half a unit of the last printed digit: a rounded table leaves more room.
        """
        printed = self.scores(model).get(task, {}).get(name)
        if printed is None:
            return None
        _, spread = self.largest_spread(task, name)
        digits = len(printed.text.partition(".")[2])
        return PublishedScore(printed.text, None if spread is None else spread + 0.5 * 10**-digits)

    def largest_spread(self, task: str, name: str) -> tuple[str, float] | tuple[None, None]:
        """Return the kind of the largest spread that is known for a score, and the spread in percent; (None, None) if none is."""
        return max(self.spread.get(task, {}).get(name, {}).items(), key=itemgetter(1), default=(None, None))


NOTHING_PUBLISHED = Published({}, {}, {}, (), {}, {}, {}, {})


def _printed_scores(tasks: Mapping[str, Mapping[str, Any]]) -> TaskScores:
    return {
        task: {name: PrintedScore(value) if isinstance(value, str) else PrintedScore(*value) for name, value in scores.items()}
        for task, scores in tasks.items()
    }
