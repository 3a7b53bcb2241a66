"""What a run predicted, row by row: confusions, scores by label, calibration, and the errors it was most confident of.

Read from its prediction files, line by line: they may hold a million rows.
"""

import heapq
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from src.data.task import Task, ends_with_position
from src.runs.files import prediction_file

ERRORS = 50  # shown
BINS = 10  # of a reliability curve
MAX_LABELS = 20  # in a confusion matrix; the rarer ones are counted together
OTHER = "other labels"
PROBABILITY = "probability"  # that a model gives to what it predicts
MAX_POINTS = 500  # in a scatter plot
MAX_TEXT = 300  # characters


@dataclass(frozen=True)
class Error:
    """A row that the model got wrong. `texts` is empty if texts may not be shown."""

    row: str  # its number from 0, or the id of a question
    texts: Sequence[str]
    gold: str
    prediction: str
    size: float  # the larger, the worse; see Details.size_of_error


@dataclass(frozen=True)
class LabelScore:
    """How well one label, or one type of entities, is found."""

    label: str
    gold: int
    predicted: int
    right: int

    @property
    def precision(self) -> float:
        return self.right / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.gold + self.predicted) if self.right else 0.0


@dataclass(frozen=True)
class Bin:
    """The predictions with a probability in one tenth of 0 to 1: their mean probability, and the share that is right."""

    probability: float
    right: float
    count: int


