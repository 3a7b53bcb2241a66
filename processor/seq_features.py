"""Features of sequence tasks: rows of one or two texts become token ids, their labels become a tensor."""

import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from processor.features import one_ahead
from src.common.errors import did_you_mean, quote
from src.common.strict_json import parse_json
from src.data.hangul import compose_rows
from src.data.special import SpecialTokens
from src.data.task import Task, Tensors

Labels = tuple[str, ...]  # of one row

SWITCHES = {"0": False, "1": True, "false": False, "true": True}  # values of a column for one label, in lower case

ROWS_PER_CALL = 4096  # enough to keep the tokenizer's threads busy, few enough to keep its Python lists small


@dataclass(frozen=True, slots=True)
class SequenceExample:
    """One row of a data file: its texts, and its label (a label string, a score, or any number of labels)."""

    texts: tuple[str, ...]
    label: str | float | Labels


def encode(examples: Sequence[SequenceExample], task: Task, tokenizer: Any, max_seq_len: int) -> Tensors:
    """Return the tensors of n rows, each one sequence of its texts; see Features for `labels`."""
    labels = label_tensor([example.label for example in examples], task)
    return encode_texts([example.texts for example in examples], tokenizer, max_seq_len) | {"labels": labels}


def encode_texts(texts: Sequence[tuple[str, ...]], tokenizer: Any, max_seq_len: int) -> Tensors:
    """Return the tensors of sequences of one or two texts, all but `labels`."""
    input_ids: list[np.ndarray] = []
    token_type_ids: list[np.ndarray] = []
    lengths: list[int] = []  # before rows are cut
    decomposed: list[np.ndarray] = []
    has_segments = SpecialTokens.of(tokenizer, len(texts[0])).has_segments  # reading segments that are all 0 takes time
    chunks = (texts[start : start + ROWS_PER_CALL] for start in range(0, len(texts), ROWS_PER_CALL))
    for rows, changed in one_ahead(partial(_encodings, tokenizer), chunks):
        decomposed.append(changed)
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
        "cut": np.maximum(np.array(lengths, np.int32) - max_seq_len, 0),
        "decomposed": np.concatenate(decomposed),
    }


def label_tensor(labels: Sequence[Any], task: Task) -> np.ndarray:
    """Return the `labels` of Features."""
    if task.labels is None:
        return np.array(labels, np.float32)
    if task.kind == "multi_label":
        return encode_labels(labels, list(task.labels))
    ids_of = {label: position for position, label in enumerate(task.labels)}
    return np.array([ids_of[label] for label in labels], np.int64)


def _encodings(tokenizer: Any, texts: Sequence[tuple[str, ...]]) -> tuple[Sequence[Any], np.ndarray]:
    """Return the Rust tokenizer's encoding of each row, not truncated, and which rows have decomposed Hangul.

    Called directly, it takes two thirds of the time of its Python wrapper.
    """
    rows, changed = compose_rows(texts)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    try:
        return backend.encode_batch_fast([row if len(row) > 1 else row[0] for row in rows]), changed
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


def read_label_set(values: Sequence[Any], task: Task) -> Labels:
    """Return the labels of a row in the order of their ids, from the values of its label columns: strings or JSON values.

    Raises ValueError for values that are not labels, or not those of the task.
    """
    prefix = f"{task.label[0]}: " if len(task.label) == 1 else ""
    try:
        found = split_labels(values, task)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from None
    if task.labels is None:  # they are still to be taken from the training file
        return found
    for label in found:
        if label not in task.labels:
            near = did_you_mean(label, task.labels)
            raise ValueError(f"{prefix}found {quote(label)}, expected labels among {', '.join(task.labels)}.{near}")
    return tuple(label for label in task.labels if label in found)


def split_labels(values: Sequence[Any], task: Task) -> Labels:
    """Return the labels of a row whether or not the task knows them. Raises ValueError if they cannot be told apart.

    A task with several label columns has a label for each: 0, 1, true or false. In a single column the labels are a list, as a
    JSON value or as text, or a text with `label_separator` between them; spaces around a label are not part of it.
    """
    if len(task.label) > 1:
        return tuple(column for column, value in zip(task.label, values, strict=True) if _is_on(column, value))
    (value,) = values
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = parse_json(value)
        except ValueError:
            raise ValueError(f"found {quote(value)}, which starts like a list, but is not JSON") from None
    if isinstance(value, str):
        value = [label.strip() for label in value.split(task.label_separator)] if value.strip() else []
    if not isinstance(value, list) or not all(isinstance(label, str) or type(label) is int for label in value):
        raise ValueError(f"found {quote(value)}, expected a list of labels, or labels separated by {task.label_separator!r}")
    labels = tuple(task.spellings.get(label, label) for label in map(str, value))
    if "" in labels or len(set(labels)) < len(labels):
        raise ValueError(f"found {quote(value)}, with an empty or a repeated label")
    return labels


def _is_on(column: str, value: Any) -> bool:
    try:
        return SWITCHES[str(value).lower()]
    except KeyError:
        raise ValueError(f"{column}: found {quote(value)}, expected 0 or 1") from None


def encode_labels(rows: Iterable[Collection[str]], labels: Sequence[str]) -> np.ndarray:
    """Return the labels of n rows as float32 [n, number of labels]: 1 for each label of a row, else 0."""
    return np.array([[label in row for label in labels] for row in rows], np.float32)


def write_labels(row: Iterable[str]) -> str:
    """Return labels as a JSON list: unlike a separator, its syntax is in no label."""
    return json.dumps(list(row), ensure_ascii=False)


def sort_labels(labels: Iterable[str]) -> list[str]:
    """Return labels in their order: that of the numbers if all are numbers, else that of their characters."""
    numbers = {label: as_number(label) for label in labels}
    return sorted(numbers) if None in numbers.values() else sorted(numbers, key=lambda label: (numbers[label], label))


def as_number(label: str) -> float | None:
    """Return the number that a label is; None if it is none."""
    try:
        number = float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
