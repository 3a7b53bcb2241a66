"""How rows become batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from src.data import IGNORE_INDEX, Features

POOL = 50  # batches whose rows are sorted together


@dataclass(frozen=True)
class Batch:
    """B rows for one forward pass.

    inputs: `input_ids` and `attention_mask` int64 [B, L], and `token_type_ids` int64 [B, L] where the model has segments.
    labels: int64 or float32 [B]; int64 [B, L] where every token has one or IGNORE_INDEX; int64 [B, 2] for a span's first and last
    token. tokens: how many of the B x L are real. items: labelled items, the divisor of the mean loss.
    places: int64 [tokens], where the real ones lie in the flattened batch.
    context_marks: uint8 [B, L] for spans, see src.data.Features.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    tokens: int
    items: int
    places: Tensor
    context_marks: Tensor | None = None


def epoch_order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the rows in one epoch, int64 [rows]: a permutation that depends on seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def bucketed_order(order: np.ndarray, lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """`order`, an epoch's, with rows of like length together, int64 [rows]: as many batches of the same sizes.

    Rows are sorted inside pools of POOL batches, then the batches are shuffled; one that is not full stays the last.
    lengths: int64 [rows], the tokens of each row.
    """
    pools = slices(order, POOL * batch_size)
    batches = list(slices(np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]), batch_size))
    full = len(order) // batch_size
    shuffled = np.random.default_rng([seed, epoch, POOL]).permutation(full)
    return np.concatenate([batches[number] for number in [*shuffled, *range(full, len(batches))]])


def micro_batches(rows: np.ndarray, lengths: np.ndarray, batch_size: int, parts: int) -> Iterator[np.ndarray]:
    """`rows` in batches of `batch_size`, and each of those, from long to short, in `parts`: less to pad in the same update."""
    for batch in slices(rows, batch_size):
        yield from slices(batch[np.argsort(-lengths[batch], kind="stable")] if parts > 1 else batch, -(-len(batch) // parts))


def slices(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """`rows` in parts of `size`, the last one maybe shorter."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def by_length(features: Features, budget: int, length: int | None = None) -> Iterator[np.ndarray]:
    """Row numbers of every row once, rows of like length together, longest first: the first batch needs the most memory.

    A batch holds as many rows as come to no more than `budget` tokens with their padding, but at least one. `length` is that of
    all rows once padded, or else that of a batch's longest.
    """
    lengths = features.lengths
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, budget // (length or int(lengths[order[start]])))
        yield order[start : start + rows]
        start += rows


def token_positions(features: Features, rows: np.ndarray, length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Where the tokens of a padded batch lie in the flat arrays: positions int64 [B, L] and which are real, bool [B, L].

    L is `length` or else that of the longest row.
    """
    offsets = features.tensors["offsets"]
    starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
    columns = np.arange(length or lengths.max())
    real = columns < lengths[:, None]
    return np.where(real, starts[:, None] + columns, 0), real


@dataclass(frozen=True)
class Collator:
    """Makes the batches of one model: its pad id, whether it has segments, its device, the length that all rows have."""

    pad_token_id: int
    segments: bool
    device: torch.device
    length: int | None = None

    def __call__(self, features: Features, rows: np.ndarray) -> Batch:
        """The batch of the given rows (int64 [B]), padded on the right to the longest of them, or to `length`."""
        tensors = features.tensors
        positions, real = token_positions(features, rows, self.length)
        arrays = {"input_ids": np.where(real, tensors["input_ids"][positions], self.pad_token_id), "attention_mask": real}
        if self.segments:
            arrays["token_type_ids"] = np.where(real, tensors["token_type_ids"][positions], 0)
        inputs = {name: self._to_device(array.astype(np.int64)) for name, array in arrays.items()}
        items, context_marks = len(rows), None
        if "label_ids" in tensors:
            labels = np.where(real, tensors["label_ids"][positions], IGNORE_INDEX).astype(np.int64)
            items = int((labels != IGNORE_INDEX).sum())
        elif "context_marks" in tensors:
            labels = np.stack([tensors["start_positions"][rows], tensors["end_positions"][rows]], axis=1).astype(np.int64)
            context_marks = self._to_device(np.where(real, tensors["context_marks"][positions], 0).astype(np.uint8))
        else:
            labels = tensors["labels"][rows]
        places = self._to_device(np.flatnonzero(real))
        return Batch(inputs, self._to_device(labels), len(places), items, places, context_marks)

    def _to_device(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        # A copy from pinned memory does not make the CPU wait for the GPU.
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor.to(self.device)
