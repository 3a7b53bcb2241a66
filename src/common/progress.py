"""Progress on standard error: a fastprogress bar on a terminal, plain lines otherwise; and logging to it and to train.log."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

from fastprogress.fastprogress import ConsoleProgressBar

from src.common.log import is_terminal

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
