"""Features: the fingerprint of everything that features depend on, and the feature cache."""

import gc
import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from processor.readers.tables import format_of
from src.common.files import write_bytes
from src.data.task import FEATURE_FIELDS, DataFile, Features, Task, Tensors

logger = logging.getLogger(__name__)

# Raise it with every change of the code that changes features: caches of other versions are not read.
FEATURES_VERSION = 3


def fingerprint(file: DataFile, task: Task, tokenizer: Any, settings: Mapping[str, Any]) -> str:
    """Return 16 hex digits over everything that a split's features depend on. settings: those that change features."""
    if hasattr(tokenizer, "identity"):  # a tokenizer that is not all Rust describes itself
        identity = tokenizer.identity()
    else:
        identity = json.loads(tokenizer.backend_tokenizer.to_str())
        for state in ("truncation", "padding"):  # left over from the last call, not a property of the tokenizer
            identity.pop(state, None)
    in_file = task.of_file(file.path)
    fields = {name: getattr(in_file, name) for name in FEATURE_FIELDS}
    content = [FEATURES_VERSION, file.sha256, format_of(file.path, task), fields, identity, dict(settings)]
    # The keys are not sorted: the order of a task's labels matters.
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def one_ahead(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Yield function(item) of every item in order, while another thread works on the next one.

    The Rust tokenizer releases the GIL, so it encodes the next rows while the results of the last ones become arrays.
    """
    with ThreadPoolExecutor(1) as other:
        pending: deque[Future[Any]] = deque()
        for item in items:
            pending.append(other.submit(function, item))
            if len(pending) > 1:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def cached_features(cache_dir: Path, name: str, build: Callable[[], Features]) -> Features:
    """Return the features stored under `name`, or build and store them.

    A damaged file is built again. A folder that cannot be written costs a warning, not the run.
    """
    path = cache_dir / f"{name}.safetensors"
    if path.is_file():
        try:
            with safe_open(path, framework="numpy") as stored:
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
                _require_fit(tensors)
                return Features(tensors, {key: int(value) for key, value in (stored.metadata() or {}).items()})
        except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
            logger.warning("%s cannot be read (%s); the features are built again", path, error)
    with no_garbage_collection():
        features = build()
    content = save(features.tensors, {key: str(value) for key, value in features.counts.items()})
    try:
        write_bytes(path, content, shared=True)
    except OSError as error:
        _warn_once(f"features are not cached: {cache_dir}: {error.strerror}")
    return features


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Disable garbage collection: rows contain no reference cycles, and searching millions of objects for them is slow."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _require_fit(tensors: Tensors) -> None:
    """Raise ValueError or KeyError if a tensor of every kind of task is missing or not as long as `offsets` says."""
    total, rows = tensors["offsets"][-1], len(tensors["offsets"]) - 1
    if len(tensors["input_ids"]) != total or not len(tensors["cut"]) == len(tensors["decomposed"]) == rows:
        raise ValueError("its tensors do not fit together")


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)
