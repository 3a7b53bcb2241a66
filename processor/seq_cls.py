"""Sequence tasks: rows of texts with a class or a score. Rows become features, logits become predictions."""

import logging
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from processor.inputs import Inputs, one_of, require_content, require_label, require_text
from processor.quality import lack_a_text
from processor.readers.tables import DataRow, read_records
from processor.readers.text_files import parse_rows
from processor.seq_features import Labels, SequenceExample, encode, read_label_set
from processor.spans import mark_spans, require_marks
from processor.split import NO_SCORES, Split, softmax, tsv_line
from src.common.errors import DataError, quote
from src.data.special import SpecialTokens
from src.data.task import Features, Scores, Task, Tensors
from src.metrics.analysis import Analysis, of_classes, of_scores, readable
from src.metrics.metrics import METRICS
from src.settings.schema import Settings

logger = logging.getLogger(__name__)

LARGEST_SCORE = float(np.finfo(np.float32).max)


# The columns of predictions.tsv that are not texts. A text column of such a name is written as text_<name>.
OWN_COLUMN = re.compile(r"(index|label)$|prediction|prob_")


@dataclass(frozen=True)
class SequencePredictions:
    """What a model predicts for n rows."""

    values: np.ndarray  # label ids, int64 [n], or scores, float32 [n]
    probabilities: np.ndarray | None  # of each label, float64 [n, number of labels]; None for scores


def decode_logits(logits: np.ndarray, task: Task) -> SequencePredictions:
    """Return the predictions in logits, float32 [n, number of labels], or [n, 1] for a score."""
    if task.labels is None:
        return SequencePredictions(logits[:, 0], None)
    return SequencePredictions(logits.argmax(axis=1), softmax(logits))


class SequenceSplit(Split):
    """One data file of a sequence task."""

    @classmethod
    def build(cls, name: str, path: Path, settings: Settings, task: Task, tokenizer: Any) -> Features:
        examples, skipped = read_examples(path, task)
        return Features(encode(examples, task, tokenizer, settings.max_seq_len), {"skipped": skipped})

    def read(self) -> list[SequenceExample]:
        return read_examples(self.file.path, self.task)[0]

    def strata(self) -> Sequence[Any]:
        """Return the labels: the same share of each is held out."""
        return self.features.tensors["labels"].tolist()

    def log_contents(self) -> None:
        if skipped := self.features.counts.get("skipped"):
            logger.info("%s: %d rows with an empty %s left out", self.name, skipped, " or ".join(self.task.texts))
        if counts := self.label_counts():
            self.log_counts("labels", counts)

    def label_counts(self) -> dict[str, int]:
        if not self.task.labels:
            return {}
        counts = np.bincount(self.features.tensors["labels"], minlength=len(self.task.labels)).tolist()
        return dict(zip(self.task.labels, counts, strict=True))

    def cautions(self, decoded: SequencePredictions) -> list[str]:
        varies = np.ptp(self.features.tensors["labels"], axis=0).any()
        same = ["all labels in the file are the same"] if self.size > 1 and not varies else []
        return [*same, *super().cautions(decoded)]

    def predicted_values(self, decoded: SequencePredictions) -> list[Any]:
        if self.task.labels:
            return [list(self.task.labels)[value] for value in np.unique(decoded.values)]
        return list(np.unique(decoded.values))

    def decode(self, outputs: np.ndarray, dev: Scores = NO_SCORES) -> SequencePredictions:
        return decode_logits(outputs, self.task)

    def score(self, decoded: SequencePredictions) -> Scores:
        """Return the scores of the task's metric.

        For a task with a placeholder also `<headline>_clean`, the headline score without the rows that contain it.
        """
        labels, preds = self.features.tensors["labels"], decoded.values
        metric, headline = METRICS[self.task.metric].compute, self.task.headline
        scores = metric(labels, preds)
        if (further := METRICS[self.task.metric].of_probabilities) and decoded.probabilities is not None:
            scores |= further(labels, decoded.probabilities)
        if self.task.placeholder:
            clean = np.array([self.task.placeholder not in example.texts for example in self.examples])
            scores[f"{headline}_clean"] = metric(labels[clean], preds[clean])[headline] if clean.any() else 0.0
        return scores

    def analysis(self, decoded: SequencePredictions) -> Analysis:
        gold, names = self.features.tensors["labels"], readable(self.task.labels or {})
        if decoded.probabilities is None:
            return of_scores(gold, decoded.values, self.texts_of)
        return of_classes(gold, decoded.values, decoded.probabilities, names, self.texts_of)

    def texts_of(self, row: int) -> tuple[str, ...]:
        """Return the texts of an example."""
        return self.examples[row].texts

    def prediction_lines(self, decoded: SequencePredictions) -> Iterator[str]:
        """Yield one line per row: index, text columns, label, prediction and, for classes, prob_<label>."""
        labels = list(self.task.labels or ())
        texts = [f"text_{column}" if OWN_COLUMN.match(column) else column for column in self.task.texts]
        yield tsv_line(["index", *texts, "label", "prediction", *(f"prob_{label}" for label in labels)])
        for index, (example, _) in enumerate(zip(self.examples, decoded.values, strict=True)):
            yield tsv_line([str(index), *example.texts, *self.result_fields(decoded, index, example)])

    def result_fields(self, decoded: SequencePredictions, index: int, example: SequenceExample) -> list[str]:
        """Return label, prediction and, for classes, the probability of every label, as predictions.tsv holds them.

        A score has all its digits: `compare` computes metrics from them.
        """
        value = decoded.values[index]
        if decoded.probabilities is None:
            return [str(example.label), str(value)]
        probabilities = [f"{probability:.6f}" for probability in decoded.probabilities[index]]
        return [str(example.label), list(self.task.labels or ())[value], *probabilities]


