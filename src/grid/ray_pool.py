"""Run cells on a Ray cluster, each as a task of Ray that runs the cell's command on its node.

All nodes share ckpt_dir, and have the project at the same path.
"""

import logging
import os
import re
import signal
import subprocess
import sys
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from src.common.errors import ConfigError, EnvironmentFailure, brief
from src.grid.cells import Cell
from src.grid.devices import NO_ACCELERATOR, Device
from src.grid.pool import ROOT, Outcome, Running, Runs
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

from src.grid.ray_node import Board, run_on_node

CLUSTER_TIMEOUT = 30  # seconds in which a cluster must answer
RETRIES = 3  # how often a cell is started again because its node was lost
ADDRESS = re.compile(r"auto|[^\s:/]+:\d{1,5}")


class Cluster:
    """A cluster of Ray to which this process is connected. Each run asks for `cpus` and `gpus`."""

    def __init__(self, cpus: int, gpus: float | None) -> None:
        resources = [node["Resources"] for node in _alive_nodes()]
        nodes = [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in resources]
        self.cpus, self.gpus = cpus, float(any(count for _, count in nodes)) if gpus is None else gpus
        places = sum(int(min(cpus // self.cpus, gpus / self.gpus if self.gpus else cpus)) for cpus, gpus in nodes)
        self.devices = [Device("", {})] * max(places, 1)
        counts = Counter(_describe_resources(*node) for node in nodes)
        has = "; ".join(f"{count} node{'s' * (count > 1)} with {node}" for node, count in counts.items())
        asks = f"each run asks for {_describe_resources(self.cpus, self.gpus)}"
        # All runs ask for the same: either each can be scheduled, or none.
        self.problem = "" if places else f"no run can ever be scheduled: {asks}, the cluster has {has}"
        # For --dry_run.
        self.comments = [asks, f"the cluster has {has}", self.problem or f"{places} can run at a time"]

    @contextmanager
    def runs(self, cells: Sequence[Cell]) -> Iterator["RayPool"]:
        """Yield the pool that runs these cells.

        Raises ConfigError if none could ever be scheduled or a node does not see ckpt_dir, EnvironmentFailure if one lacks the
        project.
        """
        if self.problem:
            raise ConfigError(f"{self.problem}. Use other --cpus_per_run and --gpus_per_run.")
        # A new name for each command: a network disk may remember for a while that a file did not exist.
        marker = (Path(cells[0].settings.ckpt_dir) / GRID / f".driver-{uuid.uuid4().hex}").absolute()
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        try:
            _check_nodes(marker, cells[0].settings.ckpt_dir)
            yield RayPool(cells, self, marker)
        finally:
            marker.unlink(missing_ok=True)


def _alive_nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _describe_resources(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPU{'s' * (cpus != 1)} and {gpus:g} GPU{'s' * (gpus != 1)}"


def _check_nodes(marker: Path, ckpt_dir: str) -> None:
    """Raise ConfigError if a node does not see the marker in ckpt_dir, EnvironmentFailure if it cannot import the project."""
    nodes = _alive_nodes()
    answers = [ray.remote(num_cpus=0, scheduling_strategy=_on(node["NodeID"]))(_sees).remote(marker) for node in nodes]
    for node, answer in zip(nodes, answers, strict=True):
        host = node["NodeManagerHostname"]
        try:
            if not ray.get(answer):
                raise ConfigError(f"--ckpt_dir {ckpt_dir}: the node {host} does not see it. Use storage that all nodes share.")
        except RayError as error:
            raise EnvironmentFailure(
                f"the node {host} cannot use the project: {brief(error)}. Install the same version there, in {ROOT}."
            ) from None


def _on(node_id: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def _sees(marker: Path) -> bool:
    return marker.exists()


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
    try:
        _check_health(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        reason = brief(error).removeprefix("ConnectionError: ").split(". ")[0].rstrip(".")  # the rest is about Ray's commands
        raise EnvironmentFailure(
            f"--ray {address}: {reason}. Start a cluster with `ray start --head`, and run this on one of its machines."
        ) from None
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray sets its own
    try:
        yield Cluster(cpus, gpus)
    except RayError as error:
        raise EnvironmentFailure(f"the connection to the cluster is lost: {brief(error)}. Rerun the same command.") from None
    finally:
        ray.shutdown()


def _check_health(address: str) -> None:
    """Raise ConnectionError if no cluster answers. Ray itself would try for minutes, and could not be interrupted."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    command += [] if address == "auto" else ["--address", address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CLUSTER_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise ConnectionError(f"no answer within {CLUSTER_TIMEOUT} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.split("\n") if line.strip()]
        raise ConnectionError(lines[-1] if lines else "it is not healthy")


class RayPool(Runs[Running]):
    """Runs on a cluster. Ray decides when and where a cell runs, and starts it again if its node is lost."""

    def __init__(self, cells: Sequence[Cell], cluster: Cluster, marker: Path) -> None:
        super().__init__(deque(cells), cluster.devices)
        here = _on(ray.get_runtime_context().get_node_id())
        self.board = ray.remote(num_cpus=0, scheduling_strategy=here)(Board).remote()
        # As many threads as CPUs, or each run would use all of its node. GPUs are hidden from runs that ask for none.
        device = Device("", {"OMP_NUM_THREADS": str(cluster.cpus)} | ({} if cluster.gpus else NO_ACCELERATOR))
        run_cell = ray.remote(num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_retries=RETRIES)(run_on_node)
        self.tasks = {run_cell.remote(cell, device, marker, Path.cwd(), self.board): cell for cell in cells}

    def _start_waiting(self) -> None:
        """Ask which cells are running. Those of a lost node wait for Ray to start them again."""
        alive = {node["NodeID"] for node in _alive_nodes()}
        started = ray.get(self.board.list_running.remote())
        self.running, self.waiting = [], deque()
        for cell in self.tasks.values():
            node, host, start = started.get(cell.name, ("", "", 0.0))
            if node in alive:
                self.running.append(Running(cell, Device(host, {}), start))
            else:
                self.waiting.append(cell)

    def _collect_ended(self) -> None:
        ready = ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=0)[0] if self.tasks else []
        for task in ready:
            cell = self.tasks.pop(task)
            try:
                end, reason, seconds = ray.get(task)
                self.ended.append(Outcome(cell, end, reason, seconds))
            except RayError as error:  # the task failed, or its nodes were lost too often
                self.ended.append(Outcome(cell, "failed", brief(getattr(error, "cause", error))))
            ray.get(self.board.end.remote(cell.name))
        self._start_waiting()

    def _terminate_all(self) -> None:
        ray.get(self.board.stop.remote())
        self._start_waiting()  # a cell that has started since then must be waited for, too
