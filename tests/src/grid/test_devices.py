import os

import pytest
import torch

from src.common.errors import ConfigError
from src.grid.devices import VISIBLE, Device, parse_devices

CPU = Device("cpu", {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"})


@pytest.fixture
def gpus(monkeypatch):
    """gpus(4) pretends that there are four GPUs, or one of Apple."""

    def make(count, visible=None, kind="cuda"):
        monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: torch.device(kind))
        monkeypatch.setattr("torch.accelerator.device_count", lambda: count)
        if visible is None:
            monkeypatch.delenv(VISIBLE, raising=False)
        else:
            monkeypatch.setenv(VISIBLE, visible)

    return make


def test_parse_devices(gpus, monkeypatch):
    gpus(4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert parse_devices("") == [Device("", {})]
    assert parse_devices("0, 3") == [
        Device("gpu 0", {"CUDA_VISIBLE_DEVICES": "0"}),
        Device("gpu 3", {"CUDA_VISIBLE_DEVICES": "3"}),
    ]
    assert parse_devices("cpu") == [CPU]


def test_two_runs_on_the_cpu_share_its_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert [device.environment["OMP_NUM_THREADS"] for device in parse_devices("cpu,cpu")] == ["4", "4"]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert parse_devices("cpu,cpu")[0].environment["OMP_NUM_THREADS"] == "3"


def test_numbers_count_visible_gpus(gpus):
    gpus(2, "5,7")
    assert [device.environment["CUDA_VISIBLE_DEVICES"] for device in parse_devices("0,1")] == ["5", "7"]


def test_apples_gpu(gpus):
    """It is the only one, and no variable names it."""
    gpus(1, kind="mps")
    assert parse_devices("0,cpu") == [Device("gpu 0", {}), CPU]
    with pytest.raises(ConfigError, match="0 to 0"):
        parse_devices("1")


def test_a_machine_without_any_accelerator(monkeypatch):
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: None)
    with pytest.raises(ConfigError, match="no GPU"):
        parse_devices("0")


@pytest.mark.parametrize(
    ("count", "text", "expected"),
    [
        (0, "0", ["--devices", "'0'", "no GPU", "cpu"]),
        (2, "0,2", ["--devices", "'2'", "0 to 1", "cpu"]),
        (2, "gpu", ["'gpu'"]),
        (2, "-1", ["'-1'"]),
        (2, "9" * 5000, ["'9999"]),
    ],
)
def test_rejects_unknown_devices(gpus, count, text, expected):
    gpus(count)
    with pytest.raises(ConfigError) as caught:
        parse_devices(text)
    for part in expected:
        assert part in str(caught.value)
