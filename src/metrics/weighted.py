"""Weighted forms of metrics: their scores on resampled rows, for `run_benchmark.py compare`, from the columns of predictions.tsv.

They repeat the definitions of metrics.py, as thousands of samples need vectorized code; `compare` checks that both agree.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, groupby

import numpy as np

from src.data.task import ends_with_position

Columns = Mapping[str, Sequence[str]]  # of predictions.tsv
# Weights float64 [r, n] (how often each of n rows occurs in each of r samples) -> score of each sample, float64 [r].
WeightedScore = Callable[[np.ndarray], np.ndarray]

ROUNDING = 1e-28  # share of the sum of squares that rounding in float64 can leave of equal values
SIMILAR = 3.0  # of 0 to 5: sentences that mean the same, but for details


def weighted_accuracy(columns: Columns) -> WeightedScore:
    """Weighted form of `acc` in `accuracy`."""
    return _weighted_mean(np.array(columns["label"]) == np.array(columns["prediction"]))


def weighted_macro_f1(columns: Columns) -> WeightedScore:
    """Weighted form of `f1` in `macro_f1`. A class counts in the samples in which it occurs as label or prediction."""
    gold, preds = np.array(columns["label"]), np.array(columns["prediction"])
    classes = np.union1d(gold, preds)
    is_gold, is_pred = gold[:, None] == classes, preds[:, None] == classes
    hits, sizes = (is_gold & is_pred).astype(float), is_gold.astype(float) + is_pred

    def score(weights: np.ndarray) -> np.ndarray:
        total = weights @ sizes  # of each class: gold rows + predicted rows
        f1 = divide(2 * (weights @ hits), total)
        return f1.sum(axis=1) / (total > 0).sum(axis=1)

    return score


def weighted_relation_f1(columns: Columns) -> WeightedScore:
    """Weighted form of `micro_f1` in `relation_f1`. The first column of a probability is that of the first label: no relation."""
    none = next(name.removeprefix("prob_") for name in columns if name.startswith("prob_"))
    gold, preds = np.array(columns["label"]), np.array(columns["prediction"])
    hits = ((gold == preds) & (gold != none)).astype(float)
    sizes = (gold != none).astype(float) + (preds != none)
    return lambda weights: divide(2 * (weights @ hits), weights @ sizes)


def weighted_label_f1(columns: Columns, average: str) -> WeightedScore:
    """Weighted form of a score of `multi_label_f1`: "micro", "macro" or "samples". Labels and predictions are JSON lists."""
    names = [name.removeprefix("prob_") for name in columns if name.startswith("prob_")]
    gold, preds = (
        np.array([[name in row for name in names] for row in map(json.loads, columns[column])], float)
        for column in ("label", "prediction")
    )
    hits, sizes = 2 * gold * preds, gold + preds
    if average == "samples":
        empty = sizes.sum(axis=1) == 0
        return _weighted_mean(divide(hits.sum(axis=1), sizes.sum(axis=1)) + empty)
    if average == "micro":
        return lambda weights: divide((weights @ hits).sum(axis=1), (weights @ sizes).sum(axis=1))
    return lambda weights: divide(weights @ hits, weights @ sizes).mean(axis=1)


def weighted_entity_f1(columns: Columns) -> WeightedScore:
    """Weighted form of `f1` in `entity_f1`, over all words (`f1_full`). A row is a sentence."""
    from seqeval.metrics.sequence_labeling import get_entities

    counts = []
    suffix = ends_with_position(chain(columns["label"], columns["prediction"]))
    words = zip(columns["sentence"], columns["label"], columns["prediction"], strict=True)
    for _, sentence in groupby(words, key=lambda word: word[0]):
        _, labels, predictions = zip(*sentence, strict=True)
        gold, predicted = (set(get_entities(list(tags), suffix=suffix)) for tags in (labels, predictions))
        counts.append((2 * len(gold & predicted), len(gold) + len(predicted)))
    hits, sizes = np.array(counts, float).T

    return lambda weights: divide(weights @ hits, weights @ sizes)


def weighted_spearman(columns: Columns) -> WeightedScore:
    """Weighted form of `spearmanr` in `correlation`: Pearson's r of the ranks in each sample; ties share their mean rank."""
    gold, preds = map(_ranks, _scores(columns))
    return lambda weights: _weighted_pearson(gold(weights), preds(weights), weights)


def weighted_pearson(columns: Columns) -> WeightedScore:
    """Weighted form of `pearson` in `correlation`."""
    gold, preds = _scores(columns)
    return lambda weights: _weighted_pearson(gold, preds, weights)


def weighted_similar_f1(columns: Columns) -> WeightedScore:
    """Weighted form of `f1` in `similarity`."""
    gold, preds = (scores >= SIMILAR for scores in _scores(columns))
    hits, sizes = 2.0 * (gold & preds), gold.astype(float) + preds
    return lambda weights: divide(weights @ hits, weights @ sizes)


def _scores(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Return gold and predicted scores, float64 [n], as metrics get them: rounded to float32, so that the same ones are tied."""
    gold, preds = (np.array(columns[name], np.float32).astype(np.float64) for name in ("label", "prediction"))
    return gold, preds


def _weighted_pearson(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Pearson's r in each sample, float64 [r]. x, y: float64 [n] or [r, n]; weights: float64 [r, n]."""
    (x, spread_of_x), (y, spread_of_y) = (_centered(values, weights) for values in (x, y))
    return divide((weights * x * y).sum(axis=1), np.sqrt(spread_of_x * spread_of_y))


def _centered(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the differences from the mean of each sample, [r, n], and the sums of their squares, [r]: 0 if all are the same."""
    centered = values - (weights * values).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    spread = (weights * centered**2).sum(axis=1)
    return centered, np.where(spread > ROUNDING * (weights * values**2).sum(axis=1), spread, 0.0)


def _ranks(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from weights to the rank of each value in each sample, float64 [r, n]."""
    order = np.argsort(values, kind="stable")
    _, first, group = np.unique(values[order], return_index=True, return_inverse=True)
    group_of = np.empty(len(values), int)
    group_of[order] = group

    def ranks(weights: np.ndarray) -> np.ndarray:
        equal = np.add.reduceat(weights[:, order], first, axis=1)
        return (np.cumsum(equal, axis=1) - equal + (equal + 1) / 2)[:, group_of]

    return ranks


def divide(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Return the quotients, and 0 if the denominator is 0."""
    return np.divide(numerators, denominators, out=np.zeros_like(denominators), where=denominators > 0)


def _weighted_mean(values: np.ndarray) -> WeightedScore:
    numbers = np.asarray(values, float)
    return lambda weights: weights @ numbers / weights.sum(axis=1)


def weighted_column(columns: Columns, name: str) -> WeightedScore:
    """Return the weighted mean of a column that holds a score per question."""
    return _weighted_mean(np.array(columns[name], float))
