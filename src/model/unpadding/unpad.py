"""Run an encoder without padding: all its layers but attention process only the real tokens of a batch.

Linear layers take most of the time on short rows, and cost as much for padding as for real tokens. So a hook after the embeddings
removes the padding ("unpads"): [B, L, H] becomes [1, T, H] for T real tokens. A hook after the last layer restores [B, L, H] for
the model's head. If the head reads only the first token of each row, the last layer returns these instead. In
between, attention still has to keep the rows apart (attention.py).

The hooks find the layout of the current batch in a global variable, which `using_layout` sets. The code of the models stays as it
is, and so do saved checkpoints.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.models.modernbert.modeling_modernbert import apply_rotary_pos_emb

from src.model.layers import find_layers
from src.model.unpadding.attention import attend, disentangled_attention, unpadded_attention
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


# -- a last layer that computes the first token of each row only -------------------------------------------------------------
# Of the other tokens it needs keys and values, but no queries, attention, feed-forward or norms: these are ten twelfths of a
# layer of BERT. Logits and gradients are unchanged. One function per kind of layer replaces its forward: it takes the layer and
# real tokens [1, T, H], and returns the first tokens [B, 1, H]. What follows, up to the head, takes them for rows of one token.


def _attend_from_first(projected: Sequence[Tensor], head_size: int, dropout: float, window: int | None = None) -> Tensor:
    """Let first tokens attend to their rows. projected: query [B, 1, H], key and value [1, T, H]; returns [B, 1, H]."""
    layout, (query, key, value) = current_layout(), projected
    batch = (query, layout.pad(key[0]), layout.pad(value[0]))
    query, key, value = (tokens.unflatten(-1, (-1, head_size)).transpose(1, 2) for tokens in batch)
    mask = layout.attention_mask(window)
    return attend(query, key, value, None if mask is None else mask[:, :, :1], dropout).transpose(1, 2).flatten(2)


def _bert(layer: Any, hidden: Tensor, *arguments: Any, **options: Any) -> Tensor:
    first, attention = current_layout().first_tokens(hidden[0]), layer.attention.self
    dropout = attention.dropout.p if layer.training else 0.0
    projected = attention.query(first), attention.key(hidden), attention.value(hidden)
    attended = layer.attention.output(_attend_from_first(projected, attention.attention_head_size, dropout), first)
    return layer.feed_forward_chunk(attended)


def _distilbert(layer: Any, hidden: Tensor, *arguments: Any, **options: Any) -> Tensor:
    first, attention = current_layout().first_tokens(hidden[0]), layer.attention
    dropout = attention.dropout.p if layer.training else 0.0
    projected = attention.q_lin(first), attention.k_lin(hidden), attention.v_lin(hidden)
    attended = attention.out_lin(_attend_from_first(projected, attention.attention_head_size, dropout))
    attended = layer.sa_layer_norm(attended + first)
    return layer.output_layer_norm(layer.ffn(attended) + attended)


def _modernbert(layer: Any, hidden: Tensor, *arguments: Any, position_embeddings: Any, **options: Any) -> Tensor:
    layout, attention = current_layout(), layer.attn
    dropout = attention.attention_dropout if layer.training else 0.0
    # One projection and one rotation, so queries of all tokens are computed, too: [1, T, heads, d].
    query, key, value = attention.Wqkv(layer.attn_norm(hidden)).unflatten(-1, (3, -1, attention.head_dim)).unbind(-3)
    query, key = apply_rotary_pos_emb(query, key, *position_embeddings, unsqueeze_dim=2)
    projected = layout.first_tokens(query[0]).flatten(2), key.flatten(2), value.flatten(2)
    attended = _attend_from_first(projected, attention.head_dim, dropout, attention.sliding_window)
    first = layout.first_tokens(hidden[0]) + attention.out_drop(attention.Wo(attended))
    return first + layer.mlp(layer.mlp_norm(first))


# model_type -> what replaces the forward of the last layer.
LAST_LAYER: Mapping[str, Callable[..., Tensor]] = {
    **dict.fromkeys(("bert", "electra", "roberta", "xlm-roberta"), _bert),
    "distilbert": _distilbert,
    "modernbert": _modernbert,
}


def shorten_last_layer(model: PreTrainedModel) -> bool:
    """Make the last layer of `model` return first tokens only, [B, 1, H]. Return False if this is not known or not enough.

    `model` has a head with one output per row. In the families of the table, such a head reads the first token, unless the config
    of ModernBERT says otherwise.
    """
    if model.config.model_type not in LAST_LAYER or getattr(model.config, "classifier_pooling", "cls") != "cls":
        return False
    layer = find_layers(model)[1][-1]
    layer.forward = partial(LAST_LAYER[model.config.model_type], layer)
    return True
