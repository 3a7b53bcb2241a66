"""Run cells on a Ray cluster, each as a task of Ray that runs the cell's command on its node; see src.grid.ray_node."""

import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.common.errors import ConfigError, EnvironmentFailure, brief
from src.common.files import PARTIAL, remove, write_bytes
from src.grid.cells import Cell
from src.grid.devices import NO_ACCELERATOR, Device
from src.grid.pool import POLL, ROOT, Outcome, Running, Runs, lock_file
from src.grid.ray_node import Board, Job, Returned, digest_project
from src.runs.files import next_earlier
from src.runs.grid_folder import GRID

# Read by Ray when it is imported: it sends no statistics, and does not warn that it hides GPUs from tasks that ask for none.
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
try:
    import ray
except ModuleNotFoundError as error:
    if error.name != "ray":
        raise
    raise ConfigError("--ray: Ray is not installed. Run: pip install -r requirements-ray.txt") from None
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

CLUSTER_TIMEOUT = 30  # seconds in which a cluster must answer
RETRIES = 3  # how often a cell is started again because its node was lost
ADDRESS = re.compile(r"auto|[^\s:/]+:\d{1,5}")


@dataclass(frozen=True)
class Demand:
    """What each run asks for."""

    cpus: int
    gpus: float

    def __str__(self) -> str:
        return _describe(self.cpus, self.gpus)

    def places(self, cpus: float, gpus: float) -> int:
        """Return how many runs a node with so many CPUs and GPUs can take at a time."""
        return int(min(cpus // self.cpus, gpus / self.gpus if self.gpus else cpus))


class Cluster:
    """A cluster of Ray to which this process is connected. `demand`: what each run asks for."""

    def __init__(self, cpus: int, gpus: float | None) -> None:
        resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self.nodes = [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in resources]
        self.demand = Demand(cpus, float(any(count for _, count in self.nodes)) if gpus is None else gpus)
        places = sum(self.demand.places(*node) for node in self.nodes)
        self.devices = [Device("", {})] * max(places, 1)
        counts = Counter(_describe(*node) for node in self.nodes)
        self.description = "; ".join(f"{count} node{'s' * (count > 1)} with {node}" for node, count in counts.items())
        # All runs ask for the same: either each can be scheduled, or none.
        self.problem = (
            "" if places else f"no run can ever be scheduled: each asks for {self.demand}, the cluster has {self.description}"
        )

    def comments(self) -> list[str]:
        """Return the lines about the cluster for --dry_run."""
        lines = [f"each run asks for {self.demand}", f"the cluster has {self.description}"]
        return [*lines, self.problem or f"{len(self.devices)} can run at a time"]

    @contextmanager
    def runs(self, cells: Sequence[Cell]) -> Iterator["RayPool"]:
        """Yield the pool that runs these cells. Raises ConfigError if none could ever be scheduled."""
        if self.problem:
            raise ConfigError(f"{self.problem}. Use other --cpus_per_run and --gpus_per_run.")
        # A new name for each command: a network disk may remember for a while that a file did not exist.
        marker = Path(cells[0].settings.ckpt_dir) / GRID / f".driver-{uuid.uuid4().hex}"
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        try:
            yield RayPool(deque(cells), self.devices, self.demand, marker)
        finally:
            marker.unlink(missing_ok=True)


def _describe(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPU{'s' * (cpus != 1)} and {gpus:g} GPU{'s' * (gpus != 1)}"


@contextmanager
def connected(address: str, cpus: int, gpus: float | None) -> Iterator[Cluster]:
    """Inside the block, this process is connected to the cluster at `address`: "auto" or HOST:PORT.

    gpus: per run; None: one if the cluster has any. Raises ConfigError for an address of another form or numbers out of range,
    EnvironmentFailure if no cluster answers.
    """
    if not ADDRESS.fullmatch(address):
        raise ConfigError(f"--ray: {address!r} is not auto or HOST:PORT, as `ray start --head` prints it.")
    if cpus < 1:
        raise ConfigError(f"--cpus_per_run {cpus}: must be 1 or more.")
    if gpus is not None and not 0 <= gpus <= 1:
        raise ConfigError(f"--gpus_per_run {gpus:g}: must be between 0 and 1. A run uses one GPU; 0.5 lets two runs share one.")
    handler = signal.getsignal(signal.SIGTERM)
    _check_health(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise _unreachable(address, brief(error)) from None
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray sets its own
    try:
        yield Cluster(cpus, gpus)
    except RayError as error:
        raise EnvironmentFailure(f"the connection to the cluster is lost: {brief(error)}. Rerun the same command.") from None
    finally:
        ray.shutdown()


def _check_health(address: str) -> None:
    """Raise EnvironmentFailure if no cluster answers. Ray itself would try for minutes, and could not be interrupted."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    try:
        done = subprocess.run(
            [*command, *(() if address == "auto" else ("--address", address))],
            capture_output=True,
            text=True,
            timeout=CLUSTER_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise _unreachable(address, f"no answer within {CLUSTER_TIMEOUT} s") from None
    if done.returncode:
        lines = done.stderr.split("\n")
        raise _unreachable(address, next((line for line in reversed(lines) if line.strip()), "it is not healthy"))


def _unreachable(address: str, reason: str) -> EnvironmentFailure:
    sentence = reason.removeprefix("ConnectionError: ").split(". ")[0].rstrip(".")  # the others are about Ray's own commands
    return EnvironmentFailure(
        f"--ray {address}: {sentence}. Start a cluster with `ray start --head`, and run this on one of its machines."
    )


@dataclass(frozen=True)
class RemoteProcess(Running):
    """A cell that is running on a node. `line`: the last line of its output."""

    line: str

    @property
    def last_line(self) -> str:
        return self.line


class RayPool(Runs[RemoteProcess]):
    """Runs on a cluster. Ray decides when and where a cell runs, and starts it again if its node is lost."""

    def __init__(self, waiting: deque[Cell], devices: Sequence[Device], demand: Demand, marker: Path) -> None:
        super().__init__(waiting, devices)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        locks = {cell.name: lock_file(cell).absolute() for cell in waiting}
        self.board = ray.remote(num_cpus=0, scheduling_strategy=here)(Board).remote(locks)
        # As many threads as CPUs, or each run would use all of its node. GPUs are hidden from runs that ask for none.
        environment = {"OMP_NUM_THREADS": str(demand.cpus)} | ({} if demand.gpus else NO_ACCELERATOR)
        run_cell = ray.remote(num_cpus=demand.cpus, num_gpus=demand.gpus, max_retries=RETRIES)(_make_task())
        project = ray.put(digest_project())
        self.tasks = {
            run_cell.remote(pickle.dumps(Job(cell, environment, marker)), project, str(ROOT), str(Path.cwd()), self.board): cell
            for cell in waiting
        }

    def _start_waiting(self) -> None:
        """Ask which cells are running. Those of a lost node wait for Ray to start them again."""
        names = {cell.name: cell for cell in self.tasks.values()}
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        entries = {name: entry for name, entry in ray.get(self.board.entries.remote()).items() if entry.node_id in alive}
        self.running = [
            RemoteProcess(names[name], Device(entry.host, {}), entry.started, entry.line)
            for name, entry in entries.items()
            if name in names
        ]
        self.waiting = deque(cell for name, cell in names.items() if name not in entries)

    def _collect_ended(self) -> None:
        ready = ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=0)[0] if self.tasks else []
        for task in ready:
            cell = self.tasks.pop(task)
            self.ended.append(_outcome(cell, task))
            ray.get(self.board.end.remote(cell.name))
        self._start_waiting()

    def _terminate_all(self) -> None:
        ray.get(self.board.stop.remote())
        self._start_waiting()  # a cell that has started since then must be waited for, too

    def _wait(self) -> None:
        while self.running:
            time.sleep(POLL)
            self._collect_ended()


def _make_task() -> Callable[..., Returned]:
    """Return the function that Ray runs on a node. Ray sends its code, as it is not a module's own: src cannot be imported yet.

    Ray could also upload the project, but its interpreter with the pinned requirements, data and models must be on a node
    anyway; relative paths, which settings.json records, must mean the same there; and Ray removes an upload when the driver
    ends, with the saved states in it. What an upload would guarantee, the same code, run_on_node checks instead.
    """

    def run_cell(job: bytes, project: dict[str, str], root: str, cwd: str, board: Any) -> Returned:
        import pickle
        import sys
        from pathlib import Path

        here = Path.cwd()  # where `ray start` was run: the project may have another path on this node
        if root == cwd and (here / "run_benchmark.py").is_file():
            root = cwd = str(here)
        if not (Path(root) / "run_benchmark.py").is_file():
            raise FileNotFoundError(f"the project is not in {root}, nor in {here}, where `ray start` was run")
        sys.path.insert(0, root)
        from src.grid.ray_node import run_on_node

        return run_on_node(pickle.loads(job), project, Path(cwd), board)

    return run_cell


def _outcome(cell: Cell, task: Any) -> Outcome:
    """Return how a cell ended, after writing the files that its node has returned."""
    try:
        returned: Returned = ray.get(task)
        if returned.output is not None:
            _write_returned(cell, returned)
        return Outcome(cell, returned.end, returned.reason, returned.seconds)
    except RayError as error:  # the task failed, or its nodes were lost too often
        return Outcome(cell, "failed", brief(getattr(error, "cause", error)), 0.0)
    except OSError as error:
        return Outcome(cell, "failed", f"{error.filename}: {error.strerror}", 0.0)


def _write_returned(cell: Cell, returned: Returned) -> None:
    """Write the output of a cell's process and, at once, its folder; an earlier folder is kept next to it."""
    if returned.files:
        partial = cell.folder.with_name(f".{cell.folder.name}{PARTIAL}")
        remove(partial)
        for name, content in returned.files.items():
            write_bytes(partial / name, content)
        if cell.folder.exists():
            cell.folder.rename(next_earlier(cell.folder))
        partial.rename(cell.folder)
    write_bytes(cell.output, returned.output or b"")
