"""How a training goes on exactly: all it needs is kept in one file, as tensors and a JSON object. No pickle."""

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from src.checkpoint import Run
from src.errors import CheckpointError
from src.training import Training

METER_TENSORS = ("loss", "skipped", "total_skipped", "grad_norm", "in_a_row", "unbearable")
METER_NUMBERS = ("updates", "rows", "tokens", "seconds", "total_seconds", "total_tokens")
SCHEDULE = ("last_epoch", "_step_count", "_last_lr", "base_lrs")


def save_state(training: Training, run: Run, evaluation_seconds: float) -> None:
    """Keep the state of `training` between two updates, with the scores so far, in the run's folder."""
    tensors, facts = capture(training)
    facts |= {"scores": run.book.scores, "evaluation_seconds": evaluation_seconds}
    run.save_state(lambda path: save_file(tensors, path, {"facts": json.dumps(facts)}))


def load_state(training: Training, run: Run) -> float:
    """Bring `training`, which has made no update, and its run to what was kept, if it was; seconds of evaluation so far.

    Raises CheckpointError where what was kept is damaged or of another model.
    """
    if not run.state_file.exists():
        run.go_back_to(0, {})
        return 0.0
    try:
        with safe_open(run.state_file, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            restore(training, {name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118
        run.go_back_to(training.step, {int(step): splits for step, splits in facts["scores"].items()})
        return float(facts["evaluation_seconds"])
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise CheckpointError(
            f"{run.state_file} is damaged or of another model ({reason}). This run cannot go on: say --resume false, which keeps "
            "its folder under another name and starts afresh."
        ) from None


def capture(training: Training) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state of `training` between two updates: tensors by name, and the rest as JSON takes it."""
    meter, scaler = training.meter, training.accelerator.scaler
    meter.stop_clock()
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
        "parts": training.parts,
        "meter": {name: getattr(meter, name) for name in METER_NUMBERS},
        "schedule": {name: training.schedule.state_dict()[name] for name in SCHEDULE},
        "scaler": scaler.state_dict() if scaler else None,
        "random": {
            "python": random.getstate(),
            "numpy": of_numpy | {"state": of_numpy["state"] | {"key": of_numpy["state"]["key"].tolist()}},
        },
    }
    return tensors, facts


def restore(training: Training, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
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


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights and lasting buffers by name, each tensor once, however many names it has."""
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            yield name, tensor
