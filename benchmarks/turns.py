"""Processes that take turns: each works while the others sleep, so that a machine that slows down slows down all of them."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from src.model.device import peak_memory, synchronize

MARK = "@ "  # begins the lines that a way sends


class Turns:
    """The turns of a way, as its process sees them: it waits for a turn and reports what it did."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def wait(self) -> None:
        """Wait for the next turn. Ends the process if there are no more turns."""
        if not sys.stdin.readline():
            send({"peak_bytes": peak_memory(self.device)})
            sys.exit()
        self.started = time.perf_counter()

    def done(self, work: int) -> None:
        """Report that so much has been done, such as tokens or rows, and wait for the next turn."""
        synchronize(self.device)
        send({"seconds": time.perf_counter() - self.started, "work": work})
        self.wait()


def send(facts: Mapping[str, Any]) -> None:
    """Send facts to the process that measures, as a line on standard output."""
    print(MARK + json.dumps(facts), flush=True)


class Way:
    """A process that works in one way, a turn at a time; as the process that measures sees it."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts: dict[str, Any] = {}
        self.seconds: list[float] = []
        self.work: list[int] = []

    def wait_until_ready(self) -> None:
        """Wait until the process has loaded what it needs, and read the facts it sends."""
        self.facts = self._read()

    def take_turn(self) -> None:
        """Request one turn and record its time."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        done = self._read()
        self.seconds.append(done["seconds"])
        self.work.append(done["work"])

    def end(self) -> None:
        """End the process and read its peak memory."""
        assert self.process.stdin
        self.process.stdin.close()
        self.peak = self._read()["peak_bytes"]
        self.process.wait()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout
        while not (line := self.process.stdout.readline()).startswith(MARK):  # Trainer prints lines of its own
            if not line:
                sys.exit(f"the process of way {self.name} ended early; see its output above")
        return dict(json.loads(line.removeprefix(MARK)))
