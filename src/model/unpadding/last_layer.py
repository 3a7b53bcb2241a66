"""A last layer that computes the first token of each row only, for heads that read nothing else.

Of the other tokens it needs keys and values, but no queries, attention, feed-forward or norms: these are ten twelfths of a layer
of BERT. Logits and gradients are unchanged.

One function per kind of layer replaces its forward in an encoder that runs without padding (unpad.py): it takes the layer and
real tokens [1, T, H], and returns the first tokens [B, 1, H]. What follows, up to the head, takes them for rows of one token.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.modernbert.modeling_modernbert import apply_rotary_pos_emb

from src.model.layers import find_layers
from src.model.unpadding.attention import attend
from src.model.unpadding.layout import current_layout


def _attend(projected: Sequence[Tensor], head_size: int, dropout: float, window: int | None = None) -> Tensor:
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
    attended = layer.attention.output(_attend(projected, attention.attention_head_size, dropout), first)
    return layer.feed_forward_chunk(attended)


def _distilbert(layer: Any, hidden: Tensor, *arguments: Any, **options: Any) -> Tensor:
    first, attention = current_layout().first_tokens(hidden[0]), layer.attention
    dropout = attention.dropout.p if layer.training else 0.0
    projected = attention.q_lin(first), attention.k_lin(hidden), attention.v_lin(hidden)
    attended = attention.out_lin(_attend(projected, attention.attention_head_size, dropout))
    attended = layer.sa_layer_norm(attended + first)
    return layer.output_layer_norm(layer.ffn(attended) + attended)


def _modernbert(layer: Any, hidden: Tensor, *arguments: Any, position_embeddings: Any, **options: Any) -> Tensor:
    layout, attention = current_layout(), layer.attn
    dropout = attention.attention_dropout if layer.training else 0.0
    # One projection and one rotation, so queries of all tokens are computed, too: [1, T, heads, d].
    query, key, value = attention.Wqkv(layer.attn_norm(hidden)).unflatten(-1, (3, -1, attention.head_dim)).unbind(-3)
    query, key = apply_rotary_pos_emb(query, key, *position_embeddings, unsqueeze_dim=2)
    projected = layout.first_tokens(query[0]).flatten(2), key.flatten(2), value.flatten(2)
    attended = _attend(projected, attention.head_dim, dropout, attention.sliding_window)
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
