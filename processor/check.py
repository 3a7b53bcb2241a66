"""A look into data files before any model sees them: are they well formed, and what in them deserves a second look."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from processor import TASKS, Task
from processor.base import git_blob, published
from src.errors import DataError, list_problems

LONGEST = 2000  # characters of a text; a longer one is worth a look, but for a context
SAME_CHARACTER = re.compile(r"(.)\1{19,}", re.DOTALL)
ADDRESS = re.compile(r"https?://\S+")


@dataclass(frozen=True)
class Row:
    """What a row of any task comes down to: what is read, and what it is labelled with."""

    texts: tuple[str, ...]
    label: str


def _read_sequences(path: Path, task: Task) -> list[Row]:
    from processor.seq_cls import read_examples

    return [Row(example.texts, str(example.label)) for example in read_examples(path, task)[0]]


def _read_sentences(path: Path, task: Task) -> list[Row]:
    from processor.ner import read_sentences

    return [Row((" ".join(sentence.words),), " ".join(sentence.tags)) for sentence in read_sentences(path, task)]


def _read_questions(path: Path, task: Task) -> list[Row]:
    from processor.questions import read_questions

    questions = read_questions(path, strict=True)
    return [Row((question.asked.question, question.asked.context), question.answers[0]) for question in questions]


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
        for file in (file for file in published()[1] if file.split("/")[0] == name):
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
            facts = published()[1][file]
            is_published = git_blob(path.read_bytes()) == facts["git_blob"]
            state = "the published file" if is_published else f"not the published file, which has {facts['rows']:,}"
            print(f"{path}: {len(rows_of[file]):,} rows, {state}")
            for line in describe(rows_of[file], TASKS[name]):
                print(f"  {line}")
        for line in overlaps(rows_of):
            print(f"  {line}")
    if problems:
        raise DataError(list_problems("files are malformed:", problems))
    if not seen:
        raise DataError(f"none of the files is in {data_dir}/. Fetch them: python3 -m processor.download")


def describe(rows: Sequence[Row], task: Task) -> list[str]:
    """Lines on labels, duplicates and suspicious rows."""
    lines = []
    if task.labels and task.output_mode == "classification":
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
        found = [number for number, row in enumerate(rows) if is_so(row.texts)]
        if found:
            lines.append(f"{what}: {len(found):,} rows, such as row {', '.join(str(number) for number in found[:3])}")
    return lines


def suspicions(task: Task) -> dict[str, Callable[[tuple[str, ...]], bool]]:
    """What makes a row worth a second look, and how it is found."""
    short = slice(0, 1) if task.output_mode == "span" else slice(None)  # a context may be long
    return {
        "empty text": lambda texts: not all(text.strip() for text in texts),
        f"placeholder {task.placeholder!r}": lambda texts: task.placeholder in texts if task.placeholder else False,
        "one character over and over": lambda texts: any(SAME_CHARACTER.search(text) for text in texts),
        "nothing but an address": lambda texts: any(ADDRESS.sub("", text).strip() == "" for text in texts if text.strip()),
        "the replacement character U+FFFD": lambda texts: any("\ufffd" in text for text in texts),
        "a control character": lambda texts: any(
            ord(character) < 32 and character not in "\n\r" for text in texts for character in text
        ),
        "the same text twice": lambda texts: len(texts) == 2 and texts[0] == texts[1] and bool(texts[0]),
        f"more than {LONGEST:,} characters": lambda texts: any(len(text) > LONGEST for text in texts[short]),
    }


def overlaps(rows_of: Mapping[str, Sequence[Row]]) -> list[str]:
    """A line for every two files that share texts."""
    texts = {name: {row.texts for row in rows} for name, rows in rows_of.items()}
    names = list(texts)
    pairs = ((one, other) for index, one in enumerate(names) for other in names[index + 1 :])
    shared = {(one, other): len(texts[one] & texts[other]) for one, other in pairs}
    return [f"overlap: {count:,} texts are in {one} and in {other}" for (one, other), count in shared.items() if count]
