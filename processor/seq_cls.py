"""Sequence tasks: rows of one or two texts with a class or a score. Rows become features, logits become predictions."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from processor.features import Frame
from processor.inputs import Inputs, one_of, require_label, require_text
from processor.label_sets import Labels, encode_labels, read_label_set
from processor.readers import DataRow, read_records
from processor.split import NO_SCORES, Split, softmax, stratified_split, tsv_line
from src.data import Features, Scores, Task, Tensors
from src.errors import DataError, list_problems, quote
from src.hangul import compose_rows
from src.metrics import METRICS
from src.settings import Settings

logger = logging.getLogger(__name__)

LARGEST_SCORE = float(np.finfo(np.float32).max)
ROWS_PER_CALL = 4096  # enough to keep the tokenizer's threads busy, few enough to keep its Python lists small


@dataclass(frozen=True, slots=True)
class SequenceExample:
    """One row of a data file: one or two texts, and its label (a label string, a score, or any number of labels)."""

    texts: tuple[str, ...]
    label: str | float | Labels


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

    def divide(self, ratio: float) -> tuple[np.ndarray, np.ndarray]:
        """Hold out the same share of every label."""
        return stratified_split(self.features.tensors["labels"].tolist(), ratio)

    def log_contents(self) -> None:
        if skipped := self.features.counts.get("skipped"):
            logger.info("%s: %d rows with an empty %s left out", self.name, skipped, " or ".join(self.task.text))
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
        if self.task.placeholder:
            clean = np.array([self.task.placeholder not in example.texts for example in self.examples])
            scores[f"{headline}_clean"] = metric(labels[clean], preds[clean])[headline] if clean.any() else 0.0
        return scores

    def prediction_lines(self, decoded: SequencePredictions) -> Iterator[str]:
        """Yield one line per row: index, text columns, label, prediction and, for classes, prob_<label>."""
        labels = list(self.task.labels or ())
        yield tsv_line(["index", *self.task.text, "label", "prediction", *(f"prob_{label}" for label in labels)])
        for index, (example, _) in enumerate(zip(self.examples, decoded.values, strict=True)):
            yield tsv_line([str(index), *example.texts, *self.result_fields(decoded, index, example)])

    def result_fields(self, decoded: SequencePredictions, index: int, example: SequenceExample) -> list[str]:
        """Return label, prediction and, for classes, the probability of every label, as predictions.tsv holds them."""
        value = decoded.values[index]
        if decoded.probabilities is None:
            return [str(example.label), f"{value:.6f}"]
        probabilities = [f"{probability:.6f}" for probability in decoded.probabilities[index]]
        return [str(example.label), list(self.task.labels or ())[value], *probabilities]


class SequenceInputs(Inputs):
    """Texts without labels."""

    @property
    def keys(self) -> tuple[str, ...]:
        return ("text", "pair")[: len(self.task.text)]

    def example(self, values: Sequence[Any]) -> SequenceExample:
        texts = tuple(require_text(key, value) for key, value in zip(self.keys, values, strict=True))
        return SequenceExample(texts, next(iter(self.task.labels)) if self.task.labels else 0.0)

    def encode(self, examples: Sequence[SequenceExample]) -> Features:
        return Features(encode(examples, self.task, self.tokenizer, self.settings.max_seq_len))

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


def read_examples(path: Path, task: Task) -> tuple[list[SequenceExample], int]:
    """Return the rows of a task's file, and how many were left out because of an empty text.

    Raises DataError with file, line, what was found and what was expected.
    """
    examples, skipped = [], 0
    for _, _, example in _examples_by_line(path, task):
        if example:
            examples.append(example)
        skipped += example is None
    if not examples:
        raise DataError(f"{path}: every row has an empty {' or '.join(task.text)}; nothing is left.")
    return examples, skipped


def read_rows(path: Path, task: Task) -> list[DataRow]:
    """Return the rows of a task's file for the data check, those with an empty text included. Raises DataError."""
    return [DataRow(f"line {line}", texts, _written(example)) for line, texts, example in _examples_by_line(path, task)]


def _written(example: SequenceExample | None) -> tuple[str, ...]:
    """Return the label of an example, its score or its labels as texts; none for a row that is left out."""
    if example is None:
        return ()
    return example.label if isinstance(example.label, tuple) else (str(example.label),)


def _examples_by_line(path: Path, task: Task) -> Iterator[tuple[int, tuple[str, ...], SequenceExample | None]]:
    """Yield line, texts and example of every row; None for a row that is left out. Raises DataError, at the end of the file."""
    problems, count = [], len(task.text)
    for line, values in read_records(path, task):
        try:
            texts = tuple(map(require_text, task.text, values[:count]))
            left_out = task.skip_empty_text and not all(texts)
            example = None if left_out else SequenceExample(texts, _parse_label(task, values[count:]))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
        else:
            yield line, texts, example
    if problems:
        raise DataError(list_problems(f"{path}: {len(problems)} malformed rows:", problems))


