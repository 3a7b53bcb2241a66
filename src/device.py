"""The device: setup of accelerate, random seeds, compilation, full memory, and a record of the environment."""

import logging
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from torch import nn

from src import ranks
from src.device_types import DEVICE_TYPES, choose_type
from src.errors import ConfigError
from src.settings import Settings
from src.version import VERSION

logger = logging.getLogger(__name__)

# In the messages of the plain RuntimeErrors that torch, oneDNN and Metal raise if memory is full.
MEMORY_ERRORS = (
    "DefaultCPUAllocator", "could not create a primitive", "could not create a memory object",
    "MPS backend out of memory", "Invalid buffer size",
)  # fmt: skip
RECORDED_PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "numpy", "scikit-learn", "scipy", "seqeval")


def start_device(settings: Settings) -> Accelerator:
    """Seed all random states and return the Accelerator for the device, without others of the run's processes.

    These connect here. Raises ConfigError for fp16 on a CPU, and for fewer devices than processes.
    """
    chosen = choose_type(settings.no_cuda)
    device_type, precision = DEVICE_TYPES[chosen], settings.mixed_precision
    if precision == "auto":
        precision = "bf16" if device_type.has_fast_bf16() else "no"
    if precision == "fp16" and not device_type.has_fp16:
        raise ConfigError(f"mixed_precision = fp16 ({settings.layer_of('mixed_precision')}) needs a GPU; use no, bf16 or auto.")
    AcceleratorState._reset_state(reset_partial_state=True)  # an earlier run in this process may have used another device
    ranks.join(chosen)
    with ranks.hidden():  # it would wrap the model, whose gradients src.train_state sums, and step the schedule on every rank
        accelerator = Accelerator(cpu=chosen == "cpu", mixed_precision=precision)
    set_seed(settings.seed)
    logger.info("device: %s, mixed_precision: %s, seed: %d", device_name(accelerator.device), precision, settings.seed)
    return accelerator


def compile_layers(model: nn.Module, wanted: bool | Literal["auto"], device: torch.device) -> None:
    """Compile the encoder's layers in place, for batches of any shape.

    With small batches of short rows a GPU mostly waits for kernels to be launched; a compiled layer launches fewer.
    "auto" compiles on devices for which DEVICE_TYPES says so, and continues without compilation if it fails.
    """
    if wanted is True or (wanted == "auto" and DEVICE_TYPES[device.type].compiles):
        torch._dynamo.config.suppress_errors = wanted == "auto"
        # There are variants for training or not, padding or none, global or local attention, one row or more: beyond the default
        # limit of 8, nothing would be compiled.
        torch._dynamo.config.recompile_limit = 64
        if wanted is True and "TORCH_LOGS" not in os.environ:
            torch._logging.set_logs(all=logging.ERROR)  # no warnings with all their frames: a failure raises
        for layer in max((part for part in model.modules() if isinstance(part, nn.ModuleList)), key=len, default=()):
            layer.compile(dynamic=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory is full, of the device or of this machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in MEMORY_ERRORS)


def device_name(device: torch.device) -> str:
    """Return the name of a GPU or the like, or "cpu" with the number of threads."""
    return DEVICE_TYPES[device.type].name(device)


def peak_memory(device: torch.device) -> int:
    """Return in bytes the most memory allocated on the device, or on a CPU the largest resident size of this process."""
    return DEVICE_TYPES[device.type].peak_memory(device)


def describe_environment(accelerator: Accelerator) -> dict[str, Any]:
    """Return versions, git revision, device, precision and number of processes, as recorded in settings.json."""
    versions = {"python": platform.python_version()} | {package: version(package) for package in RECORDED_PACKAGES}
    return {
        "versions": versions,
        "version": VERSION,
        "git_revision": _git_revision(),
        "device": device_name(accelerator.device),
        "mixed_precision": accelerator.mixed_precision,
        "processes": ranks.count(),
    }


def _git_revision() -> str | None:
    """Return the commit of this checkout, with `+` if tracked files have changed, or None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    describe = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=+"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
