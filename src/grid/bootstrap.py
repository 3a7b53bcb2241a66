"""Scores of samples of a test file, drawn with replacement: how much of a difference is luck."""

from collections.abc import Iterator, Sequence

import numpy as np

from src.metrics import WeightedScore

SAMPLES = 10_000
SEED = 42
NO_DIFFERENCE = 1e-9  # and less, by rounding
COUNTS_AT_ONCE = 2_000_000  # numbers in memory at a time


def sampled_differences(first: Sequence[WeightedScore], second: Sequence[WeightedScore], rows: int) -> np.ndarray:
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


def _mean_of_drawn(runs: Sequence[WeightedScore], weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
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
