"""A padding-free encoder: all but attention sees the real tokens of a batch alone.

A hook behind the embeddings turns the embedded batch [B, L, H] into [1, T, H], T its real tokens; a hook behind the last layer
restores [B, L, H] for the model's own head. In between runs an attention function, registered with transformers, that lets each
sequence attend to itself: queries, keys and values are laid out [B, heads, L, d] again for torch's attention, dropout and all,
and its output goes back to T tokens. Short rows spend nearly all of their time in the linear layers, which padding then no longer
costs. No model is changed, and none knows.
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

NAME = "packed"  # of the attention function

EMBEDDINGS = "embeddings"  # the module that makes [B, L, H] of ids, in every kind of model below
ROTARY = "rotary_emb"  # the one that turns positions into rotations, where the embeddings hold none

# model_type -> the last module that sees tokens, not rows.
LAST: Mapping[str, str] = {
    "bert": "encoder",
    "electra": "encoder",
    "roberta": "encoder",
    "xlm-roberta": "encoder",
    "distilbert": "transformer",
    "modernbert": "final_norm",
}


@dataclass(frozen=True)
class Layout:
    """Where the T real tokens of a batch [B, L] lie.

    flat: int64 [T], their places in the flattened batch. mask: bool [B, L], which places are real. full: whether all are.
    """

    flat: Tensor
    mask: Tensor
    full: bool

    @classmethod
    def of(cls, attention_mask: Tensor, flat: Tensor) -> "Layout":
        """The layout of a batch with this attention mask, int64 [B, L], and the places where it is 1, int64 [T].

        Both are given, as a GPU that looked for the places would make the CPU wait for how many they are.
        """
        return cls(flat, attention_mask.bool(), len(flat) == attention_mask.numel())

    # By index_select and index_copy: the gradient of plain indexing adds up one element after the other on a CPU.

    def tokens(self, batch: Tensor) -> Tensor:
        """The real tokens [T, ...] of a batch [B, L, ...]."""
        return batch.flatten(0, 1) if self.full else batch.flatten(0, 1).index_select(0, self.flat)

    def batch(self, tokens: Tensor) -> Tensor:
        """The batch [B, L, ...] of tokens [T, ...], zeros at padding."""
        if not self.full:
            tokens = tokens.new_zeros(self.mask.numel(), *tokens.shape[1:]).index_copy(0, self.flat, tokens)
        return tokens.view(*self.mask.shape, *tokens.shape[1:])

    @property
    def positions(self) -> Tensor:
        """The place of every real token in its row, int64 [1, T]; padding is on the right."""
        return (self.flat % self.mask.shape[1])[None]

    def attends(self, window: int | None) -> Tensor | None:
        """Which places attend to which, bool [B or 1, 1, L or 1, L]; None where all do. A `window` hides those as far away."""
        length = self.mask.shape[1]
        real = None if self.full else self.mask[:, None, None, :]
        if window is None or length <= window:
            return real
        places = torch.arange(length, device=self.flat.device)
        near = ((places[:, None] - places).abs() < window)[None, None]
        # At padding all is near: a softmax over nothing is no number.
        return near if real is None else near & real | ~self.mask[:, None, :, None]


_layout: Layout | None = None  # of the batch that is in the encoder


def can_unpad(model: PreTrainedModel) -> bool:
    """Whether this kind of model can run without padding."""
    return model.config.model_type in LAST


def unpad_encoder(model: PreTrainedModel) -> None:
    """Make `model`, whose kind can_pack, run its encoder on real tokens inside `packed`."""
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, lambda *arguments, **options: None)  # the layout says what a mask would
    model.set_attn_implementation(NAME)
    base = model.base_model
    getattr(base, EMBEDDINGS).register_forward_hook(_pack)
    getattr(base, LAST[model.config.model_type]).register_forward_hook(_unpack)
    if hasattr(base, ROTARY):
        getattr(base, ROTARY).register_forward_pre_hook(_place)


@contextmanager
def using_layout(layout: Layout) -> Iterator[None]:
    """Inside, the model is given the batch of this layout."""
    global _layout
    _layout = layout
    try:
        yield
    finally:
        _layout = None


def _pack(embeddings: nn.Module, arguments: Any, output: Tensor) -> Tensor:
    assert _layout is not None
    return _layout.tokens(output)[None]


def _place(rotary: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    assert _layout is not None
    hidden, _, *others = arguments
    return hidden, _layout.positions, *others


def _unpack(last: nn.Module, arguments: Any, output: Any) -> Any:
    assert _layout is not None
    if isinstance(output, Tensor):
        return _layout.batch(output[0])
    output.last_hidden_state = _layout.batch(output[0][0])
    return output


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention of each sequence to itself. query, key, value: [1, heads, T, d]; the output [1, T, heads, d]."""
    assert _layout is not None
    query, key, value = (_layout.batch(each[0].transpose(0, 1)).transpose(1, 2) for each in (query, key, value))
    dropout = options.get("dropout", 0.0) if module.training else 0.0
    mask = _layout.attends(options.get("sliding_window"))
    if dropout > 0 and query.device.type == "cpu":
        found = _attention_with_cheap_dropout(query, key, value, mask, dropout, options.get("scaling"))
    else:
        found = functional.scaled_dot_product_attention(query, key, value, mask, dropout, scale=options.get("scaling"))
    return _layout.tokens(found.transpose(1, 2))[None], None


def _attention_with_cheap_dropout(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, scaling: float | None
) -> Tensor:
    """Of [B, heads, L, d] what torch's own attention gives, which on a CPU takes these steps too where there is dropout."""
    scores = (query * (scaling or query.shape[-1] ** -0.5)) @ key.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return cheap_dropout(scores.softmax(dim=-1), dropout) @ value
