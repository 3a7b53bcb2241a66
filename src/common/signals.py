"""Signals: Ctrl-C and SIGTERM end a training at its next step, with its state saved, and anything else immediately."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from src.common.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # how people and schedulers ask a process to end

_received: int | None = None  # a signal that the next check() raises


@contextmanager
def handling(numbers: Iterable[int], handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> Iterator[None]:
    """Handle these signals with `handler` inside the block; restore their handlers afterwards.

    Only the main thread can do that; in others, the block runs with the handlers that are set.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextmanager
def ending_at_check() -> Iterator[None]:
    """Inside the block the first signal makes the next check() raise; a second one ends the process immediately."""
    global _received
    _received = None

    def record(number: int, frame: FrameType | None) -> None:
        global _received
        _received = number
        for other in SIGNALS:
            signal.signal(other, signal.SIG_DFL)

    with handling(SIGNALS, record):
        yield


def check() -> None:
    """Raise Interrupted if a signal has arrived. Call it between two units of work."""
    if _received is not None:
        raise Interrupted(_received)
