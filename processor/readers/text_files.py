"""The content of data files, read once, and their text, with errors that name file, line and the likely encoding."""

import codecs
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from time import time
from typing import Any, TypeVar

from src.common.errors import DataError, list_problems
from src.common.strict_json import UTF_16_MARKS

UTF_8 = "utf-8"
JUST_WRITTEN = 2  # seconds in which a file may change again without another time of change

Parsed = TypeVar("Parsed")


def read_content(path: Path) -> bytes:
    """Return the content of a file, which is read once: a run hashes it, takes labels from it and reads its rows twice."""
    status = path.stat()
    if time() - status.st_mtime < JUST_WRITTEN:
        return path.read_bytes()
    return _read(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=3)  # train, dev and test
def _read(path: Path, *version: int) -> bytes:
    return path.read_bytes()


def read_text(path: Path, encoding: str = UTF_8) -> str:
    """Return the text of a file, without a byte order mark. Raises DataError with the line of the first byte that is wrong."""
    content = read_content(path)
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = content[error.start : error.start + 4].hex(" ")
        cure = _cure(_likely_encoding(content, error.start, encoding), encoding)
        raise DataError(f"{path}, line {line}: found the bytes {found}, expected {encoding.upper()}. {cure}") from None


def read_lines(path: Path, encoding: str = UTF_8) -> Iterator[tuple[int, str]]:
    """Return (line number from 1, line) of a file, split on "\\n" alone.

    Not `splitlines()`: PAWS has a 0x1C inside a sentence. Raises DataError, see `read_text`, also for lines that end with "\\r"
    alone.
    """
    text = read_text(path, encoding)
    require_newlines(path, text)
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return enumerate((line.removesuffix("\r") for line in lines), start=1)


def without_mark(encoding: str) -> str:
    """Return the encoding that leaves out a byte order mark, for `open`."""
    return "utf-8-sig" if codecs.lookup(encoding).name == UTF_8 else encoding


def require_newlines(path: Path, text: str) -> None:
    """Raise DataError for a text whose lines end with "\\r" alone."""
    if "\r" in text and "\n" not in text:
        raise DataError(f"{path}: its lines end with CR alone. Convert them to LF: tr '\\r' '\\n' < OLD > NEW")


def _likely_encoding(content: bytes, failed_at: int, tried: str) -> str:
    """Return the encoding in which the content can be read; "" if it is unknown. failed_at: position of the first wrong byte.

    `tried` may be a part of CP949: EUC-KR lacks 8,822 of the 11,172 syllables, such as U+B620.
    """
    if content.startswith(UTF_16_MARKS):
        return "utf-16"
    # Korean text before the wrong byte: the encoding is right, and the file is damaged.
    is_part = codecs.lookup(tried).name in ("euc_kr", "johab", "iso2022_kr")
    candidates = (UTF_8, "cp949") if is_part or content[:failed_at].isascii() else (UTF_8,)
    for candidate in candidates:
        with suppress(UnicodeDecodeError):
            content.decode(candidate)
            return candidate
    return ""


def _cure(likely: str, expected: str) -> str:
    if not likely:
        return f"Convert the file to {expected.upper()}."
    writer = ", as Korean Excel writes it" if likely == "cp949" else ""
    return (
        f'It seems to be {likely.upper()}{writer}. Convert the file, or set "encoding": "{likely}" in the task\'s definition or '
        f"pass --encoding {likely}."
    )


def parse_rows(
    path: Path, rows: Iterable[tuple[int, Any]], parse: Callable[[Any], Parsed], empty: str = "there are no rows."
) -> Iterator[tuple[int, Parsed]]:
    """Yield (line, what `parse` makes of the values) of every row of a file.

    Raises DataError at the end of the file for the rows for which `parse` raises ValueError, with all of them, and if there are
    no rows, with the reason `empty`.
    """
    line, problems = 0, []
    for line, given in rows:
        try:
            parsed = parse(given)
        except ValueError as error:
            problems.append(f"line {line}: {error}")
        else:
            yield line, parsed
    if problems:
        raise DataError(list_problems(f"{path}: {len(problems)} malformed rows:", problems))
    if not line:
        raise DataError(f"{path}: {empty}")
