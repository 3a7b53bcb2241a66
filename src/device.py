"""The device: accelerate's set-up, random seeds, peak memory, and the record of what a run ran on."""

import logging
import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn

from src.errors import ConfigError
from src.settings import Settings

logger = logging.getLogger(__name__)

RECORDED_PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "numpy", "scikit-learn", "scipy", "seqeval")


def start_device(settings: Settings) -> Accelerator:
    """Accelerate for one device, with the random states seeded. Raises ConfigError where a CPU is to compute in fp16."""
    on_cpu = settings.no_cuda or not torch.cuda.is_available()
    precision = settings.mixed_precision
    if precision == "auto":
        precision = "bf16" if not on_cpu and torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    if precision == "fp16" and on_cpu:
        raise ConfigError(f"mixed_precision = fp16 ({settings.layer_of('mixed_precision')}) needs a GPU; say no, bf16 or auto.")
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=precision)
    set_seed(settings.seed)
    logger.info("device: %s, mixed_precision: %s, seed: %d", device_name(accelerator.device), precision, settings.seed)
    return accelerator


def compile_layers(model: nn.Module, wanted: bool | Literal["auto"], device: torch.device) -> None:
    """Compile the layers of the model's encoder, in place, each kind of them once for batches of every shape.

    Small batches of short rows leave a GPU waiting for one kernel after the other; compiled, a layer takes a few. "auto": on a
    GPU, and where it cannot compile the run goes on without.
    """
    if wanted is True or (wanted == "auto" and device.type == "cuda"):
        torch._dynamo.config.suppress_errors = wanted == "auto"
        # Kinds: training or not, padding or none, global or local attention, one row or more. Beyond the limit none is compiled.
        torch._dynamo.config.recompile_limit = 64
        if wanted is True and "TORCH_LOGS" not in os.environ:
            torch._logging.set_logs(all=logging.ERROR)  # a failure raises: no need to print it with all its frames
        for layer in max((part for part in model.modules() if isinstance(part, nn.ModuleList)), key=len, default=()):
            layer.compile(dynamic=True)


def device_name(device: torch.device) -> str:
    """A name for people: the GPU's, or the number of CPU threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def peak_memory(device: torch.device) -> int:
    """Bytes: on a GPU the most that was allocated there, on a CPU the largest resident size of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == "darwin" else kilobytes * 1024


def describe_environment(accelerator: Accelerator) -> dict[str, Any]:
    """Versions, git revision, device and precision, as settings.json holds them."""
    versions = {"python": platform.python_version()} | {package: version(package) for package in RECORDED_PACKAGES}
    return {
        "versions": versions,
        "git_revision": _git_revision(),
        "device": device_name(accelerator.device),
        "mixed_precision": accelerator.mixed_precision,
    }


def _git_revision() -> str | None:
    """Commit of this project's checkout, with `+` where files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(root)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True).stdout
        return commit + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