@dataclass(frozen=True)
class Details:
    """What the report shows of the predictions of one run; empty parts do not exist for its kind of task."""

    rows: int
    errors: Sequence[Error]  # the worst, at most ERRORS
    error_count: int
    size_of_error: str  # what sorts the errors
    labels: Sequence[str] = ()  # of the confusion matrix
    confusion: Sequence[Sequence[int]] = ()  # rows by gold label, columns by predicted label
    label_scores: Sequence[LabelScore] = ()
    bins: Sequence[Bin] = ()
    points: Sequence[tuple[float, float]] = ()  # label and prediction of a regression, at most MAX_POINTS rows

    @property
    def errors_title(self) -> str:
        """What the errors are."""
        if self.size_of_error.startswith(PROBABILITY):
            return f"The {len(self.errors)} most confident errors, of {self.error_count:,}"
        return f"The {len(self.errors)} worst rows by {self.size_of_error}, of {self.error_count:,}"

    @property
    def has_answers(self) -> bool:
        """Whether there are labels or predictions of the errors that may be shown."""
        return any(error.gold or error.prediction for error in self.errors)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error (Naeini et al. 2015): the mean distance of probability and share, over predictions."""
        total = sum(part.count for part in self.bins)
        return sum(part.count * abs(part.probability - part.right) for part in self.bins) / total


@dataclass
class _Worst:
    """The worst errors among those added."""

    count: int = 0
    heap: list[tuple[float, int, Error]] = field(default_factory=list)

    def add(self, size: float, row: str, texts: Iterable[str], gold: str, prediction: str) -> None:
        self.count += 1
        if len(self.heap) < ERRORS or size > self.heap[0][0]:
            error = Error(row, [_shorten(text) for text in texts], _shorten(gold), _shorten(prediction), size)
            (heapq.heappush if len(self.heap) < ERRORS else heapq.heappushpop)(self.heap, (size, -self.count, error))

    def details(self, rows: int, size_of_error: str, **parts: Sequence) -> Details:
        return Details(rows, [error for *_, error in sorted(self.heap, reverse=True)], self.count, size_of_error, **parts)


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def read_details(folder: Path, step: int, task: Task, with_texts: bool) -> Details:
    """Return the details of the predictions of a run's checkpoint on test.

    Raises OSError if they are missing, and one of DAMAGE if they cannot be read.
    """
    return READERS[task.kind](folder, step, task, with_texts)


def _lines(path: Path) -> Iterator[list[str]]:
    """Yield the fields of each line of a file with tabs, the names of its columns first. Raises ValueError if a line is torn."""
    with open(path, encoding="utf-8", newline="\n") as stream:  # other line ends are part of the text
        columns = 0
        for number, line in enumerate(stream, 1):
            fields = line.removesuffix("\n").split("\t")
            columns = columns or len(fields)
            if len(fields) != columns:
                raise ValueError(f"line {number} of {path.name} has {len(fields)} fields instead of {columns}")
            yield fields


def _bins(probabilities: Sequence[float], right: Sequence[int]) -> list[Bin]:
    """Return the bins that are not empty. probabilities: of n predictions; right: 1 for each that is right, else 0."""
    values, hits = np.array(probabilities, float), np.array(right, float)
    bins = np.minimum((values * BINS).astype(int), BINS - 1)
    counts, sums, shares = (np.bincount(bins, weights, BINS) for weights in (None, values, hits))
    return [Bin(sums[i] / counts[i], shares[i] / counts[i], int(counts[i])) for i in range(BINS) if counts[i]]


def _classification(folder: Path, step: int, task: Task, with_texts: bool) -> Details:
    lines, texts = _lines(prediction_file(folder, step)), len(task.text)
    probability_of = {name.removeprefix("prob_"): place for place, name in enumerate(next(lines)) if place >= texts + 3}
    pairs: Counter[tuple[str, str]] = Counter()
    worst, probabilities, right = _Worst(), array("d"), bytearray()
    for fields in lines:
        gold, prediction = fields[texts + 1 : texts + 3]
        probability = float(fields[probability_of[prediction]])
        pairs[gold, prediction] += 1
        probabilities.append(probability)
        right.append(gold == prediction)
        if gold != prediction:
            shown = fields[1 : texts + 1] if with_texts else []
            worst.add(probability, fields[0], shown, _readable(gold, task), _readable(prediction, task))
    labels, confusion = _confusion(pairs, list(probability_of), task)
    bins = _bins(probabilities, right)
    return worst.details(len(right), PROBABILITY, labels=labels, confusion=confusion, bins=bins)


def _readable(label: str, task: Task) -> str:
    name = (task.labels or {}).get(label, label)
    return label if name == label else f"{label} ({name})"


def _confusion(pairs: Mapping[tuple[str, str], int], labels: Sequence[str], task: Task) -> tuple[list[str], list[list[int]]]:
    """Return the labels of a confusion matrix, in the order of ids, and its counts: the most frequent ones if there are many."""
    if len(labels) > MAX_LABELS:
        gold: Counter[str] = Counter()
        for (label, _), count in pairs.items():
            gold[label] += count
        frequent = {label for label, _ in gold.most_common(MAX_LABELS - 1)}
        labels = [*(label for label in labels if label in frequent), OTHER]
    place_of = {label: place for place, label in enumerate(labels)}
    other = len(labels) - 1
    counts = [[0] * len(labels) for _ in labels]
    for (label, prediction), count in pairs.items():
        counts[place_of.get(label, other)][place_of.get(prediction, other)] += count
    return [_readable(label, task) for label in labels], counts


def _multi_label(folder: Path, step: int, task: Task, with_texts: bool) -> Details:
    lines, texts = _lines(prediction_file(folder, step)), len(task.text)
    labels = [name.removeprefix("prob_") for name in next(lines)[texts + 3 :]]
    gold_counts, predicted_counts, right_counts = Counter[str](), Counter[str](), Counter[str]()
    worst, probabilities, right, rows = _Worst(), array("d"), bytearray(), 0
    for rows, fields in enumerate(lines, 1):  # noqa: B007
        gold, predicted = (set(json.loads(written)) for written in fields[texts + 1 : texts + 3])
        of_row = dict(zip(labels, map(float, fields[texts + 3 :]), strict=True))
        gold_counts.update(gold)
        predicted_counts.update(predicted)
        right_counts.update(gold & predicted)
        probabilities.extend(of_row.values())
        right.extend(label in gold for label in labels)
        if wrong := gold ^ predicted:
            size = max(of_row[label] if label in predicted else 1 - of_row[label] for label in wrong)
            shown = fields[1 : texts + 1] if with_texts else []
            worst.add(size, fields[0], shown, *(", ".join(sorted(chosen)) or "none" for chosen in (gold, predicted)))
    counts = (gold_counts, predicted_counts, right_counts)
    scores = [LabelScore(_readable(label, task), *(count[label] for count in counts)) for label in labels]
    size_of_error = f"{PROBABILITY} of the worst label"
    return worst.details(rows, size_of_error, label_scores=scores, bins=_bins(probabilities, right))


def _regression(folder: Path, step: int, task: Task, with_texts: bool) -> Details:
    lines, texts = _lines(prediction_file(folder, step)), len(task.text)
    next(lines)
    worst, gold, predicted = _Worst(), array("d"), array("d")
    for fields in lines:
        label, prediction = map(float, fields[texts + 1 : texts + 3])
        gold.append(label)
        predicted.append(prediction)
        shown = fields[1 : texts + 1] if with_texts else []
        worst.add(abs(prediction - label), fields[0], shown, f"{label:g}", f"{prediction:.2f}")
    chosen = np.unique(np.linspace(0, len(gold) - 1, MAX_POINTS).astype(int)) if gold else ()
    return worst.details(len(gold), "distance", points=[(gold[row], round(predicted[row], 3)) for row in chosen])


Entity = tuple[str, int, int]  # type, first and last word


def _tagging(folder: Path, step: int, task: Task, with_texts: bool) -> Details:
    from seqeval.metrics.sequence_labeling import get_entities

    path = prediction_file(folder, step)
    suffix = ends_with_position({tag for number, fields in enumerate(_lines(path)) if number for tag in fields[2:]})
    lines = _lines(path)
    next(lines)
    gold_counts, predicted_counts, right_counts = Counter[str](), Counter[str](), Counter[str]()
    worst, rows = _Worst(), 0
    for rows, (sentence, words) in enumerate(groupby(lines, key=lambda fields: fields[0]), 1):  # noqa: B007
        _, texts, *tags = zip(*words, strict=True)
        gold, predicted = (set(get_entities(list(of_words), suffix=suffix)) for of_words in tags)
        for counts, entities in zip(
            (gold_counts, predicted_counts, right_counts), (gold, predicted, gold & predicted), strict=True
        ):
            counts.update(kind for kind, _, _ in entities)
        if gold != predicted:
            shown = [" ".join(texts)] if with_texts else []
            written = (_write_entities(entities, texts if with_texts else ()) for entities in (gold, predicted))
            worst.add(len(gold ^ predicted), sentence, shown, *written)
    types = sorted(gold_counts | predicted_counts)
    scores = [LabelScore(name, gold_counts[name], predicted_counts[name], right_counts[name]) for name in types]
    return worst.details(rows, "wrong entities", label_scores=scores)


def _write_entities(entities: Iterable[Entity], words: Sequence[str]) -> str:
    """Return `PER 0-1 (홍 길동)` for each entity: its type, the numbers of its words, and the words if they may be shown."""
    written = []
    for kind, first, last in sorted(entities, key=lambda entity: entity[1:]):
        text = f" ({' '.join(words[first : last + 1])})" if words else ""
        written.append(f"{kind} {first}{f'-{last}' if last > first else ''}{text}")
    return ", ".join(written) or "none"


def _span(folder: Path, step: int, task: Task, with_texts: bool) -> Details:
    candidates = json.loads(prediction_file(folder, step, name="nbest.json").read_text(encoding="utf-8"))
    probability_of = {name: found[0]["probability"] if found else 0.0 for name, found in candidates.items()}
    del candidates
    lines = _lines(prediction_file(folder, step))
    match = next(lines).index("exact_match")
    worst, probabilities, right = _Worst(), array("d"), bytearray()
    for fields in lines:
        name, question, answers, prediction = map(json.loads, fields[:4])
        probabilities.append(probability_of[name])
        right.append(float(fields[match]) > 0)
        if not right[-1]:
            texts = ([question], " / ".join(dict.fromkeys(answers)), prediction) if with_texts else ([], "", "")
            worst.add(probability_of[name], name, *texts)
    return worst.details(len(right), PROBABILITY, bins=_bins(probabilities, right))


READERS: Mapping[str, Callable[[Path, int, Task, bool], Details]] = {
    "classification": _classification,
    "multi_label": _multi_label,
    "regression": _regression,
    "tagging": _tagging,
    "span": _span,
}
