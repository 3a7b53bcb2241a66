"""What a command writes: logging to standard error and to train.log, and streams that may be closed or unable to write Korean."""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

LOGGERS = ("src", "processor")  # of this project; the root logger belongs to the program that runs it, such as a notebook


LIBRARIES = ("transformers", "huggingface_hub", "accelerate", "httpx", "httpx2")

ESCAPE = "backslashreplace"  # how characters that a stream cannot encode are written, in JSON validly so


class _Screen(logging.StreamHandler[Any]):
    """Standard error. On a terminal a message first erases the progress bar; error messages have no time stamp."""

    def emit(self, record: logging.LogRecord) -> None:
        if is_terminal(self.stream):
            self.stream.write("\r\033[K")
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if record.levelno >= logging.ERROR else super().format(record)


_started = time.monotonic()  # when the current command was started, approximately


_early = MemoryHandler(10_000)  # the messages of the current command before its run's folder exists


def seconds_since_start() -> float:
    """Return the seconds since the command was started, approximately."""
    return time.monotonic() - _started


@cache
def log_once(message: str) -> None:
    """Log a message, unless this process has already logged it."""
    logger.info("%s", message)


@contextmanager
def logging_to_screen(timestamps: bool = True) -> Iterator[None]:
    """Inside the block, log to standard error, one line per message, and silence the libraries."""
    global _started, _early
    _started = time.monotonic()
    _early = MemoryHandler(10_000, flushLevel=logging.CRITICAL, flushOnClose=False)
    # Both variables are read when huggingface_hub is imported.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # else it queries the hub about the program that uses it
    if not is_terminal(sys.stderr):
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
    screen = _Screen(sys.stderr)
    screen.setFormatter(logging.Formatter(f"{'%(asctime)s ' * timestamps}%(message)s", datefmt="%H:%M:%S"))
    with _own_loggers(), _handling(screen), _handling(_early):
        yield


@contextmanager
def _own_loggers() -> Iterator[None]:
    """Inside the block, the project's loggers pass messages to their own handlers alone."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(project.level, project.propagate) for project in loggers]
    for project in loggers:
        project.setLevel(logging.INFO)
        project.propagate = False
    try:
        yield
    finally:
        for project, (level, propagate) in zip(loggers, before, strict=True):
            project.setLevel(level)
            project.propagate = propagate


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Inside the block, log to the file at `path`, too, starting with the messages logged so far, and how the block ends."""
    file = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    file.handleError = lambda record: None  # type: ignore[method-assign]  # full disk: writes that matter raise themselves
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for name in LOGGERS:
        logging.getLogger(name).removeHandler(_early)
    _early.setTarget(file)
    _early.flush()
    try:
        with _handling(file):
            yield
    except BaseException as error:
        file.handle(logger.makeRecord(logger.name, logging.ERROR, "", 0, "%s: %s", (type(error).__name__, error), None))
        raise
    finally:
        with suppress(OSError):
            file.close()


@contextmanager
def _handling(handler: logging.Handler) -> Iterator[None]:
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(handler)


@contextmanager
def usable_streams() -> Iterator[None]:
    """Inside the block, output cannot fail for what it says or because a stream is closed.

    Characters that a stream cannot encode are written as escapes. A closed stream (`>&-`) leads to os.devnull, also below Python:
    else the next file to be opened would get the messages of C libraries.
    """
    if None in (sys.stdin, sys.stdout, sys.stderr):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(descriptor)
    with ExitStack() as stack:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:
                stack.callback(setattr, sys, name, None)
                setattr(sys, name, stack.enter_context(open(os.devnull, "w", encoding="utf-8")))
            elif hasattr(stream, "reconfigure"):
                stream.reconfigure(errors=ESCAPE)
        yield


def is_closed(stream: Any) -> bool:
    """Return whether a standard stream was closed before the command began."""
    return stream is None or getattr(stream, "name", "") == os.devnull


def abandon(stream: Any) -> None:
    """Drop what is still to be written to a standard stream: at exit, Python would try again and print a traceback."""
    with suppress(OSError, ValueError, AttributeError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)


def is_terminal(stream: Any) -> bool:
    """Return whether `stream` is a terminal; those of a notebook may not know."""
    return bool(getattr(stream, "isatty", bool)())
