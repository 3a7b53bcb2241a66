"""The labels of rows that may have any number of them: from the label columns of a file, and as a tensor."""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from src.common.errors import did_you_mean, quote
from src.data.task import Task

Labels = tuple[str, ...]  # of one row

SWITCHES = {"0": False, "1": True, "false": False, "true": True}  # values of a column for one label, in lower case


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
            value = json.loads(value)
        except ValueError:
            raise ValueError(f"found {quote(value)}, which starts like a list, but is not JSON") from None
    if isinstance(value, str):
        value = [label.strip() for label in value.split(task.label_separator)] if value.strip() else []
    if not isinstance(value, list) or not all(isinstance(label, str) or type(label) is int for label in value):
        raise ValueError(f"found {quote(value)}, expected a list of labels, or labels separated by {task.label_separator!r}")
    labels = tuple(map(str, value))
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
