"""Progress on standard error: a fastprogress bar on a terminal, plain lines otherwise; and the set-up of logging."""

import contextlib
import logging
import os
import sys
import time
from logging.handlers import MemoryHandler
from pathlib import Path

from fastprogress.fastprogress import ConsoleProgressBar

logger = logging.getLogger(__name__)

STARTED = time.monotonic()  # when the command was started, approximately
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
        if sys.stderr.isatty():
            with contextlib.redirect_stdout(sys.stderr):  # fastprogress prints to standard output
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
            with contextlib.redirect_stdout(sys.stderr):
                self.bar.update(min(done, self.total - 1))
            return
        remaining = (self.last_shown - self.started) / max(done, 1) * (self.total - done)
        parts = [f"{self.what} {done}/{self.total}", comment, f"{format_seconds(remaining)} left"]
        logger.info(", ".join(part for part in parts if part))

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self.bar:
            with contextlib.redirect_stdout(sys.stderr):
                self.bar.update(self.total)


def format_seconds(seconds: float) -> str:
    """Return seconds as `h:mm:ss`, or `m:ss` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


# Messages logged before the run's folder exists; log_to writes them to its train.log.
_early = MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL, flushOnClose=False)


class _Screen(logging.StreamHandler):
    """Standard error. On a terminal a message first erases the progress bar; error messages have no time stamp."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if record.levelno >= logging.ERROR else super().format(record)


def start_logging() -> None:
    """Log to standard error, one line per message, and silence the libraries."""
    # Both variables are read when huggingface_hub is imported.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # else it queries the hub about the program that uses it
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    screen = _Screen(sys.stderr)
    screen.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[screen, _early])
    for name in ("transformers", "huggingface_hub", "accelerate", "httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.ERROR)


def log_to(path: Path) -> None:
    """Log to the file at `path`, too, starting with the messages logged so far."""
    file = logging.FileHandler(path, encoding="utf-8")
    file.handleError = lambda record: None  # type: ignore[method-assign]  # full disk: writes that matter raise themselves
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    _early.setTarget(file)
    _early.flush()
    logging.getLogger().removeHandler(_early)
    logging.getLogger().addHandler(file)
