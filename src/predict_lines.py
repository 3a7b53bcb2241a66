"""A stream of inputs becomes a stream of JSON lines: read, predicted in chunks, written in the same order."""

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
from typing import Any

import numpy as np

from src.data import Features, Inputs
from src.errors import DataError

logger = logging.getLogger(__name__)

CHUNK = 1024  # inputs that are sorted by length together


def predict_lines(
    lines: Iterable[Sequence[bytes]],
    inputs: Inputs,
    predict: Callable[[Features], np.ndarray],
    write: Callable[[str], object],
    strict: bool = False,
) -> None:
    """Write a JSON line for every line: its result, or {"line", "error"}.

    lines: chunks of the input's lines. predict: features -> outputs. Raises DataError at the first bad line where `strict`, once
    the results before it are written.
    """
    parse: Callable[[str], list[Any]] | None = None
    number, bad, first_error = 0, 0, ""
    for chunk in lines:
        examples: list[Any] = []
        errors: dict[int, str] = {}
        for line in chunk:
            number += 1
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if not text.strip():
                    raise ValueError("the line is empty")
                parse = parse or _format_of(text, inputs.keys)
                examples.append(inputs.example(parse(text)))
            except (ValueError, RecursionError) as error:
                errors[number] = _reason(error)
                first_error = first_error or errors[number]
                if strict:
                    break
        results: Iterator[dict[str, Any]] = iter(())
        if examples:
            features = inputs.encode(examples)
            results = inputs.results(examples, features, predict(features))
        first = number - len(examples) - len(errors) + 1
        for place in range(first, number + 1):
            result = {"line": place, "error": errors[place]} if place in errors else next(results)
            if place in errors and strict:
                raise DataError(f"line {place}: {errors[place]}. Mend it, or leave out --strict to go on behind such lines.")
            write(json.dumps(result, ensure_ascii=False) + "\n")
        bad += len(errors)
    if not number:
        logger.warning("the input is empty, and so is the output")
    elif bad == number:
        raise DataError(f"none of the {number} lines could be used; the first: {first_error}.")
    elif bad:
        logger.warning("%d of %d lines could not be used; each has its error in the output", bad, number)


def _format_of(first_line: str, keys: Sequence[str]) -> Callable[[str], list[Any]]:
    """How the lines of an input are read, seen on its first: JSON objects, or TSV, where a whole object is one all the same."""
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


def _reason(error: Exception) -> str:
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


@contextlib.contextmanager
def open_lines(path: Path | None) -> Iterator[Iterator[list[bytes]]]:
    """The lines of a file in chunks of CHUNK, or those of standard input as they arrive. Raises DataError for no such file."""
    if path is None:
        yield _arriving(sys.stdin.fileno())
        return
    try:
        stream = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise DataError(f"--input {path} cannot be read: {error.strerror}.") from None
    with stream:
        yield iter(lambda: list(islice(stream, CHUNK)), [])


def _arriving(descriptor: int) -> Iterator[list[bytes]]:
    """The lines that are there, at most CHUNK at a time: who sends one and waits gets its answer at once."""
    arrived: queue.Queue[bytes | OSError | None] = queue.Queue(maxsize=2 * CHUNK)  # None: that was all

    def read() -> None:
        end = None
        try:
            # A stream of its own: Python, when it ends, waits for whoever holds standard input.
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
    """A function that writes a line to standard output, or to a file, which has its name only once it is whole.

    A file that was not finished stays as <name>.partial.
    """
    if path is None:
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]

        def write(line: str) -> None:
            sys.stdout.write(line)
            sys.stdout.flush()

        yield write
        return
    in_place = path.exists() and not path.is_file()  # a pipe or a device takes the lines as they come
    partial = path if in_place else path.with_name(f"{path.name}.partial")
    try:
        stream = open(partial, "w", encoding="utf-8", newline="\n")  # noqa: SIM115
    except OSError as error:
        raise DataError(f"--output {path} cannot be written: {error.strerror}.") from None
    with stream:
        yield stream.write
    if not in_place:
        partial.replace(path)
