"""Cells run as processes, one a device at a time; signals reach them, and what they say goes to a file beside their folder."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from src.errors import SIGNALS, ConfigError, Interrupted
from src.grid.cells import Cell
from src.grid.records import last_words

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
        elif name.isascii() and name.isdigit() and int(name) < len(visible):
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
    """A cell at work."""

    cell: Cell
    device: Device
    process: "subprocess.Popen[bytes]"
    started: float

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return time.monotonic() - self.started


@dataclass(frozen=True)
class Outcome:
    """How the process of a cell ended: exit code and, where that is not 0, why."""

    cell: Cell
    code: int
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

    def run(self, show: Callable[["Pool"], None]) -> None:
        """Run the cells that wait; `show` looks at the pool several times a second.

        Raises Interrupted, when all processes have ended, where a signal has asked for it: each saves its state at its next step;
        at a second signal they do not wait for that.
        """
        with self._passing_signals_on():
            try:
                while self.running or (self.waiting and not self.asked):
                    self._collect()
                    self._start()
                    show(self)
                    time.sleep(POLL)
            finally:
                self._end(signal.SIGTERM)
                for each in self.running:
                    each.process.wait()
        if self.asked:
            raise Interrupted(self.asked, "the same command goes on from there")

    def _start(self) -> None:
        taken = [each.device for each in self.running]
        for device in _without(self.devices, taken):
            if not self.waiting or self.asked:
                return
            cell = self.waiting.popleft()
            cell.output.parent.mkdir(parents=True, exist_ok=True)
            with open(cell.output, "wb") as output:
                process = subprocess.Popen(
                    [sys.executable, str(ROOT / cell.script), *cell.flags],
                    env=os.environ | device.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a Ctrl-C on the terminal reaches it once, through us
                )
            self.running.append(Running(cell, device, process, time.monotonic()))
            if self.asked:  # just now
                process.send_signal(signal.SIGTERM)

    def _collect(self) -> None:
        for each in [each for each in self.running if each.process.poll() is not None]:
            code = each.process.returncode
            if code < 0 and not self.asked:
                with open(each.cell.output, "a", encoding="utf-8") as output:
                    print(f"error: ended by {signal.Signals(-code).name}: was there too little memory?", file=output)
            why = "" if code == 0 else last_words(each.cell.output) or f"ended with code {code}"
            self.running.remove(each)
            self.ended.append(Outcome(each.cell, code, why, each.seconds))

    def _end(self, number: int) -> None:
        for each in self.running:
            if each.process.poll() is None:
                each.process.send_signal(number)

    @contextmanager
    def _passing_signals_on(self) -> Iterator[None]:
        def pass_on(number: int, frame: FrameType | None) -> None:
            self.asked = self.asked or number
            self._end(signal.SIGTERM)

        # A terminal that goes away takes us along, too, unless somebody (nohup) has said otherwise.
        numbers = [*SIGNALS, *([signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else [])]
        before = [signal.signal(number, pass_on) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


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
