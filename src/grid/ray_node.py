"""Run a cell on a node of a Ray cluster: in a process of its own, which saves its state if the driver or the node is lost."""

import hashlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from src.common.errors import CheckpointError, Interrupted
from src.common.files import hold
from src.grid.cells import Cell
from src.grid.devices import Device
from src.grid.pool import ROOT, End, Outcome, Pool
from src.report.read_runs import last_line
from src.runs.files import CHECKPOINT, RESUME

REPORT = 1.0  # seconds between two reports to the driver
RETRY = 2.0  # seconds between two attempts to lock a cell whose former process is still running
DRIVER_TIMEOUT = 60.0  # seconds until a driver that does not answer counts as lost
GUARD = "import sys; sys.path.insert(0, sys.argv[1]); from src.grid.ray_node import guard; guard()"


@dataclass(frozen=True)
class Job:
    """A cell and what its process needs. `marker`: a file that a node sees if it shares the driver's ckpt_dir."""

    cell: Cell
    environment: Mapping[str, str]
    marker: Path


@dataclass(frozen=True)
class Returned:
    """How a cell ended, and the files that the driver's folder lacks: name -> content, and the output of the process."""

    end: End
    reason: str
    seconds: float = 0.0
    files: Mapping[str, bytes] = field(default_factory=dict)
    output: bytes | None = None  # None if the node shares the driver's ckpt_dir


def digest_project(root: Path = ROOT) -> dict[str, str]:
    """Return path -> sha256 of the files that decide what a run does: code and config."""
    patterns = ("*.py", "src/**/*.py", "processor/**/*.py", "config/**/*.json")
    files = sorted(path for pattern in patterns for path in root.glob(pattern))
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@dataclass(frozen=True)
class Entry:
    """A cell that is running. `started`: time of the driver's monotonic clock; `line`: the last line of its output."""

    node_id: str
    host: str
    started: float
    line: str = ""


class Board:
    """What driver and nodes tell each other. An actor on the driver's machine: it ends with the driver."""

    def __init__(self, locks: Mapping[str, Path]) -> None:
        self.locks = locks  # name of a cell -> file of its lock in the driver's folder
        self.held: dict[str, int] = {}
        self.starts: dict[str, int] = {}
        self.running: dict[str, Entry] = {}
        self.signals = 0

    def start(self, name: str, node_id: str, host: str, shared: bool) -> tuple[int, End | None, str]:
        """Note that a node starts a cell. Returns how many did before; and if it must not, how the cell ends instead, and why.

        For a node that does not share the driver's folder, the cell is locked there, too.
        """
        if self.signals:
            return 0, "interrupted", "interrupted before it started"
        if shared and name in self.held:
            os.close(self.held.pop(name))  # held for a node that has been lost; this one locks the same file
        if not shared and name not in self.held:
            try:
                self.locks[name].parent.mkdir(parents=True, exist_ok=True)
                self.held[name] = hold(self.locks[name], name)
            except CheckpointError as error:
                return 0, "busy", str(error)
            except OSError as error:
                return 0, "failed", f"{error.filename}: {error.strerror}"
        self.running[name] = Entry(node_id, host, time.monotonic())
        self.starts[name] = self.starts.get(name, 0) + 1
        return self.starts[name] - 1, None, ""

    def report(self, name: str, line: str) -> int:
        """Note the last line of a cell's output. Returns the number of signals that its process should have received."""
        self.running[name] = replace(self.running[name], line=line)
        return self.signals

    def end(self, name: str) -> None:
        """Note that a cell has ended."""
        self.running.pop(name, None)
        if name in self.held:
            os.close(self.held.pop(name))

    def stop(self) -> None:
        """Pass on a signal: from now on no cell starts, and those that run save their state and end."""
        self.signals += 1

    def entries(self) -> dict[str, Entry]:
        """Return the running cells by name."""
        return self.running


