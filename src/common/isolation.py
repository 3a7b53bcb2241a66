"""Environment variables that libraries read by themselves: what a run computes must depend on its settings alone.

Those that change it are hidden while a command runs. Others, such as the number of threads or where files are cached, are left.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# accelerate builds many names from a prefix. Besides, as `accelerate launch` sets it: whether to use the CPU is read here, too.
PREFIXES = ("ACCELERATE_", "FSDP_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "PMI_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_")
USED = {"ACCELERATE_USE_CPU", "ACCELERATE_LOG_LEVEL"}
NAMES = {
    # accelerate and transformers: other devices, and several processes that this project does not start
    "DEEPSPEED_USE_HPU", "FORK_LAUNCHED", "MPI_LOCALNRANKS", "MPI_LOCALRANKID", "PT_HPU_LAZY_MODE", "USE_TORCH_XLA",
    "XLA_DOWNCAST_BF16", "XLA_USE_BF16",
    # transformers: other kernels
    "FLASH_ATTENTION_DETERMINISTIC", "TRANSFORMERS_SDPA_FORCE_GQA", "USE_HUB_KERNELS",
    # torch and what it calls: matrix products in a lower precision, and reading pickled weights without torch's safe unpickler
    "DNNL_DEFAULT_FPMATH_MODE", "NVIDIA_TF32_OVERRIDE", "ONEDNN_DEFAULT_FPMATH_MODE", "PYTORCH_MPS_FAST_MATH",
    "TORCHINDUCTOR_USE_FAST_MATH", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",
}  # fmt: skip
NEUTRAL = {"", "0", "false", "no", "none", "default"}  # values, in lower case, that ask for nothing


def changes_results(name: str) -> bool:
    """Return whether libraries would compute something else with this variable."""
    return name in NAMES or (name.startswith(PREFIXES) and name not in USED)


@contextmanager
def isolated() -> Iterator[list[str]]:
    """Hide the variables that change results inside the block. Yield the names of those that ask for something."""
    hidden = {name: os.environ.pop(name) for name in sorted(os.environ) if changes_results(name)}
    try:
        yield [name for name, value in hidden.items() if value.lower() not in NEUTRAL]
    finally:
        os.environ.update(hidden)


def describe_hidden(names: Iterable[str]) -> str:
    """Return a line for the log about hidden variables."""
    return f"environment variables without effect, as results depend on the settings alone: {', '.join(names)}"
