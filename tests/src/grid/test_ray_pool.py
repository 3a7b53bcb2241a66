import socket
import sys
import time
from types import SimpleNamespace

import pytest

from src.common.errors import ConfigError, EnvironmentFailure
from src.grid import ray_pool
from src.grid.ray_pool import Cluster, RayError, connected
from tests.src.report.helpers import cell_of


@pytest.fixture
def nodes(monkeypatch):
    """nodes((4, 1), (8, 0)) pretends that the cluster has nodes with 4 CPUs and a GPU, and with 8 CPUs; one is lost."""

    def make(*counts):
        alive = [
            {"Alive": True, "Resources": {"CPU": cpus} | ({"GPU": gpus} if gpus else {})}
            | {"NodeID": f"{number + 1:056x}", "NodeManagerHostname": f"node-{number}"}
            for number, (cpus, gpus) in enumerate(counts)
        ]
        monkeypatch.setattr(ray_pool.ray, "nodes", lambda: [*alive, {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 9.0}}])

    return make


def test_what_a_cluster_can_take(nodes, tmp_path):
    nodes((4.0, 1.0), (8.0, 0.0), (8.0, 0.0))
    cluster = Cluster(1, None)
    assert (cluster.cpus, cluster.gpus, len(cluster.devices)) == (1, 1.0, 1)
    assert cluster.comments == [
        "each run asks for 1 CPU and 1 GPU",
        "the cluster has 1 node with 4 CPUs and 1 GPU; 2 nodes with 8 CPUs and 0 GPUs",
        "1 can run at a time",
    ]
    assert [len(Cluster(*demand).devices) for demand in [(1, 0.0), (3, 0.0), (2, 0.5), (1, 0.1)]] == [20, 5, 2, 4]
    too_much = Cluster(6, 1.0)  # no single node has both
    assert "ever" in too_much.comments[-1]
    with pytest.raises(ConfigError, match="6 CPUs and 1 GPU"), too_much.runs([cell_of(tmp_path)]):
        pass


def test_without_gpus_runs_ask_for_none(nodes):
    nodes((2.0, 0.0))
    assert (Cluster(2, None).cpus, Cluster(2, None).gpus) == (2, 0.0)


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


@pytest.mark.parametrize(
    ("answer", "error", "expected"),
    [(False, ConfigError, "--ckpt_dir"), (RayError("no module"), EnvironmentFailure, "no module")],
)
def test_a_node_that_cannot_run_anything(nodes, monkeypatch, tmp_path, answer, error, expected):
    """Its name is in the message, and no marker is left behind."""
    nodes((1.0, 0.0), (1.0, 0.0))
    cluster = Cluster(1, None)
    nodes((1.0, 0.0))
    monkeypatch.setattr(ray_pool.ray, "remote", lambda **options: lambda function: SimpleNamespace(remote=function))

    def get(seen):
        assert seen is True  # by a node that shares the folder
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(ray_pool.ray, "get", get)
    with pytest.raises(error, match=expected) as caught, cluster.runs([cell_of(tmp_path)]):
        pass
    assert "node-0" in str(caught.value)
    assert list((tmp_path / "benchmark").iterdir()) == []
