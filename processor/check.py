"""The data check: are the data files well-formed, and which rows should a person look at?

python3 -m processor.check [TASK | SUITE | FILE.json ...] [--config_dir DIR] [--data_dir DIR]
"""

if __name__ == "__main__":
    from src.common import start

    start.begin()

import argparse
import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from processor.data_files import describe_files, is_published
from processor.definition import named_files, read_task_file, read_tasks
from processor.kinds import KINDS
from processor.labels import complete_task
from processor.readers.tables import DataRow
from processor.readers.text_files import read_content
from src.common.cli import run_command
from src.common.errors import MAX_LINE, ConfigError, DataError, list_problems, shorten
from src.common.files import find_archive, find_stand_in
from src.data.hangul import compose
from src.data.task import Task
from src.settings.aliases import refuse_unknown
from src.settings.command_line import PROJECT, config_dir_of, find_tasks
from src.settings.schema import default_of, is_task_file, task_name

OWN_DATA = "Your own data needs a task file: add --print_task to the command that trains on it."
MAX_CHARACTERS = 2000  # longer texts are reported, unless they are contexts
SAME_CHARACTER = re.compile(r"(.)\1{19,}", re.DOTALL)
ADDRESS = re.compile(r"https?://\S+")
CONTROL = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f]")


def check_tasks(entries: Iterable[str], data_dir: Path, config_dir: Path = PROJECT) -> None:
    """Print what the files of the tasks contain, those that the task files name and the published ones.

    entries: the names of tasks, or the paths of their files.

    Raises DataError if a file is malformed, after all files are checked, or if there are no files at all.
    """
    problems: list[str] = []
    checked, tasks = 0, read_tasks(config_dir)
    for entry in entries:
        name = task_name(entry)
        split_files = {split: data_dir / name / file for split, file in named_files(entry, config_dir).items()}
        given = read_task_file(Path(entry)) if is_task_file(entry) else tasks
        task = _with_labels(given[name], split_files, problems)
        rows_of: dict[str, list[DataRow]] = {}
        for path in dict.fromkeys([*split_files.values(), *(data_dir / name / file for file in task.files)]):
            if not path.is_file():
                print(f"{path}: missing")
                continue
            checked += 1
            try:
                if stand_in := find_stand_in(read_content(path)) or find_archive(read_content(path)):
                    raise DataError(f"{path} {stand_in}")
                rows = rows_of[f"{name}/{path.name}"] = KINDS[task.kind].read_rows(path, task)
            except DataError as error:
                print(f"{path}: malformed")
                problems.append(str(error))
                continue
            print(f"{path}: {len(rows):,} rows{_state(path, task)}")
            for line in describe(rows, task):
                print(f"  {line}")
        for line in overlaps(rows_of, task):
            print(f"  {line}")
    if problems:
        raise DataError(list_problems("files are malformed:", list(dict.fromkeys(problems))))
    if not checked:
        raise DataError(
            f"there are no data files in {data_dir}/. Put them there, or download published ones: python3 -m processor.download"
        )


def _with_labels(task: Task, split_files: Mapping[str, Path], problems: list[str]) -> Task:
    """Return the task with the labels of its training file, if it can be read."""
    if "train" in split_files and split_files["train"].is_file():
        try:
            return complete_task(task, describe_files({"train": split_files["train"]}))
        except DataError as error:
            problems.append(str(error))
    return task


def _state(path: Path, task: Task) -> str:
    """Return whether a file is the published one, for the files that are published."""
    if path.name not in task.files:
        return ""
    if is_published(path, read_content(path), task.files):
        return ", the published file"
    return f", not the published file, which has {task.files[path.name].rows:,}"


