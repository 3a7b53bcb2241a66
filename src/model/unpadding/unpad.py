"""Run an encoder without padding: all its layers but attention process only the real tokens of a batch.

Linear layers take most of the time on short rows, and cost as much for padding as for real tokens. So a hook after the embeddings
removes the padding ("unpads"): [B, L, H] becomes [1, T, H] for T real tokens. A hook after the last layer restores [B, L, H] for
the model's head. If the head reads only the first token of each row, the last layer returns these instead (last_layer.py). In
between, attention still has to keep the rows apart (attention.py).

The hooks find the layout of the current batch in a global variable, which `using_layout` sets. The code of the models stays as it
is, and so do saved checkpoints.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from src.model.layers import find_layers
from src.model.unpadding.attention import disentangled_attention, unpadded_attention
from src.model.unpadding.last_layer import shorten_last_layer
from src.model.unpadding.layout import current_layout

ATTENTION = "unpadded"  # name of the attention function

EMBEDDINGS = "embeddings"  # the module that returns [B, L, H], in all supported models
ROTARY = "rotary_emb"  # the module that turns positions into rotations, in models without position embeddings
DISENTANGLED = "deberta-v2"  # the model type whose attention transformers does not let one choose

# model_type -> the last module before the head that processes single tokens; "" is the whole encoder.
LAST_MODULE: Mapping[str, str] = {
    "bert": "encoder",
    "electra": "encoder",
    "roberta": "encoder",
    "xlm-roberta": "encoder",
    "albert": "encoder",
    "distilbert": "transformer",
    "modernbert": "final_norm",
    "deberta-v2": "",
}


def can_unpad(model: PreTrainedModel) -> bool:
    """Return whether this type of model can run without padding.

    It cannot if tokens attend to earlier ones only, or if a convolution (of some DeBERTa models) mixes tokens.
    """
    config: Any = model.config
    mixes = getattr(config, "is_decoder", False) or getattr(config, "conv_kernel_size", 0) > 0
    return config.model_type in LAST_MODULE and not mixes


def unpad_encoder(model: PreTrainedModel, first_token: bool = False) -> None:
    """Make the encoder of `model`, for which can_unpad is true, run without padding inside `using_layout`.

    first_token: the model's head has one output per row, and may read the first token alone.
    """
    base, model_type = model.base_model, model.config.model_type
    getattr(base, EMBEDDINGS).register_forward_hook(_unpad_embeddings)
    if model_type == DISENTANGLED:
        base.encoder.register_forward_pre_hook(_set_relative_positions, with_kwargs=True)
        for layer in find_layers(model)[1]:
            layer.attention.self.forward = partial(disentangled_attention, layer.attention.self)
    else:
        AttentionInterface.register(ATTENTION, unpadded_attention)
        AttentionMaskInterface.register(ATTENTION, lambda *arguments, **options: None)  # the layout provides the mask
        model.set_attn_implementation(ATTENTION)
    if hasattr(base, ROTARY):
        getattr(base, ROTARY).register_forward_pre_hook(_set_position_ids)
    if not (first_token and shorten_last_layer(model)):
        base.get_submodule(LAST_MODULE[model_type]).register_forward_hook(_pad_output)


def _unpad_embeddings(embeddings: nn.Module, arguments: Any, output: Tensor) -> Tensor:
    return current_layout().unpad(output)[None]


def _set_position_ids(rotary: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    hidden, _, *others = arguments
    return hidden, current_layout().position_ids, *others


def _set_relative_positions(encoder: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    rows = current_layout().mask[..., None]  # the encoder reads its shape, [B, L, 1]
    return arguments, options | {"relative_pos": encoder.get_rel_pos(rows)}


def _pad_output(last: nn.Module, arguments: Any, output: Any) -> Any:
    layout = current_layout()
    if isinstance(output, Tensor):
        return layout.pad(output[0])
    output.last_hidden_state = layout.pad(output[0][0])
    return output
