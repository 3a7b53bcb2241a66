"""Which examples of a training file are held out: about the same share of each label, and what belongs together on one side."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from src.common.errors import ConfigError

HOLD_OUT_SEED = 42
FAR_OFF = 2  # times the share that is asked for, or a part of it: such a share is not what was meant
SIZES_SHOWN = 5
MOST_TRIED = 20

Parts = tuple[np.ndarray, np.ndarray]  # the rows to keep and the rows to hold out, int64, ascending


def stratified_split(strata: Sequence[Any], ratio: float) -> Parts:
    """Return the rows to keep and the rows to hold out, int64, ascending: of each stratum about `ratio` is held out.

    strata: the stratum of each row. The result does not depend on the run's seed, so that runs of different seeds are selected
    on the same rows. Raises ConfigError if one side would be empty.
    """
    return stratified_groups(strata, np.arange(len(strata)), ratio)


def stratified_groups(strata: Sequence[Any], groups: np.ndarray, ratio: float) -> Parts:
    """Return the rows to keep and to hold out as `stratified_split` does, but rows of a group on one side.

    groups: int64 [n], numbered in the order of their first rows, whose strata count. Raises ConfigError if one side would be
    empty, or the share far off.
    """
    numbers, first, sizes = np.unique(groups, return_index=True, return_counts=True)
    count, total = round(ratio * len(numbers)), len(numbers)
    if 1 < total < len(groups):
        count = min(max(count, 1), total - 1)
    if not 0 < count < total:
        unit = "rows" if total == len(groups) else "groups of rows"
        raise ConfigError(f"holds out {count} of {total} {unit}; use a ratio that leaves rows on both sides.")
    shuffled = np.random.default_rng(HOLD_OUT_SEED).permutation(total)
    names = np.array([str(strata[row]) for row in first])
    ordered = shuffled[np.argsort(names[shuffled], kind="stable")]
    # Groups are of different sizes: of a few numbers of groups, the one that holds the nearest number of rows.
    reach = 0 if total == len(groups) else max(1, min(total // 20, MOST_TRIED))
    counts = sorted(range(max(1, count - reach), min(total, count + reach + 1)), key=lambda number: abs(number - count))
    choices = (ordered[((np.arange(number) + 0.5) * total / number).astype(np.int64)] for number in counts)
    chosen = min(choices, key=lambda choice: abs(sizes[choice].sum() - ratio * len(groups)))
    return _near(np.isin(groups, numbers[chosen]), groups, ratio, "rows")


def whole_groups(groups: np.ndarray, ratio: float) -> Parts:
    """Return the rows to keep and to hold out: groups in random order, as many as fit into `ratio` of the rows.

    If the first one is too large, it is those whose share is the nearest.

    groups: int64 [n], numbered in the order of their first rows. Raises ConfigError if one side would be empty, or the share far
    off.
    """
    numbers = np.unique(groups)
    if len(numbers) < 2:
        raise ConfigError(
            f"holds out all {len(numbers)} articles; use a file with more articles, or a --test_file or --dev_file."
        )
    order = np.random.default_rng(HOLD_OUT_SEED).permutation(numbers)
    sizes, goal = np.bincount(groups)[order], ratio * len(groups)
    chosen = np.flatnonzero(np.cumsum(sizes) <= goal) if sizes[0] <= goal else nearest_sum(sizes, goal)
    return _near(np.isin(groups, order[chosen]), groups, ratio, "questions")


def _near(held_out: np.ndarray, groups: np.ndarray, ratio: float, unit: str) -> Parts:
    """Return the rows to keep and to hold out; if their share is far off, that of the groups whose share is the nearest.

    held_out: bool [n]. Raises ConfigError if that is far off, too.
    """
    total, goal = len(groups), ratio * len(groups)
    if _is_far_off(held_out.sum(), goal, total):
        numbers, sizes = np.unique(groups, return_counts=True)
        order = np.random.default_rng(HOLD_OUT_SEED).permutation(len(numbers))
        held_out = np.isin(groups, numbers[order[nearest_sum(sizes[order], goal)]])
    count = int(held_out.sum())
    if _is_far_off(count, goal, total):
        largest = sorted(np.unique(groups, return_counts=True)[1].tolist(), reverse=True)
        shown = ", ".join(f"{size:,}" for size in largest[:SIZES_SHOWN]) + ", ..." * (len(largest) > SIZES_SHOWN)
        raise ConfigError(
            f"holds out {count:,} of {total:,} {unit} ({count / total:.1%}) at best: what belongs together stays on one side, "
            f"and the {len(largest):,} groups have {shown} {unit}. Use a ratio that they allow, or a file of its own."
        )
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _is_far_off(count: int, goal: float, total: int) -> bool:
    return not (goal / FAR_OFF <= count <= goal * FAR_OFF and 0 < count < total)


def nearest_sum(sizes: np.ndarray, goal: float) -> list[int]:
    """Return the positions of numbers whose sum is the nearest to `goal`, but neither 0 nor that of all. sizes: int64 [n], n > 1.

    The first numbers that do are taken.
    """
    most = min(int(2 * goal) + int(sizes.min()), int(sizes.sum()) - 1)
    last = np.full(most + 1, -1)  # the last number of the first sum of each size; -1: there is none
    reached = np.zeros(most + 1, bool)
    reached[0] = True
    for position, size in enumerate(sizes.tolist()):
        if size <= most:
            new = np.flatnonzero(reached[: most + 1 - size] & ~reached[size:]) + size
            reached[new], last[new] = True, position
            if reached[min(round(goal), most)] and round(goal) > 0:
                break
    sums = np.flatnonzero(reached)[1:]
    if not len(sums):
        return [int(sizes.argmin())]
    total, chosen = int(sums[np.abs(sums - goal).argmin()]), []
    while total:
        chosen.append(int(last[total]))
        total -= int(sizes[chosen[-1]])
    return chosen


def connect(*keys: np.ndarray) -> np.ndarray:
    """Return the group of each of n rows, int64 [n], numbered in the order of their first rows.

    Rows that have the same value of one of the keys (any dtype, [n]) are in one group, and so are those that others connect.
    """
    numbered = [np.unique(key, return_inverse=True)[1] for key in keys]
    groups, before = np.arange(len(keys[0])), None
    while before is None or not np.array_equal(groups, before):
        before = groups
        for key in numbered:
            lowest = np.full(key.max() + 1, len(groups))
            np.minimum.at(lowest, key, groups)
            groups = lowest[key]
    return np.unique(groups, return_inverse=True)[1]
