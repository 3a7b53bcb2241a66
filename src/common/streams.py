"""Standard streams, which may be closed, unable to encode Korean, or objects of a notebook."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

ESCAPE = "backslashreplace"  # how characters that a stream cannot encode are written, in JSON validly so


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
