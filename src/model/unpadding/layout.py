"""Where the real tokens of a padded batch are, and how to switch between the batch and its real tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from src.model.unpadding.dropout import is_eager_cpu


class _Select(torch.autograd.Function):
    """Select rows by an index; the gradient comes back by the inverse index, as no row with a gradient is selected twice."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, inverse: Tensor, ignored: Tensor | None) -> Tensor:
        ctx.save_for_backward(inverse, ignored)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        inverse, ignored = ctx.saved_tensors
        gradient = gradients[0].index_select(0, inverse)
        return gradient if ignored is None else gradient.masked_fill_(ignored, 0.0), None, None, None


@dataclass(frozen=True)
class Layout:
    """The positions of the T real tokens in a batch [B, L] that is padded on the right.

    indices: int64 [T], positions in the flattened batch. mask: bool [B, L], true for real tokens. full: no padding at all.
    """

    indices: Tensor
    mask: Tensor
    full: bool
    _of_heads: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)  # see _places; all layers use the same

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

    # Attention is computed per head. On a CPU one selection both pads, or removes padding, and changes the order of the axes.

    def pad_heads(self, tokens: Tensor) -> Tensor:
        """Return the batch [B, heads, L, d] of real tokens [T, heads, d]; values at padding are undefined."""
        rows, length = self.mask.shape
        _, heads, size = tokens.shape
        if self.full or not is_eager_cpu(tokens):
            return self.pad(tokens).transpose(1, 2)
        slots, places, _ = self._places(heads)
        selected: Tensor = _Select.apply(tokens.reshape(-1, size), slots, places, None)
        return selected.view(rows, heads, length, size)

    def unpad_heads(self, batch: Tensor) -> Tensor:
        """Return the real tokens [T, heads, d] of a batch [B, heads, L, d]."""
        heads, size = batch.shape[1], batch.shape[3]
        if self.full or not is_eager_cpu(batch):
            return self.unpad(batch.transpose(1, 2))
        slots, places, padding = self._places(heads)
        selected: Tensor = _Select.apply(batch.reshape(-1, size), places, slots, padding)
        return selected.view(-1, heads, size)

    def _places(self, heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return where to find each vector of [B, heads, L] in [T, heads], flattened; the reverse; and which are padding."""
        if heads not in self._of_heads:
            head, length = torch.arange(heads, device=self.mask.device), self.mask.shape[1]
            tokens = (self.mask.flatten().cumsum(0) - 1).view(self.mask.shape)  # padding: the token before it
            slots = (tokens[:, None] * heads + head[:, None]).flatten()
            row, position = self.indices // length, self.indices % length
            places = ((row[:, None] * heads + head) * length + position[:, None]).flatten()
            padding = (~self.mask)[:, None].expand(-1, heads, -1).reshape(-1, 1)
            self._of_heads[heads] = slots, places, padding
        return self._of_heads[heads]

    def first_tokens(self, tokens: Tensor) -> Tensor:
        """Return the first token of each row, [B, 1, ...], of real tokens [T, ...]."""
        lengths = self.mask.sum(1)
        return tokens.index_select(0, lengths.cumsum(0) - lengths)[:, None]

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


def current_layout() -> Layout:
    """Return the layout of the current batch. Only inside `using_layout`."""
    assert _layout is not None
    return _layout
