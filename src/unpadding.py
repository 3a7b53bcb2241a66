"""Run an encoder without padding: all its layers but attention process only the real tokens of a batch.

Linear layers take most of the time on short rows, and cost as much for padding as for real tokens. So a hook after the embeddings
removes the padding ("unpads"): [B, L, H] becomes [1, T, H] for T real tokens. A hook after the last layer restores [B, L, H] for
the model's head. In between, attention still has to keep the rows apart: an attention function registered with transformers
restores [B, heads, L, d], calls torch's attention with its dropout, and unpads the result.

The hooks find the layout of the current batch in a global variable, which `using_layout` sets. The code of the models stays as it
is, and so do saved checkpoints.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from src.dropout import cheap_dropout

ATTENTION = "unpadded"  # name of the attention function

EMBEDDINGS = "embeddings"  # the module that returns [B, L, H], in all supported models
ROTARY = "rotary_emb"  # the module that turns positions into rotations, in models without position embeddings

# model_type -> the last module before the head that processes single tokens.
LAST_MODULE: Mapping[str, str] = {
    "bert": "encoder",
    "electra": "encoder",
    "roberta": "encoder",
    "xlm-roberta": "encoder",
    "distilbert": "transformer",
    "modernbert": "final_norm",
}


@dataclass(frozen=True)
class Layout:
    """The positions of the T real tokens in a batch [B, L] that is padded on the right.

    indices: int64 [T], positions in the flattened batch. mask: bool [B, L], true for real tokens. full: no padding at all.
    """

    indices: Tensor
    mask: Tensor
    full: bool

    @classmethod
    def of(cls, attention_mask: Tensor, indices: Tensor) -> "Layout":
        """Return the layout for an attention mask, int64 [B, L], and the indices of its ones, int64 [T].

        The indices are not computed here, as on a GPU that would make the CPU wait for their number.
        """
        return cls(indices, attention_mask.bool(), len(indices) == attention_mask.numel())

    # index_select and index_copy, because the gradient of plain indexing is summed element by element on a CPU.

    def unpad(self, batch: Tensor) -> Tensor:
        """Return the real tokens [T, ...] of a batch [B, L, ...]."""
        return batch.flatten(0, 1) if self.full else batch.flatten(0, 1).index_select(0, self.indices)

    def pad(self, tokens: Tensor) -> Tensor:
        """Return the batch [B, L, ...] of real tokens [T, ...], with zeros as padding."""
        if not self.full:
            tokens = tokens.new_zeros(self.mask.numel(), *tokens.shape[1:]).index_copy(0, self.indices, tokens)
        return tokens.view(*self.mask.shape, *tokens.shape[1:])

    @property
    def position_ids(self) -> Tensor:
        """Position of each real token in its row, int64 [1, T]."""
        return (self.indices % self.mask.shape[1])[None]

    def attention_mask(self, window: int | None) -> Tensor | None:
        """Return which tokens attend to which, bool [B or 1, 1, L or 1, L], or None if all do.

        With a `window`, a token attends to tokens less than `window` positions away.
        """
        length = self.mask.shape[1]
        real = None if self.full else self.mask[:, None, None, :]
        if window is None or length <= window:
            return real
        positions = torch.arange(length, device=self.indices.device)
        near = ((positions[:, None] - positions).abs() < window)[None, None]
        # Padding attends to everything near: a softmax over nothing would be NaN.
        return near if real is None else near & real | ~self.mask[:, None, :, None]


_layout: Layout | None = None  # of the current batch


@contextmanager
def using_layout(layout: Layout) -> Iterator[None]:
    """Inside the block, unpadded models process a batch with this layout."""
    global _layout
    _layout = layout
    try:
        yield
    finally:
        _layout = None


def can_unpad(model: PreTrainedModel) -> bool:
    """Return whether this type of model can run without padding."""
    return model.config.model_type in LAST_MODULE


def unpad_encoder(model: PreTrainedModel) -> None:
    """Make the encoder of `model`, for which can_unpad is true, run without padding inside `using_layout`."""
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, lambda *arguments, **options: None)  # the layout provides the mask
    model.set_attn_implementation(ATTENTION)
    base = model.base_model
    getattr(base, EMBEDDINGS).register_forward_hook(_unpad_embeddings)
    getattr(base, LAST_MODULE[model.config.model_type]).register_forward_hook(_pad_output)
    if hasattr(base, ROTARY):
        getattr(base, ROTARY).register_forward_pre_hook(_set_position_ids)


def _unpad_embeddings(embeddings: nn.Module, arguments: Any, output: Tensor) -> Tensor:
    assert _layout is not None
    return _layout.unpad(output)[None]


def _set_position_ids(rotary: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    assert _layout is not None
    hidden, _, *others = arguments
    return hidden, _layout.position_ids, *others


def _pad_output(last: nn.Module, arguments: Any, output: Any) -> Any:
    assert _layout is not None
    if isinstance(output, Tensor):
        return _layout.pad(output[0])
    output.last_hidden_state = _layout.pad(output[0][0])
    return output


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention within each row. query, key, value: [1, heads, T, d]; returns [1, T, heads, d]."""
    assert _layout is not None
    query, key, value = (_layout.pad(tokens[0].transpose(0, 1)).transpose(1, 2) for tokens in (query, key, value))
    dropout = options.get("dropout", 0.0) if module.training else 0.0
    mask = _layout.attention_mask(options.get("sliding_window"))
    if dropout > 0 and query.device.type == "cpu":
        output = _attention_with_cheap_dropout(query, key, value, mask, dropout, options.get("scaling"))
    else:
        output = functional.scaled_dot_product_attention(query, key, value, mask, dropout, scale=options.get("scaling"))
    return _layout.unpad(output.transpose(1, 2))[None], None


def _attention_with_cheap_dropout(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, scaling: float | None
) -> Tensor:
    """Compute scaled_dot_product_attention for [B, heads, L, d] in the steps that torch takes on a CPU if there is dropout."""
    scores = (query * (scaling or query.shape[-1] ** -0.5)) @ key.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return cheap_dropout(scores.softmax(dim=-1), dropout) @ value
