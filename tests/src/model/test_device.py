"""The device and the table of device types, on a machine that only pretends to have them."""

import subprocess
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from src.common.errors import ConfigError
from src.common.version import VERSION
from src.model.batch import Collator
from src.model.device import (
    DEVICE_TYPES,
    choose_type,
    describe_environment,
    device_name,
    empty_cache,
    is_out_of_memory,
    peak_memory,
    random_state,
    set_random_state,
    synchronize,
)
from src.model.layers import compile_layers
from src.training.finetune import start_device
from src.training.state import make_optimizer
from tests.conftest import ROOT
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


def test_without_an_accelerator_it_is_the_cpu(monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert choose_type(no_cuda=False) == "cpu"


def test_another_accelerator_is_an_error(machine):
    machine("xpu")
    with pytest.raises(ConfigError, match=r"xpu.*--no_cuda"):
        choose_type(no_cuda=False)
    assert choose_type(no_cuda=True) == "cpu"


# Type -> precision of `auto` with and without native bf16, fp16, torch_compile auto, pinned memory, fused AdamW.
EXPECTED = {
    "cpu": ("no", "no", False, False, False, True),
    "cuda": ("bf16", "no", True, True, True, True),
    "mps": ("no", "no", True, False, False, False),
}


@pytest.mark.parametrize("kind", DEVICE_TYPES)
def test_what_is_done_on_each_type(kind, monkeypatch):
    device_type, precisions = DEVICE_TYPES[kind], []
    for native in (True, False):
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation, native=native: native)
        precisions.append("bf16" if device_type.has_fast_bf16() else "no")
    assert (
        *precisions,
        device_type.has_fp16,
        device_type.compiles,
        device_type.pins_memory,
        device_type.fuses_adamw,
    ) == EXPECTED[kind]


@pytest.mark.parametrize(
    ("kind", "wanted", "precision"),
    [("mps", "auto", "no"), ("mps", "bf16", "bf16"), ("mps", "fp16", "fp16"), ("cuda", "auto", "bf16"), ("cpu", "auto", "no")],
)
def test_precision_and_device_reach_accelerate(machine, settings, kind, wanted, precision, monkeypatch):
    machine(kind)
    asked = {}

    def accelerator(cpu, mixed_precision, gradient_accumulation_steps):
        asked.update(cpu=cpu, precision=mixed_precision, steps=gradient_accumulation_steps)
        return Accelerator(cpu=True)

    monkeypatch.setattr("src.training.finetune.Accelerator", accelerator)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: True)
    start_device(settings(mixed_precision=wanted))
    assert asked == {"cpu": kind == "cpu", "precision": precision, "steps": 1}  # src.training.state accumulates


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


def test_names_and_peaks(monkeypatch):
    monkeypatch.setattr("torch.backends.mps.get_name", lambda: "Apple M9")
    monkeypatch.setattr("torch.mps.driver_allocated_memory", lambda: 6)
    assert (device_name(torch.device("mps")), peak_memory(torch.device("mps"))) == ("Apple M9", 6)
    assert device_name(CPU) == f"cpu, {torch.get_num_threads()} threads"
    monkeypatch.setattr("src.model.device.sys", SimpleNamespace(platform="darwin"))
    bytes_on_a_mac = peak_memory(CPU)
    monkeypatch.setattr("src.model.device.sys", SimpleNamespace(platform="linux"))
    assert peak_memory(CPU) > 500 * bytes_on_a_mac


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GiB, max allowed: 9.07 GiB)"), True),
        (RuntimeError("Invalid buffer size: 24.00 GiB"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
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
        monkeypatch.setitem(DEVICE_TYPES, "meta", replace(DEVICE_TYPES["mps"], pins_memory=pins))
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


def test_a_cpu_uses_float32_and_rejects_fp16(settings):
    accelerator = start_device(settings(no_cuda=True))
    assert (accelerator.device.type, accelerator.mixed_precision) == ("cpu", "no")
    with pytest.raises(ConfigError, match=r"mixed_precision = fp16 \(command line\).*GPU"):
        start_device(settings(no_cuda=True, mixed_precision="fp16"))


def test_the_seed_determines_the_random_state(settings):
    draws = []
    for seed in (1, 1, 2):
        start_device(settings(seed=seed))
        draws.append(torch.rand(1).item())
    assert draws[0] == draws[1] != draws[2]


def test_describes_versions_precision_and_commit(settings):
    record = describe_environment(start_device(settings()))
    assert record["versions"]["torch"] == torch.__version__
    assert record["mixed_precision"] == "no" and record["version"] == VERSION
    if (ROOT / ".git").exists():
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        assert record["git_revision"].rstrip("+") == head


def test_peak_memory_is_in_bytes():
    assert 50e6 < peak_memory(torch.device("cpu")) < 1e12


@pytest.mark.parametrize(
    ("wanted", "device", "compiles"),
    [("auto", "cpu", False), ("auto", "cuda", True), ("auto", "mps", False), (True, "cpu", True), (False, "cuda", False)],
)
def test_auto_compiles_the_layers_on_a_gpu_only(wanted, device, compiles, monkeypatch):
    model, compiled = small_model(), []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda layer, **options: compiled.append(layer))
    compile_layers(model, wanted, torch.device(device))
    assert compiled == (list(model.electra.encoder.layer) if compiles else [])
