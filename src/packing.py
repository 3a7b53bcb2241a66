"""A padding-free encoder: all but attention sees the real tokens of a batch alone.

A hook before the encoder turns the embedded batch [B, L, H] into [1, T, H], T its real tokens; a hook behind it restores
[B, L, H] for the model's own head. In between runs an attention function, registered with transformers, that lets each sequence
attend to itself: queries, keys and values are laid out [B, heads, L, d] again for torch's attention, dropout and all, and its
output goes back to T tokens. Short rows spend nearly all of their time in the linear layers, which padding then no longer costs.
No model is changed, and none knows.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

NAME = "packed"  # of the attention function

# model_type -> the module of the encoder that takes embedded tokens and returns as many.
ENCODERS: Mapping[str, str] = {
    "bert": "encoder",
    "electra": "encoder",
    "roberta": "encoder",
    "xlm-roberta": "encoder",
    "distilbert": "transformer",
}


@dataclass(frozen=True)
class Layout:
    """Where the T real tokens of a batch [B, L] lie.

    flat: int64 [T], their places in the flattened batch. shape: (B, L). mask: bool [B, 1, 1, L], which places are real; None
    where all are.
    """

    flat: Tensor
    shape: tuple[int, ...]
    mask: Tensor | None

    @classmethod
    def of(cls, attention_mask: Tensor, flat: Tensor) -> "Layout":
        """The layout of a batch with this attention mask, int64 [B, L], and the places where it is 1, int64 [T].

        Both are given, as a GPU that looked for the places would make the CPU wait for how many they are.
        """
        full = len(flat) == attention_mask.numel()
        return cls(flat, tuple(attention_mask.shape), None if full else attention_mask.bool()[:, None, None, :])

    # By index_select and index_copy: the gradient of plain indexing adds up one element after the other on a CPU.

    def tokens(self, batch: Tensor) -> Tensor:
        """The real tokens [T, ...] of a batch [B, L, ...]."""
        return batch.flatten(0, 1).index_select(0, self.flat)

    def batch(self, tokens: Tensor) -> Tensor:
        """The batch [B, L, ...] of tokens [T, ...], zeros at padding."""
        rows = tokens.new_zeros(self.shape[0] * self.shape[1], *tokens.shape[1:])
        return rows.index_copy(0, self.flat, tokens).view(*self.shape, *tokens.shape[1:])


_layout: Layout | None = None  # of the batch that is in the encoder


def can_pack(model: PreTrainedModel) -> bool:
    """Whether this kind of model can run without padding."""
    return model.config.model_type in ENCODERS


def pack_encoder(model: PreTrainedModel) -> None:
    """Make `model`, whose kind can_pack, run its encoder on real tokens inside `packed`."""
    encoder = getattr(model.base_model, ENCODERS[model.config.model_type])
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, lambda *arguments, **options: None)  # the layout says what a mask would
    model.set_attn_implementation(NAME)
    encoder.register_forward_pre_hook(_pack, with_kwargs=True)
    encoder.register_forward_hook(_unpack)


@contextmanager
def packed(layout: Layout) -> Iterator[None]:
    """Inside, the model is given the batch of this layout."""
    global _layout
    _layout = layout
    try:
        yield
    finally:
        _layout = None


def _pack(encoder: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    assert _layout is not None
    hidden, name = (arguments[0], None) if arguments else (options["hidden_states"], "hidden_states")
    tokens = _layout.tokens(hidden)[None]
    return ((tokens, *arguments[1:]), options) if name is None else (arguments, options | {name: tokens})


def _unpack(encoder: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
    assert _layout is not None
    output.last_hidden_state = _layout.batch(output[0][0])
    return output


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention of each sequence to itself. query, key, value: [1, heads, T, d]; the output [1, T, heads, d]."""
    assert _layout is not None
    query, key, value = (_layout.batch(each[0].transpose(0, 1)).transpose(1, 2) for each in (query, key, value))
    dropout = options.get("dropout", 0.0) if module.training else 0.0
    found = functional.scaled_dot_product_attention(query, key, value, _layout.mask, dropout, scale=options.get("scaling"))
    return _layout.tokens(found.transpose(1, 2))[None], None
