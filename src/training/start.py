"""The start of a run on a device: random states, accelerate, and the other processes of the run."""

import logging

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed

from src.common import launcher
from src.common.errors import ConfigError
from src.model.device import DEVICE_TYPES, choose_type, device_name
from src.settings.schema import Settings
from src.training import ranks

logger = logging.getLogger(__name__)


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
    # It would wrap the model, whose gradients src.training.state sums, and step the schedule on every rank.
    with launcher.hidden():
        accelerator = Accelerator(cpu=chosen == "cpu", mixed_precision=precision)
    set_seed(settings.seed)
    logger.info("device: %s, mixed_precision: %s, seed: %d", device_name(accelerator.device), precision, settings.seed)
    return accelerator
