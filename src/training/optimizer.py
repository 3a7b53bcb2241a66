"""The optimizer of a training, its parameter groups, and the course of the learning rate."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_scheduler

from src.model.layers import depths_below_head
from src.settings.schema import Settings

# Value of lr_scheduler -> its name in transformers, where "constant" has no warm-up.
SCHEDULES: Mapping[str, str] = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def make_optimizer(model: Any, settings: Settings, fused: bool = True) -> AdamW:
    """Return AdamW. Vectors (biases and the weights of LayerNorm) have no weight decay.

    With layer_decay below 1, weights that are k layers below the head have the learning rate times layer_decay ** k. The first
    group has the full learning rate. Raises ModelError if the model's layers are not found.
    """
    depths = depths_below_head(model) if settings.layer_decay < 1 else {}
    by_depth: dict[int, list[Tensor]] = {0: []}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            by_depth.setdefault(depths.get(name, 0), []).append(weight)
    groups = [
        group | {"lr": settings.learning_rate * settings.layer_decay**depth}
        for depth in sorted(by_depth)
        for group in _decaying_and_others(by_depth[depth], settings.weight_decay)
    ]
    return AdamW(groups, lr=settings.learning_rate, eps=settings.adam_epsilon, fused=fused)


def _decaying_and_others(weights: Sequence[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_schedule(optimizer: AdamW, settings: Settings, updates: int) -> LambdaLR:
    """Return the schedule of the learning rate over a training of so many updates, with warm-up."""
    warmup_steps = int(settings.warmup_proportion * updates)
    schedule: LambdaLR = get_scheduler(SCHEDULES[settings.lr_scheduler], optimizer, warmup_steps, updates)
    return schedule
