"""How a training goes on exactly: all it needs is kept in one file, as tensors and a JSON object. No pickle."""

import json
import logging
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from src.files import DAMAGE, damaged_state, read_facts
from src.run_folder import RunFolder
from src.train_state import TrainState

logger = logging.getLogger(__name__)

METER_TENSORS = ("loss", "skipped", "total_skipped", "grad_norm", "in_a_row", "unbearable")
METER_NUMBERS = ("updates", "rows", "tokens", "seconds", "total_seconds", "total_tokens", "peak_before")
SCHEDULE = ("last_epoch", "_step_count", "_last_lr", "base_lrs")


def save_state(training: TrainState, run: RunFolder, evaluation_seconds: float) -> None:
    """Keep the state of `training` between two updates, with the scores so far, in the run's folder."""
    tensors, facts = capture(training)
    facts |= {"scores": run.history.scores, "evaluation_seconds": evaluation_seconds}
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    run.save_state(lambda path: save_file(whole, path, {"facts": json.dumps(facts)}))


def load_state(training: TrainState, run: RunFolder) -> float:
    """Bring `training`, which has made no update, and its run to what was kept, if it was; seconds of evaluation so far.

    Raises CheckpointError where what was kept is damaged or of another model.
    """
    if not run.state_file.exists():
        run.go_back_to(0, {})
        return 0.0
    facts = read_facts(run.state_file)
    try:
        with safe_open(run.state_file, "pt") as file:
            restore(training, {name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118
        scores = {int(step): splits for step, splits in facts["scores"].items()}
        seconds, computed = float(facts["evaluation_seconds"]), facts["computed"]
    except DAMAGE as error:
        raise damaged_state(run.state_file, error) from None
    if computed != (now := _how_computed(training)):
        logger.warning("%s: begun %s, it goes on %s: the numbers are not those of one machine", run.folder, computed, now)
    run.go_back_to(training.step, scores)
    return seconds


def capture(training: TrainState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state of `training` between two updates: tensors by name, and the rest as JSON takes it."""
    meter, scaler = training.meter, training.accelerator.scaler
    running = meter.started is not None
    meter.stop_clock()
    meter.peak_before = meter.peak
    tensors = {f"model.{name}": tensor.detach() for name, tensor in _tensors(training.task_model.model)}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in training.optimizer_tensors().items()}
    tensors |= {f"meter.{name}": getattr(meter, name) for name in METER_TENSORS}
    tensors["random.cpu"] = torch.get_rng_state()
    if meter.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(meter.device)
    of_numpy = np.random.get_state(legacy=False)
    assert isinstance(of_numpy, dict)
    facts = {
        "step": training.step,
        "computed": _how_computed(training),
        "parts": training.parts,
        "meter": {name: getattr(meter, name) for name in METER_NUMBERS},
        "schedule": {name: training.schedule.state_dict()[name] for name in SCHEDULE},
        "scaler": scaler.state_dict() if scaler else None,
        "random": {
            "python": random.getstate(),
            "numpy": of_numpy | {"state": of_numpy["state"] | {"key": of_numpy["state"]["key"].tolist()}},
        },
    }
    if running:
        meter.start_clock()
    return tensors, facts


def restore(training: TrainState, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Bring `training`, which has made no update, to a captured state."""
    model, meter = training.task_model.model, training.meter
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in _tensors(model):
            tensor.copy_(tensors[f"model.{name}"])
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            weight, _, key = rest.rpartition(".")
            training.optimizer.state[weights[weight]][key] = tensor.to(weights[weight].device)
    for name in METER_TENSORS:
        setattr(meter, name, tensors[f"meter.{name}"].to(meter.device))
    for name in METER_NUMBERS:
        setattr(meter, name, facts["meter"][name])
    training.step, training.parts = facts["step"], facts["parts"]
    training.schedule.load_state_dict(training.schedule.state_dict() | facts["schedule"])
    for group, rate in zip(training.optimizer.param_groups, training.schedule.get_last_lr(), strict=True):
        group["lr"] = rate
    if training.accelerator.scaler and facts["scaler"]:
        training.accelerator.scaler.load_state_dict(facts["scaler"])
    version, numbers, gauss = facts["random"]["python"]
    random.setstate((version, tuple(numbers), gauss))
    of_numpy = facts["random"]["numpy"]
    np.random.set_state(of_numpy | {"state": of_numpy["state"] | {"key": np.array(of_numpy["state"]["key"], np.uint32)}})
    torch.set_rng_state(tensors["random.cpu"])
    if meter.device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], meter.device)
    meter.start_clock()


def _how_computed(training: TrainState) -> str:
    return f"on {training.meter.device.type}, precision {training.accelerator.mixed_precision}"


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights and lasting buffers by name, each tensor once, however many names it has."""
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            yield name, tensor
