"""Sequence tasks whose rows may have any number of labels: from logits to the labels that a model predicts."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from processor.seq_cls import SequenceInputs, SequencePredictions, SequenceSplit
from processor.seq_features import SequenceExample, write_labels
from processor.split import NO_SCORES
from src.common.errors import CheckpointError
from src.data.task import Features, Scores, Task
from src.metrics.analysis import Analysis, of_label_sets

logger = logging.getLogger(__name__)

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class LabelPredictions(SequencePredictions):
    """What a model predicts for n rows: `values` are 1 for each label from `threshold` on, else 0, int64 [n, labels]."""

    threshold: float


def problems_of(task: Task) -> list[str]:
    """Return what is wrong with the labels of a definition."""
    problems = []
    if task.labels and len(task.labels) < 2:
        problems.append("labels: a multi_label task has two or more; for yes and no, use the kind classification")
    if len(task.label) > 1 and list(task.labels or ()) != list(task.label):
        problems.append(f"labels: name the columns in label, in their order: {', '.join(task.label)}")
    return problems


def decode_logits(logits: np.ndarray, threshold: float) -> LabelPredictions:
    """Return the predictions in logits, float32 [n, labels]: the labels with a probability of at least `threshold`."""
    probabilities = sigmoid(logits)
    return LabelPredictions((probabilities >= threshold).astype(np.int64), probabilities, threshold)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return logits as probabilities, float64 of the same shape."""
    return 1 / (1 + np.exp(-logits.astype(np.float64).clip(-700, 700)))  # exp(710) overflows


def best_threshold(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the threshold with the best micro F1; of several, the one nearest to 0.5. Both arrays float [n, labels].

    It is 0.5 or half-way between two neighbouring probabilities.
    """
    values, groups = np.unique(np.append(probabilities, 1.0), return_inverse=True)
    gold = labels.ravel().astype(np.float64)
    # For the thresholds from the value below up to each value: how many labels they predict, and how many of those are right.
    predicted, right = (
        np.bincount(groups[:-1], counted, len(values))[::-1].cumsum()[::-1] for counted in (np.ones(len(gold)), gold)
    )
    f1 = 2 * right / np.maximum(predicted + gold.sum(), 1)
    below = np.append(0.0, values[:-1])
    holds_default = (below < DEFAULT_THRESHOLD) & (values >= DEFAULT_THRESHOLD)
    thresholds = np.where(holds_default, DEFAULT_THRESHOLD, (below + values) / 2)[f1 == f1.max()]
    return float(thresholds[np.abs(thresholds - DEFAULT_THRESHOLD).argmin()])


class MultiLabelSplit(SequenceSplit):
    """One data file of a multi-label task."""

    def strata(self) -> Sequence[Any]:
        """Return the labels of each row, rare ones first: about the same share of each is held out, above all of rare ones."""
        labels = self.features.tensors["labels"].astype(int)
        rare_first = labels[:, labels.sum(axis=0).argsort(kind="stable")]
        return ["".join(map(str, row)) for row in rare_first.tolist()]

    def log_contents(self) -> None:
        super().log_contents()
        without = int((self.features.tensors["labels"].sum(axis=1) == 0).sum())
        logger.info("%s: %s rows without a label", self.name, f"{without:,}")

    def label_counts(self) -> dict[str, int]:
        counts = self.features.tensors["labels"].sum(axis=0, dtype=np.float64)
        return {label: int(count) for label, count in zip(self.task.labels or (), counts, strict=True)}

    def predicted_values(self, decoded: SequencePredictions) -> list[Any]:
        return [self._written(row) for row in np.unique(decoded.values, axis=0)]

    def decode(self, outputs: np.ndarray, dev: Scores = NO_SCORES) -> LabelPredictions:
        """Return the predictions in logits. A threshold "dev" is chosen on the split dev, and elsewhere the one chosen there."""
        threshold = self.settings.threshold
        if threshold == "dev":
            chosen = dev.get("threshold")
            threshold = best_threshold(sigmoid(outputs), self.features.tensors["labels"]) if chosen is None else chosen
        return decode_logits(outputs, threshold)

    def score(self, decoded: SequencePredictions) -> Scores:
        """Return the scores of the task's metric, and the threshold."""
        assert isinstance(decoded, LabelPredictions)
        return {**super().score(decoded), "threshold": decoded.threshold}

    def analysis(self, decoded: SequencePredictions) -> Analysis:
        gold, labels = self.features.tensors["labels"], self.task.labels or {}
        assert decoded.probabilities is not None
        return of_label_sets(gold, decoded.values, decoded.probabilities, labels, self.texts_of)

    def result_fields(self, decoded: SequencePredictions, index: int, example: SequenceExample) -> list[str]:
        """Return labels and predictions of a row as JSON lists, and the probability of every label."""
        assert decoded.probabilities is not None and isinstance(example.label, tuple)
        probabilities = [f"{probability:.6f}" for probability in decoded.probabilities[index]]
        return [write_labels(example.label), self._written(decoded.values[index]), *probabilities]

    def _written(self, row: np.ndarray) -> str:
        return write_labels(label for label, is_on in zip(self.task.labels or (), row, strict=True) if is_on)


class MultiLabelInputs(SequenceInputs):
    """Texts without labels."""

    def example(self, values: Sequence[Any]) -> SequenceExample:
        return replace(super().example(values), label=())

    def results(self, examples: Sequence[SequenceExample], features: Features, outputs: np.ndarray) -> Iterator[dict[str, Any]]:
        """Yield the labels from the threshold on, their readable names if those differ, and the probability of every label.

        Raises CheckpointError if the threshold was to be chosen on dev and the checkpoint was never scored there.
        """
        if (threshold := self.settings.threshold) == "dev":
            raise CheckpointError(
                "the checkpoint has no threshold: it was to be chosen on dev, and the checkpoint was not scored there. "
                "Rerun the command of its run, with --do_train false."
            )
        decoded, names = decode_logits(outputs, threshold), self.task.labels or {}
        for row, of_row in zip(decoded.values, sigmoid(outputs).tolist(), strict=True):
            chosen = [label for label, is_on in zip(names, row, strict=True) if is_on]
            readable = [names[label] for label in chosen]
            probabilities = {label: round(probability, 6) for label, probability in zip(names, of_row, strict=True)}
            yield {"labels": chosen, **({} if readable == chosen else {"names": readable}), "probabilities": probabilities}
