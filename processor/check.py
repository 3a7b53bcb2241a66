"""A look into data files before any model sees them: are they well formed, and what in them deserves a second look."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from processor import TASKS
from processor.data_files import data_file_digests, git_blob
from processor.readers import read_tsv
from src.data import Task
from src.errors import DataError, list_problems

LONGEST = 2000  # characters of a text; a longer one is worth a look, but for a context
SAME_CHARACTER = re.compile(r"(.)\1{19,}", re.DOTALL)
ADDRESS = re.compile(r"https?://\S+")
CONTROL = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True)
class Row:
    """What a row of any task comes down to: where it stands, what is read, and what it is labelled with."""

    place: str
    texts: tuple[str, ...]
    label: str


def _read_sequences(path: Path, task: Task) -> list[Row]:
    from processor.seq_cls import read_examples

    read_examples(path, task)  # raises DataError; it leaves out rows that are looked at here
    where = {column: position for position, column in enumerate(task.columns)}
    texts, label = [where[column] for column in task.text_columns], where[task.label_column]
    rows = read_tsv(path, task.columns)
    return [Row(f"line {line}", tuple(fields[position] for position in texts), fields[label]) for line, fields in rows]


def _read_sentences(path: Path, task: Task) -> list[Row]:
    from processor.ner import read_sentences

    sentences = enumerate(read_sentences(path, task), start=1)
    return [Row(f"line {line}", (" ".join(sentence.words),), " ".join(sentence.tags)) for line, sentence in sentences]


def _read_questions(path: Path, task: Task) -> list[Row]:
    from processor.squad_reader import read_questions

    questions = read_questions(path, strict=True)
    return [Row(f"question {each.id}", (each.asked.question, each.asked.context), each.answers[0]) for each in questions]


READERS: Mapping[str, Callable[[Path, Task], list[Row]]] = {
    "run_seq_cls.py": _read_sequences,
    "run_ner.py": _read_sentences,
    "run_squad.py": _read_questions,
}


def check_tasks(tasks: Iterable[str], data_dir: Path) -> None:
    """Print what the files of the tasks hold.

    Raises DataError, once all are looked at, where one is malformed or none is there.
    """
    problems, seen = [], 0
    for name in tasks:
        rows_of: dict[str, list[Row]] = {}
        for file in (file for file in data_file_digests()[1] if file.split("/")[0] == name):
            path = data_dir / file
            if not path.is_file():
                print(f"{path}: not there")
                continue
            seen += 1
            try:
                rows_of[file] = READERS[TASKS[name].script](path, TASKS[name])
            except DataError as error:
                print(f"{path}: malformed")
                problems.append(str(error))
                continue
            facts = data_file_digests()[1][file]
            is_published = git_blob(path.read_bytes()) == facts["git_blob"]
            state = "the published file" if is_published else f"not the published file, which has {facts['rows']:,}"
            print(f"{path}: {len(rows_of[file]):,} rows, {state}")
            for line in describe(rows_of[file], TASKS[name]):
                print(f"  {line}")
        for line in overlaps(rows_of, TASKS[name]):
            print(f"  {line}")
    if problems:
        raise DataError(list_problems("files are malformed:", problems))
    if not seen:
        raise DataError(f"none of the files is in {data_dir}/. Fetch them: python3 -m processor.download")


def describe(rows: Sequence[Row], task: Task) -> list[str]:
    """Lines on labels, duplicates and suspicious rows."""
    lines = []
    if task.labels and task.kind == "classification":
        counts = Counter(row.label for row in rows)
        lines.append("labels: " + ", ".join(f"{label} {counts[label]:,}" for label in task.labels))
    labels_of = defaultdict(list)
    for row in rows:
        labels_of[row.texts].append(row.label)
    again = sum(len(labels) - 1 for labels in labels_of.values())
    torn = sum(len(set(labels)) > 1 for labels in labels_of.values())
    if again:
        lines.append(f"duplicates: {again:,} rows repeat an earlier one; {torn:,} texts have more than one label")
    for what, is_so in suspicions(task).items():
        found = [row.place for row in rows if is_so(row)]
        if found:
            lines.append(f"{what}: {len(found):,}, such as {', '.join(found[:3])}")
    return lines


def suspicions(task: Task) -> dict[str, Callable[[Row], bool]]:
    """What makes a row worth a second look, and how it is found."""
    short = slice(0, 1) if task.kind == "span" else slice(None)  # a context may be long
    low, high = task.score_range or (-math.inf, math.inf)
    return {
        "empty text": lambda row: not all(text.strip() for text in row.texts),
        f"placeholder {task.placeholder!r}": lambda row: task.placeholder is not None and task.placeholder in row.texts,
        f"score outside {low:g} to {high:g}": lambda row: task.score_range is not None and not low <= float(row.label) <= high,
        "one character over and over": lambda row: any(SAME_CHARACTER.search(text) for text in row.texts),
        "nothing but an address": lambda row: any(ADDRESS.sub("", text).strip() == "" for text in row.texts if text.strip()),
        "the replacement character U+FFFD": lambda row: any("\ufffd" in text for text in row.texts),
        "a control character": lambda row: any(CONTROL.search(text) for text in row.texts),
        "the same text twice": lambda row: len(row.texts) == 2 and row.texts[0] == row.texts[1] and bool(row.texts[0]),
        f"more than {LONGEST:,} characters": lambda row: any(len(text) > LONGEST for text in row.texts[short]),
    }


def overlaps(rows_of: Mapping[str, Sequence[Row]], task: Task) -> list[str]:
    """A line for every two files that share texts; of questions those that share contexts."""
    of_row = (lambda row: row.texts[1]) if task.kind == "span" else (lambda row: row.texts)
    texts = {name: {of_row(row) for row in rows} for name, rows in rows_of.items()}
    names = list(texts)
    pairs = ((one, other) for index, one in enumerate(names) for other in names[index + 1 :])
    shared = {(one, other): len(texts[one] & texts[other]) for one, other in pairs}
    return [f"overlap: {count:,} texts are in {one} and in {other}" for (one, other), count in shared.items() if count]
