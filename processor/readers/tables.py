"""Rows of data files by format, with errors that name file and line."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from operator import itemgetter
from pathlib import Path
from typing import Any, TextIO

from processor.readers.conll import read_conll
from processor.readers.parquet import read_parquet
from processor.readers.records import read_json, read_jsonl
from processor.readers.text_files import parse_rows, read_content, read_lines, read_text, require_newlines, without_mark
from src.common.errors import MAX_REASON, DataError, did_you_mean, quote, shorten
from src.data.task import Format, Task

LARGEST_FIELD = 2**31 - 1  # characters of a value in a csv file; Python's own limit is 131,072

SEPARATORS = {",": "commas", "\t": "tabs"}  # delimiter -> what messages call it

MOST_NAMES = 1000  # columns among which a similar name is looked for

Rows = Iterator[tuple[int, list[Any]]]  # line where a row begins, from 1 (parquet: number of the row); its values


# that a table may have -> what to do about it
OTHER_SEPARATORS = {
    "\t": 'Set "format": "tsv" in the task\'s definition, or pass --format tsv.',
    ";": 'Set "format": "csv" and "delimiter": ";" in the task\'s definition, or pass --format csv --delimiter ";".',
    ",": 'Set "format": "csv" in the task\'s definition, or pass --format csv.',
    "|": 'Set "format": "csv" and "delimiter": "|" in the task\'s definition, or pass --format csv --delimiter "|".',
}


@dataclass(frozen=True)
class DataRow:
    """A row of any data file as the data check sees it: its place in the file, the texts a model reads, its labels.

    labels: that of the row or, for multi_label, any number; the tags of its words; the score or the answer as a text. A row that
    a run leaves out has none.
    """

    place: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    together: tuple[str, ...] = ()  # rows that have one of these in common stay on one side of a hold-out; "": none has


def read_records(path: Path, task: Task) -> Rows:
    """Yield (line, values) of every row of a task's file: the values of the columns task.values, in this order.

    Values are strings in tsv and csv files, JSON values in jsonl and json files, the same and decimal.Decimal in parquet files; a
    conll file has a list of words and a list of tags. Raises DataError for a file that cannot be read or lacks a column, and at
    its end for an empty one or for malformed rows, with all of them.
    """
    task, name = task.of_file(path), format_of(path, task)
    if name != "csv" and task.delimiter != Task.model_fields["delimiter"].default:
        raise DataError(
            f"{path}: delimiter = {task.delimiter!r} is for files in the format csv, and this one is read as {name}. "
            'Set "format": "csv" in the task\'s definition, or pass --format csv.'
        )
    return FORMATS[name](path, task)


def format_of(path: Path, task: Task) -> Format:
    """Return the format of a task's file: that of the definition, or by the file's suffix. Raises DataError if it is unknown."""
    if given := task.of_file(path).format:
        return given
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f'{path}: the suffix {path.suffix!r} does not tell the format. Set "format" in the task\'s definition: '
            f"{', '.join(FORMATS)}."
        )
    return SUFFIXES[path.suffix.lower()]


def read_tsv(path: Path, task: Task) -> Rows:
    """Yield the rows of a tab-separated file; see `read_records`. Quotes and spaces are text."""
    lines = ((number, line.split("\t")) for number, line in read_lines(path, task.encoding))
    return _read_table(path, task, lines, "tabs")


def read_csv(path: Path, task: Task) -> Rows:
    """Yield the rows of a file as in RFC 4180, with the delimiter of the task; see `read_records`. Empty lines are left out."""
    return _read_table(path, task, _csv_rows(path, task.encoding, task.delimiter), _name(task.delimiter))


def csv_rows(stream: TextIO, delimiter: str = ",") -> Iterator[tuple[int, list[str], str]]:
    """Yield the first line, the values and what is wrong with each row of a CSV file as in RFC 4180."""
    csv.field_size_limit(LARGEST_FIELD)
    reader = csv.reader(stream, strict=True, delimiter=delimiter)
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader), ""
        except StopIteration:
            return
        except csv.Error as error:
            yield line, [], str(error)


def _csv_rows(path: Path, encoding: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    try:
        with TextIOWrapper(BytesIO(read_content(path)), without_mark(encoding), newline="\n") as stream:
            for line, fields, problem in csv_rows(stream, delimiter):
                if problem:
                    text = read_text(path, encoding)
                    require_newlines(path, text)
                    for other in OTHER_SEPARATORS if line == 1 else ():
                        if other != delimiter and f'"{other}"' in text.partition("\n")[0]:
                            raise _separated_by(path, other, _name(delimiter))
                    raise DataError(
                        f"{path}, line {line}: the row that begins here is not CSV: {problem.partition(' - ')[0]}. A value with "
                        "a line break (LF or CR) begins and ends with a quote, and quotes inside of it are doubled."
                    )
                if fields:
                    yield line, fields
    except UnicodeDecodeError:
        read_text(path, encoding)  # raises DataError with the place
        raise


def _read_table(path: Path, task: Task, rows: Iterator[tuple[int, list[str]]], separator: str) -> Rows:
    """Return the task's columns of the rows below the header."""
    columns = list(task.columns)
    if task.header:
        header = next(rows, (1, [""]))[1]
        if columns and header != columns:
            raise DataError(
                f"{path}, line 1: found the header {quote(header)}, expected {columns}, separated by {separator}. "
                "The first line must name the columns."
            )
        columns = header
    wanted = task.values
    _require_columns(path, columns, wanted, separator)
    positions = itemgetter(*map(columns.index, wanted))

    def pick(fields: list[str]) -> list[str]:
        if fields == columns:
            cure = "Remove it; files that were joined have one each" if task.header else 'Remove it, or set "header": true'
            raise ValueError(f"found the names of the columns ({_join(columns)}), expected a row. {cure}")
        if len(fields) != len(columns):
            raise ValueError(f"found {len(fields)} columns, expected {len(columns)} ({_join(columns)})")
        return list(positions(fields))

    return parse_rows(path, rows, pick, "found a header and no rows. Fetch the file again.")


