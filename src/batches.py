"""Batches: the order of rows in an epoch, how they are split, padded and put on the device."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from src.data import IGNORE_INDEX, NOT_CONTEXT, Features
from src.device_types import DEVICE_TYPES

POOL = 50  # number of batches whose rows are sorted together

# Which tensors of Features hold the labels: `labels` (one per row), `label_ids` (one per token), or `start_positions` and
# `end_positions` (two per row), with `context_marks`.
LabelLayout = Literal["rows", "tokens", "spans"]


@dataclass(frozen=True)
class Batch:
    """B rows for one forward pass.

    inputs: `input_ids` and `attention_mask` int64 [B, L], and `token_type_ids` int64 [B, L] if the model has segments.
    labels: int64 [B], float32 [B] or float32 [B, C] for rows; int64 [B, L] for tokens, IGNORE_INDEX at those without a label;
    int64 [B, 2] for spans: first and last token. tokens: number of real tokens among the B x L. items: labelled items, the
    divisor of the mean loss. places: int64 [tokens], positions of the real tokens in the flattened batch.
    context_marks: uint8 [B, L] for spans, see src.data.Features.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    tokens: int
    items: int
    places: Tensor
    context_marks: Tensor | None = None


def epoch_order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of the rows in one epoch, int64 [rows]: a permutation that depends only on seed and epoch."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def bucketed_order(order: np.ndarray, lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Return an epoch's `order` with rows of similar length in the same batch, int64 [rows]; batches keep their sizes.

    Rows are sorted within pools of POOL batches, then the batches are shuffled. A batch that is not full stays the last.
    lengths: int64 [rows], number of tokens of each row.
    """
    pools = slices(order, POOL * batch_size)
    batches = list(slices(np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]), batch_size))
    full = len(order) // batch_size
    shuffled = np.random.default_rng([seed, epoch, POOL]).permutation(full)
    return np.concatenate([batches[number] for number in [*shuffled, *range(full, len(batches))]])


def micro_batches(rows: np.ndarray, lengths: np.ndarray, batch_size: int, parts: int) -> Iterator[np.ndarray]:
    """Yield `rows` in batches of `batch_size`, each sorted from long to short and split into `parts`, to need less padding."""
    for batch in slices(rows, batch_size):
        yield from slices(batch[np.argsort(-lengths[batch], kind="stable")] if parts > 1 else batch, -(-len(batch) // parts))


def shares(work: np.ndarray, number: int) -> list[np.ndarray]:
    """Split positions 0 to n - 1 into `number` shares of about the same work, each ascending, int64; they may be empty.

    work: int64 [n]. The largest comes first, and each goes to the share that has the least so far: the first is never empty.
    """
    loads = [(0, share) for share in range(number)]
    positions: list[list[int]] = [[] for _ in range(number)]
    for position in np.argsort(-work, kind="stable").tolist():
        load, share = loads[0]
        positions[share].append(position)
        heapq.heapreplace(loads, (load + int(work[position]), share))
    return [np.sort(np.array(share, dtype=np.int64)) for share in positions]


def slices(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Return `rows` in slices of `size`; the last one may be shorter."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def by_length(features: Features, budget: int, length: int | None = None) -> Iterator[np.ndarray]:
    """Yield the numbers of all rows in batches of similar length, longest first: the first batch needs the most memory.

    A batch has at most `budget` tokens, padding included, but at least one row. Rows are padded to `length`, or else to the
    longest of their batch.
    """
    lengths = features.lengths
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, budget // (length or int(lengths[order[start]])))
        yield order[start : start + rows]
        start += rows


def items_of_rows(features: Features, layout: LabelLayout) -> np.ndarray:
    """Return the number of labelled items of each row, int64 [n]: its labelled tokens if they are what is labelled, else 1."""
    if layout != "tokens":
        return np.ones(len(features), np.int64)
    labelled = np.concatenate([[0], np.cumsum(features.tensors["label_ids"] != IGNORE_INDEX)])
    return np.diff(labelled[features.tensors["offsets"]])


def token_positions(features: Features, rows: np.ndarray, length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of a padded batch's tokens in the flat arrays, int64 [B, L], and which are real, bool [B, L].

    L is `length`, or else that of the longest row.
    """
    offsets = features.tensors["offsets"]
    starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
    columns = np.arange(length or lengths.max())
    real = columns < lengths[:, None]
    return np.where(real, starts[:, None] + columns, 0), real


@dataclass(frozen=True)
class Collator:
    """Makes batches for one model."""

    pad_token_id: int
    segments: bool  # whether the model takes token_type_ids
    device: torch.device
    length: int | None = None  # to pad all rows to; None: the longest of the batch
    labels: LabelLayout = "rows"

    def __call__(self, features: Features, rows: np.ndarray) -> Batch:
        """Return the batch of the given rows (int64 [B]), padded on the right."""
        tensors = features.tensors
        positions, real = token_positions(features, rows, self.length)

        def padded(name: str, value: int) -> np.ndarray:
            return np.where(real, tensors[name][positions], value)

        arrays = {"input_ids": padded("input_ids", self.pad_token_id), "attention_mask": real}
        if self.segments:
            arrays["token_type_ids"] = padded("token_type_ids", 0)
        inputs = {name: self._to_device(array.astype(np.int64)) for name, array in arrays.items()}
        items, context_marks = len(rows), None
        if self.labels == "tokens":
            labels = padded("label_ids", IGNORE_INDEX).astype(np.int64)
            items = int((labels != IGNORE_INDEX).sum())
        elif self.labels == "spans":
            labels = np.stack([tensors["start_positions"][rows], tensors["end_positions"][rows]], axis=1).astype(np.int64)
            context_marks = self._to_device(padded("context_marks", NOT_CONTEXT).astype(np.uint8))
        else:
            labels = tensors["labels"][rows]
        places = self._to_device(np.flatnonzero(real))
        return Batch(inputs, self._to_device(labels), len(places), items, places, context_marks)

    def _to_device(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        if DEVICE_TYPES[self.device.type].pins_memory:
            return tensor.pin_memory().to(self.device, non_blocking=True)  # does not make the CPU wait for the device
        return tensor.to(self.device)
