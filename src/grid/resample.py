"""Scores of samples of a test file, drawn with replacement: how much of a difference is luck."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np

SAMPLES = 10_000
SEED = 42
NO_DIFFERENCE = 1e-9  # and less, by rounding
COUNTS_AT_ONCE = 2_000_000  # numbers in memory at a time

Columns = Mapping[str, Sequence[str]]  # of predictions.tsv
# Weights float64 [r, n], how often each of n rows is there in each of r samples -> the score of each sample, float64 [r].
Score = Callable[[np.ndarray], np.ndarray]


def accuracy(columns: Columns) -> Score:
    """The share of rows whose prediction is the label."""
    return _mean(np.array(columns["label"]) == np.array(columns["prediction"]))


def macro_f1(columns: Columns) -> Score:
    """The mean over classes of F1; a class counts in a sample where it is a label or a prediction there."""
    gold, preds = np.array(columns["label"]), np.array(columns["prediction"])
    classes = np.union1d(gold, preds)
    is_gold, is_pred = gold[:, None] == classes, preds[:, None] == classes
    hits, sizes = (is_gold & is_pred).astype(float), is_gold.astype(float) + is_pred

    def score(weights: np.ndarray) -> np.ndarray:
        there = weights @ sizes
        f1 = np.divide(2 * (weights @ hits), there, out=np.zeros_like(there), where=there > 0)
        return f1.sum(axis=1) / (there > 0).sum(axis=1)

    return score


def entity_f1(columns: Columns) -> Score:
    """F1 over the entities of all words; a row is a sentence."""
    from seqeval.metrics.sequence_labeling import get_entities

    counts = []
    words = zip(columns["sentence"], columns["label"], columns["prediction"], strict=True)
    for _, sentence in groupby(words, key=lambda word: word[0]):
        _, labels, predictions = zip(*sentence, strict=True)
        gold, found = (set(get_entities(list(tags), suffix=True)) for tags in (labels, predictions))
        counts.append((2 * len(gold & found), len(gold) + len(found)))
    hits, sizes = np.array(counts, float).T

    def score(weights: np.ndarray) -> np.ndarray:
        there = weights @ sizes
        return np.divide(weights @ hits, there, out=np.zeros_like(there), where=there > 0)

    return score


def spearman(columns: Columns) -> Score:
    """Spearman's correlation: Pearson's of the ranks in the sample, where equal values share the mean rank; 0 of a constant."""
    gold, preds = (_ranks(np.array(columns[name], float)) for name in ("label", "prediction"))

    def score(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(axis=1, keepdims=True)
        x, y = (ranks(weights) for ranks in (gold, preds))
        x, y = (values - (weights * values).sum(axis=1, keepdims=True) / total for values in (x, y))
        scale = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
        return np.divide((weights * x * y).sum(axis=1), scale, out=np.zeros_like(scale), where=scale > 0)

    return score


def _ranks(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Weights -> the rank of each of the values in each sample, float64 [r, n]."""
    _, first, group = np.unique(values[order := np.argsort(values, kind="stable")], return_index=True, return_inverse=True)
    place = np.empty(len(values), int)
    place[order] = group

    def ranks(weights: np.ndarray) -> np.ndarray:
        equal = np.add.reduceat(weights[:, order], first, axis=1)
        return (np.cumsum(equal, axis=1) - equal + (equal + 1) / 2)[:, place]

    return ranks


def _mean(values: np.ndarray) -> Score:
    numbers = np.asarray(values, float)
    return lambda weights: weights @ numbers / weights.sum(axis=1)


def answers(name: str) -> Callable[[Columns], Score]:
    """The mean of a column that holds the score of each question."""
    return lambda columns: _mean(np.array(columns[name], float))


# Metric of a task -> the scores that can be worked out from the columns of its predictions. For entities it is the one over all
# words: which words the other leaves out depends on the model's tokenizer.
SCORES: Mapping[str, Mapping[str, Callable[[Columns], Score]]] = {
    "accuracy": {"acc": accuracy},
    "macro_f1": {"f1": macro_f1},
    "correlation": {"spearmanr": spearman},
    "entity_f1": {"f1_full": entity_f1},
    "answer_f1": {"exact_match": answers("exact_match"), "f1": answers("f1")},
}


def sampled_differences(first: Sequence[Score], second: Sequence[Score], rows: int) -> np.ndarray:
    """By how much the mean score of the first model's runs is above the second's in each of SAMPLES samples, float64 [SAMPLES].

    A sample has as many rows as the test file, the same for all runs, and of each model as many runs as there are, all drawn with
    replacement: rows and seeds both are luck. Of k runs a bootstrap shows (k - 1) / k of their variance, which is made up for; of
    a single run it shows none.
    """
    generator = np.random.default_rng(SEED)
    differences = [
        _mean_of_drawn(first, weights, generator) - _mean_of_drawn(second, weights, generator)
        for weights in _weights(rows, generator)
    ]
    return np.concatenate(differences)


def _weights(rows: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """float64 [r, rows], SAMPLES of them in all: how often each row is drawn."""
    at_once = max(COUNTS_AT_ONCE // rows, 1)
    for start in range(0, SAMPLES, at_once):
        count = min(at_once, SAMPLES - start)
        drawn = generator.integers(rows, size=(count, rows)) + np.arange(count)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(float)


def _mean_of_drawn(runs: Sequence[Score], weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    scores = np.stack([score(weights) for score in runs], axis=1)
    mean, count = scores.mean(axis=1), len(runs)
    drawn = np.take_along_axis(scores, generator.integers(count, size=scores.shape), axis=1).mean(axis=1)
    return mean + (drawn - mean) * np.sqrt(count / max(count - 1, 1))


def p_value(differences: np.ndarray) -> float:
    """Twice the share of samples in which there is no difference, or one to the other side: below 0.05 where 0 is outside of
    the 95 % interval (Efron and Tibshirani 1993, section 15.4, turned to both sides).

    What was found counts as one more sample, so that it is never 0.
    """
    smaller = min((differences < NO_DIFFERENCE).sum(), (differences > -NO_DIFFERENCE).sum())
    return min(1.0, 2 * float(smaller + 1) / (len(differences) + 1))
