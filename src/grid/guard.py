"""Run a command that saves its state if the process that has started this one is killed: python guard.py COMMAND ...

A byte on standard input sends SIGTERM to the command, and so does the end of it. When a driver or a node is lost, Ray kills its
processes and their children with SIGKILL. Therefore a grandchild of Ray's process starts the command, and notices that by the end
of standard input. Imports nothing of the project.
"""

import os
import signal
import subprocess
import sys
import threading
from typing import NoReturn


def main() -> None:
    """Run the command of the command line, and end like it."""
    if child := os.fork():
        _end_like(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, close_fds=False)  # it inherits the lock on its cell
    threading.Thread(target=_pass_signals_on, args=[process], daemon=True).start()
    _end_like(process.wait())


def _pass_signals_on(process: "subprocess.Popen[bytes]") -> None:
    is_open = True
    while is_open:
        is_open = bool(os.read(sys.stdin.fileno(), 1))
        process.send_signal(signal.SIGTERM)


def _end_like(code: int) -> NoReturn:
    """End this process like one with this exit code, which is the negative number of a signal that has killed it."""
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)  # the thread that reads standard input cannot be ended


if __name__ == "__main__":
    main()
