"""The protocol of predict.py: each input line gives one JSON line with its result or its error, in the same order."""

import contextlib
import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from processor.inputs import Inputs
from src.common.errors import DataError
from src.common.log import ESCAPE, is_closed
from src.data.task import Features

logger = logging.getLogger(__name__)

STANDARD = Path("-")  # as --input or --output: the standard stream
CHUNK = 1024  # lines that are predicted together, sorted by length


class Row(NamedTuple):
    """One input: the values of Inputs.keys, or why there are none."""

    number: int  # its line in the input, from 1
    values: Sequence[Any]
    error: str  # empty if the values are there
    cells: Sequence[str]  # what a CSV output repeats of the input


def predict_rows(
    chunks: Iterable[Iterable[Row]],
    inputs: Inputs,
    predict: Callable[[Features], np.ndarray],
    write: Callable[[Row, dict[str, Any]], object],
    strict: bool = False,
) -> None:
    """Write the result of every row, in order, or {"line": number, "error": reason} if it is invalid.

    chunks: the rows in parts that are predicted together. predict: features -> model outputs.
    Raises DataError if no row is valid, and if `strict` for the first invalid row, after writing the results before it.
    """
    lines, invalid, first_error = 0, 0, ""
    for chunk in chunks:
        examples: list[Any] = []
        rows: list[Row] = []
        for row in chunk:
            try:
                examples += [] if row.error else [inputs.example(row.values)]
            except ValueError as error:
                row = row._replace(error=str(error))
            rows.append(row)
            if row.error and strict:
                break
        results: Iterator[dict[str, Any]] = iter(())
        if examples:
            features = inputs.encode(examples)
            results = inputs.results(examples, features, predict(features))
        for row in rows:
            if row.error and strict:
                raise DataError(f"line {row.number}: {row.error}. Correct the line, or omit --strict to skip invalid lines.")
            write(row, {"line": row.number, "error": row.error} if row.error else next(results))
            first_error = first_error or row.error
        lines += len(rows)
        invalid += len(rows) - len(examples)
    if not lines:
        logger.warning("the input is empty")
    elif invalid == lines:
        raise DataError(f"none of the {lines} lines is valid; the first error: {first_error}.")
    elif invalid:
        logger.warning("%d of %d lines are invalid; the output contains their errors", invalid, lines)


def write_json(write: Callable[[str], object]) -> Callable[[Row, dict[str, Any]], object]:
    """Return a function that writes a result as one JSON line."""
    return lambda row, result: write(json.dumps(result, ensure_ascii=False) + "\n")


def parse_lines(
    chunks: Iterable[Sequence[bytes]], keys: Sequence[str], columns: Sequence[str] | None = None
) -> Iterator[list[Row]]:
    """Yield the rows of lines, in the same chunks. The first line with text decides whether they are JSON or TSV.

    keys: those of a JSON object; columns: names of the fields between tabs, if they are others.
    """
    as_json: bool | None = None
    numbers = count(1)
    for chunk in chunks:
        rows = []
        for line, number in zip(chunk, numbers, strict=False):
            text = line.decode("utf-8", errors="replace").rstrip("\r\n")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if not text.strip():
                    raise ValueError("the line is empty")
                if "\r" in text:
                    raise ValueError("found CR inside the line; lines must end with LF or CR LF, not with CR alone")
                if as_json is None:
                    as_json = text.lstrip().startswith("{")
                rows.append(Row(number, _parse(text, keys, columns or keys, as_json), "", [text]))
            except (ValueError, RecursionError) as error:
                reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
                rows.append(Row(number, [], reason, [text]))
        yield rows


def _parse(line: str, keys: Sequence[str], columns: Sequence[str], as_json: bool) -> list[Any]:
    """Return the values of a line: those of a JSON object, or, unless `as_json`, fields between tabs. Raises ValueError."""
    record = None
    if as_json or line.lstrip().startswith("{"):
        try:
            record = json.loads(line)
        except ValueError as error:
            if as_json:
                raise ValueError(f"not JSON: {error}") from None
    if isinstance(record, dict):
        if missing := [key for key in keys if key not in record]:
            raise ValueError(f"{missing[0]!r} is missing; an input has {', '.join(keys)}")
        return [record[key] for key in keys]
    if as_json:
        raise ValueError(f"found a JSON {type(record).__name__}, expected an object with {', '.join(keys)}")
    fields = line.split("\t")
    if len(fields) != len(columns):
        raise ValueError(f"found {len(fields)} columns, expected {len(columns)} ({', '.join(columns)})")
    return fields


@contextlib.contextmanager
def open_lines(path: Path | None) -> Iterator[Iterator[list[bytes]]]:
    """Yield the lines of a file in chunks of CHUNK, or those of standard input (None or "-") as they arrive.

    Raises DataError if the input cannot be read.
    """
    if path is None or path == STANDARD:
        try:
            descriptor = sys.stdin.fileno()
        except (AttributeError, OSError, ValueError):  # closed, or that of a notebook
            raise DataError("there is no standard input to read. Pass --input FILE.") from None
        yield _arriving_lines(descriptor)
        return
    try:
        stream = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise DataError(f"--input {path} cannot be read: {error.strerror}.") from None
    with stream:
        yield iter(lambda: list(islice(stream, CHUNK)), [])


def _arriving_lines(descriptor: int) -> Iterator[list[bytes]]:
    """Yield all lines that have arrived, at most CHUNK at a time, without waiting for more, so that interactive use works."""
    arrived: queue.Queue[bytes | None] = queue.Queue(maxsize=2 * CHUNK)  # None ends the input
    errors: list[OSError] = []

    def read() -> None:
        try:
            # A duplicate, because at exit Python would wait for the thread that reads sys.stdin.
            with os.fdopen(os.dup(descriptor), "rb") as stream:
                for line in stream:
                    arrived.put(line)
        except OSError as error:
            errors.append(error)
        arrived.put(None)

    threading.Thread(target=read, daemon=True).start()
    lines = iter(arrived.get, None)
    for line in lines:
        yield [line, *islice(lines, min(arrived.qsize(), CHUNK - 1))]
    if errors:
        raise DataError(f"standard input cannot be read: {errors[0].strerror}.")


@contextlib.contextmanager
def open_output(path: Path | None) -> Iterator[Callable[[str], object]]:
    """Yield a function that writes a line to standard output (None or "-"), flushed immediately, or to a file.

    A file is written as <name>.partial and renamed when it is complete. Raises DataError if it cannot be written.
    """
    if path is None or path == STANDARD:
        if is_closed(sys.stdout):
            raise DataError("standard output is closed. Pass --output FILE.")
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", errors=ESCAPE)
        yield lambda line: print(line, end="", flush=True)
        return
    in_place = path.exists() and not path.is_file()  # a pipe or a device
    target = path if in_place else path.resolve()  # links, such as /dev/stdout, stay links
    partial = target if in_place else target.with_name(f"{target.name}.partial")
    try:
        stream = open(partial, "w", encoding="utf-8", errors=ESCAPE, newline="\n")  # noqa: SIM115
    except OSError as error:
        raise DataError(f"--output {path} cannot be written: {error.strerror}.") from None
    try:
        with stream:
            yield stream.write
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write names no file
        raise
    if not in_place:
        partial.replace(target)