def _require_columns(path: Path, columns: list[str], wanted: tuple[str, ...], separator: str) -> None:
    """Raise DataError if a name occurs twice, or if a wanted one is missing."""
    name, times = Counter(filter(None, columns)).most_common(1)[0] if any(columns) else ("", 0)
    if times > 1:
        raise DataError(f"{path}, line 1: the column {quote(name)} occurs {times} times. Rename one of them.")
    if missing := [name for name in wanted if name not in columns]:
        for other in OTHER_SEPARATORS:
            if not {*missing} - {name.strip().strip('"') for column in columns for name in column.split(other)}:
                raise _separated_by(path, other, separator)
        raise DataError(
            f"{path}, line 1: found the columns {_join(columns)}, separated by {separator}, expected {missing[0]!r}."
            f"{did_you_mean(missing[0], columns[:MOST_NAMES])} The first line must name the columns."
        )


def _separated_by(path: Path, other: str, separator: str) -> DataError:
    return DataError(f"{path}, line 1: the columns are separated by {other!r}, expected {separator}. {OTHER_SEPARATORS[other]}")


def _name(delimiter: str) -> str:
    return SEPARATORS.get(delimiter, repr(delimiter))


def _join(columns: Sequence[str]) -> str:
    return shorten(", ".join(columns), MAX_REASON)


FORMATS: Mapping[Format, Callable[[Path, Task], Rows]] = {
    "tsv": read_tsv,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "json": read_json,
    "conll": read_conll,
    "parquet": read_parquet,
}

# suffix of a file -> its format, if the definition names none
SUFFIXES: Mapping[str, Format] = {f".{name}": name for name in FORMATS} | {".ndjson": "jsonl", ".bio": "conll"}
