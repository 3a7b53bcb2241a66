"""Checks of labels that are taken from a training file: each finds one way in which its label column is not one of labels."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from processor.readers.tables import DataRow
from src.common.errors import DataError, quote, quote_json
from src.data.task import Task

MISSING = ("nan", "NaN", "<NA>", "NaT")  # what pandas writes for a missing value
DOUBTFUL = ("None", "NULL", "null", "N/A", "#N/A")  # the same of others; some may be labels
SEPARATORS = (";", "|", "/", "\t", ",", " ")
MANY = 20  # labels, from which on a file with nearly as many labels as rows is refused
PLACES = 3  # in a message
NAME_THEM = 'If they are right, name all labels as "labels" in the task\'s definition.'


def check_labels(path: Path, rows: Sequence[DataRow], task: Task) -> list[str]:
    """Return warnings about the labels of a training file.

    Raises DataError, with rows and flags, for labels that are missing values, that differ by white space only, that hold
    several labels, or that are nearly all different.
    """
    counts = Counter(label for row in rows for label in row.labels)
    for check in (_missing, _spaces, _separator, _unique):
        if problem := check(rows, counts, task):
            raise DataError(f"{path}: {problem} {NAME_THEM}")
    found = [label for label in DOUBTFUL if label in counts]
    return [f"the label {quote(label)} may stand for a missing one: {places(rows, label)}" for label in found]


def places(rows: Iterable[DataRow], label: str) -> str:
    """Return how many rows have a label, and the first ones: "5 rows, line 3, line 7, line 9 and more"."""
    return some_places([row.place for row in rows if label in row.labels])


def some_places(found: Sequence[str]) -> str:
    """Return the number of these rows, and the first ones."""
    return (
        f"{len(found):,} {'row' if len(found) == 1 else 'rows'}, {', '.join(found[:PLACES])}{' and more' * (len(found) > PLACES)}"
    )


def _missing(rows: Sequence[DataRow], counts: Mapping[str, int], task: Task) -> str:
    for label in MISSING:
        if label in counts:
            return f"the label {quote(label)} is a missing value: {places(rows, label)}. Fill in these labels or remove the rows."
    return ""


def _spaces(rows: Sequence[DataRow], counts: Mapping[str, int], task: Task) -> str:
    alike = defaultdict(list)
    for label in counts:
        alike[without_spaces(label)].append(label)
    for group in alike.values():
        if len(group) > 1:
            group.sort(key=lambda label: -counts[label])
            listed = "; ".join(f"{quote_json(label)} ({places(rows, label)})" for label in group[:PLACES])
            return f"labels differ only by white space, and would count as different ones: {listed}. Make them equal."
    return ""


def without_spaces(label: str) -> str:
    """Return a label without white space and characters of no width, such as U+200B."""
    return "".join(each for each in label if not each.isspace() and unicodedata.category(each) != "Cf")


def _separator(rows: Sequence[DataRow], counts: Mapping[str, int], task: Task) -> str:
    """If labels of a multi-label task are made of fewer ones, say so. A space may be part of a label: there it takes half."""
    if task.kind != "multi_label" or len(task.label) > 1:
        return ""
    for separator in SEPARATORS:
        parts = Counter(part for label in counts for part in {part.strip() for part in label.split(separator)})
        are_fewer = len(parts) * (2 if separator == " " else 1) < len(counts)
        if separator != task.label_separator and (are_fewer or (separator != " " and min(parts.values()) > 1)):
            label = next(label for label in counts if separator in label)
            return (
                f"{len(counts)} labels such as {quote(label)} are made of {len(parts)} with {separator!r} between them, and "
                f"label_separator is {task.label_separator!r}. Pass --label_separator {separator!r}."
            )
    return ""


def _unique(rows: Sequence[DataRow], counts: Mapping[str, int], task: Task) -> str:
    given = sum(counts.values())
    if len(counts) < MANY or 2 * len(counts) <= given:
        return ""
    texts = len({row.texts[0] for row in rows})
    cure = f"--label_column {task.label[0]} seems to name a column of ids or texts: name that of the labels."
    if 2 * texts < len(counts):
        cure = (
            f"The texts have only {texts} different values: --text_column {task.text[0]} and --label_column {task.label[0]} "
            "seem to be swapped."
        )
    elif all(label.replace(".", "", 1).replace("-", "", 1).isdecimal() for label in counts):
        cure += " For scores, use --kind regression."
    return f"of {given:,} labels, {len(counts):,} are different ones, such as {quote(next(iter(counts)))}. {cure}"
