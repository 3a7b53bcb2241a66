"""The table of device types, on a machine that only pretends to have them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from src.common.errors import ConfigError
from src.model import device_types
from src.model.batch import Collator
from src.model.device import device_name, is_out_of_memory, peak_memory, random_state, set_random_state
from src.model.device_types import DEVICE_TYPES, choose_type, empty_cache, synchronize
from src.training.start import start_device
from src.training.state import make_optimizer
from tests.src.helpers import CPU, RandomSplit, small_model

ACCELERATORS = [name for name in DEVICE_TYPES if name != "cpu"]


def device_of(kind):
    """A device of a type that torch may know only with a package of its maker."""
    return SimpleNamespace(type=kind)


@pytest.fixture
def machine(monkeypatch):
    """machine("mps") pretends that this machine has such a device, and returns the list of the calls to its module."""

    def make(kind):
        calls = []

        def module(device):
            assert device.type == kind
            return SimpleNamespace(
                empty_cache=lambda: calls.append("empty_cache"),
                synchronize=lambda: calls.append("synchronize"),
                get_rng_state=lambda device: torch.tensor([7], dtype=torch.uint8),
                set_rng_state=lambda state, device: calls.append(("set_rng_state", state.tolist(), device.type)),
                get_device_name=lambda device: f"a {kind}",
            )

        monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: device_of(kind))
        monkeypatch.setattr(torch, "get_device_module", module)
        return calls

    return make


@pytest.mark.parametrize("kind", ACCELERATORS)
def test_the_accelerator_is_chosen_unless_the_cpu_is_asked_for(machine, kind, monkeypatch):
    machine(kind)
    assert (choose_type(no_cuda=False), choose_type(no_cuda=True)) == (kind, "cpu")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert choose_type(no_cuda=False) == "cpu"


def test_without_a_supported_accelerator_it_is_the_cpu(machine, monkeypatch, caplog):
    machine("mtia")
    assert choose_type(no_cuda=False) == "cpu" and "mtia" in caplog.text
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert choose_type(no_cuda=False) == "cpu"


# Type -> precision of `auto` with and without native bf16, fp16, torch_compile auto, pinned memory, fused AdamW.
CAUTIOUS = ("no", "no", True, False, False, False)
EXPECTED = dict.fromkeys(ACCELERATORS, CAUTIOUS)
EXPECTED |= {"cpu": ("no", "no", False, False, False, True), "cuda": ("bf16", "no", True, True, True, True)}


@pytest.mark.parametrize("kind", DEVICE_TYPES)
def test_what_is_done_on_each_type(kind, monkeypatch):
    facts, precisions = DEVICE_TYPES[kind], []
    for native in (True, False):
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation, native=native: native)
        precisions.append("bf16" if facts.has_fast_bf16() else "no")
    assert (*precisions, facts.has_fp16, facts.compiles, facts.pins_memory, facts.fuses_adamw) == EXPECTED[kind]


@pytest.mark.parametrize(
    ("kind", "wanted", "precision"),
    [("mps", "auto", "no"), ("mps", "bf16", "bf16"), ("mps", "fp16", "fp16"), ("cuda", "auto", "bf16"), ("cpu", "auto", "no")],
)
def test_precision_and_device_reach_accelerate(machine, settings, kind, wanted, precision, monkeypatch):
    machine(kind)
    asked = {}

    def accelerator(cpu, mixed_precision):
        asked.update(cpu=cpu, precision=mixed_precision)
        return Accelerator(cpu=True)

    monkeypatch.setattr("src.training.start.Accelerator", accelerator)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: True)
    start_device(settings(mixed_precision=wanted))
    assert asked == {"cpu": kind == "cpu", "precision": precision}


@pytest.mark.parametrize("kind", ACCELERATORS)
def test_random_states_and_memory(machine, kind):
    device, calls = device_of(kind), machine(kind)
    state = random_state(device)
    assert state.keys() == {"python", "numpy", "cpu", kind} and state[kind].tolist() == [7]
    set_random_state(state, device)
    empty_cache(device)
    synchronize(device)
    assert calls == [("set_rng_state", [7], kind), "empty_cache", "synchronize"]


def test_a_state_of_another_device_sets_the_common_generators(machine):
    """States of before, from a CPU or CUDA, resume on any device; so do those of any device on a CPU."""
    calls = machine("mps")
    old = random_state(CPU)
    drawn = torch.rand(1).item()
    for state in (old, old | {"cuda": torch.tensor([1], dtype=torch.uint8)}):
        for device in (torch.device("mps"), CPU):
            set_random_state(state, device)
            assert torch.rand(1).item() == drawn
    assert calls == []


def test_names_and_peaks(machine, monkeypatch):
    machine("xpu")
    monkeypatch.setattr("torch.accelerator.max_memory_allocated", lambda device: 5)
    assert (device_name(torch.device("xpu")), peak_memory(torch.device("xpu"))) == ("a xpu", 5)
    monkeypatch.setattr("torch.backends.mps.get_name", lambda: "Apple M9")
    monkeypatch.setattr("torch.mps.driver_allocated_memory", lambda: 6)
    assert (device_name(torch.device("mps")), peak_memory(torch.device("mps"))) == ("Apple M9", 6)
    assert device_name(CPU) == f"cpu, {torch.get_num_threads()} threads"
    monkeypatch.setattr("src.model.device_types.sys", SimpleNamespace(platform="darwin"))
    bytes_on_a_mac = peak_memory(CPU)
    monkeypatch.setattr("src.model.device_types.sys", SimpleNamespace(platform="linux"))
    assert peak_memory(CPU) > 500 * bytes_on_a_mac


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GiB, max allowed: 9.07 GiB)"), True),
        (RuntimeError("Invalid buffer size: 24.00 GiB"), True),
        (torch.OutOfMemoryError("XPU out of memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("MPS backend out of memory"), False),
    ],
)
def test_full_memory_of_other_devices(error, expected):
    assert is_out_of_memory(error) is expected


def test_batches_are_pinned_only_where_it_helps(monkeypatch):
    """`meta` stands for a device whose tensors hold nothing."""
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(1) or tensor)
    for pins in (True, False):
        monkeypatch.setitem(device_types.DEVICE_TYPES, "meta", device_types.DeviceType(pins_memory=pins))
        batch = Collator(0, True, torch.device("meta"))(RandomSplit(4).features, np.arange(4))
        assert batch.labels.device.type == "meta" and bool(pinned) == pins
        pinned.clear()


@pytest.mark.parametrize("kind", ACCELERATORS)
def test_the_optimizer_of_each_type(settings, kind):
    fused = DEVICE_TYPES[kind].fuses_adamw
    assert make_optimizer(small_model(), settings(), fused).defaults["fused"] is (kind == "cuda")


def test_fp16_needs_a_device(machine, settings):
    machine("mps")
    with pytest.raises(ConfigError, match="fp16"):
        start_device(settings(mixed_precision="fp16", no_cuda=True))