def describe(rows: Sequence[DataRow], task: Task) -> list[str]:
    """Return lines on labels, duplicates and suspicious rows."""
    lines = []
    if task.labels:
        counts = Counter(itertools.chain.from_iterable(row.labels for row in rows))
        listed = ", ".join(f"{label} {counts[label]:,}" for label in task.labels)
        lines.append(shorten(f"labels: {listed}", MAX_LINE))
    without = sum(not row.labels for row in rows)
    if without and task.kind == "multi_label":
        lines.append(f"rows without a label: {without:,}")
    labels_of = defaultdict(list)
    for row in rows:
        labels_of[_plain(row.texts)].append(row.labels)
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
        f"score outside {low:g} to {high:g}": lambda row: (
            task.score_range is not None and not all(low <= float(score) <= high for score in row.labels)
        ),
        "one character repeated": lambda row: any(SAME_CHARACTER.search(text) for text in row.texts),
        "only an address": lambda row: any(ADDRESS.sub("", text).strip() == "" for text in row.texts if text.strip()),
        "the replacement character U+FFFD": lambda row: any("\ufffd" in text for text in row.texts),
        "decomposed Hangul (NFD)": lambda row: any(compose(text) != text for text in row.texts),
        "a control character": lambda row: any(CONTROL.search(text) for text in row.texts),
        "the same text twice": lambda row: max(Counter(filter(None, row.texts)).values(), default=1) > 1,
        f"more than {MAX_CHARACTERS:,} characters": lambda row: any(len(text) > MAX_CHARACTERS for text in row.texts[short]),
    }


def overlaps(rows_of: Mapping[str, Sequence[DataRow]], task: Task) -> list[str]:
    """Return a line for every two files that share texts (for questions: contexts). rows_of: file -> rows.

    Of rows with several texts, the first ones that two files share are counted, too, unless these are in the rows they share.
    """
    if task.kind == "span":
        return [line for line, _ in _shared(rows_of, lambda row: row.texts[1:2], "texts")]
    whole = _shared(rows_of, lambda row: row.texts, "texts")
    first = _shared(rows_of, lambda row: row.texts[:1], f"texts in the column {task.text[0]}") if len(task.texts) > 1 else []
    known = {files: count for _, (files, count) in whole}
    return [line for line, _ in whole] + [line for line, (files, count) in first if count > known.get(files, 0)]


Shared = tuple[str, tuple[tuple[str, str], int]]  # line, (files, number of rows of the second one)


def _shared(rows_of: Mapping[str, Sequence[DataRow]], text_of: Callable[[DataRow], Sequence[str]], what: str) -> list[Shared]:
    """Return a line for every two files that share what `text_of` returns, the files, and the rows of the second one."""
    counts = {name: Counter(_plain(text_of(row)) for row in rows) for name, rows in rows_of.items()}
    found = []
    for one, other in itertools.combinations(counts, 2):
        if both := counts[one].keys() & counts[other].keys():
            rows = sum(counts[other][text] for text in both)
            more = f" ({rows:,} rows of it)" if rows > len(both) else ""
            found.append((f"overlap: {len(both):,} {what} are in {one} and in {other}{more}", ((one, other), rows)))
    return found


def _plain(texts: Sequence[str]) -> tuple[str, ...]:
    """Return texts as processor.data_checks compares them."""
    return tuple(compose(text).strip() for text in texts)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python3 -m processor.check", description="Check data files and list suspicious rows.")
    parser.add_argument("tasks", metavar="TASK", nargs="*", help="names of tasks or suites, or task files; default: all tasks")
    parser.add_argument("--config_dir", type=Path, default=config_dir_of({}), help="folder with tasks/<task>.json")
    parser.add_argument("--data_dir", type=Path, default=Path(default_of("data_dir")), help="folder of the tasks' folders")
    given, rest = parser.parse_known_args()
    refuse_unknown(rest, vars(given))
    tasks = dict(read_tasks(given.config_dir))
    for entry in filter(is_task_file, given.tasks):
        tasks |= read_task_file(Path(entry))
    problems: list[str] = []
    chosen = find_tasks(given.tasks or list(tasks), tasks, "TASK", problems)
    if problems:
        raise ConfigError("\n".join([*problems, OWN_DATA]))
    check_tasks(chosen.values(), given.data_dir, given.config_dir)


if __name__ == "__main__":
    run_command(main, timestamps=False)
