"""The base class of unlabelled inputs, which predict.py reads."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any

import numpy as np

from processor.readers.records import reach
from src.common.errors import MAX_REASON, quote_json, shorten
from src.data.task import Features, Task
from src.settings.schema import Settings

MOST_LABELS = 30  # in a message


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

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of an input's values where each is a text, such as a field between tabs."""
        return self.keys

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        """The names that an input's values may have: those of the training data first, then `keys`."""
        return (self.task.texts, self.keys)

    def values_of(self, record: Mapping[str, Any], names: Sequence[str] = ()) -> list[Any]:
        """Return the values of a record with these names or else, by the first of `forms` that it has completely.

        As in training, a name may be that of a key or a dotted path. Raises ValueError if a value is missing.
        """
        return [value for _, value in self.pick(record, names)]

    def pick(self, record: Mapping[str, Any], names: Sequence[str] = ()) -> list[tuple[str, Any]]:
        """Return (name, value) of each value; see values_of."""
        expected = tuple(names) or self.keys
        for form in (expected,) if names else self.forms:
            with suppress(KeyError):
                return [(name, reach(record, name)) for name in form]
        missing = next(name for name in expected if name not in record)
        others = [] if names else [f", or {', '.join(form)}" for form in dict.fromkeys(self.forms) if form != self.keys]
        raise ValueError(f"{missing!r} is missing; an input has {', '.join(expected)}{''.join(others)}")

    @abstractmethod
    def example(self, values: Sequence[Any]) -> Any:
        """Return an input as an example, from its values in the order of `keys` or of `columns`.

        Raises ValueError for unusable values.
        """

    @abstractmethod
    def encode(self, examples: Sequence[Any]) -> Features:
        """Return the features of examples; their labels are placeholders."""

    @abstractmethod
    def results(self, examples: Sequence[Any], features: Features, outputs: np.ndarray) -> Iterator[dict[str, Any]]:
        """Yield the result of each example. outputs: what src.training.evaluate.predict returns for `features`."""


def require_text(name: str, value: Any) -> str:
    """Return `value` if it is a string. Raises ValueError if it is something else or cannot be written as UTF-8."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: found {quote_json(value)}, expected a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: contains an unpaired surrogate") from None
    return value


def require_content(name: str, text: str) -> str:
    """Return `text` unless it is empty or blank. Raises ValueError if it is: nothing can be predicted for it."""
    if not text.strip():
        raise ValueError(f"{name} is empty")
    return text


def one_of(labels: Iterable[str]) -> str:
    """Return "one of 0, 1" for a message, with the first MOST_LABELS of the labels."""
    first = list(islice(labels, MOST_LABELS + 1))
    return shorten(f"one of {', '.join(first[:MOST_LABELS])}{', ...' * (len(first) > MOST_LABELS)}", MAX_REASON)


def require_label(name: str, value: Any) -> str:
    """Return a label as text: "1" for the number 1. Raises ValueError for a value that is neither a text nor a number."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float | Decimal) and math.isfinite(value)):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"{name}: found {quote_json(value)}, expected a label, a text or a number")
    return require_text(name, value)
