"""What a model got wrong on a split, computed when it is scored: confusions, scores by label, calibration, the worst errors."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from src.data.task import ends_with_position

ERRORS = 50  # kept
BINS = 10  # of a reliability curve
MAX_LABELS = 20  # in a confusion matrix; the rarer ones are counted together
OTHER = "other labels"
PROBABILITY = "probability"  # that a model gives to what it predicts
MAX_POINTS = 500  # in a scatter plot
MAX_TEXT = 300  # characters

TextsOf = Callable[[int], Sequence[str]]  # number of a row -> its texts


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Error(_Part):
    """A row that the model got wrong."""

    row: str  # its number from 0, or the id of a question
    texts: Sequence[str]
    gold: str
    prediction: str
    size: float  # the larger, the worse; see Analysis.size_of_error
    without_texts: tuple[str, str] | None = None  # gold and prediction where no text may be shown, if these hold some


class LabelScore(_Part):
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


class Bin(_Part):
    """The predictions with a probability in one tenth of 0 to 1: their mean probability, and the share that is right."""

    probability: float
    right: float
    count: int


class Analysis(_Part):
    """What analysis-<step>.json holds; empty parts do not exist for its kind of task."""

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

    def hide_texts(self) -> "Analysis":
        """Return the analysis without any text of the corpus."""
        hidden = []
        for error in self.errors:
            gold, prediction = error.without_texts or (error.gold, error.prediction)
            hidden.append(error.model_copy(update={"texts": (), "gold": gold, "prediction": prediction}))
        return self.model_copy(update={"errors": hidden})


def _analysis(
    size_of_error: str, sizes: np.ndarray, is_wrong: np.ndarray, describe: Callable[[int], Error], **parts: Any
) -> Analysis:
    """Return an analysis with the worst errors. sizes: float [n], the larger, the worse; is_wrong: bool [n]."""
    wrong = np.flatnonzero(is_wrong)
    order = wrong[np.argsort(-sizes[wrong], kind="stable")[:ERRORS]]
    errors = [describe(row) for row in order.tolist()]
    return Analysis(rows=len(sizes), errors=errors, error_count=len(wrong), size_of_error=size_of_error, **parts)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def _reliability(probabilities: np.ndarray, right: np.ndarray) -> list[Bin]:
    """Return the bins that are not empty. probabilities: of predictions, float [n]; right: 1 for each that is right, else 0."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    counts, sums, hits = (np.bincount(bins, weights, BINS) for weights in (None, probabilities, right.astype(float)))
    parts = zip(counts.tolist(), sums.tolist(), hits.tolist(), strict=True)
    return [Bin(probability=total / count, right=hit / count, count=count) for count, total, hit in parts if count]


def readable(labels: Mapping[str, str]) -> list[str]:
    """Return how labels are shown, those of a task as in its definition: `1 (positive)`, or `1` if it has no other name."""
    return [label if name == label else f"{label} ({name})" for label, name in labels.items()]


def of_classes(
    gold: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, names: Sequence[str], texts: TextsOf
) -> Analysis:
    """Analyse classes. gold, predicted: label ids, int [n]; probabilities: float [n, labels]; names: of the labels."""
    chosen = probabilities[np.arange(len(predicted)), predicted]

    def describe(row: int) -> Error:
        return _error(str(row), texts(row), (names[gold[row]], names[predicted[row]]), chosen[row])

    labels, confusion = _confusion(gold, predicted, names)
    bins = _reliability(chosen, gold == predicted)
    return _analysis(PROBABILITY, chosen, gold != predicted, describe, labels=labels, confusion=confusion, bins=bins)


def _error(row: str, texts: Iterable[str], answers: tuple[str, str], size: float) -> Error:
    gold, prediction = map(_cut, answers)
    return Error(row=row, texts=[_cut(text) for text in texts], gold=gold, prediction=prediction, size=round(float(size), 6))


