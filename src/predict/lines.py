"""The protocol of predict.py: each input line gives one JSON line with its result or its error, in the same order."""

import codecs
import contextlib
import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from processor.inputs import Inputs
from processor.readers.text_files import UTF_8
from src.common.errors import BenchmarkError, DataError, brief
from src.common.files import PARTIAL
from src.common.log import ESCAPE, is_closed, is_terminal
from src.data.task import Features

logger = logging.getLogger(__name__)

UTF_8_WITH_MARK = "utf-8-sig"
STANDARD = Path("-")  # as --input or --output: the standard stream
NOT_OF_A_ROW = (BenchmarkError, MemoryError)  # errors in encoding that no other row would avoid
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
        rows, examples, features = _encode(chunk, inputs, strict)
        results: Iterator[dict[str, Any]] = iter(())
        if features is not None:
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


def _encode(chunk: Iterable[Row], inputs: Inputs, strict: bool) -> tuple[list[Row], list[Any], Features | None]:
    """Return the rows of a chunk, up to the first invalid one if `strict`, and examples and features of those that are valid."""
    rows: list[Row] = []
    examples: dict[int, Any] = {}  # by the position of their row
    for row in chunk:
        try:
            if not row.error:
                examples[len(rows)] = inputs.example(row.values)
        except ValueError as error:
            row = row._replace(error=str(error))
        rows.append(row)
        if row.error and strict:
            break
    try:
        return rows, list(examples.values()), inputs.encode(list(examples.values())) if examples else None
    except NOT_OF_A_ROW:
        raise
    except Exception:  # the Rust tokenizer raises no other type
        reasons = _find_reasons(inputs, list(examples.items()))
    for position, reason in reasons.items():
        rows[position] = rows[position]._replace(error=reason)
        del examples[position]
    return rows, list(examples.values()), inputs.encode(list(examples.values())) if examples else None


def _find_reasons(inputs: Inputs, examples: Sequence[tuple[int, Any]]) -> dict[int, str]:
    """Return key -> reason for each of the examples that cannot be encoded, by halving those that fail together."""
    try:
        inputs.encode([example for _, example in examples])
    except NOT_OF_A_ROW:
        raise
    except Exception as error:
        if len(examples) == 1:
            return {examples[0][0]: f"the tokenizer cannot encode it: {brief(error)}"}
        half = len(examples) // 2
        return _find_reasons(inputs, examples[:half]) | _find_reasons(inputs, examples[half:])
    return {}


def write_json(write: Callable[[str], object]) -> Callable[[Row, dict[str, Any]], object]:
    """Return a function that writes a result as one JSON line."""
    return lambda row, result: write(json.dumps(result, ensure_ascii=False) + "\n")


def encoding_of_lines(encoding: str) -> str:
    """Return the encoding of the lines that open_lines yields for a file in this encoding, without a byte order mark in it.

    It is the same, but UTF-8 for one like UTF-16, whose texts do not have their line ends where their bytes have them.
    """
    splits = "\n".encode(encoding).endswith(b"\n") and b"\n".decode(encoding, "ignore") == "\n"
    return encoding if splits and codecs.lookup(encoding).name != UTF_8_WITH_MARK else UTF_8


@contextlib.contextmanager
def open_lines(path: Path | None, encoding: str = UTF_8) -> Iterator[Iterator[list[bytes]]]:
    """Yield the lines of a file in chunks of CHUNK, or those of standard input (None or "-") as they arrive.

    Those of a file whose encoding does not split at bytes are in UTF-8. Raises DataError if the input cannot be read.
    """
    if path is None or path == STANDARD:
        if _is_converted(encoding):
            raise DataError(f"standard input cannot be read line by line in {encoding}. Pass --input FILE.")
        try:
            descriptor = sys.stdin.fileno()
        except (AttributeError, OSError, ValueError):  # closed, or that of a notebook
            raise DataError("there is no standard input to read. Pass --input FILE.") from None
        if is_terminal(sys.stdin):
            logger.info("reading from the terminal: one input per line, Ctrl-D ends them. For a file, pass --input FILE.")
        yield _arriving_lines(descriptor)
        return
    try:
        stream = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise DataError(f"--input {path} cannot be read: {error.strerror}.") from None
    with stream:
        lines = _in_utf_8(stream, path, encoding) if _is_converted(encoding) else iter(stream)
        yield iter(lambda: list(islice(lines, CHUNK)), [])


def _is_converted(encoding: str) -> bool:
    return encoding_of_lines(encoding) == UTF_8 and codecs.lookup(encoding).name not in (UTF_8, UTF_8_WITH_MARK)


def _in_utf_8(stream: IO[bytes], path: Path, encoding: str) -> Iterator[bytes]:
    """Yield the lines of a file in UTF-8."""
    number = 0
    try:
        with TextIOWrapper(stream, encoding, newline="\n") as texts:
            for line in texts:
                yield line.encode()
                number += 1
    except UnicodeError:
        raise DataError(f"--input {path}: not {encoding}, near line {number + 1}. Pass another --encoding.") from None


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
    target, partial = place_of(path)
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
    if partial != target:
        partial.replace(target)


def place_of(output: Path) -> tuple[Path, Path]:
    """Return the file that an output becomes, and the one that it is written to until it is complete.

    Links, such as /dev/stdout, stay links. Both are the same for a pipe or a device.
    """
    if output.exists() and not output.is_file():
        return output, output
    target = output.resolve()
    return target, target.with_name(f"{target.name}{PARTIAL}")
