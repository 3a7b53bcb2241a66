"""The optimizer of a training, its parameter groups, and the course of the learning rate."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel, get_scheduler

from src.errors import ModelError
from src.settings import Settings

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


def depths_below_head(model: PreTrainedModel) -> dict[str, int]:
    """Return how many layers each weight of the encoder is below the head, by its name in the model.

    The last of n layers is at 1, the first at n, and the embeddings, with all that prepares the input of the layers, at n + 1.
    What follows the last layer, a norm or a pooler, belongs to the head: 0. Layers that share their weights, as in ALBERT, are
    one. Raises ModelError if the encoder has no list of layers.
    """
    base: Any = model.base_model
    path = _path_of_layers(base)
    if not path:
        raise ModelError(f"the layers of this model ({model.config.model_type}) are not found. Pass --layer_decay 1.")
    number, parent = len(base.get_submodule(path)), path.rpartition(".")[0]
    prefix = "" if base is model else f"{model.base_model_prefix}."
    depths, after = {}, False  # whether the weight comes after those of the layers
    for name, _ in base.named_parameters():
        if name.startswith(f"{path}."):
            depth, after = number - int(name.removeprefix(f"{path}.").partition(".")[0]), True
        else:
            # Beside the layers in a module of their own are relative positions, as in DeBERTa, or a projection of the embeddings.
            prepares = not after or (parent and name.startswith(f"{parent}."))
            depth = number + 1 if prepares else 0
        depths[prefix + name] = depth
    return depths


def _path_of_layers(encoder: nn.Module) -> str:
    """Return the name of the longest list of modules that is in no other list; empty if there is none."""
    lists = {name: len(module) for name, module in encoder.named_modules() if isinstance(module, nn.ModuleList)}
    outermost = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    return max(outermost, key=lists.__getitem__, default="")
