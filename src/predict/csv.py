"""CSV files of predict.py: the columns of the input are kept, and those of the results appended."""

import codecs
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple, TextIO

from processor.readers.tables import csv_rows
from processor.readers.text_files import UTF_8, without_mark
from src.common.errors import DataError, did_you_mean, quote
from src.predict.lines import CHUNK, Row, open_output

BOM = "\ufeff"  # Excel reads a CSV file as UTF-8 only if it begins with it
LINE = ("input",)  # the only column of an input of lines


class CsvInput(NamedTuple):
    """A CSV file that is being read."""

    header: Sequence[str]
    rows: Iterator[list[Row]]  # in chunks of CHUNK
    for_excel: bool  # whether it has a byte order mark or another encoding than UTF-8


def is_csv(path: Path | None) -> bool:
    """Return whether a path is that of a CSV file, by its suffix."""
    return path is not None and path.suffix.lower() == ".csv"


@contextmanager
def open_csv(path: Path, columns: Mapping[str, str], encoding: str, others: Iterable[Sequence[str]] = ()) -> Iterator[CsvInput]:
    """Yield a CSV file; each of its rows has the values of `columns`: flag -> the column that it names.

    others: the names of other columns, for a file that has all of them and lacks one of `columns`. Raises DataError if the file
    cannot be read or lacks a column.
    """
    try:
        with open(path, "rb") as start:
            has_bom = start.read(3) == codecs.BOM_UTF8
        is_utf8 = codecs.lookup(encoding).name == UTF_8
        stream = open(path, encoding=without_mark(encoding), newline="")  # noqa: SIM115
    except (OSError, LookupError) as error:
        raise DataError(f"--input {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    with stream:
        records = _records(stream, path, encoding)
        _, header, problem = next(records, (1, [], ""))
        if problem:
            raise DataError(f"--input {path}, line 1: {problem}.")
        if not set(columns.values()) <= set(header):
            present = [names for names in others if set(names) <= set(header)]
            columns = dict(zip(present[0], present[0], strict=True)) if present else columns
        positions = [_position(header, flag, column, path) for flag, column in columns.items()]
        rows = (_row(*record, header, positions) for record in records)
        yield CsvInput(header, iter(lambda: list(islice(rows, CHUNK)), []), has_bom or not is_utf8)


def _records(stream: TextIO, path: Path, encoding: str) -> Iterator[tuple[int, list[str], str]]:
    """Yield the first line, the cells and what is wrong with each record. Raises DataError for another encoding."""
    number = 0
    try:
        for number, cells, problem in csv_rows(stream):
            yield number, cells, problem and f"not CSV: {problem}"
    except UnicodeError:
        raise DataError(f"--input {path}: not {encoding}, near line {number + 1}. Pass --encoding, such as cp949.") from None


def _position(header: Sequence[str], flag: str, column: str, path: Path) -> int:
    if header.count(column) == 1:
        return header.index(column)
    found = f"{header.count(column)} columns" if column in header else "no column"
    near = did_you_mean(column, header)
    raise DataError(f"--input {path}: found {found} {quote(column)} among {', '.join(header)}.{near} Choose one with {flag}.")


def _row(number: int, cells: list[str], error: str, header: Sequence[str], positions: Sequence[int]) -> Row:
    width = len(header)
    cells = cells or [""] * (width == 1 and not error)  # the line of an empty cell in a single column is empty
    if not error and len(cells) != width:
        error = f"found {len(cells)} columns, expected {width}" if cells else "the line is empty"
    values = [] if error else [cells[position] for position in positions]
    return Row(number, values, error, [*cells, *[""] * width][:width])


@contextmanager
def open_csv_output(path: Path, header: Sequence[str], for_excel: bool) -> Iterator[Callable[[Row, dict[str, Any]], object]]:
    """Yield a function that keeps a row's result; the CSV file is written when all results, and so their columns, are known.

    for_excel: whether it begins with a byte order mark. A column of the results that the input has, too, is named
    predicted_<name>; `error` is the last one.
    """
    names: dict[str, None] = {}
    with open_output(path) as write, TemporaryFile("w+") as kept:

        def keep(row: Row, result: dict[str, Any]) -> None:
            columns = _columns(result)
            names.update(dict.fromkeys(columns))
            kept.write(json.dumps([row.cells, columns]) + "\n")

        yield keep
        order = sorted(names, key=lambda name: name == "error")
        writer = csv.writer(_Stream(write))
        write(BOM if for_excel else "")
        writer.writerow([*header, *(_unused(name, header) for name in order)])
        kept.seek(0)
        for cells, columns in map(json.loads, kept):
            writer.writerow([*cells, *(columns.get(name, "") for name in order)])


def _columns(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result as columns: a list as JSON, the probability of each label as prob_<label>; of an error the reason alone."""
    if "error" in result:
        return {"error": result["error"]}
    columns: dict[str, Any] = {}
    for name, value in result.items():
        if isinstance(value, Mapping):
            columns |= {f"prob_{label}": probability for label, probability in value.items()}
        else:
            columns[name] = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
    return columns


def _unused(name: str, header: Sequence[str]) -> str:
    while name in header:
        name = f"predicted_{name}"
    return name


class _Stream:
    """The stream that csv.writer needs, around a function."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self.write = write
