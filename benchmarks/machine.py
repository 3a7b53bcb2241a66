"""The machine a benchmark runs on: its description, its matrix product rate, and the peak memory of a process."""

import platform
import resource
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from src.model.device import choose_type, device_name, synchronize


def describe_machine() -> dict[str, Any]:
    """Return processor, number of threads, GPU if there is one, and versions."""
    device = torch.device(choose_type(no_cuda=False))
    packages = ("torch", "transformers", "tokenizers", "accelerate")
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": None if device.type == "cpu" else device_name(device),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a large matrix product, the best of ten."""
    size = 8192 if device.type == "cuda" else 2048
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        one @ other
        synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def process_peak() -> int:
    """Return the peak resident size of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print(f"\n{title}\n")
    print("| " + " | ".join(columns) + " |")
    print("| :--- |" + " ---: |" * (len(columns) - 1))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


def _processor() -> str:
    """Return the number of processors and their name, if the system reports it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor() or platform.machine()
