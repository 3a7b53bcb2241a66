import socket
import sys
import time

import pytest

from processor.definition import TASKS
from src.common.errors import ConfigError, EnvironmentFailure
from src.grid import ray_pool
from src.grid.cells import cell_statuses
from src.grid.ray_node import Returned, _files_to_return
from src.grid.ray_pool import Cluster, Demand, _write_returned, connected
from tests.src.report.helpers import cell_of, finished


@pytest.fixture
def nodes(monkeypatch):
    """nodes((4, 1), (8, 0)) pretends that the cluster has nodes with 4 CPUs and a GPU, and with 8 CPUs; one is lost."""

    def make(*counts):
        alive = [{"Alive": True, "Resources": {"CPU": cpus} | ({"GPU": gpus} if gpus else {})} for cpus, gpus in counts]
        monkeypatch.setattr(ray_pool.ray, "nodes", lambda: [*alive, {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 9.0}}])

    return make


def test_what_a_cluster_can_take(nodes, tmp_path):
    nodes((4.0, 1.0), (8.0, 0.0), (8.0, 0.0))
    cluster = Cluster(1, None)
    assert (cluster.demand, len(cluster.devices)) == (Demand(1, 1.0), 1)
    assert cluster.comments() == [
        "each run asks for 1 CPU and 1 GPU",
        "the cluster has 1 node with 4 CPUs and 1 GPU; 2 nodes with 8 CPUs and 0 GPUs",
        "1 can run at a time",
    ]
    assert [len(Cluster(*demand).devices) for demand in [(1, 0.0), (3, 0.0), (2, 0.5), (1, 0.1)]] == [20, 5, 2, 4]
    too_much = Cluster(6, 1.0)  # no single node has both
    assert "ever" in too_much.comments()[-1]
    with pytest.raises(ConfigError, match="6 CPUs and 1 GPU"), too_much.runs([cell_of(tmp_path)]):
        pass


def test_without_gpus_runs_ask_for_none(nodes):
    nodes((2.0, 0.0))
    assert Cluster(2, None).demand == Demand(2, 0.0)


@pytest.mark.parametrize("listens", [True, False])
def test_a_cluster_that_does_not_answer(monkeypatch, listens):
    monkeypatch.setattr(ray_pool, "CLUSTER_TIMEOUT", 0.5)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
        address, before = f"127.0.0.1:{server.getsockname()[1]}", time.monotonic()
        with pytest.raises(EnvironmentFailure) as caught, connected(address, 1, None):
            pass
    assert f"--ray {address}: " in str(caught.value) and "ray start" in str(caught.value)
    assert time.monotonic() - before < 20


def test_ray_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "src.grid.ray_pool")
    with pytest.raises(ConfigError, match="requirements-ray"):
        import src.grid.ray_pool  # noqa: F401


def test_returned_files_are_a_finished_run(tmp_path):
    """An unfinished run of the driver's folder is kept next to it."""
    far = finished(tmp_path / "far")
    near = cell_of(tmp_path / "near")
    (near.folder / "resume").mkdir(parents=True)
    returned = Returned("done", "", 1.0, _files_to_return(far.folder), b"output")
    _write_returned(near, returned)
    assert near.output.read_text() == "output"
    assert sorted(path.name for path in near.folder.parent.iterdir()) == ["seed-1", "seed-1.1", "seed-1.log"]
    assert cell_statuses([near], TASKS, lambda settings: {})[near] == ("finished", "")
    assert (near.folder.with_name("seed-1.1") / "resume").is_dir()
