"""Rows of data files by format, with errors that name file and line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from src.errors import DataError, list_problems, quote


@dataclass(frozen=True)
class DataRow:
    """A row of any data file as the data check sees it: its place in the file, the texts a model reads, its label."""

    place: str
    texts: tuple[str, ...]
    label: str


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Return (line number from 1, line) of a UTF-8 file, split on "\\n" alone.

    Not `splitlines()`: PAWS has a 0x1C inside a sentence. Raises DataError for lines that end with "\\r" alone, and with the line
    of the first byte that is not UTF-8.
    """
    content = path.read_bytes()
    if b"\r" in content and b"\n" not in content:
        raise DataError(f"{path}: its lines end with CR alone. Convert them to LF: tr '\\r' '\\n' < OLD > NEW")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = content[error.start : error.start + 4].hex(" ")
        raise DataError(f"{path}, line {line}: found the bytes {found}, expected UTF-8. Convert the file to UTF-8.") from None
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return enumerate((line.removesuffix("\r") for line in lines), start=1)


def read_tsv(path: Path, columns: Sequence[str], has_header: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of every row below the header. Fields are separated by tabs; quotes and spaces are text.

    Raises DataError at once for a wrong header, and at the end of the file for an empty one or for rows whose number of fields is
    not that of `columns`, with all of them.
    """
    rows = read_lines(path)
    if has_header and (header := next(rows, (1, ""))[1].split("\t")) != list(columns):
        raise DataError(
            f"{path}, line 1: found the header {quote(header)}, expected {list(columns)}, separated by tabs. "
            "The first line must name the columns."
        )
    problems, rows_read = [], 0
    for number, line in rows:
        rows_read += 1
        fields = line.split("\t")
        if len(fields) == len(columns):
            yield number, fields
        else:
            problems.append(f"line {number}: found {len(fields)} columns, expected {len(columns)} ({', '.join(columns)})")
    if problems:
        raise DataError(list_problems(f"{path}: {len(problems)} malformed rows:", problems))
    if not rows_read:
        raise DataError(f"{path}: found a header and no rows. Fetch the file again.")
