"""The order of rows in an epoch, and how they are split into batches and over processes."""

import heapq
from collections.abc import Iterator

import numpy as np

from src.data.task import IGNORE_INDEX, Features
from src.model.batch import LabelLayout

POOL = 50  # number of batches whose rows are sorted together


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

    A batch has at most `budget` tokens, padding included, but at least one row. Sequences are padded to `length`, or else to the
    longest of their batch.
    """
    widths, per_row = features.widths, features.per_row
    order = np.argsort(-widths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, budget // (per_row * (length or int(widths[order[start]]))))
        yield order[start : start + rows]
        start += rows


def items_of_rows(features: Features, layout: LabelLayout) -> np.ndarray:
    """Return the number of labelled items of each row, int64 [n]: its labelled tokens if they are what is labelled, else 1."""
    if layout != "tokens":
        return np.ones(len(features), np.int64)
    labelled = np.concatenate([[0], np.cumsum(features.tensors["label_ids"] != IGNORE_INDEX)])
    return np.diff(labelled[features.tensors["offsets"]])