def read_labels(path: Path, task: Task) -> Iterator[str]:
    """Yield all labels of the rows of a task's file that a run uses. Raises DataError, see `read_examples`."""
    for example in read_examples(path, task)[0]:
        yield from _written(example)


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
    if task.labels is not None and label not in task.labels:
        raise ValueError(f"{name}: found {quote(label)}, expected {one_of(task.labels)}")
    return label


def _parse_score(name: str, value: Any) -> float:
    try:
        score = float(value)
    except (ValueError, TypeError):
        raise ValueError(f"{name}: found {quote(value)}, expected a number") from None
    except OverflowError:
        score = math.inf
    if not abs(score) <= LARGEST_SCORE:
        raise ValueError(f"{name}: found {quote(value)}, expected a finite number")
    return score


def encode(examples: Sequence[SequenceExample], task: Task, tokenizer: Any, max_seq_len: int) -> Tensors:
    """Return the tensors of n rows; see Features for `labels`."""
    input_ids: list[np.ndarray] = []
    token_type_ids: list[np.ndarray] = []
    lengths: list[int] = []  # before rows are cut
    decomposed: list[np.ndarray] = []
    has_segments = Frame.of(tokenizer, len(task.text)).has_segments  # reading segments that are all 0 takes time
    for start in range(0, len(examples), ROWS_PER_CALL):
        texts, changed = compose_rows([example.texts for example in examples[start : start + ROWS_PER_CALL]])
        decomposed.append(changed)
        rows = _encodings(tokenizer, texts)
        ids = [row.ids for row in rows]
        lengths += map(len, ids)
        segments = [row.type_ids for row in rows] if has_segments else []
        for row, encoding in enumerate(rows):
            if len(ids[row]) > max_seq_len:
                keep = longest_first(encoding.sequence_ids, max_seq_len)
                ids[row] = [ids[row][position] for position in keep]
                if has_segments:
                    segments[row] = [segments[row][position] for position in keep]
        input_ids.append(np.array(list(chain.from_iterable(ids)), np.int32))
        token_segments = list(chain.from_iterable(segments)) if has_segments else np.zeros(len(input_ids[-1]))
        token_type_ids.append(np.array(token_segments, np.uint8))
    return {
        "input_ids": np.concatenate(input_ids),
        "token_type_ids": np.concatenate(token_type_ids),
        "offsets": np.cumsum([0, *np.minimum(lengths, max_seq_len)]),
        "labels": _encode_labels([example.label for example in examples], task),
        "cut": np.maximum(np.array(lengths, np.int32) - max_seq_len, 0),
        "decomposed": np.concatenate(decomposed),
    }


def _encode_labels(labels: Sequence[Any], task: Task) -> np.ndarray:
    if task.labels is None:
        return np.array(labels, np.float32)
    if task.kind == "multi_label":
        return encode_labels(labels, list(task.labels))
    ids_of = {label: position for position, label in enumerate(task.labels)}
    return np.array([ids_of[label] for label in labels], np.int64)


def _encodings(tokenizer: Any, rows: Sequence[Sequence[str]]) -> Sequence[Any]:
    """Return the Rust tokenizer's encoding of each row of texts, not truncated.

    Called directly, it takes two thirds of the time of its Python wrapper.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    try:
        return backend.encode_batch_fast([texts if len(texts) > 1 else texts[0] for texts in rows])
    except Exception:
        tokenizer(*map(list, zip(*rows, strict=True)))  # its error message may be clearer
        raise


def longest_first(sequence_ids: Sequence[int | None], max_seq_len: int) -> list[int]:
    """Return the positions to keep when a row is truncated: one token at a time is cut off the end of the longer text.

    Of two texts of the same length the second is cut, as the original's tokenizer did; the Rust tokenizer's own "longest_first"
    differs there. sequence_ids: 0 or 1 for tokens of the first or second text, None for special tokens.
    """
    counts = [sequence_ids.count(0), sequence_ids.count(1)]
    for _ in range(len(sequence_ids) - max_seq_len):
        counts[0 if counts[0] > counts[1] else 1] -= 1
    seen = [0, 0]
    keep = []
    for position, sequence in enumerate(sequence_ids):
        if sequence is None:
            keep.append(position)
            continue
        if seen[sequence] < counts[sequence]:
            keep.append(position)
        seen[sequence] += 1
    return keep
