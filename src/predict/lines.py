"""The protocol of predict.py: each input line gives one JSON line with its result or its error, in the same order."""

import contextlib
import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from processor.inputs import Inputs
from src.common.errors import DataError
from src.common.streams import ESCAPE, is_closed
from src.data.features import Features

logger = logging.getLogger(__name__)

STANDARD = Path("-")  # as --input or --output: the standard stream
CHUNK = 1024  # lines that are predicted together, sorted by length

Parse = Callable[[str], list[Any]]  # line -> values of Inputs.keys; raises ValueError


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
        checked: list[tuple[Row, str]] = []  # with why it is invalid
        for row in chunk:
            reason = row.error
            if not reason:
                try:
                    examples.append(inputs.example(row.values))
                except ValueError as error:
                    reason = str(error)
            checked.append((row, reason))
            if reason and strict:
                break
        results = _results(inputs, examples, predict)
        for row, reason in checked:
            if reason and strict:
                raise DataError(f"line {row.number}: {reason}. Correct the line, or omit --strict to skip invalid lines.")
            write(row, {"line": row.number, "error": reason} if reason else next(results))
        lines += len(checked)
        invalid += len(checked) - len(examples)
        first_error = first_error or next((reason for _, reason in checked if reason), "")
    if not lines:
        logger.warning("the input is empty")
    elif invalid == lines:
        raise DataError(f"none of the {lines} lines is valid; the first error: {first_error}.")
    elif invalid:
        logger.warning("%d of %d lines are invalid; the output contains their errors", invalid, lines)


def write_json(write: Callable[[str], object]) -> Callable[[Row, dict[str, Any]], object]:
    """Return a function that writes a result as one JSON line."""
    return lambda row, result: write(json.dumps(result, ensure_ascii=False) + "\n")


def parse_lines(chunks: Iterable[Sequence[bytes]], keys: Sequence[str]) -> Iterator[list[Row]]:
    """Yield the rows of lines, in the same chunks. The first line with text decides whether they are JSON or TSV."""
    parse: Parse | None = None
    number = 0
    for chunk in chunks:
        rows = []
        for line in chunk:
            number += 1
            text = line.decode("utf-8", errors="replace").rstrip("\r\n")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if not text.strip():
                    raise ValueError("the line is empty")
                if "\r" in text:
                    raise ValueError("found CR inside the line; lines must end with LF or CR LF, not with CR alone")
                parse = parse or _choose_format(text, keys)
                rows.append(Row(number, parse(text), "", [text]))
            except (ValueError, RecursionError) as error:
                reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
                rows.append(Row(number, [], reason, [text]))
        yield rows


def _results(inputs: Inputs, examples: list[Any], predict: Callable[[Features], np.ndarray]) -> Iterator[dict[str, Any]]:
    if examples:
        features = inputs.encode(examples)
        yield from inputs.results(examples, features, predict(features))


def _choose_format(first_line: str, keys: Sequence[str]) -> Parse:
    """Return how to parse the lines: as JSON if the first one starts like an object, else as TSV, except for JSON objects."""
    if first_line.lstrip().startswith("{"):
        return lambda line: _json_values(line, keys)
    return lambda line: _json_values(line, keys) if _is_object(line) else _tsv_values(line, keys)


def _is_object(line: str) -> bool:
    try:
        return line.lstrip().startswith("{") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _json_values(line: str, keys: Sequence[str]) -> list[Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise ValueError(f"found a JSON {type(record).__name__}, expected an object with {', '.join(keys)}")
    if missing := [key for key in keys if key not in record]:
        raise ValueError(f"{missing[0]!r} is missing; an input has {', '.join(keys)}")
    return [record[key] for key in keys]


def _tsv_values(line: str, keys: Sequence[str]) -> list[Any]:
    fields: list[Any] = line.split("\t")
    if len(fields) != len(keys):
        raise ValueError(f"found {len(fields)} columns, expected {len(keys)} ({', '.join(keys)})")
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
    arrived: queue.Queue[bytes | OSError | None] = queue.Queue(maxsize=2 * CHUNK)  # None or an error ends the input

    def read() -> None:
        end = None
        try:
            # A duplicate, because at exit Python would wait for the thread that reads sys.stdin.
            with os.fdopen(os.dup(descriptor), "rb") as stream:
                for line in stream:
                    arrived.put(line)
        except OSError as error:
            end = error
        arrived.put(end)

    threading.Thread(target=read, daemon=True).start()
    item: bytes | OSError | None = b""
    while isinstance(item, bytes):
        chunk: list[bytes] = []
        while not chunk or (len(chunk) < CHUNK and not arrived.empty()):
            item = arrived.get()
            if not isinstance(item, bytes):
                break
            chunk.append(item)
        if chunk:
            yield chunk
    if item is not None:
        raise DataError(f"standard input cannot be read: {item.strerror}.")


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
