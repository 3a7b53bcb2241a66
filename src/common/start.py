"""What a command does before its imports, which take half a second, so that what fails there ends it with one line, too.

Nothing is imported here that is not in memory anyway.
"""

import os
import signal
import sys
from types import FrameType, TracebackType

NUMBERS = (signal.SIGINT, signal.SIGTERM)
_before: dict[int, object] = {}
_excepthook = sys.excepthook


def begin() -> None:
    """From now on until `end`, a signal ends this process at once, and so does a package that is missing.

    A notebook handles both in its own way.
    """
    if "IPython" in sys.modules:
        return
    sys.excepthook = _explain
    for number in NUMBERS:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):  # not if it is ignored, as by nohup
            _before[number] = signal.signal(number, _exit)


def end() -> None:
    """Restore what `begin` has set, after src.common.cli has handled signals and errors."""
    sys.excepthook = _excepthook
    for number in list(_before):
        signal.signal(number, _before.pop(number))  # type: ignore[arg-type]  # what signal.signal has returned


def _exit(number: int, frame: FrameType | None) -> None:
    # Not by an exception, which some imports swallow, and others show as theirs.
    os.write(2, f"interrupted by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)


def _explain(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Say what to do if a package of requirements.txt is missing; show any other error as Python does."""
    if not isinstance(error, ModuleNotFoundError):
        _excepthook(kind, error, traceback)
        return
    advice = "Activate the virtual environment: source .venv/bin/activate. If there is none, make demo creates it."
    print(f"error: {error}. {advice}", file=sys.stderr)
