"""Where the real tokens of a padded batch are, and how to switch between the batch and its real tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


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
