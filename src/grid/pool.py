"""Cells run as processes, one a device at a time; signals reach them, and what they say goes to a file beside their folder."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Literal

from src.errors import CheckpointError, ConfigError, Interrupted
from src.files import hold
from src.grid.cells import Cell
from src.grid.read_runs import last_words, tail
from src.signals import SIGNALS, handling

ROOT = Path(__file__).resolve().parents[2]
POLL = 0.25  # seconds between two looks at the processes


@dataclass(frozen=True)
class Device:
    """Where one run at a time goes. `environment`: what makes a process see this device alone."""

    name: str
    environment: Mapping[str, str]


def parse_devices(text: str) -> list[Device]:
    """The devices of `--devices`: "0,1" or "cpu", "cpu,cpu" for two runs that share it; "" leaves the choice to the runs.

    A number counts the GPUs that this process may use. Raises ConfigError for what is not there.
    """
    names = [name for part in text.split(",") if (name := part.strip())]
    if not names:
        return [Device("", {})]
    visible = _visible_gpus() if any(name != "cpu" for name in names) else []
    cores = max((os.cpu_count() or 1) // names.count("cpu"), 1) if "cpu" in names else 0
    devices = []
    for name in names:
        if name == "cpu":
            # An empty list of GPUs, and not --no_cuda: the settings of a run do not depend on where it goes.
            threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(cores))} if names.count("cpu") > 1 else {}
            devices.append(Device("cpu", {"CUDA_VISIBLE_DEVICES": ""} | threads))
        elif name in [str(number) for number in range(len(visible))]:
            devices.append(Device(f"gpu {name}", {"CUDA_VISIBLE_DEVICES": visible[int(name)]}))
        else:
            there = f"there are the GPUs 0 to {len(visible) - 1}, and cpu" if visible else "there is no GPU; say cpu"
            raise ConfigError(f"--devices: {name!r} is not here; {there}.")
    return devices


def _visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES must hold for each of the GPUs."""
    from torch.cuda import device_count  # counts without taking any of them

    count = device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


@dataclass(frozen=True)
class Running:
    """A cell at work. `lock`: the descriptor by which it is ours."""

    cell: Cell
    device: Device
    process: "subprocess.Popen[bytes]"
    started: float
    lock: int

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return time.monotonic() - self.started


End = Literal["done", "failed", "interrupted", "busy"]  # busy: somebody else is at work on it


@dataclass(frozen=True)
class Outcome:
    """How a cell ended and, where it is not done, why."""

    cell: Cell
    end: End
    why: str
    seconds: float


@dataclass
class Pool:
    """Cells that wait, run, and have ended."""

    waiting: deque[Cell]
    devices: list[Device]
    running: list[Running] = field(default_factory=list)
    ended: list[Outcome] = field(default_factory=list)
    asked: int = 0  # the signal by which it is to end
    times: int = 0  # how often it has been asked for that, and how often it was passed on
    passed_on: int = 0

    def count(self, *ends: End) -> int:
        """How many cells have ended so."""
        return sum(outcome.end in ends for outcome in self.ended)

    def run(self, show: Callable[["Pool"], None]) -> None:
        """Run the cells that wait; `show` looks at the pool several times a second.

        Raises Interrupted, when all processes have ended, where a signal has asked for it: each saves its state at its next step;
        at a second signal they do not wait for that.
        """
        # A terminal that goes away takes us along, too, unless somebody (nohup) has said otherwise.
        leaves = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
        with handling([*SIGNALS, *leaves], self._note):
            try:
                while self.running or (self.waiting and not self.asked):
                    self._collect()
                    self._start()
                    if self.passed_on < self.times:
                        self._end_all()
                    with suppress(OSError):  # a terminal that went away
                        show(self)
                    time.sleep(POLL)
            finally:
                if not self.passed_on:  # something went wrong here
                    self._end_all()
                for each in self.running:
                    each.process.wait()
        if self.asked:
            raise Interrupted(self.asked, "the same command goes on from there")

    def _start(self) -> None:
        for device in _without(self.devices, [each.device for each in self.running]):
            if self.waiting and not self.asked:
                cell = self.waiting.popleft()
                try:
                    self.running.append(start(cell, device))
                except CheckpointError as error:
                    self.ended.append(Outcome(cell, "busy", str(error), 0.0))
                except OSError as error:
                    self.ended.append(Outcome(cell, "failed", f"{error.filename}: {error.strerror}", 0.0))

    def _collect(self) -> None:
        for each in [each for each in self.running if each.process.poll() is not None]:
            code = each.process.returncode
            end: End = "done" if code == 0 else "interrupted" if self.asked else "failed"
            if end == "failed" and not last_words(each.cell.output):
                with suppress(OSError), open(each.cell.output, "a", encoding="utf-8") as output:
                    print(f"error: {_how_it_ended(code, each.cell.output)}", file=output)
            why = "" if end == "done" else last_words(each.cell.output) or f"ended with code {code}"
            self.running.remove(each)
            self.ended.append(Outcome(each.cell, end, why, each.seconds))
            os.close(each.lock)

    def _end_all(self) -> None:
        self.passed_on += 1
        for each in self.running:
            if each.process.poll() is None:
                each.process.send_signal(signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # No more than this: it may come between the start of a process and its place in `running`.
        self.asked, self.times = self.asked or number, self.times + 1


def _how_it_ended(code: int, output: Path) -> str:
    """In words, where the process did not say it: that it was killed, or, after a bug, the last line of the traceback."""
    if code == -signal.SIGKILL:
        return "ended by SIGKILL, maybe as there was too little memory"
    said = next((line.strip() for line in reversed(tail(output)) if line.strip()), "nothing was said")
    return f"ended by signal {-code}" if code < 0 else f"ended with code {code}: {said}"


def start(cell: Cell, device: Device) -> Running:
    """Start the process of a cell; what it says goes to `cell.output`.

    It holds a lock as long as it lives, even if we do not. Raises CheckpointError where somebody else is at work on the cell.
    """
    cell.output.parent.mkdir(parents=True, exist_ok=True)
    lock = hold(cell.output.with_name(f".{cell.folder.name}.cell.lock"), cell.name)
    try:
        with open(cell.output, "wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(ROOT / cell.script), *cell.flags],
                env=os.environ | device.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C on the terminal reaches it once, through us
                pass_fds=[lock],
            )
    except OSError:
        os.close(lock)
        raise
    os.pwrite(lock, str(process.pid).encode(), 0)
    return Running(cell, device, process, time.monotonic(), lock)


def _without(devices: Iterable[Device], taken: list[Device]) -> list[Device]:
    """Those that are not taken; each as often as it is there."""
    left = list(taken)
    free = []
    for device in devices:
        if device in left:
            left.remove(device)
        else:
            free.append(device)
    return free
