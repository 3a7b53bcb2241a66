"""Batches: rows that are padded and put on the device."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from src.data.task import IGNORE_INDEX, NOT_CONTEXT, Features
from src.model.device import DEVICE_TYPES

# Which tensors of Features hold the labels: `labels` (one per row), `label_ids` (one per token), or `start_positions` and
# `end_positions` (two per row), with `context_marks`.
LabelLayout = Literal["rows", "tokens", "spans"]


@dataclass(frozen=True)
class Batch:
    """B rows for one forward pass, of S sequences of tokens: several for each row if it has choices, else S = B.

    inputs: `input_ids` and `attention_mask` int64 [S, L], and `token_type_ids` int64 [S, L] if the model has segments.
    labels: int64 [B], float32 [B] or float32 [B, C] for rows; int64 [B, L] for tokens, IGNORE_INDEX at those without a label;
    int64 [B, 2] for spans: first and last token. tokens: number of real tokens among the S x L. items: labelled items, the
    divisor of the mean loss. places: int64 [tokens], positions of the real tokens in the flattened batch.
    context_marks: uint8 [B, L] for spans, see src.data.task.Features.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    tokens: int
    items: int
    places: Tensor
    context_marks: Tensor | None = None


def token_positions(features: Features, rows: np.ndarray, length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of a padded batch's tokens in the flat arrays, int64 [S, L], and which are real, bool [S, L].

    L is `length`, or else that of the longest sequence.
    """
    offsets, sequences = features.tensors["offsets"], features.sequences(rows)
    starts, lengths = offsets[sequences], offsets[sequences + 1] - offsets[sequences]
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
