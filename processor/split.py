"""The base class of splits: a data file of a task, its features, and the scores and predictions made from a model's outputs."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from processor.data_files import describe_files
from processor.features import cached_features, fingerprint
from processor.hold_out import Parts, stratified_groups
from processor.quality import Figures, measure, require_content, warnings_of
from src.common.errors import ConfigError, DataError, quote
from src.data.special import SpecialTokens
from src.data.task import DataFile, Features, Scores, Task
from src.metrics.analysis import Analysis
from src.settings.schema import Settings

logger = logging.getLogger(__name__)

DRAW = 2**32 - 1  # seeds `draw` apart from epochs, which use (seed, epoch)
NO_SCORES: Scores = {}
MIN_ROWS = 30  # below, a score can change by several points with one row more or less


@dataclass(frozen=True)
class Split(ABC):
    """One data file of a task, or a part of it.

    A subclass for each kind of task reads and encodes examples and decodes a model's outputs. Outputs are decoded once per
    scoring: `score`, `report` and `predictions` take what `decode` returns.
    """

    name: str
    task: Task
    file: DataFile
    features: Features
    settings: Settings
    tokenizer: Any
    source: str  # the split that the file was loaded as: "train" for the part of it that is held out as "dev"
    rows: np.ndarray | None = None  # the file's examples in this part, int64, ascending; None: all of them
    drawn_from: int | None = None  # the number of examples that this part was drawn from at random, by `draw`
    share: float | None = None  # of the examples that this part was held out of
    in_train: int | None = None  # the number of examples that training has, too; None: it is not known

    feature_settings: ClassVar[tuple[str, ...]] = ("max_seq_len",)  # settings that change features
    feature_unit: ClassVar[str] = "row"  # what the log calls a sequence of tokens

    @classmethod
    def load(cls, name: str, file: DataFile, settings: Settings, task: Task, tokenizer: Any) -> Self:
        """Build the features of a data file, or read them from the cache, and log what the file holds.

        Raises DataError for a malformed file, or one that nothing can be learned from.
        """
        chosen = {setting: getattr(settings, setting) for setting in cls.feature_settings}
        cache_name = f"{settings.task}-{name}-{fingerprint(file, task, tokenizer, chosen)}"
        features = cached_features(
            Path(settings.feature_cache_dir), cache_name, lambda: cls.build(name, file.path, settings, task, tokenizer)
        )
        split = cls(name, task, file, features, settings, tokenizer, source=name)
        split.log_file()
        split.check_contents()
        return split

    @classmethod
    @abstractmethod
    def build(cls, name: str, path: Path, settings: Settings, task: Task, tokenizer: Any) -> Features:
        """Return the features of the file at `path`. Raises DataError if it is malformed."""

    @abstractmethod
    def read(self) -> list[Any]:
        """Return all examples of the file."""

    @cached_property
    def examples(self) -> list[Any]:
        """The examples behind the features, read when they are first needed.

        Raises DataError if the file is not the one that was hashed: its rows would be written beside others' predictions.
        """
        if describe_files({self.name: self.file.path})[self.name].sha256 != self.file.sha256:
            raise DataError(f"{self.file.path} has changed since the run began; its rows no longer belong to the predictions.")
        examples = self.read()
        return examples if self.rows is None else [examples[row] for row in self.rows]

    def __len__(self) -> int:
        return len(self.features)

    @property
    def facts(self) -> dict[str, Any]:
        """What settings.json and eval_results.json record about this split."""
        known = {"drawn_from": self.drawn_from, "share": self.share, "in_train": self.in_train}
        return {"rows": len(self), "features": self.figures} | {key: value for key, value in known.items() if value is not None}

    @cached_property
    def figures(self) -> Figures:
        """How much of the texts reaches the model, see processor.quality."""
        return measure(self.features, self.tokenizer, SpecialTokens.of(self.tokenizer, self.texts_per_sequence))

    @property
    def texts_per_sequence(self) -> int:
        """Number of texts in a sequence of tokens."""
        return len(self.task.text)

    # -- parts -------------------------------------------------------------------------------------------------------------------

    def hold_out(self, ratio: float, name: str = "dev") -> tuple[Self, Self]:
        """Return this split without about `ratio` of its examples, and those as the split `name`.

        Examples that belong together (`groups`) stay on one side. Raises ConfigError if one of them would be empty, or its share
        far off.
        """
        try:
            rows, held_out = self.divide(ratio)
        except ConfigError as error:
            raise ConfigError(f"{name}_ratio = {ratio} {error}") from None
        share = round(len(held_out) / self.size, 4)
        train, other = self.select(self.name, rows), replace(self.select(name, held_out), share=share)
        shown = f"{len(held_out):,} examples held out of the training file ({share:.1%}); {len(rows):,} remain"
        logger.info("%s: %s", name, shown)
        if len(rows) < len(held_out):
            logger.warning("%s_ratio = %s: more is held out than is left to train on", name, ratio)
        for split in (train, other):
            split.check_contents()
        return train, other

    def divide(self, ratio: float) -> Parts:
        """Return the numbers of the examples to keep and of those to hold out, int64, ascending: the same share of each stratum.

        Raises ConfigError, "holds out ...", if one of them would be empty, or the share far off.
        """
        return self.parts(self.strata(), self.groups, ratio)

    @classmethod
    def parts(cls, strata: Sequence[Any], groups: np.ndarray, ratio: float) -> Parts:
        """Divide examples by their strata and groups alone, see `divide`."""
        return stratified_groups(strata, groups, ratio)

    def strata(self) -> Sequence[Any]:
        """Return what of each example is to occur equally often in each part. By default nothing."""
        return [""] * self.size

    @property
    def groups(self) -> np.ndarray:
        """The group of each example, int64 [n]: exact copies, and what else belongs together, see processor.data_checks."""
        if self.file.rows is None:
            return np.arange(self.size)
        return self.file.rows.groups if self.rows is None else self.file.rows.groups[self.rows]

    @property
    def texts(self) -> np.ndarray | None:
        """A digest of the texts of each example, uint64 [n]; None if they were not read before."""
        if self.file.rows is None:
            return None
        return self.file.rows.texts if self.rows is None else self.file.rows.texts[self.rows]

    def beside(self, train: Any, known: int | None = None) -> Self:
        """Return this split with the number of its examples that the split `train` has, too. known: that number without train."""
        if train is None or train.texts is None or self.texts is None:
            return replace(self, in_train=known)
        copies = int(np.isin(self.texts, train.texts).sum())
        if copies:
            logger.warning("%s: %s (the same text)", self.name, _copies(copies, self.size))
        return replace(self, in_train=copies)

    def draw(self, number: int, seed: int) -> Self:
        """Return `number` of the examples, the first of a shuffle by `seed`, in the order of the file; all if there are no more.

        For the same seed, a smaller number gives a part of what a larger one gives.
        """
        if number >= self.size:
            return self
        shuffled = np.random.default_rng([seed, DRAW]).permutation(self.size)
        drawn = replace(self.select(self.name, np.sort(shuffled[:number])), drawn_from=self.size)
        logger.info("%s: %s of %s examples drawn (max_train_samples)", self.name, f"{number:,}", f"{self.size:,}")
        drawn.check_contents()
        return drawn

    def select(self, name: str, rows: np.ndarray) -> Self:
        """Return the given examples (numbers, int64, ascending) as the split `name`."""
        return replace(self, name=name, rows=self.numbers_in_file(rows), features=self.features.subset(rows))

    def numbers_in_file(self, rows: np.ndarray) -> np.ndarray:
        """Return the numbers that the given examples of this split have among all of the file, int64."""
        return rows if self.rows is None else self.rows[rows]

    # -- outputs -----------------------------------------------------------------------------------------------------------------

    @abstractmethod
    def decode(self, outputs: np.ndarray, dev: Scores = NO_SCORES) -> Any:
        """Return the predictions in a model's outputs, see src.training.evaluate.predict.

        dev: the scores of the same weights on dev, for what is chosen there.
        """

    @abstractmethod
    def score(self, decoded: Any) -> Scores:
        """Return the scores of decoded outputs."""

    def report(self, decoded: Any) -> str:
        """Return a text for the score file, below the scores. Empty by default."""
        return ""

    def cautions(self, decoded: Any) -> list[str]:
        """Return the reasons to doubt the scores of decoded outputs, one phrase each."""
        found = [_copies(self.in_train, self.size)] if self.in_train else []
        if self.size < MIN_ROWS:
            found.append(f"it rests on {self.size} {'example' if self.size == 1 else 'examples'} only")
        predicted = set(self.predicted_values(decoded))
        if len(predicted) == 1 and self.size > 1:
            found.append(f"all predictions are the same ({quote(str(predicted.pop()))})")
        if absent := [label for label, count in self.label_counts().items() if not count]:
            found.append(
                f"{len(absent)} of the labels never occur in the file ({', '.join(absent[:3])}{', ...' * (len(absent) > 3)})"
            )
        return found

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.features)

    @abstractmethod
    def predicted_values(self, decoded: Any) -> Iterable[Hashable]:
        """Return all single predictions in decoded outputs."""

    def label_counts(self) -> dict[str, int]:
        """Return how often each label occurs; empty if the task has no labels."""
        return {}

    def predictions(self, decoded: Any) -> dict[str, Iterator[str]]:
        """Return the prediction files: name -> lines. Every kind has a predictions.tsv, and an analysis.json for the report."""
        analysis = self.analysis(decoded).model_dump_json(indent=1, exclude_defaults=True)
        return {"predictions.tsv": self.prediction_lines(decoded), "analysis.json": iter([analysis])}

    @abstractmethod
    def analysis(self, decoded: Any) -> Analysis:
        """Return what is right and wrong in decoded outputs."""

    @abstractmethod
    def prediction_lines(self, decoded: Any) -> Iterator[str]:
        """Yield the lines of predictions.tsv: the names of its columns, then one line per item that is scored."""

    # -- the log and the checks before training ----------------------------------------------------------------------------------

    def log_file(self) -> None:
        """Log the file, whether it is the published one, and the number and lengths of the features."""
        origin = " (not the published file: scores are not comparable)" if self.task.files else ""
        if self.file.status == "published":
            origin = " (the published file)"
        lengths, unit = self.features.sequence_lengths, self.feature_unit
        full = int((lengths == self.settings.max_seq_len).sum())
        shape = f"{len(lengths):,} {unit}s, {lengths.mean():.1f} tokens per {unit}, {full:,} {unit}s of max_seq_len"
        logger.info("%s: %s%s, %s", self.name, self.file.path, origin, shape)

    def check_contents(self) -> None:
        """Log what the examples are. Raises DataError, see processor.quality."""
        require_content(self.name, self.file.path, self.features, self.figures, self.tokenizer)
        self.log_contents()

    @abstractmethod
    def log_contents(self) -> None:
        """Log what the examples are: labels, what was left out."""

    def log_counts(self, title: str, counts: Mapping[str, int]) -> None:
        """Log how often each label occurs."""
        logger.info("%s: %s: %s", self.name, title, ", ".join(f"{label} {count:,}" for label, count in counts.items()))


def warn_of_quality(splits: Mapping[str, Any]) -> None:
    """Log a warning for each figure above its limit (processor.quality), once: other splits with the same one are named."""
    found: dict[str, list[str]] = {}
    for name, split in splits.items():
        for line in warnings_of(split.figures, split.feature_unit):
            found.setdefault(line.partition(") ")[2], []).extend([name, line])
    for name, line, *others in found.values():
        logger.warning("%s: %s%s", name, line, f" So it is in {', '.join(others[::2])}." if others else "")


def _copies(count: int, size: int) -> str:
    return f"all its {size:,} examples are in train" if count == size else f"{count:,} of its {size:,} examples are in train, too"


def tsv_line(fields: Iterable[str]) -> str:
    r"""Return a line of a tab-separated file. Tabs and line ends in a field are written as \t, \n and \r\n."""
    return "\t".join(field.replace("\t", "\\t").replace("\r\n", "\\r\\n").replace("\n", "\\n") for field in fields)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return scores, float [..., n], as probabilities over the last axis, float64 [..., n]."""
    weights = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)
