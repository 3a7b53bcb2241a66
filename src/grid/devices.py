"""The devices that the runs of a grid use, and how the process of a run is limited to one of them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from src.common.errors import ConfigError

VISIBLE = "CUDA_VISIBLE_DEVICES"  # limits a process to some of the GPUs
# Keep a process on the CPU, instead of --no_cuda: the settings of a run must not depend on its device.
NO_ACCELERATOR = {VISIBLE: "", "ACCELERATE_USE_CPU": "true"}


@dataclass(frozen=True)
class Device:
    """A device for one run at a time. `environment`: variables that make a process see this device alone."""

    name: str
    environment: Mapping[str, str]


def parse_devices(text: str) -> list[Device]:
    """Parse `--devices`: "0,1" or "cpu"; "cpu,cpu" lets two runs share the CPU; with "" each run chooses for itself.

    Numbers count the GPUs that this process may use. Raises ConfigError for a device that does not exist.
    """
    names = [name for part in text.split(",") if (name := part.strip())]  # split_list would drop repetitions
    if not names:
        return [Device("", {})]
    gpus = _visible_devices() if any(name != "cpu" for name in names) else []
    on_cpu = names.count("cpu")
    devices = []
    for name in names:
        if name == "cpu":
            environment = dict(NO_ACCELERATOR)
            if on_cpu > 1:
                threads = max((os.cpu_count() or 1) // on_cpu, 1)
                environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(threads))
            devices.append(Device("cpu", environment))
        elif name in map(str, range(len(gpus))):
            devices.append(Device(f"gpu {name}", gpus[int(name)]))
        else:
            choices = f"choose from the GPUs 0 to {len(gpus) - 1}, and cpu" if gpus else "there is no GPU; use cpu"
            raise ConfigError(f"--devices: unknown device {name!r}; {choices}.")
    return devices


def _visible_devices() -> list[dict[str, str]]:
    """Return for each GPU the variables that limit a process to it; none for Apple's, which is the only one."""
    from torch import accelerator  # counts without initializing CUDA

    found, count = accelerator.current_accelerator(), accelerator.device_count()
    if found is None or found.type != "cuda":
        return [{}] * min(count, 1)
    visible = os.environ.get(VISIBLE)
    return [{VISIBLE: number} for number in (visible.split(",")[:count] if visible else map(str, range(count)))]
