"""Sequence tasks: a row of one text or two, with a class or a score, becomes features; logits become scores and predictions."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from processor.features import Frame, cached_features, fingerprint
from processor.readers import read_tsv
from processor.split import Example, divide, log_counts, log_split, require_text, require_unchanged, softmax
from src.data import DataFile, Features, Scores, Task, Tensors
from src.errors import DataError, list_problems
from src.metrics import METRICS
from src.settings import Settings

logger = logging.getLogger(__name__)

ROWS_PER_CALL = 4096  # enough to keep the tokenizer's threads busy, few enough to keep its Python lists small


@dataclass(frozen=True)
class Split:
    """One data file of a task as the loop sees it: features in, logits out, both in the file's order."""

    name: str
    task: Task
    file: DataFile
    features: Features
    rows: np.ndarray | None = None  # which of the file's rows, where not all

    def __len__(self) -> int:
        return len(self.features)

    @property
    def facts(self) -> dict[str, Any]:
        """What the record of a run says of it."""
        return {"rows": len(self)}

    @cached_property
    def examples(self) -> list[Example]:
        """The rows behind the features; read only when predictions are written.

        Raises DataError where the file is no longer the one the features came from.
        """
        require_unchanged(self.name, self.file)
        examples = read_examples(self.file.path, self.task)[0]
        return examples if self.rows is None else [examples[row] for row in self.rows]

    def hold_out(self, ratio: float) -> tuple["Split", "Split"]:
        """This split without a share of its rows, and those rows as the split "dev"; labels are as frequent in both."""
        train, dev = divide(self, self.features.tensors["labels"].tolist(), ratio)
        return train, dev

    def log_labels(self) -> None:
        """Say how often each label occurs."""
        if self.task.labels:
            counts = np.bincount(self.features.tensors["labels"], minlength=len(self.task.labels)).tolist()
            log_counts(self.name, "labels", dict(zip(self.task.labels, counts, strict=True)))

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Return the outputs unchanged."""
        return outputs

    def score(self, logits: np.ndarray) -> Scores:
        """The task's metrics for logits float32 [n, number of labels] ([n, 1] for a score).

        Where the task has a placeholder, `<headline>_clean` too: its headline score without the rows that hold one.
        """
        labels = self.features.tensors["labels"]
        preds = logits[:, 0] if self.task.labels is None else logits.argmax(axis=1)
        metric, headline = METRICS[self.task.metric].compute, self.task.headline
        scores = metric(labels, preds)
        if self.task.placeholder:
            clean = np.array([self.task.placeholder not in example.texts for example in self.examples])
            scores[f"{headline}_clean"] = metric(labels[clean], preds[clean])[headline] if clean.any() else 0.0
        return scores

    def report(self, logits: np.ndarray) -> str:
        """Nothing beyond the scores."""
        return ""

    def predictions(self, logits: np.ndarray) -> dict[str, Iterator[str]]:
        """predictions.tsv: index, text columns, label, prediction, and prob_<label> where there are classes."""
        return {"predictions.tsv": self._prediction_lines(logits)}

    def _prediction_lines(self, logits: np.ndarray) -> Iterator[str]:
        names = list(self.task.labels or ())
        yield "\t".join(["index", *self.task.text_columns, "label", "prediction", *(f"prob_{name}" for name in names)])
        for index, (example, row) in enumerate(zip(self.examples, logits, strict=True)):
            found = [names[int(row.argmax())], *(f"{share:.6f}" for share in softmax(row))] if names else [f"{row[0]:.6f}"]
            yield "\t".join([str(index), *example.texts, str(example.label), *found])


@dataclass(frozen=True)
class Inputs:
    """Texts that nobody has labelled, as predict.py reads them."""

    task: Task
    tokenizer: Any
    settings: Settings

    @property
    def keys(self) -> tuple[str, ...]:
        """What an input holds."""
        return ("text", "pair")[: len(self.task.text_columns)]

    def example(self, values: Sequence[Any]) -> Example:
        """The row of an input's values. Raises ValueError for what is no text."""
        texts = tuple(require_text(key, value) for key, value in zip(self.keys, values, strict=True))
        return Example(texts, next(iter(self.task.labels)) if self.task.labels else 0.0)

    def encode(self, examples: Sequence[Example]) -> Features:
        """Their features; the labels mean nothing."""
        return Features(encode(examples, self.task, self.tokenizer, self.settings.max_seq_len))

    def results(self, examples: Sequence[Example], features: Features, logits: np.ndarray) -> Iterator[dict[str, Any]]:
        """For each the label and the probability of every label, or the score; a label's readable name where it has one."""
        labels = self.task.labels
        for row in logits:
            if labels is None:
                yield {"score": round(float(row[0]), 6)}
                continue
            label = list(labels)[int(row.argmax())]
            name = {} if labels[label] == label else {"name": labels[label]}
            shares = {each: round(float(share), 6) for each, share in zip(labels, softmax(row), strict=True)}
            yield {"label": label, **name, "probabilities": shares}


