"""Progress on standard error: a fastprogress bar on a terminal, plain lines otherwise; and logging to it and to train.log."""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import cache
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from fastprogress.fastprogress import ConsoleProgressBar

from src.streams import is_terminal

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0
SECONDS_BETWEEN_BARS = 1.0  # reading the loss makes the CPU wait for the GPU


class Progress:
    """Shows the progress of `what`. Call `due()` after each step and, if it returns True, `show(done, comment)`.

    This way a comment that has to be read from the device is made only if it is shown.
    """

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total = what, total
        self.started = self.last_shown = time.monotonic()
        self.bar = None
        if is_terminal(sys.stderr):
            with _printing():
                self.bar = ConsoleProgressBar(range(total), leave=False)
                self.bar.update(0)

    def due(self) -> bool:
        """Return whether the display should be updated."""
        interval = SECONDS_BETWEEN_BARS if self.bar else SECONDS_BETWEEN_LINES
        return time.monotonic() - self.last_shown >= interval

    def show(self, done: int, comment: str = "") -> None:
        """Show that `done` of all steps are done."""
        self.last_shown = time.monotonic()
        if self.bar:
            self.bar.comment = comment
            self.bar.wait_for = 0  # due() decides, not the bar
            with _printing():
                self.bar.update(min(done, self.total - 1))
            return
        remaining = (self.last_shown - self.started) / max(done, 1) * (self.total - done)
        parts = [f"{self.what} {done}/{self.total}", comment, f"{format_seconds(remaining)} left"]
        logger.info(", ".join(part for part in parts if part))

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self.bar:
            with _printing():
                self.bar.update(self.total)


@contextmanager
def _printing() -> Iterator[None]:
    """Redirect fastprogress, which prints to standard output. A terminal that has been closed must not end a training."""
    with suppress(OSError, ValueError), redirect_stdout(sys.stderr):
        yield


def format_seconds(seconds: float) -> str:
    """Return seconds as `h:mm:ss`, or `m:ss` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


LOGGERS = ("src", "processor")  # of this project; the root logger belongs to the program that runs it, such as a notebook
LIBRARIES = ("transformers", "huggingface_hub", "accelerate", "httpx", "httpx2")


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