def run_on_node(job: Job, project: Mapping[str, str], cwd: Path, board: Any) -> Returned:
    """Run a cell in this process of Ray. `project`: digest_project() of the driver; `cwd`: working directory of the command.

    A retry waits until the process of the lost node, which may be only cut off, has released the cell.
    """
    import ray

    host, here = socket.gethostname(), digest_project()
    if different := [name for name in project.keys() | here.keys() if project.get(name) != here.get(name)]:
        reason = f"{ROOT} on {host} is another version of the project: {min(different)} differs, one of {len(different)} files"
        return Returned("failed", reason, output=f"error: {reason}\n".encode())
    os.chdir(cwd)
    cell, shared = job.cell, job.marker.exists()
    node_id = ray.get_runtime_context().get_node_id()
    earlier_starts, end, reason = _ask(board.start, cell.name, node_id, host, shared)
    if end:
        return Returned(end, reason)
    returned = _run_guarded(job, board)
    while earlier_starts and returned.end == "busy" and not _ask(board.report, cell.name, returned.reason):
        time.sleep(RETRY)
        returned = _run_guarded(job, board)
    if shared:
        return returned
    files = _files_to_return(cell.folder) if returned.end == "done" else {}
    return replace(returned, files=files, output=cell.output.read_bytes() if cell.output.is_file() else b"")


def _ask(method: Any, *arguments: object) -> Any:
    """Call a method of the board. Raises an error of Ray if the driver does not answer.

    In a thread: while the main thread of a task waits for an answer, Ray lends its CPUs to the next task.
    """
    import ray

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: ray.get(method.remote(*arguments), timeout=DRIVER_TIMEOUT)).result()


def _run_guarded(job: Job, board: Any) -> Returned:
    """Run guard() in a process of its own, and pass on the driver's signals. An error ends it with the state saved."""
    command = [sys.executable, "-c", GUARD, str(ROOT)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdin and process.stdout
    with process.stdout, process.stdin as orders, suppress(BrokenPipeError):  # it has ended by itself
        orders.write(pickle.dumps(job))
        orders.flush()
        signals = 0
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(REPORT)
                return Returned(**json.loads(process.stdout.read()))
            received = _ask(board.report, job.cell.name, last_line(job.cell.output))
            orders.write(b"\n" * (received - signals))
            orders.flush()
            signals = received
    return Returned("failed", "the process that guards the run was killed")


def guard() -> None:
    """Run the job on standard input in a pool, and print how it ended; a byte on standard input is a signal, its end, too.

    When a driver or a node is lost, Ray kills its processes and their children with SIGKILL. Therefore the pool is a grandchild
    of Ray's process, and notices the end of it by the end of standard input.
    """
    if child := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    job: Job = pickle.load(sys.stdin.buffer)  # from the process that started this one
    pool = Pool(deque([job.cell]), [Device("", job.environment)])
    threading.Thread(target=_raise_signals, daemon=True).start()
    with suppress(Interrupted):
        pool.run(lambda pool, outcomes: None)
    outcome = pool.ended[0] if pool.ended else Outcome(job.cell, "interrupted", "interrupted before it started", 0.0)
    print(json.dumps({"end": outcome.end, "reason": outcome.reason, "seconds": outcome.seconds}), flush=True)
    os._exit(0)  # the thread that reads standard input cannot be ended


def _raise_signals() -> None:
    while True:
        is_end = not sys.stdin.buffer.read(1)
        os.kill(os.getpid(), signal.SIGTERM)
        if is_end:
            return


def _files_to_return(folder: Path) -> dict[str, bytes]:
    """Return the files of a finished run by path: results, predictions, logs and records, but no weights."""
    paths = {path: path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()}
    weights = [path for path, inside in paths.items() if CHECKPOINT.fullmatch(inside.parts[0]) or inside.parts[0] == RESUME]
    return {str(inside): path.read_bytes() for path, inside in paths.items() if path not in weights}