def load_split(name: str, file: DataFile, settings: Settings, task: Task, tokenizer: Any) -> Split:
    """Build or fetch the features of one split. Raises DataError for a malformed file."""
    key = fingerprint(file, task, tokenizer, {"max_seq_len": settings.max_seq_len})

    def build() -> Features:
        examples, skipped = read_examples(file.path, task)
        return Features(encode(examples, task, tokenizer, settings.max_seq_len), {"skipped": skipped})

    features = cached_features(Path(settings.feature_cache_dir), f"{settings.task}-{name}-{key}", build)
    log_split(name, file, features, settings.max_seq_len)
    if skipped := features.counts.get("skipped"):
        logger.info("%s: %d rows with an empty %s left out", name, skipped, " or ".join(task.text_columns))
    split = Split(name, task, file, features)
    split.log_labels()
    return split


def read_examples(path: Path, task: Task) -> tuple[list[Example], int]:
    """The rows of a task's file, and how many were left out for an empty text.

    Raises DataError with file, line, what was found and what was expected.
    """
    where = {column: position for position, column in enumerate(task.columns)}
    text_positions = [where[column] for column in task.text_columns]
    label_position = where[task.label_column]
    examples, problems, skipped = [], [], 0
    for line, fields in read_tsv(path, task.columns):
        texts = tuple(fields[position] for position in text_positions)
        if task.skip_empty_text and not all(texts):
            skipped += 1
            continue
        try:
            examples.append(Example(texts, _parse_label(fields[label_position], task.labels)))
        except ValueError as error:
            problems.append(f"line {line}: {task.label_column}: {error}")
    if problems:
        raise DataError(list_problems(f"{path}: {len(problems)} malformed rows:", problems))
    if not examples:
        raise DataError(f"{path}: every row has an empty {' or '.join(task.text_columns)}; nothing is left.")
    return examples, skipped


def _parse_label(found: str, labels: Mapping[str, str] | None) -> str | float:
    if labels is not None:
        if found not in labels:
            raise ValueError(f"found {found!r}, expected one of {', '.join(labels)}")
        return found
    try:
        score = float(found)
    except ValueError:
        raise ValueError(f"found {found!r}, expected a number") from None
    if not np.isfinite(score):
        raise ValueError(f"found {found!r}, expected a finite number")
    return score


def encode(examples: Sequence[Example], task: Task, tokenizer: Any, max_seq_len: int) -> Tensors:
    """Features of `examples`; see Features. `labels` are ids, int64, or scores, float32, [n]."""
    input_ids: list[np.ndarray] = []
    token_type_ids: list[np.ndarray] = []
    lengths: list[int] = []
    in_segments = Frame.of(tokenizer, len(task.text_columns)).has_segments  # asking for what is all 0 takes time
    for start in range(0, len(examples), ROWS_PER_CALL):
        rows = _encodings(tokenizer, examples[start : start + ROWS_PER_CALL])
        ids = [row.ids for row in rows]
        segments = [row.type_ids for row in rows] if in_segments else []
        for row, encoding in enumerate(rows):
            if len(ids[row]) > max_seq_len:
                keep = _longest_first(encoding.sequence_ids, max_seq_len)
                ids[row] = [ids[row][position] for position in keep]
                if in_segments:
                    segments[row] = [segments[row][position] for position in keep]
        lengths += map(len, ids)
        input_ids.append(np.array(list(chain.from_iterable(ids)), np.int32))
        of_tokens = list(chain.from_iterable(segments)) if in_segments else np.zeros(len(input_ids[-1]))
        token_type_ids.append(np.array(of_tokens, np.uint8))
    if task.labels is None:
        labels = np.array([example.label for example in examples], np.float32)
    else:
        ids_of = {label: position for position, label in enumerate(task.labels)}
        labels = np.array([ids_of[str(example.label)] for example in examples], np.int64)
    return {
        "input_ids": np.concatenate(input_ids),
        "token_type_ids": np.concatenate(token_type_ids),
        "offsets": np.cumsum([0, *lengths]),
        "labels": labels,
    }


def _encodings(tokenizer: Any, examples: Sequence[Example]) -> Sequence[Any]:
    """What the Rust tokenizer says of each row, whole. Asked itself, it takes two thirds of the time of its wrapper's lists."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    try:
        return backend.encode_batch_fast([example.texts if len(example.texts) > 1 else example.texts[0] for example in examples])
    except Exception:
        tokenizer(*map(list, zip(*(example.texts for example in examples), strict=True)))  # may know better what is wrong
        raise


def _longest_first(sequence_ids: Sequence[int | None], max_seq_len: int) -> list[int]:
    """Positions that stay when a row is cut to `max_seq_len`: one token at a time off the end of the longer text.

    Of two texts of one length the second is cut, as the original's tokenizer did; the Rust tokenizer's own truncation differs
    there. `sequence_ids`: 0 or 1 for tokens of the first or second text, None for special tokens.
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
