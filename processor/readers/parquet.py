"""The reader of Parquet files, by the optional package pyarrow."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

from processor.readers.records import MOST_NAMES, Records, pick_values
from processor.readers.text_files import read_content
from src.common.errors import MAX_REASON, DataError, brief, did_you_mean, shorten
from src.data.task import Task

REQUIREMENTS = "requirements-parquet.txt"

# Functions of pyarrow.types: the types that become a text, a number, true, false or null in Python.
READABLE = ("is_string", "is_large_string", "is_string_view", "is_integer", "is_floating", "is_decimal", "is_boolean", "is_null")


def read_parquet(path: Path, task: Task) -> Iterator[tuple[int, list[Any]]]:
    """Yield the rows of a Parquet file; see `pick_values`. Rows are counted from 1 in place of lines.

    Only the task's columns are read. Raises DataError if pyarrow is not installed, and for columns that are missing, occur twice
    or hold something else than texts, numbers or lists of them, such as dates or bytes.
    """
    return pick_values(path, task, _records(path, task.values))


def _records(path: Path, columns: Sequence[str]) -> Records:
    try:
        from pyarrow import ArrowException, parquet  # imported here: it is optional
    except ImportError:
        raise DataError(
            f"{path}: a Parquet file is read by pyarrow, which is not installed. Run `pip install -r {REQUIREMENTS}`, or save "
            "the file as csv or jsonl."
        ) from None
    try:
        with parquet.ParquetFile(BytesIO(read_content(path))) as file:
            _require_columns(path, file.schema_arrow, columns)
            batches = file.iter_batches(columns=columns)
            yield from enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), start=1)
    except (ArrowException, OSError, ValueError) as error:  # ValueError: texts that are not UTF-8
        raise DataError(f"{path}: not a Parquet file that can be read: {brief(error)}") from None


def _require_columns(path: Path, schema: Any, columns: Sequence[str]) -> None:
    """Raise DataError if one of the columns, which may be dotted paths, is not in the pyarrow.Schema or cannot be read."""
    for column in columns:
        found = _types_of(schema, [column]) or _types_of(schema, column.split("."))
        if not found:
            names = _paths(schema)
            raise DataError(
                f"{path}: found the columns {shorten(', '.join(names), MAX_REASON)}, expected {column!r}."
                f"{did_you_mean(column, names[:MOST_NAMES])}"
            )
        if len(found) > 1:
            raise DataError(f"{path}: the column {column!r} occurs {len(found)} times. Rename one of them.")
        if not _is_readable(found[0]):
            raise DataError(
                f"{path}: the column {column!r} is of the type {shorten(str(found[0]), MAX_REASON)}, expected texts, numbers or "
                "lists of them. Save it as text, or name another column."
            )


def _types_of(fields: Any, path: Sequence[str]) -> list[Any]:
    """Return the types of all fields at a path of names. fields: a pyarrow.Schema or a type, which may be that of objects."""
    if not path:
        return [fields]
    inner = fields if hasattr(fields, "get_all_field_indices") else ()
    return [found for field in inner if field.name == path[0] for found in _types_of(field.type, path[1:])]


def _paths(schema: Any) -> list[str]:
    """Return the names of the columns and, as dotted paths, those of the objects in them."""
    inner = (
        f"{field.name}.{each.name}" for field in schema if hasattr(field.type, "get_all_field_indices") for each in field.type
    )
    return [*schema.names, *inner]


def _is_readable(kind: Any) -> bool:
    """Return whether the values of a type are texts, numbers or lists of them. Categories have the type of their values."""
    from pyarrow import types

    while hasattr(kind, "value_type"):
        kind = kind.value_type
    return any(getattr(types, name)(kind) for name in READABLE)
