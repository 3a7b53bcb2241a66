"""Paired bootstrap over test rows and seeds: how much of a difference between two models is due to chance."""

from collections.abc import Iterator, Sequence

import numpy as np

from src.metrics.weighted import WeightedScore

SAMPLES = 10_000
SEED = 42
ROUNDING = 1e-9  # differences up to this count as none
WEIGHTS_AT_ONCE = 2_000_000  # numbers in memory


def sampled_differences(first: Sequence[WeightedScore], second: Sequence[WeightedScore], rows: int) -> np.ndarray:
    """Return mean score of the first model's runs minus that of the second's in each of SAMPLES samples, float64 [SAMPLES].

    A sample draws, with replacement, as many rows as the test file has (the same ones for all runs) and as many runs of each
    model as there are: both rows and seeds vary by chance. A bootstrap of k runs shows (k - 1) / k of their variance, which is
    corrected for; of a single run it shows none.
    """
    generator = np.random.default_rng(SEED)
    differences = [
        _mean_of_drawn_runs(first, weights, generator) - _mean_of_drawn_runs(second, weights, generator)
        for weights in _weights(rows, generator)
    ]
    return np.concatenate(differences)


def _weights(rows: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield float64 [r, rows], SAMPLES rows in all: how often each test row is drawn."""
    at_once = max(WEIGHTS_AT_ONCE // rows, 1)
    for start in range(0, SAMPLES, at_once):
        count = min(at_once, SAMPLES - start)
        drawn = generator.integers(rows, size=(count, rows)) + np.arange(count)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(float)


def _mean_of_drawn_runs(runs: Sequence[WeightedScore], weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    scores = np.stack([score(weights) for score in runs], axis=1)
    mean, count = scores.mean(axis=1), len(runs)
    drawn = np.take_along_axis(scores, generator.integers(count, size=scores.shape), axis=1).mean(axis=1)
    return mean + (drawn - mean) * np.sqrt(count / max(count - 1, 1))


def p_value(differences: np.ndarray) -> float:
    """Return twice the share of samples without a difference or with one of the other sign.

    Below 0.05 if 0 is outside of the 95 % interval (Efron and Tibshirani 1993, section 15.4, made two-sided). The observed
    difference counts as one more sample, so p is never 0.
    """
    smaller = min((differences < ROUNDING).sum(), (differences > -ROUNDING).sum())
    return min(1.0, 2 * float(smaller + 1) / (len(differences) + 1))
