"""The data check: are the data files well-formed, and which rows should a person look at?"""

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from processor import TASKS
from processor.data_files import is_published
from processor.kinds import KINDS
from processor.readers import DataRow
from src.data import Task
from src.errors import DataError, list_problems
from src.file_kinds import find_archive, find_stand_in
from src.hangul import compose

MAX_CHARACTERS = 2000  # longer texts are reported, unless they are contexts
SAME_CHARACTER = re.compile(r"(.)\1{19,}", re.DOTALL)
ADDRESS = re.compile(r"https?://\S+")
CONTROL = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f]")


def check_tasks(tasks: Iterable[str], data_dir: Path) -> None:
    """Print what the files of the tasks contain.

    Raises DataError if a file is malformed, after all files are checked, or if there are no files at all.
    """
    problems, checked = [], 0
    for name in tasks:
        task = TASKS[name]
        rows_of: dict[str, list[DataRow]] = {}
        for file, published in task.files.items():
            path = data_dir / name / file
            if not path.is_file():
                print(f"{path}: missing")
                continue
            checked += 1
            content = path.read_bytes()
            try:
                if stand_in := find_stand_in(content) or find_archive(content):
                    raise DataError(f"{path} {stand_in}")
                rows = rows_of[f"{name}/{file}"] = KINDS[task.kind].read_rows(path, task)
            except DataError as error:
                print(f"{path}: malformed")
                problems.append(str(error))
                continue
            same = is_published(path, content, task.files)
            state = "the published file" if same else f"not the published file, which has {published.rows:,}"
            print(f"{path}: {len(rows):,} rows, {state}")
            for line in describe(rows, task):
                print(f"  {line}")
        for line in overlaps(rows_of, task):
            print(f"  {line}")
    if problems:
        raise DataError(list_problems("files are malformed:", problems))
    if not checked:
        raise DataError(f"there are no data files in {data_dir}/. Download them: python3 -m processor.download")


def describe(rows: Sequence[DataRow], task: Task) -> list[str]:
    """Return lines on labels, duplicates and suspicious rows."""
    lines = []
    if task.labels and task.kind == "classification":
        counts = Counter(row.label for row in rows)
        lines.append("labels: " + ", ".join(f"{label} {counts[label]:,}" for label in task.labels))
    labels_of = defaultdict(list)
    for row in rows:
        labels_of[row.texts].append(row.label)
    repeated = sum(len(labels) - 1 for labels in labels_of.values())
    ambiguous = sum(len(set(labels)) > 1 for labels in labels_of.values())
    if repeated:
        lines.append(f"duplicates: {repeated:,} rows repeat an earlier one; {ambiguous:,} texts have more than one label")
    for description, is_suspicious in suspicions(task).items():
        places = [row.place for row in rows if is_suspicious(row)]
        if places:
            lines.append(f"{description}: {len(places):,}, such as {', '.join(places[:3])}")
    return lines


def suspicions(task: Task) -> dict[str, Callable[[DataRow], bool]]:
    """Return description -> check of the rows that a person should look at."""
    short = slice(0, 1) if task.kind == "span" else slice(None)  # a context may be long
    low, high = task.score_range or (-math.inf, math.inf)
    return {
        "empty text": lambda row: not all(text.strip() for text in row.texts),
        f"placeholder {task.placeholder!r}": lambda row: task.placeholder is not None and task.placeholder in row.texts,
        f"score outside {low:g} to {high:g}": lambda row: task.score_range is not None and not low <= float(row.label) <= high,
        "one character repeated": lambda row: any(SAME_CHARACTER.search(text) for text in row.texts),
        "only an address": lambda row: any(ADDRESS.sub("", text).strip() == "" for text in row.texts if text.strip()),
        "the replacement character U+FFFD": lambda row: any("\ufffd" in text for text in row.texts),
        "decomposed Hangul (NFD)": lambda row: any(compose(text) != text for text in row.texts),
        "a control character": lambda row: any(CONTROL.search(text) for text in row.texts),
        "the same text twice": lambda row: len(row.texts) == 2 and row.texts[0] == row.texts[1] and bool(row.texts[0]),
        f"more than {MAX_CHARACTERS:,} characters": lambda row: any(len(text) > MAX_CHARACTERS for text in row.texts[short]),
    }


def overlaps(rows_of: Mapping[str, Sequence[DataRow]], task: Task) -> list[str]:
    """Return a line for every two files that share texts (for questions: contexts). rows_of: file -> rows."""
    text_of = (lambda row: row.texts[1]) if task.kind == "span" else (lambda row: row.texts)
    texts = {name: {text_of(row) for row in rows} for name, rows in rows_of.items()}
    shared = {(one, other): len(texts[one] & texts[other]) for one, other in itertools.combinations(texts, 2)}
    return [f"overlap: {count:,} texts are in {one} and in {other}" for (one, other), count in shared.items() if count]
