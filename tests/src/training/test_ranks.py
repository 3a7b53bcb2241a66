import os
from types import SimpleNamespace

import pytest

from src.common import launcher
from src.common.cli import run_command
from src.common.errors import ConfigError
from src.training import ranks

LAUNCHED = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.fixture
def launch(monkeypatch):
    """launch(RANK="0") sets the environment as a launcher of three processes does."""

    def launch(**changes):
        for name, value in (LAUNCHED | changes).items():
            monkeypatch.setenv(name, value)

    return launch


def test_rank_and_count_are_those_of_the_launcher(launch):
    assert (launcher.rank(), launcher.count()) == (0, 1)
    launch()
    assert (launcher.rank(), launcher.count()) == (1, 3)


def test_a_cluster_that_numbers_its_machines_is_no_launcher(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert (launcher.rank(), launcher.count()) == (0, 1)


@pytest.mark.parametrize(("kind", "found", "expected"), [("mps", 1, "mps"), ("cuda", 1, "3 processes .* 1 GPUs")])
def test_every_process_needs_a_device_of_its_own(launch, monkeypatch, kind, found, expected):
    launch(LOCAL_RANK="1", LOCAL_WORLD_SIZE="3")
    monkeypatch.setattr("torch.get_device_module", lambda device_type: SimpleNamespace(device_count=lambda: found))
    with pytest.raises(ConfigError, match=f"{expected}.*--no_cuda"):
        ranks.join(kind)


def test_a_process_takes_its_own_device(launch, monkeypatch):
    launch(LOCAL_RANK="1", LOCAL_WORLD_SIZE="3")
    taken = []
    module = SimpleNamespace(device_count=lambda: 4, set_device=taken.append)
    monkeypatch.setattr("torch.get_device_module", lambda device_type: module)
    ranks.join("cuda")  # not the leader, which would connect
    assert taken == [1]


def test_hidden_processes_are_there_again(launch):
    launch(LOCAL_RANK="1")
    with launcher.hidden():
        assert not {"RANK", "WORLD_SIZE", "LOCAL_RANK"} & os.environ.keys()
        assert launcher.count() == 1
    assert launcher.count() == 3 and os.environ["LOCAL_RANK"] == "1"


def test_one_process_shares_nothing():
    tensors = [1, 2]
    assert ranks.any_rank([True, False]) == [True, False]
    assert ranks.gather("value") == ["value"]
    assert ranks.scatter(["value"]) == "value"
    ranks.sum_in_place(tensors)
    ranks.tell(print, "anything")
    assert tensors == [1, 2]


def test_buckets_keep_the_order_and_a_size(monkeypatch):
    import torch

    monkeypatch.setattr(ranks, "BUCKET", 5)
    sizes = [[len(tensor) for tensor in bucket] for bucket in ranks._buckets(map(torch.zeros, (3, 2, 1, 9, 4)))]
    assert sizes == [[3, 2], [1], [9], [4]]


def test_commands_that_are_one_process_refuse_others(launch, capsys, monkeypatch):
    launch(RANK="0")
    with pytest.raises(SystemExit) as caught:
        run_command(lambda: pytest.fail("it has run"))
    assert caught.value.code == 2 and "torchrun" in capsys.readouterr().err
    launch(RANK="1")
    run_command(lambda: pytest.fail("it has run"))
