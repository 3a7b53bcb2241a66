"""Features of a split: what a tokenizer puts around a row, the fingerprint of all that decides features, and their cache."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from src.data import DataFile, Features, Task

logger = logging.getLogger(__name__)

# Raise it with every change of the code that changes a feature: caches of other versions are not read.
FEATURES_VERSION = 2


@dataclass(frozen=True)
class Frame:
    """What a tokenizer puts around a row's texts.

    special: (id, segment) of the special tokens before the first text, behind it, and so on. segments: of each text.
    """

    special: tuple[tuple[tuple[int, int], ...], ...]
    segments: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many special tokens a row has."""
        return sum(len(part) for part in self.special)

    @property
    def has_segments(self) -> bool:
        """Whether any token of a row is in another segment than 0."""
        return any(self.segments) or any(segment for part in self.special for _, segment in part)

    @classmethod
    def of(cls, tokenizer: Any, texts: int) -> "Frame":
        """The frame of rows of one text or two, seen on a row of one syllable each."""
        row = tokenizer(*[["가"]] * texts, is_split_into_words=True, return_token_type_ids=True)
        special: list[list[tuple[int, int]]] = [[] for _ in range(texts + 1)]
        segments: dict[int, int] = {}
        for token, segment, text in zip(row["input_ids"], row["token_type_ids"], row.sequence_ids(), strict=True):
            if text is None:
                special[len(segments)].append((token, segment))
            else:
                segments[text] = segment
        return cls(tuple(tuple(part) for part in special), tuple(segments.values()))


def fingerprint(file: DataFile, task: Task, tokenizer: Any, lengths: Mapping[str, int]) -> str:
    """16 hex digits over all that decides a split's features; `lengths`: the settings of lengths and strides among it."""
    if hasattr(tokenizer, "identity"):  # one that is not all Rust says itself what it is
        identity = tokenizer.identity()
    else:
        identity = json.loads(tokenizer.backend_tokenizer.to_str())
        for state in ("truncation", "padding"):  # left over from the last call, no property of the tokenizer
            identity.pop(state, None)
    facts = [FEATURES_VERSION, file.sha256, asdict(task), identity, dict(lengths)]
    # The keys are not sorted: the order of a task's labels is the order of their ids.
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def cached_features(cache_dir: Path, name: str, build: Callable[[], Features]) -> Features:
    """The features stored under `name`, or else built and stored there. A torn file is built again; no cache is no error."""
    path = cache_dir / f"{name}.safetensors"
    if path.is_file():
        try:
            with safe_open(path, framework="numpy") as stored:
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
                if len(tensors["input_ids"]) != tensors["offsets"][-1]:
                    raise ValueError("its parts do not fit together")
                return Features(tensors, {key: int(value) for key, value in (stored.metadata() or {}).items()})
        except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
            logger.warning("%s cannot be read (%s); the features are built again", path, error)
    features = build()
    try:
        _write_atomically(path, save(features.tensors, {key: str(value) for key, value in features.counts.items()}))
    except OSError as error:
        _warn_once(f"features are not cached: {cache_dir}: {error.strerror}")
    return features


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def _write_atomically(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
