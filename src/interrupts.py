"""Ctrl-C and SIGTERM: a training ends at its next step with its state saved, anything else at once, with one line."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from src.errors import SIGNALS, Interrupted, handling

_asked: int | None = None  # the signal that came while it was waited for a good moment


@contextmanager
def ending_at_check() -> Iterator[None]:
    """Inside, a first signal only makes the next `check` raise; after it a second one ends the process where it stands."""
    global _asked
    _asked = None

    def note(number: int, frame: FrameType | None) -> None:
        global _asked
        _asked = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    with handling(SIGNALS, note):
        yield


def check() -> None:
    """A moment at which the work may end. Raises Interrupted where that has been asked for."""
    if _asked is not None:
        raise Interrupted(_asked)
