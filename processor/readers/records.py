"""Readers of files whose rows are records, objects with named values: jsonl, json; and the values of a record."""

import json
import re
from collections.abc import Iterator
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

from processor.readers.text_files import parse_rows, read_lines, read_text
from src.common.errors import MAX_PROBLEMS_SHOWN, MAX_REASON, DataError, brief, did_you_mean, quote, shorten
from src.common.strict_json import DECODER, parse_json
from src.data.task import Task

LISTS = ("rows", "data")  # keys of the list of records in a json file
BETWEEN = re.compile(r"[\s,]*")  # what is between two records of a list

LIST_PLACE = re.compile("[0-9]{1,6}")  # on a path

MOST_NAMES = 1000  # of a record, in messages

Records = Iterator[tuple[int, Any]]  # line where a record begins, from 1; the record


def read_jsonl(path: Path, task: Task) -> Iterator[tuple[int, list[Any]]]:
    """Yield the rows of a file with a JSON object on each line; see `pick_values`. Empty lines are left out."""
    return pick_values(path, task, _jsonl_records(path, task.encoding))


def read_json(path: Path, task: Task) -> Iterator[tuple[int, list[Any]]]:
    """Yield the rows of a file with a list of objects, the whole file or under a key of LISTS; see `pick_values`."""
    return pick_values(path, task, _json_records(path, task.encoding))


def pick_values(path: Path, task: Task, records: Records) -> Iterator[tuple[int, list[Any]]]:
    """Yield (line, values) of every record: the values of the columns task.values, which may be dotted paths.

    Raises DataError at the end of the file for records without such a value, see parse_rows.
    """
    wanted, misses = task.values, count()

    def pick(record: Any) -> list[Any]:
        try:
            return [reach(record, column) for column in wanted]
        except KeyError as error:
            # Similar names take time to find, and the first ones are enough.
            near = did_you_mean(error.args[0], _paths(record)) if next(misses) < MAX_PROBLEMS_SHOWN else ""
            raise ValueError(f"found {_summary(record)}, expected {error.args[0]!r}.{near}") from None

    return parse_rows(path, records, pick)


def reach(record: Any, column: str) -> Any:
    """Return the value of a column: of the key of this name, or at this dotted path, on which a number counts items of a list.

    Raises KeyError for a missing one.
    """
    if isinstance(record, dict):
        if column in record:
            return record[column]
        value, *keys = record, *column.split(".")
        while keys and (place := _place(value, keys[0])) is not None:
            value = value[place]
            keys.pop(0)
        if not keys:
            return value
    raise KeyError(column)


def _place(value: Any, key: str) -> str | int | None:
    """Return what is to be looked up in a value for a part of a path; None if it is not there."""
    if isinstance(value, list):
        return int(key) if LIST_PLACE.fullmatch(key) and int(key) < len(value) else None
    return key if isinstance(value, dict) and key in value else None


def _paths(record: Any) -> list[str]:
    """Return the keys of a record and, as dotted paths, those of the objects in it; at most MOST_NAMES."""
    if not isinstance(record, dict):
        return []
    inner = (f"{key}.{name}" for key, value in record.items() if isinstance(value, dict) for name in value)
    return list(islice(chain(record, inner), MOST_NAMES))


def _summary(record: Any) -> str:
    if isinstance(record, dict):
        return f"an object of {shorten(', '.join(_paths(record)), MAX_REASON) or 'nothing'}"
    return f"{quote(record)}, not an object"


def load_json(path: Path, text: str, line: int = 1, hint: str = "") -> Any:
    """Return the value of a JSON text that begins at a line of the file. Raises DataError, also if a key occurs twice."""
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        place = f"{path}, line {line + error.lineno - 1}, column {error.colno}"
        raise DataError(f"{place}: not JSON: {error.msg}.{hint}") from None
    except ValueError as error:
        raise DataError(f"{path}, line {line}: not JSON that can be read: {brief(error)}.") from None


def _jsonl_records(path: Path, encoding: str) -> Records:
    for line, text in read_lines(path, encoding):
        if text.strip():
            hint = ' A file with a list of objects has "format": "json".' if line == 1 and text.startswith("[") else ""
            yield line, load_json(path, text, line, hint)


def _json_records(path: Path, encoding: str) -> Records:
    text = read_text(path, encoding)
    content = load_json(path, text, 1, ' A file with an object on each line has "format": "jsonl".')
    start = _start_of_list(text, content)
    if start is None:
        raise DataError(f"{path}: found {_summary(content)}, expected a list of objects, or one under {' or '.join(LISTS)}.")
    line, counted = 1, 0
    at = _after(text, start + 1)
    while text[at] != "]":  # the text is valid JSON
        line, counted = line + text.count("\n", counted, at), at
        record, end = DECODER.raw_decode(text, at)
        yield line, record
        at = _after(text, end)


def _start_of_list(text: str, content: Any) -> int | None:
    """Return the position of the list of records in a JSON text; None if there is none. content: the value of the text."""
    if isinstance(content, list):
        return text.index("[")
    key = next((key for key in LISTS if isinstance(content, dict) and isinstance(content.get(key), list)), None)
    if key is None:
        return None
    at, name = text.index("{") + 1, None
    while name != key:
        name, at = DECODER.raw_decode(text, _after(text, at))
        start = text.index(":", at) + 1
        _, at = DECODER.raw_decode(text, _after(text, start))
    return text.index("[", start)


def _after(text: str, at: int) -> int:
    """Return the position of the next character that is neither space nor comma."""
    match = BETWEEN.match(text, at)
    assert match is not None  # it matches nothing, too
    return match.end()
