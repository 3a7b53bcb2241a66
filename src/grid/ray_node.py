"""A node of a Ray cluster: runs a cell in a process of its own, which saves its state if the driver or the node is lost."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from src.common.errors import Interrupted
from src.grid.cells import Cell
from src.grid.devices import Device
from src.grid.pool import Outcome, Pool, Runs

DRIVER_TIMEOUT = 60.0  # seconds until a driver that does not answer counts as lost
PAUSE = 0.75  # seconds after each question to the driver
RETRY = 2.0  # seconds between two attempts to lock a cell whose former process is still running
GUARD = Path(__file__).with_name("guard.py")


class Board:
    """What driver and nodes tell each other. An actor on the driver's machine: it ends with the driver."""

    def __init__(self) -> None:
        self.running: dict[str, tuple[str, str, float]] = {}  # name -> id and host of the node, start by this machine's clock
        self.counts: Counter[str] = Counter()
        self.signals = 0

    def start(self, name: str, node_id: str, host: str) -> int | None:
        """Note that a node starts a cell. Returns how many did before, None if it must not start after a signal."""
        if self.signals:
            return None
        self.running[name] = node_id, host, time.monotonic()
        self.counts[name] += 1
        return self.counts[name] - 1

    def end(self, name: str) -> None:
        """Note that a cell has ended."""
        self.running.pop(name, None)

    def stop(self) -> None:
        """Pass on a signal: from now on no cell starts, and those that run save their state and end."""
        self.signals += 1

    def count_signals(self) -> int:
        """Return how many signals the driver has received."""
        return self.signals

    def list_running(self) -> dict[str, tuple[str, str, float]]:
        """Return node, host and time of the start of the running cells, by name."""
        return self.running


class GuardedProcess(subprocess.Popen[bytes]):
    """The process of a cell on a node, under src.grid.guard: it saves its state if this process is killed."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        super().__init__([sys.executable, str(GUARD), *command], **options | {"stdin": subprocess.PIPE, "bufsize": 0})
        assert self.stdin
        self.orders = self.stdin

    def poll(self) -> int | None:
        """Return the exit code, None as long as the process runs."""
        if super().poll() is not None:
            self.orders.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Make the guard send SIGTERM to the process."""
        with suppress(BrokenPipeError):  # it has ended by itself
            self.orders.write(b"\n")


def run_on_node(cell: Cell, device: Device, marker: Path, cwd: Path, board: Any) -> tuple[str, str, float]:
    """Run a cell in this process of Ray. Returns how it ended, the reason and the seconds. `cwd`: of the driver.

    A retry waits until the process of the lost node, which may be only cut off, has released the cell.
    """
    os.chdir(cwd)
    host = socket.gethostname()
    if not marker.exists():  # a node that has joined since the driver checked them
        return "failed", f"the node {host} does not see --ckpt_dir {cell.settings.ckpt_dir}", 0.0
    earlier_starts = _ask(board.start, cell.name, ray.get_runtime_context().get_node_id(), host)
    if earlier_starts is None:
        return "interrupted", "interrupted before it started", 0.0

    def receive_signals(pool: Runs[Any], outcomes: Sequence[Outcome]) -> None:
        try:
            pool.signals += [signal.SIGTERM] * (_ask(board.count_signals) - len(pool.signals))
        except RayError:  # the driver is lost
            pool.signals += [] if pool.signals else [signal.SIGTERM]
        time.sleep(PAUSE)

    while True:
        pool = Pool(deque([cell]), [device], spawn=GuardedProcess)
        try:
            pool.run(receive_signals)
        except Interrupted:
            if not _ask(board.count_signals):
                raise SystemExit("the node ends") from None  # so that Ray starts the cell on another one
        outcome = pool.ended[0] if pool.ended else Outcome(cell, "interrupted", "interrupted before it started")
        if outcome.end != "busy" or not earlier_starts or _ask(board.count_signals):
            return outcome.end, outcome.reason, outcome.seconds
        time.sleep(RETRY)


def _ask(method: Any, *arguments: object) -> Any:
    """Call a method of the board. Raises an error of Ray if the driver does not answer.

    In a thread: while the main thread of a task waits for an answer, Ray lends its CPUs to the next task.
    """
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: ray.get(method.remote(*arguments), timeout=DRIVER_TIMEOUT)).result()
