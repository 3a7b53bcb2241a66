"""What the splits of all kinds of tasks have in common."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from processor.data_files import describe_files
from src.data import DataFile, Features
from src.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

HOLD_OUT_SEED = 42


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a data file: one text or two, and its label (a label string, or a score)."""

    texts: tuple[str, ...]
    label: str | float


def hold_out(strata: Sequence[Any], ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to train on and to hold out, int64, ascending: of the rows of each stratum about `ratio` is held out.

    Always the same ones, so that runs of different seeds are selected on the same rows. Raises ConfigError where one side is
    left without rows.
    """
    count = round(ratio * len(strata))
    if not 0 < count < len(strata):
        raise ConfigError(
            f"dev_ratio = {ratio} holds out {count} of {len(strata)} rows; give one that leaves rows on both sides."
        )
    shuffled = np.random.default_rng(HOLD_OUT_SEED).permutation(len(strata))
    names = np.array([str(stratum) for stratum in strata])
    ordered = shuffled[np.argsort(names[shuffled], kind="stable")]
    held = np.zeros(len(strata), bool)
    held[ordered[((np.arange(count) + 0.5) * len(strata) / count).astype(np.int64)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def divide(split: Any, strata: Sequence[Any], ratio: float) -> tuple[Any, Any]:
    """A split without a share of its rows, and those rows as the split "dev"; strata: of each row, see hold_out."""
    parts = zip((split.name, "dev"), hold_out(strata, ratio), strict=True)
    train, dev = (replace(split, name=name, rows=rows, features=split.features.subset(rows)) for name, rows in parts)
    log_held_out(train, dev)
    return train, dev


def log_held_out(train: Any, dev: Any) -> None:
    """Say what has become of a training split, which each of both describes."""
    logger.info("dev: %s rows of the training file, held out; %s are left", f"{len(dev):,}", f"{len(train):,}")
    for split in (train, dev):
        split.log_labels()


def log_counts(name: str, what: str, counts: Mapping[str, int]) -> None:
    """Say how often each label occurs."""
    logger.info("%s: %s: %s", name, what, ", ".join(f"{label} {count:,}" for label, count in counts.items()))


def require_unchanged(split: str, file: DataFile) -> None:
    """Raise DataError where a data file is no longer the one that was hashed: its rows would stand beside others' predictions."""
    if describe_files({split: file.path})[split].sha256 != file.sha256:
        raise DataError(f"{file.path} has changed since the run began; its rows no longer belong to the predictions.")


def log_split(name: str, file: DataFile, features: Features, max_seq_len: int, unit: str = "row") -> None:
    """Say what a split is: its file, whether that is the published one, rows, lengths."""
    origin = "the published file" if file.status == "published" else "not the published file: scores will not compare"
    full = int((features.lengths == max_seq_len).sum())
    shape = f"{len(features):,} {unit}s, {features.lengths.mean():.1f} tokens a {unit}, {full:,} {unit}s of max_seq_len"
    logger.info("%s: %s (%s), %s", name, file.path, origin, shape)


def require_text(name: str, value: Any) -> str:
    """`value` where it is a text; else ValueError says what it is."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: found {json.dumps(value, ensure_ascii=False)[:40]}, expected a text")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{name}: holds half a character, a surrogate without its other half")
    return value


def softmax(scores: np.ndarray) -> np.ndarray:
    """Scores float [n] as probabilities, float64 [n]."""
    weights = np.exp(scores.astype(np.float64) - scores.max())
    return weights / weights.sum()
