"""The device: setup of accelerate, random seeds, compilation, full memory, and a record of the environment."""

import logging
import platform
import random
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from src.common import launcher
from src.common.version import VERSION
from src.model.device_types import DEVICE_TYPES, random_state_of, set_random_state_of

logger = logging.getLogger(__name__)

# In the messages of the plain RuntimeErrors that torch, oneDNN and Metal raise if memory is full.
MEMORY_ERRORS = (
    "DefaultCPUAllocator", "could not create a primitive", "could not create a memory object",
    "MPS backend out of memory", "Invalid buffer size",
)  # fmt: skip
RECORDED_PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "numpy", "scikit-learn", "scipy", "seqeval")


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
    return state | random_state_of(device)


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Set all generators to what random_state has returned. The generator of another type of device stays as it is."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["cpu"])
    set_random_state_of(device, state)