class SequenceInputs(Inputs):
    """Texts without labels."""

    @property
    def keys(self) -> tuple[str, ...]:
        return ("text", "pair")[: len(self.task.text)]

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        return ((*self.task.texts, *self.task.spans), self.keys)

    def example(self, values: Sequence[Any]) -> SequenceExample:
        """Return the example of an input. Its spans are marked in the text, or given by the columns of the training data."""
        count = len(self.columns)
        texts = parse_texts(self.columns, values[:count])
        if self.task.spans and len(values) > count:
            texts = (mark_spans(texts[0], self.task.spans, values[count:]),)
        elif self.task.spans:
            require_marks(self.keys[0], texts[0])
        for key, text in zip(self.columns, texts, strict=True):
            require_content(key, text)
        return SequenceExample(texts, next(iter(self.task.labels)) if self.task.labels else 0.0)

    def encode(self, examples: Sequence[SequenceExample]) -> Features:
        """Return the features of examples. Raises ValueError if the tokenizer drops all of a text, as it does with U+200B."""
        tensors, texts = self._tensors(examples)
        special = SpecialTokens.of(self.tokenizer, texts)
        if np.any(lack_a_text(tensors["input_ids"], tensors["offsets"], special) & (tensors["cut"] == 0)):
            raise ValueError(f"{' or '.join(self.keys)} has no character that it keeps")
        return Features(tensors)

    def _tensors(self, examples: Sequence[SequenceExample]) -> tuple[Tensors, int]:
        """Return the tensors of examples, and the number of texts in a sequence."""
        return encode(examples, self.task, self.tokenizer, self.settings.max_seq_len), len(self.task.text)

    def results(self, examples: Sequence[SequenceExample], features: Features, outputs: np.ndarray) -> Iterator[dict[str, Any]]:
        """Yield the score, or the label, its readable name if that differs, and the probability of every label."""
        decoded, labels = decode_logits(outputs, self.task), self.task.labels
        for index, value in enumerate(decoded.values):
            if labels is None or decoded.probabilities is None:
                yield {"score": round(float(value), 6)}
                continue
            label = list(labels)[value]
            name = {} if labels[label] == label else {"name": labels[label]}
            probabilities = [round(float(probability), 6) for probability in decoded.probabilities[index]]
            yield {"label": label, **name, "probabilities": dict(zip(labels, probabilities, strict=True))}


def parse_texts(names: Sequence[str], values: Sequence[Any]) -> tuple[str, ...]:
    """Return the texts of a row, in training and in prediction. Raises ValueError for a value that is not a string."""
    return tuple(map(require_text, names, values))


def read_examples(path: Path, task: Task) -> tuple[list[SequenceExample], int]:
    """Return the rows of a task's file, and how many were left out because of an empty text.

    Raises DataError with file, line, what was found and what was expected.
    """
    rows = [example for _, (_, example) in _examples_by_line(path, task)]
    examples = [example for example in rows if example]
    if not examples:
        raise DataError(f"{path}: every row has an empty {' or '.join(task.of_file(path).texts)}; nothing is left.")
    return examples, len(rows) - len(examples)


def read_rows(path: Path, task: Task) -> list[DataRow]:
    """Return the rows of a task's file for the data check, those with an empty text included. Raises DataError."""
    return [DataRow(f"line {line}", texts, _written(example)) for line, (texts, example) in _examples_by_line(path, task)]


def _written(example: SequenceExample | None) -> tuple[str, ...]:
    """Return the label of an example, its score or its labels as texts; none for a row that is left out."""
    if example is None:
        return ()
    return example.label if isinstance(example.label, tuple) else (str(example.label),)


def _examples_by_line(path: Path, task: Task) -> Iterator[tuple[int, tuple[tuple[str, ...], SequenceExample | None]]]:
    """Yield (line, (texts, example)) of every row; None for a row that is left out. Raises DataError, see parse_rows."""
    task = task.of_file(path)
    count = len(task.texts)
    labels = count + len(task.spans)

    def parse(values: Sequence[Any]) -> tuple[tuple[str, ...], SequenceExample | None]:
        texts = parse_texts(task.texts, values[:count])
        if task.spans:
            texts = (mark_spans(texts[0], task.spans, values[count:labels]),)
        left_out = task.skip_empty_text and not all(texts)
        return texts, None if left_out else SequenceExample(texts, _parse_label(task, values[labels:]))

    return parse_rows(path, read_records(path, task), parse)


def _parse_label(task: Task, values: Sequence[Any]) -> str | float | Labels:
    """Return the label, the labels or the score in a file. Raises ValueError if it is none."""
    if task.kind == "multi_label":
        return read_label_set(values, task)
    (value,), (name,) = values, task.label
    if task.kind == "regression":
        return _parse_score(name, value)
    label = require_label(name, value)
    if task.labels is None and not label.strip():
        raise ValueError(f"{name}: found {quote(label)}, expected a label")
    label = task.spellings.get(label, label)
    if task.labels is not None and label not in task.labels:
        raise ValueError(f"{name}: found {quote(label)}, expected {one_of(task.labels)}")
    return label


def _parse_score(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool) or "_" in str(value):  # numbers to Python alone
            raise ValueError
        score = float(value)
    except (ValueError, TypeError):
        raise ValueError(f"{name}: found {quote(value)}, expected a number") from None
    except OverflowError:
        score = math.inf
    if not abs(score) <= LARGEST_SCORE:
        raise ValueError(f"{name}: found {quote(value)}, expected a finite number")
    return score
