"""What predict.py never writes over: the files that it reads, those of the checkpoint and its run, and their data files."""

import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from src.common.errors import ConfigError
from src.common.files import read_json
from src.predict.csv import is_csv
from src.predict.lines import place_of
from src.runs.files import CARD, CHECKPOINT, COST, LOG, LOG_LINES, RESULT_LINES, RESULTS, SCORES, SETTINGS, STATE
from src.runs.share import model_files
from src.settings.schema import Settings

OF_RUN = (SETTINGS, RESULTS, RESULT_LINES, COST, LOG_LINES, LOG, STATE, SCORES, CARD)  # in a run's folder
OF_SPLIT = re.compile(r"\w+-\d+\.\w+")  # in the folder of a split, such as test/predictions-100.tsv

# The keys of results as JSON, and columns that only CSV files of results have: data files, too, may have label, score or tags.
KEYS = {"label", "name", "labels", "names", "probabilities", "score", "words", "tags", "entities", "cut_words", "cut_characters"}
KEYS |= {"answer", "start", "end", "line", "error"}
COLUMNS = re.compile(r"(^|,)(prob_|entities(,|$)|answer,start,end,score)")
LONGEST_LINE = 1_000_000  # characters that are looked at

Identity = tuple[int, int]  # of a file: its device, and its number there


def refuse_overwriting(source: Path | None, output: Path | None, checkpoint: Path, settings: Settings) -> None:
    """Raise ConfigError if writing the output would destroy a file that is read here, or one of the run.

    Files are compared, not names: links and other spellings of a path do not matter. source, output: None for a standard stream,
    which may be that of a file. settings: those of the checkpoint.
    """
    if output is None:
        written = {_of_stream("stdout"): "standard output"}
    else:
        target, partial = place_of(output)
        written = {
            _of_file(target): f"--output {output}",
            _of_file(partial): f"{partial}, which the output is until it is complete,",
        }
    written.pop(None, None)
    read = _of_stream("stdin") if source is None else _of_file(source)
    if read in written:
        raise ConfigError(f"{written[read]} is the file of the input, which would be lost. Name another --output.")
    if output is None:
        return  # a shell has opened it, and may add to it
    if output.is_file() and output.stat().st_size and not _is_output(output):
        raise ConfigError(f"--output {output} is a file that predict.py has not written. Remove it, or name another --output.")
    for path in _files_of_run(checkpoint, settings):
        if name := written.get(_of_file(path)):
            raise ConfigError(f"{name} is a file of the checkpoint's run, {path}, which would be lost. Name another --output.")


def _is_output(path: Path) -> bool:
    """Return whether a file begins as results do: with one as JSON, or with their columns in a CSV file."""
    with open(path, encoding="utf-8-sig", errors="replace") as stream:
        line = stream.readline(LONGEST_LINE).rstrip("\n")
    if is_csv(path):
        return bool(COLUMNS.search(line))
    try:
        result = json.loads(line)
    except ValueError:
        return False
    is_data = isinstance(result, dict) and "words" in result and "entities" not in result  # of tagging: words and tags
    return isinstance(result, dict) and result.keys() <= KEYS and not is_data


def _files_of_run(checkpoint: Path, settings: Settings) -> Iterator[Path]:
    """Yield the files of a checkpoint, its run, the model that it was trained from, and the data; not all of them exist."""
    folders = [checkpoint, Path(settings.model_name_or_path)]
    if CHECKPOINT.fullmatch(checkpoint.resolve().name):
        run = checkpoint.resolve().parent
        folders += [path for path in run.iterdir() if CHECKPOINT.fullmatch(path.name)]
        yield from (run / name for name in OF_RUN)
        yield from (path for path in run.glob("*/*") if OF_SPLIT.fullmatch(path.name))
    for folder in folders:
        if folder.is_dir():
            yield from model_files(folder)
    yield from settings.data_files.values()
    if settings.weights_file:
        yield settings.weights_file
    for entry in read_json(checkpoint / SETTINGS).get("data", {}).values():
        yield Path(entry.get("file", ""))


def _of_file(path: Path) -> Identity | None:
    """Return the identity of a regular file; None if there is none, as for a device."""
    with suppress(OSError, ValueError):  # there is none, or a NUL in its name
        return _identity(path.stat())
    return None


def _of_stream(name: str) -> Identity | None:
    """Return the identity of the file that a standard stream is redirected to; None if it is none."""
    with suppress(AttributeError, OSError, ValueError):  # closed, or that of a notebook
        return _identity(os.fstat(getattr(sys, name).fileno()))
    return None


def _identity(status: os.stat_result) -> Identity | None:
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
