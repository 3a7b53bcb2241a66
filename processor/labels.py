"""The labels of a task whose definition leaves them out: they are taken from its training file."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from processor.definition import RECORD, make_task
from processor.kinds import KINDS
from processor.label_checks import check_labels
from processor.seq_features import as_number
from src.common.errors import DataError, quote
from src.common.files import read_json
from src.data.hangul import compose
from src.data.task import DataFile, Task

logger = logging.getLogger(__name__)

FEW_ROWS = 5  # a label that occurs less often can hardly be learned


def complete_task(task: Task, files: Mapping[str, DataFile], run_folder: Path | None = None) -> Task:
    """Return the task with its labels: those of the training file, sorted, if the definition leaves them out.

    Without a training file (--do_train false) they are those of the run in `run_folder`. Raises DataError for a malformed
    training file, fewer than two labels, tags of an unknown form, and values that are not labels, see check_labels.
    """
    kind = KINDS[task.kind]
    if task.labels is not None or not kind.labelled:
        return task
    if "train" not in files:
        definition = read_json(run_folder / RECORD).get("definition") if run_folder else None
        labels = make_task("", definition, str(run_folder)).labels if definition else None
    else:
        path = files["train"].path
        rows = kind.read_rows(path, task)
        counts = Counter(chain.from_iterable(row.labels for row in rows))
        labels = kind.labels_of(path, counts, task)
        if len(labels) < 2:
            found = f"only the label {quote(next(iter(labels)))}" if labels else "no label"
            raise DataError(
                f"{path}: found {found}, expected two or more. Check the column of the labels in the task's definition."
            )
        for line in [*check_labels(path, rows, task), *_rare(counts), *_look_alikes(labels)]:
            logger.warning("%s: %s", path, line)
    return task.model_copy(update={"labels": labels})


def _rare(counts: Mapping[str, int]) -> list[str]:
    """Return a warning about the labels that occur in few rows, if there are any."""
    rare = {label: count for label, count in counts.items() if count < FEW_ROWS}
    if not rare:
        return []
    shown = ", ".join(f"{quote(label)} {count}" for label, count in list(rare.items())[:5]) + ", ..." * (len(rare) > 5)
    return [f"{len(rare)} of {len(counts)} labels occur fewer than {FEW_ROWS} times and can hardly be learned: {shown}"]


def _look_alikes(labels: Iterable[str]) -> list[str]:
    """Return a warning for labels that differ only by case and spaces, number format or decomposed Hangul."""
    alike = defaultdict(list)
    for label in labels:
        plain = "".join(compose(label).casefold().split())
        number = as_number(plain)
        alike[plain if number is None else number].append(label)
    groups = [group for group in alike.values() if len(group) > 1]
    return [f"the labels {', '.join(map(quote, group))} look alike, but count as different ones" for group in groups[:5]]
