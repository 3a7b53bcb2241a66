"""Attention in an encoder that runs without padding: the only part that has to keep the rows of a batch apart.

The projections before and after run on real tokens only. In between, queries, keys and values are padded: [B, heads, L, d].
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from src.model.unpadding.dropout import STEPS, draw_kept, is_eager_cpu
from src.model.unpadding.layout import current_layout


class _AttentionWithDropout(torch.autograd.Function):
    """Attention with dropout as torch computes it on a CPU, with a backward pass that needs half of the memory."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, scaling: float
    ) -> Tensor:
        scores = query @ key.transpose(2, 3)
        scores *= scaling
        if mask is not None:
            scores.masked_fill_(~mask, -torch.inf)
        weights = scores.softmax(dim=-1)
        kept, scale = draw_kept(weights.shape, dropout)
        ctx.save_for_backward(query, key, value, weights, kept)
        ctx.scaling, ctx.scale = scaling, scale
        return torch.where(kept, weights, 0.0) @ value * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights, kept = ctx.saved_tensors
        gradient = gradients[0] * ctx.scale
        of_value = torch.where(kept, weights, 0.0).transpose(2, 3) @ gradient
        of_weights = torch.where(kept, gradient @ value.transpose(2, 3), 0.0)
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_scores *= ctx.scaling
        return of_scores @ key, of_scores.transpose(2, 3) @ query, of_value, None, None, None


def attend(  # the parameters of torch's function
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, scaling: float | None = None
) -> Tensor:
    """Compute scaled_dot_product_attention with fast dropout. Query [B, heads, Q, d], key and value [B, heads, L, d].

    mask: which tokens attend to which, bool, broadcast to [B, heads, Q, L], or None if all do.
    """
    if not is_eager_cpu(query) or round(dropout * STEPS) in (0, STEPS):
        return functional.scaled_dot_product_attention(query, key, value, mask, dropout, scale=scaling)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _AttentionWithDropout.apply(query, key, value, mask, dropout, scaling)


def unpadded_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention as models of transformers call it. query, key, value: [1, heads, T, d]; returns [1, T, heads, d]."""
    layout = current_layout()
    query, key, value = (layout.pad_heads(tokens[0].transpose(0, 1)) for tokens in (query, key, value))
    dropout = options.get("dropout", 0.0) if module.training else 0.0
    mask = layout.attention_mask(options.get("sliding_window"))
    output = attend(query, key, value, mask, dropout, options.get("scaling"))
    return layout.unpad_heads(output)[None], None


def disentangled_attention(
    module: Any,
    hidden: Tensor,
    attention_mask: Tensor,
    output_attentions: bool = False,
    query_states: Tensor | None = None,
    relative_pos: Tensor | None = None,
    rel_embeddings: Tensor | None = None,
) -> tuple[Tensor, None]:
    """Replace the forward of DeBERTa's attention, `module`. hidden: [1, T, H], relative_pos [1, L, L]; returns [1, T, H]."""
    layout, heads = current_layout(), module.num_attention_heads
    query, key, value = (  # [B * heads, L, d]
        module.transpose_for_scores(layout.pad(projection(hidden)[0]), heads)
        for projection in (module.query_proj, module.key_proj, module.value_proj)
    )
    terms = 1 + sum(name in module.pos_att_type for name in ("c2p", "p2c"))
    scores = query @ key.transpose(1, 2) * (query.shape[-1] * terms) ** -0.5
    if module.relative_attention:
        positions = module.pos_dropout(rel_embeddings)
        scores = scores + module.disentangled_attention_bias(query, key, relative_pos, positions, terms)
    scores, mask = scores.unflatten(0, (-1, heads)), layout.attention_mask(None)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    output = module.dropout(scores.softmax(dim=-1)) @ value.unflatten(0, (-1, heads))
    return layout.unpad(output.transpose(1, 2).flatten(2))[None], None