def _confusion(gold: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """Return the labels of a confusion matrix, in the order of ids, and its counts: the most frequent ones if there are many."""
    labels, place_of = list(names), np.arange(len(names))
    if len(labels) > MAX_LABELS:
        counts = np.bincount(gold, minlength=len(names))
        frequent = np.sort(np.argsort(-counts, kind="stable")[: MAX_LABELS - 1])
        place_of = np.full(len(names), MAX_LABELS - 1)
        place_of[frequent] = np.arange(len(frequent))
        labels = [*(names[label] for label in frequent), OTHER]
    size = len(labels)
    pairs = np.bincount(place_of[gold] * size + place_of[predicted], minlength=size * size)
    return labels, pairs.reshape(size, size).tolist()


def of_label_sets(
    gold: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, labels: Mapping[str, str], texts: TextsOf
) -> Analysis:
    """Analyse rows with any number of labels. All arrays [n, labels]: 1 for a label of the row, else 0, and its probability."""
    written = list(labels)
    gold, predicted = gold.astype(bool), predicted.astype(bool)
    wrong = gold != predicted
    sizes = np.where(wrong, np.where(predicted, probabilities, 1 - probabilities), 0.0).max(axis=1, initial=0.0)

    def describe(row: int) -> Error:
        gold_text, predicted_text = (
            ", ".join(sorted(written[label] for label in np.flatnonzero(of[row]))) or "none" for of in (gold, predicted)
        )
        return _error(str(row), texts(row), (gold_text, predicted_text), sizes[row])

    counts = zip(readable(labels), *(of.sum(axis=0).tolist() for of in (gold, predicted, gold & predicted)), strict=True)
    parts = {"label_scores": _label_scores(counts), "bins": _reliability(probabilities.ravel(), gold.ravel())}
    return _analysis(f"{PROBABILITY} of the worst label", sizes, wrong.any(axis=1), describe, **parts)


def _label_scores(counts: Iterable[tuple[str, int, int, int]]) -> list[LabelScore]:
    return [LabelScore(label=label, gold=gold, predicted=predicted, right=right) for label, gold, predicted, right in counts]


def of_scores(gold: np.ndarray, predicted: np.ndarray, texts: TextsOf) -> Analysis:
    """Analyse scores, both float [n]: every row counts as an error by its distance."""
    sizes = np.abs(predicted.astype(float) - gold)

    def describe(row: int) -> Error:
        return _error(str(row), texts(row), (f"{gold[row]:g}", f"{predicted[row]:.2f}"), sizes[row])

    chosen = np.unique(np.linspace(0, len(gold) - 1, MAX_POINTS).astype(int))
    points = [(round(float(gold[row]), 3), round(float(predicted[row]), 3)) for row in chosen]
    return _analysis("distance", sizes, np.full(len(sizes), True), describe, points=points)


Entity = tuple[str, int, int]  # type, first and last word


def of_entities(
    gold_tags: Sequence[list[str]],
    predicted_tags: Sequence[list[str]],
    words: Sequence[list[str]],
    find_entities: Callable[[list[str]], Iterable[Entity]] | None = None,
    separator: str = " ",
) -> Analysis:
    """Analyse the entities of sentences: for each, the tags and the words of all of them.

    find_entities: those in the tags of a sentence; by default as seqeval finds them. separator: what stands between two words;
    nothing if they are characters.
    """
    if find_entities is None:
        from seqeval.metrics.sequence_labeling import get_entities

        find_entities = partial(get_entities, suffix=ends_with_position(chain(*gold_tags, *predicted_tags)))
    gold, predicted = ([set(find_entities(tags)) for tags in of] for of in (gold_tags, predicted_tags))
    sizes = np.array([len(right ^ found) for right, found in zip(gold, predicted, strict=True)], float)

    def describe(row: int) -> Error:
        answers, hidden = ([_write(of[row], shown, separator) for of in (gold, predicted)] for shown in (words[row], ()))
        error = _error(str(row), [separator.join(words[row])], (answers[0], answers[1]), sizes[row])
        return error.model_copy(update={"without_texts": tuple(map(_cut, hidden))})

    both = [right & found for right, found in zip(gold, predicted, strict=True)]
    counts = [Counter(kind for entities in of for kind, _, _ in entities) for of in (gold, predicted, both)]
    scores = _label_scores((kind, *(count[kind] for count in counts)) for kind in sorted(counts[0] | counts[1]))
    return _analysis("wrong entities", sizes, sizes > 0, describe, label_scores=scores)


def _write(entities: Iterable[Entity], words: Sequence[str], separator: str) -> str:
    """Return `PER 0-1 (홍 길동)` for each entity: its type, the numbers of its words, and the words if they may be shown."""
    written = []
    for kind, first, last in sorted(entities, key=lambda entity: entity[1:]):
        text = f" ({separator.join(words[first : last + 1])})" if words else ""
        written.append(f"{kind} {first}{f'-{last}' if last > first else ''}{text}")
    return ", ".join(written) or "none"


def of_answers(probabilities: np.ndarray, right: np.ndarray, describe: Callable[[int], tuple[str, str, str, str]]) -> Analysis:
    """Analyse answers to questions. Both [n]; describe: number of a question -> its id, the question, the gold and the answer."""

    def error(row: int) -> Error:
        name, question, gold, answer = describe(row)
        found = _error(name, [question], (gold, answer), probabilities[row])
        return found.model_copy(update={"without_texts": ("", "")})

    return _analysis(PROBABILITY, probabilities, right == 0, error, bins=_reliability(probabilities, right))
