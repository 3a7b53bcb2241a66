"""Multiple choice: rows of a text and several answers, of which one is right. Each answer is paired with the text."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import Any

import numpy as np

from processor.seq_cls import SequenceInputs, SequenceSplit, read_examples
from processor.seq_features import SequenceExample, encode_texts, label_tensor
from src.common.errors import DataError, quote, quote_json
from src.data.task import Features, Task, Tensors
from src.settings.schema import Settings

MOST_CHOICES = len(ascii_lowercase)


def problems_of(task: Task) -> list[str]:
    """Return what is wrong with the choices and the labels of a definition."""
    problems = []
    if len(task.choices) < 2:
        problems.append("choices: name the columns of the answers to choose from, two or more")
    elif task.labels and len(task.labels) != len(task.choices):
        problems.append(
            f"labels: found {len(task.labels)}, expected {len(task.choices)}: one for each of choices, in their order"
        )
    return problems


def labels_of(path: Path, found: Iterable[str], task: Task) -> dict[str, str]:
    """Return the labels of all choices in their order: numbers from 0 or from 1, or letters, whichever the labels in a file are.

    Raises DataError if they are something else, or if they fit the numbers from 0 and those from 1.
    """
    given, count = set(found), len(task.choices)
    numberings = [list(map(str, range(first, first + count))) for first in (0, 1)]
    numberings += [list(letters[:count]) for letters in (ascii_uppercase, ascii_lowercase)]
    fitting = [labels for labels in numberings if given <= set(labels)]
    if len(fitting) != 1:
        listed = ", ".join(map(quote, sorted(given)[:5])) + ", ..." * (len(given) > 5)
        reason = " or ".join(f"{labels[0]} to {labels[-1]}" for labels in fitting or numberings)
        raise DataError(
            f"{path}: found the labels {listed} for {count} choices, {'which may be' if fitting else 'expected'} {reason}. "
            'Name the label of each choice in "labels" of the task\'s definition, in the order of choices.'
        )
    return {label: label for label in fitting[0]}


def encode(examples: Sequence[SequenceExample], task: Task, tokenizer: Any, max_seq_len: int) -> Tensors:
    """Return the tensors of n rows, each one sequence per choice: the text, columns joined by a space, and the choice."""
    context = len(task.text)
    pairs = [(" ".join(row.texts[:context]), choice) for row in examples for choice in row.texts[context:]]
    labels = label_tensor([example.label for example in examples], task)
    return encode_texts(pairs, tokenizer, max_seq_len) | {"labels": labels}


class ChoiceSplit(SequenceSplit):
    """One data file of a multiple-choice task. The label ids are the numbers of the choices, from 0."""

    feature_unit = "choice"

    @property
    def texts_per_sequence(self) -> int:
        return 2

    @classmethod
    def build(cls, name: str, path: Path, settings: Settings, task: Task, tokenizer: Any) -> Features:
        examples, skipped = read_examples(path, task)
        return Features(encode(examples, task, tokenizer, settings.max_seq_len), {"skipped": skipped})


class ChoiceInputs(SequenceInputs):
    """Texts and answers to choose from."""

    @property
    def keys(self) -> tuple[str, ...]:
        return (*super().keys, "choices")

    @property
    def columns(self) -> tuple[str, ...]:
        return (*super().keys, *self.task.choices)

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        return (self.task.texts, self.columns, self.keys)

    def example(self, values: Sequence[Any]) -> SequenceExample:
        """Return an input as an example: the values of `keys`, with a list of choices, or those of `columns`."""
        if len(values) == len(self.keys):
            *texts, choices = values
            expected = len(self.task.choices)
            if not isinstance(choices, list) or len(choices) != expected:
                raise ValueError(f"choices: found {quote_json(choices)}, expected a list of {expected} texts")
            values = [*texts, *choices]
        return super().example(values)

    def _tensors(self, examples: Sequence[SequenceExample]) -> tuple[Tensors, int]:
        return encode(examples, self.task, self.tokenizer, self.settings.max_seq_len), 2

    def results(self, examples: Sequence[SequenceExample], features: Features, outputs: np.ndarray) -> Iterator[dict[str, Any]]:
        """Yield the label of the most likely choice, its text, and the probability of every label."""
        labels, context = list(self.task.labels or ()), len(self.task.text)
        for example, result in zip(examples, super().results(examples, features, outputs), strict=True):
            label = result.pop("label")
            yield {"label": label, "choice": example.texts[context + labels.index(label)], **result}
