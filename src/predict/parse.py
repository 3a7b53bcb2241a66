"""Lines of predict.py as rows: JSON objects, or fields between tabs, in any encoding."""

import json
import logging
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from processor.inputs import Inputs
from processor.readers.records import DECODER
from processor.readers.text_files import UTF_8, without_mark
from src.common.errors import MAX_REASON, DataError, quote, shorten
from src.common.files import find_archive, find_stand_in
from src.predict.lines import Row

logger = logging.getLogger(__name__)

HEAD = 1000  # bytes that show the format of a file
PARQUET = b"PAR1"
KOREAN_EXCEL = "cp949"  # the encoding in which it writes


def refuse_other_formats(path: Path) -> None:
    """Raise DataError for a file that has no lines of inputs, though some of its lines might look like texts."""
    if not path.is_file():
        return  # a pipe cannot be read twice
    with suppress(OSError), open(path, "rb") as stream:
        start = stream.read(HEAD)
        meaning = find_stand_in(start) or find_archive(start)
        if start.startswith(PARQUET):
            meaning = "is a Parquet file. Save it as CSV or as JSON lines."
        if path.suffix.lower() == ".json" and start.removeprefix(BOM_UTF8).lstrip().startswith(b"["):
            meaning = "is a JSON list. Write an object on each line, for example by `jq -c '.[]' OLD > NEW`."
        if meaning:
            raise DataError(f"--input {path} {meaning}")


class LineParser:
    """Parses lines. The first one that can be read decides whether they are JSON or TSV, and whether it names the columns of TSV.

    names: those of the values, if the command line gives them; else they are those of `inputs`. is_table: whether even a single
    field may be such a name, as in a .tsv file.
    """

    def __init__(self, inputs: Inputs, encoding: str = UTF_8, names: Sequence[str] = (), is_table: bool = False) -> None:
        self.inputs, self.encoding, self.names, self.is_table = inputs, encoding, names, is_table
        self.as_json: bool | None = None
        self.header: list[str] = []
        self.has_advised = False

    def rows(self, chunks: Iterable[Sequence[bytes]]) -> Iterator[list[Row]]:
        """Yield the rows of lines, in the same chunks. Raises DataError if `names` cannot be in lines like the first one."""
        numbers = count(1)
        for chunk in chunks:
            rows = (self._row(number, line) for line, number in zip(chunk, numbers, strict=False))
            yield [row for row in rows if row]

    def _row(self, number: int, line: bytes) -> Row | None:
        """Return the row of a line; None for one that names the columns."""
        text = line.decode(self.encoding, errors="replace").rstrip("\r\n")
        try:
            text = line.decode(without_mark(self.encoding) if number == 1 else self.encoding).rstrip("\r\n")
            if not text.strip():
                raise ValueError("the line is empty")
            if "\r" in text:
                raise ValueError("found CR inside the line; lines must end with LF or CR LF, not with CR alone")
            values = self._values(text)
        except (ValueError, RecursionError) as error:
            if isinstance(error, UnicodeError):
                error = ValueError(f"not {self.encoding.upper()}")
                self._advise(number, line)
            reason = str(error)
            return Row(number, [], reason, [text])
        return None if values is None else Row(number, values, "", [text])

    def _advise(self, number: int, line: bytes) -> None:
        """Log, once, the encoding that a line seems to have."""
        with suppress(UnicodeError):
            line.decode(KOREAN_EXCEL)
            if not self.has_advised and self.encoding != KOREAN_EXCEL:
                logger.warning("line %d is not %s, but may be %s. Pass --encoding.", number, self.encoding.upper(), KOREAN_EXCEL)
                self.has_advised = True

    def _values(self, line: str) -> list[Any] | None:
        """Return the values of a line: those of a JSON object or, unless lines are JSON, fields between tabs; None for a header.

        Raises ValueError for an invalid line.
        """
        record = None
        if self.as_json or line.lstrip().startswith("{"):
            try:
                record = DECODER.decode(line)
                self._decide(True)
            except json.JSONDecodeError as error:
                if self.as_json is not False:
                    raise ValueError(f"not JSON: {error}") from None
            except ValueError:  # valid JSON syntax, but a duplicate key or NaN
                self._decide(True)
                raise
        if isinstance(record, dict):
            return self.inputs.values_of(record, self.names)
        if self.as_json:
            keys = ", ".join(self.names or self.inputs.keys)
            raise ValueError(f"found a JSON {type(record).__name__}, expected an object with {keys}")
        fields = line.split("\t")
        if self.as_json is None and self._is_header(fields):
            return None
        self._decide(False)
        columns = self.header or self.inputs.columns
        if len(fields) != len(columns):
            raise ValueError(f"found {len(fields)} columns, expected {len(columns)} ({shorten(', '.join(columns), MAX_REASON)})")
        return [fields[position] for position in self.positions] if self.header else fields

    def _is_header(self, fields: list[str]) -> bool:
        """Return whether the first line names the columns, and if it does, take it as the header."""
        for form in (self.names,) if self.names else self.inputs.forms:
            if (len(fields) > 1 or self.is_table) and all(fields.count(name) == 1 for name in form):
                self.header, self.positions = fields, [fields.index(name) for name in form]
                self._decide(False)
                logger.info("the first line names the columns: %s", shorten(", ".join(form), MAX_REASON))
                return True
        return False

    def _decide(self, as_json: bool) -> None:
        if self.as_json is None and self.names and not as_json and not self.header:
            raise DataError(
                f"--text_column: the first line has no {quote(self.names[0])}. It names a column of a .csv file, a key of JSON "
                "lines, or a column that the first line of a tab-separated file names."
            )
        self.as_json = as_json if self.as_json is None else self.as_json
