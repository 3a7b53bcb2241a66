"""What differs between the types of devices, in one table.

All that is particular to a type is here, in src.training.ranks (how processes exchange gradients) and in src.grid.devices (how a
process is given one of several devices).
"""

import logging
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import parse_flag_from_env

logger = logging.getLogger(__name__)

USE_CPU = "ACCELERATE_USE_CPU"  # a variable of accelerate, set by `accelerate launch --cpu`


def never() -> bool:
    """Return False."""
    return False


def module_name(device: torch.device) -> str:
    """Return the name that the module of the device's type knows it by."""
    return str(_module(device).get_device_name(device))


def most_allocated(device: torch.device) -> int:
    """Return the most memory that tensors have taken, in bytes."""
    return torch.accelerator.max_memory_allocated(device)


def process_peak(device: torch.device) -> int:
    """Return the largest resident size of this process in bytes."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == "darwin" else kilobytes * 1024


@dataclass(frozen=True)
class DeviceType:
    """What to do on a type of device. The defaults are the cautious choices, for devices that nobody has measured."""

    has_fast_bf16: Callable[[], bool] = never  # whether mixed_precision auto means bf16, and not float32
    has_fp16: bool = True
    compiles: bool = False  # whether torch_compile auto compiles
    pins_memory: bool = False  # whether batches are copied from pinned memory, without making the CPU wait
    fuses_adamw: bool = False  # whether fused AdamW is used: it must leave the weights alone where `found_inf` is 1
    name: Callable[[torch.device], str] = module_name
    peak_memory: Callable[[torch.device], int] = most_allocated


DEVICE_TYPES = {
    "cpu": DeviceType(
        has_fp16=False,
        fuses_adamw=True,
        name=lambda device: f"cpu, {torch.get_num_threads()} threads",
        peak_memory=process_peak,
    ),
    "cuda": DeviceType(
        has_fast_bf16=lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        compiles=True,
        pins_memory=True,
        fuses_adamw=True,
        name=torch.cuda.get_device_name,
        peak_memory=torch.cuda.max_memory_allocated,
    ),
    # Memory is shared with the CPU: there is nothing to pin. Metal counts what it holds, but not the most it has held; as freed
    # memory is kept for later tensors, that is nearly the same.
    "mps": DeviceType(
        name=lambda device: torch.backends.mps.get_name(), peak_memory=lambda device: torch.mps.driver_allocated_memory()
    ),
    **dict.fromkeys(("xpu", "npu", "mlu", "musa", "sdaa", "hpu"), DeviceType()),  # those that accelerate chooses by itself, too
}


def choose_type(no_cuda: bool) -> str:
    """Return the type of device to use: this machine's accelerator, or "cpu" if it has none or `no_cuda` forbids it."""
    if no_cuda or parse_flag_from_env(USE_CPU):
        return "cpu"
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is not None and found.type not in DEVICE_TYPES:
        logger.warning("%s devices are not supported; using the CPU", found.type)
    return found.type if found is not None and found.type in DEVICE_TYPES else "cpu"


def empty_cache(device: torch.device) -> None:
    """Give memory that no tensor uses back to the device."""
    if device.type != "cpu":
        _module(device).empty_cache()


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all its work."""
    if device.type != "cpu":
        _module(device).synchronize()


def random_state_of(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the state of an accelerator's generator, uint8, by the type of device; empty for a CPU."""
    return {} if device.type == "cpu" else {device.type: _module(device).get_rng_state(device)}


def set_random_state_of(device: torch.device, states: Any) -> None:
    """Set an accelerator's generator to its state in `states`, if there is one for its type."""
    if device.type != "cpu" and device.type in states:
        _module(device).set_rng_state(states[device.type], device)


def _module(device: torch.device) -> Any:
    return torch.get_device_module(device)
