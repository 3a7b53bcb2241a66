"""The device: what differs between CPU, CUDA and MPS, full memory, random states, and a record of the environment.

All that is particular to a type of device is here, in src.training.ranks (how processes exchange gradients) and in
src.grid.devices (how a process is given one of several devices).
"""

import platform
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env

from src.common import launcher
from src.common.errors import ConfigError
from src.common.version import VERSION

USE_CPU = "ACCELERATE_USE_CPU"  # a variable of accelerate, set by `accelerate launch --cpu`
# In the messages of the plain RuntimeErrors that torch, oneDNN and Metal raise if memory is full.
MEMORY_ERRORS = (
    "DefaultCPUAllocator", "could not create a primitive", "could not create a memory object",
    "MPS backend out of memory", "Invalid buffer size",
)  # fmt: skip
RECORDED_PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "numpy", "scikit-learn", "scipy", "seqeval")


def process_peak(device: torch.device) -> int:
    """Return the largest resident size of this process in bytes."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == "darwin" else kilobytes * 1024


@dataclass(frozen=True)
class DeviceType:
    """What to do on a type of device."""

    name: Callable[[torch.device], str]
    peak_memory: Callable[[torch.device], int]
    has_fast_bf16: Callable[[], bool] = lambda: False  # whether mixed_precision auto means bf16, and not float32
    has_fp16: bool = True
    compiles: bool = False  # whether torch_compile auto compiles
    pins_memory: bool = False  # whether batches are copied from pinned memory, without making the CPU wait
    fuses_adamw: bool = False  # whether fused AdamW is used: it must leave the weights alone where `found_inf` is 1


DEVICE_TYPES = {
    "cpu": DeviceType(
        name=lambda device: f"cpu, {torch.get_num_threads()} threads",
        peak_memory=process_peak,
        has_fp16=False,
        fuses_adamw=True,
    ),
    "cuda": DeviceType(
        name=torch.cuda.get_device_name,
        peak_memory=torch.cuda.max_memory_allocated,
        has_fast_bf16=lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        compiles=True,
        pins_memory=True,
        fuses_adamw=True,
    ),
    # Memory is shared with the CPU: there is nothing to pin. Metal counts what it holds, but not the most it has held; as freed
    # memory is kept for later tensors, that is nearly the same.
    "mps": DeviceType(
        name=lambda device: torch.backends.mps.get_name(),
        peak_memory=lambda device: torch.mps.driver_allocated_memory(),
    ),
}


def choose_type(no_cuda: bool) -> str:
    """Return the type of device to use: this machine's accelerator, or "cpu" if it has none or `no_cuda` forbids it.

    Raises ConfigError for an accelerator that is not in DEVICE_TYPES.
    """
    if no_cuda or parse_flag_from_env(USE_CPU):
        return "cpu"
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None:
        return "cpu"
    if found.type not in DEVICE_TYPES:
        raise ConfigError(f"{found.type} devices are not supported. Pass --no_cuda or set {USE_CPU}=1 to use the CPU.")
    return found.type


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory is full, of the device or of this machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in MEMORY_ERRORS)


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or "cpu" with the number of threads."""
    return DEVICE_TYPES[device.type].name(device)


def peak_memory(device: torch.device) -> int:
    """Return in bytes the most memory allocated on the device, or on a CPU the largest resident size of this process."""
    return DEVICE_TYPES[device.type].peak_memory(device)


def empty_cache(device: torch.device) -> None:
    """Give memory that no tensor uses back to the device."""
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all its work."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def describe_environment(accelerator: Accelerator) -> dict[str, Any]:
    """Return versions, git revision, device, precision and number of processes, as recorded in settings.json."""
    versions = {"python": platform.python_version()} | {package: version(package) for package in RECORDED_PACKAGES}
    return {
        "versions": versions,
        "version": VERSION,
        "git_revision": _git_revision(),
        "device": device_name(accelerator.device),
        "mixed_precision": accelerator.mixed_precision,
        "processes": launcher.count(),
    }


def _git_revision() -> str | None:
    """Return the commit of this checkout, with `+` if tracked files have changed, or None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    describe = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=+"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of Python's, NumPy's and PyTorch's generators: `python`, `numpy`, `cpu` and the accelerator's type.

    Those of PyTorch are tensors of bytes; the others can be written as JSON.
    """
    numpy_state: Any = np.random.get_state(legacy=False)
    numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()
    state = {"python": random.getstate(), "numpy": numpy_state, "cpu": torch.get_rng_state()}
    return state if device.type == "cpu" else state | {device.type: torch.get_device_module(device).get_rng_state(device)}


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Set all generators to what random_state has returned. The generator of another type of device stays as it is."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["cpu"])
    if device.type != "cpu" and device.type in state:
        torch.get_device_module(device).set_rng_state(state[device.type], device)
