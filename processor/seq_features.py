"""Features of sequence tasks: rows of one or two texts become token ids, and rows that are too long are cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from processor.features import Frame, one_ahead
from processor.label_sets import Labels, encode_labels
from src.data.features import Tensors
from src.data.hangul import compose_rows
from src.data.task import Task

ROWS_PER_CALL = 4096  # enough to keep the tokenizer's threads busy, few enough to keep its Python lists small


@dataclass(frozen=True, slots=True)
class SequenceExample:
    """One row of a data file: one or two texts, and its label (a label string, a score, or any number of labels)."""

    texts: tuple[str, ...]
    label: str | float | Labels


def encode(examples: Sequence[SequenceExample], task: Task, tokenizer: Any, max_seq_len: int) -> Tensors:
    """Return the tensors of n rows; see Features for `labels`."""
    input_ids: list[np.ndarray] = []
    token_type_ids: list[np.ndarray] = []
    lengths: list[int] = []  # before rows are cut
    decomposed: list[np.ndarray] = []
    has_segments = Frame.of(tokenizer, len(task.text)).has_segments  # reading segments that are all 0 takes time
    chunks = (examples[start : start + ROWS_PER_CALL] for start in range(0, len(examples), ROWS_PER_CALL))
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


def _encodings(tokenizer: Any, examples: Sequence[SequenceExample]) -> tuple[Sequence[Any], np.ndarray]:
    """Return the Rust tokenizer's encoding of each row, not truncated, and which rows have decomposed Hangul.

    Called directly, it takes two thirds of the time of its Python wrapper.
    """
    rows, changed = compose_rows([example.texts for example in examples])
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    try:
        return backend.encode_batch_fast([texts if len(texts) > 1 else texts[0] for texts in rows]), changed
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
