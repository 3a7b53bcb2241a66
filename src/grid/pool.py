"""Run cells as processes, one per device at a time; pass signals on to them; write their output next to their folders."""

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

from src.common.errors import CheckpointError, Interrupted
from src.common.files import hold, name_holder
from src.common.signals import SIGNALS, handling
from src.grid.cells import Cell
from src.grid.devices import Device
from src.report.read_runs import last_line, last_message

ROOT = Path(__file__).resolve().parents[2]
POLL = 0.25  # seconds between two checks of the processes


@dataclass(frozen=True)
class Running:
    """A cell that is running. `started`: time of the monotonic clock."""

    cell: Cell
    device: Device
    started: float

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


@dataclass(frozen=True)
class LocalProcess(Running):
    """A cell that is running on this machine. `lock`: file descriptor of the lock on the cell."""

    process: "subprocess.Popen[bytes]"
    lock: int


End = Literal["done", "failed", "interrupted", "busy"]  # busy: another process is running the cell


@dataclass(frozen=True)
class Outcome:
    """How a cell ended, and the reason if it is not done."""

    cell: Cell
    end: End
    reason: str
    seconds: float = 0.0


R = TypeVar("R", bound=Running)


@dataclass
class Runs(ABC, Generic[R]):
    """Cells that are waiting, running and ended, wherever they run. `devices`: one for each that can run at the same time."""

    waiting: deque[Cell]
    devices: Sequence[Device]
    running: list[R] = field(default_factory=list)
    ended: list[Outcome] = field(default_factory=list)
    signals: list[int] = field(default_factory=list)  # numbers of the signals received; no cell starts after the first
    signals_forwarded: int = 0

    def run(self, update: Callable[["Runs[R]", Sequence[Outcome]], None]) -> None:
        """Run the waiting cells; call `update(runs, outcomes)` several times per second with the cells that have just ended.

        Raises Interrupted after a signal, when all processes have ended. After the first signal each process saves its state at
        its next step; after the second they end at once.
        """
        # Closing the terminal ends the runs, too, unless the command was started with nohup.
        hangup = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
        # Only note a signal: it may arrive between the start of a process and its place in `running`.
        with handling([*SIGNALS, *hangup], lambda number, frame: self.signals.append(number)):
            try:
                while self.running or (self.waiting and not self.signals):
                    before = len(self.ended)
                    self._collect_ended()
                    self._start_waiting()
                    if self.signals_forwarded < len(self.signals):
                        self.signals_forwarded += 1
                        self._terminate_all()
                    with suppress(OSError):  # the terminal may be closed
                        update(self, self.ended[before:])
                    time.sleep(POLL)
            finally:
                if not self.signals_forwarded:  # an exception: do not leave processes behind
                    self._terminate_all()
                while self.running:
                    self._collect_ended()
                    time.sleep(POLL)
        if self.signals:
            raise Interrupted(self.signals[0], "rerun the same command to resume")

    @abstractmethod
    def _start_waiting(self) -> None:
        """Move cells from `waiting` to `running`, or to `ended` if they cannot start."""

    @abstractmethod
    def _collect_ended(self) -> None:
        """Move the cells that have ended from `running` to `ended`."""

    @abstractmethod
    def _terminate_all(self) -> None:
        """Send SIGTERM to the processes of all running cells."""


@dataclass
class Pool(Runs[LocalProcess]):
    """Runs on this machine. `spawn` starts the process of a cell, given the arguments of subprocess.Popen."""

    spawn: Callable[..., "subprocess.Popen[bytes]"] = subprocess.Popen

    def _start_waiting(self) -> None:
        free = list(self.devices)
        for running in self.running:
            free.remove(running.device)
        for device in free:
            if self.waiting and not self.signals:
                cell = self.waiting.popleft()
                try:
                    self.running.append(start(cell, device, self.spawn))
                except CheckpointError as error:
                    self.ended.append(Outcome(cell, "busy", str(error)))
                except OSError as error:
                    self.ended.append(Outcome(cell, "failed", f"{error.filename}: {error.strerror}"))

    def _collect_ended(self) -> None:
        for running in [running for running in self.running if running.process.poll() is not None]:
            cell, code = running.cell, running.process.returncode
            end: End = "done" if code == 0 else "interrupted" if self.signals else "failed"
            if end == "failed" and not last_message(cell.output):
                with suppress(OSError), open(cell.output, "a", encoding="utf-8") as output:
                    print(f"\nerror: {_describe_end(code, cell.output)}", file=output)
            reason = "" if end == "done" else last_message(cell.output) or f"exit code {code}"
            self.running.remove(running)
            self.ended.append(Outcome(cell, end, reason, running.seconds))
            os.close(running.lock)

    def _terminate_all(self) -> None:
        for running in self.running:
            if running.process.poll() is None:
                running.process.send_signal(signal.SIGTERM)


def _describe_end(code: int, output: Path) -> str:
    """Describe the end of a process that did not log its error: killed, or, after a bug, the last line of its traceback."""
    if code == -signal.SIGKILL:
        return "killed by SIGKILL, possibly out of memory"
    return f"ended by signal {-code}" if code < 0 else f"exit code {code}: {last_line(output) or 'no output'}"


def lock_file(cell: Cell) -> Path:
    """Return the file that the process of a cell locks."""
    return cell.output.with_name(f".{cell.folder.name}.cell.lock")


def start(cell: Cell, device: Device, spawn: Callable[..., "subprocess.Popen[bytes]"] = subprocess.Popen) -> LocalProcess:
    """Start the process of a cell; its output goes to `cell.output`.

    The process holds a lock until it ends, even if this process ends earlier. Raises CheckpointError if another process is
    running the cell.
    """
    cell.output.parent.mkdir(parents=True, exist_ok=True)
    lock = hold(lock_file(cell), cell.name)
    try:
        with open(cell.output, "wb") as output:
            process = spawn(
                [sys.executable, str(ROOT / cell.script), *cell.flags],
                env=os.environ | device.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal must reach it once only, forwarded by the pool
                pass_fds=[lock],
            )
    except OSError:
        os.close(lock)
        raise
    name_holder(lock, process.pid)
    return LocalProcess(cell, device, time.monotonic(), process, lock)
