"""The layers of an encoder: found, compiled, and their distance from the head."""

import logging
import os
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from src.common.errors import ModelError
from src.model.device import DEVICE_TYPES


def find_layers(model: PreTrainedModel) -> tuple[str, Sequence[Any]]:
    """Return the encoder's layers, and the name of their list in the base model: of the lists in no other list, the longest.

    The name is empty if the encoder has no list of modules. Layers that share their weights, as in ALBERT, are one.
    """
    lists: dict[str, Any] = {
        name: module for name, module in model.base_model.named_modules() if isinstance(module, nn.ModuleList)
    }
    outermost = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    path: str = max(outermost, key=lambda name: len(lists[name]), default="")
    return path, lists.get(path, ())


def compile_layers(model: PreTrainedModel, wanted: bool | Literal["auto"], device: torch.device) -> None:
    """Compile the encoder's layers in place, for batches of any shape.

    With small batches of short rows a GPU mostly waits for kernels to be launched; a compiled layer launches fewer.
    "auto" compiles on devices for which DEVICE_TYPES says so, and continues without compilation if it fails.
    """
    if wanted is True or (wanted == "auto" and DEVICE_TYPES[device.type].compiles):
        torch._dynamo.config.suppress_errors = wanted == "auto"
        # There are variants for training or not, padding or none, global or local attention, one row or more: beyond the default
        # limit of 8, nothing would be compiled.
        torch._dynamo.config.recompile_limit = 64
        if wanted is True and "TORCH_LOGS" not in os.environ:
            torch._logging.set_logs(all=logging.ERROR)  # no warnings with all their frames: a failure raises
        for layer in find_layers(model)[1]:
            layer.compile(dynamic=True)


def depths_below_head(model: PreTrainedModel) -> dict[str, int]:
    """Return how many layers each weight of the encoder is below the head, by its name in the model.

    The last of n layers is at 1, the first at n, and the embeddings, with all that prepares the input of the layers, at n + 1.
    What follows the last layer, a norm or a pooler, belongs to the head: 0. Raises ModelError if the
    encoder has no list of layers.
    """
    base: Any = model.base_model
    path, layers = find_layers(model)
    if not path:
        raise ModelError(f"the layers of this model ({model.config.model_type}) are not found. Pass --layer_decay 1.")
    number, parent = len(layers), path.rpartition(".")[0]
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
