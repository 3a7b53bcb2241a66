"""The base class of unlabelled inputs, which predict.py reads."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from src.data import Features, Task
from src.errors import quote_json
from src.settings import Settings


@dataclass(frozen=True)
class Inputs(ABC):
    """Unlabelled inputs of one kind of task: how they are read and encoded, and what is written about each."""

    task: Task
    tokenizer: Any
    settings: Settings

    @property
    @abstractmethod
    def keys(self) -> tuple[str, ...]:
        """Names of an input's values."""

    @abstractmethod
    def example(self, values: Sequence[Any]) -> Any:
        """Return an input as an example, from its values in the order of `keys`. Raises ValueError for unusable values."""

    @abstractmethod
    def encode(self, examples: Sequence[Any]) -> Features:
        """Return the features of examples; their labels are placeholders."""

    @abstractmethod
    def results(self, examples: Sequence[Any], features: Features, outputs: np.ndarray) -> Iterator[dict[str, Any]]:
        """Yield the result of each example. outputs: what src.evaluate.predict returns for `features`."""


def require_text(name: str, value: Any) -> str:
    """Return `value` if it is a string. Raises ValueError if it is something else or cannot be written as UTF-8."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: found {quote_json(value)}, expected a text")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{name}: contains an unpaired surrogate")
    return value
