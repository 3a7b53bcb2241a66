"""Bootstrap over test rows: how much of a score is due to the rows that happen to be in the test file."""

from collections.abc import Iterator, Sequence

import numpy as np

from src.metrics.weighted import WeightedScore

SAMPLES = 10_000
SEED = 42
ROUNDING = 1e-9  # differences up to this count as none
WEIGHTS_AT_ONCE = 2_000_000  # numbers in memory


def resampled_scores(runs: Sequence[WeightedScore], rows: int, samples: int = SAMPLES) -> np.ndarray:
    """Return the score of each run in each of the samples of the rows, float64 [samples, runs].

    A sample draws, with replacement, as many rows as the test file has, the same ones for all runs: differences between runs are
    paired.
    """
    generator = np.random.default_rng(SEED)
    weights = _weights(rows, samples, generator)
    return np.concatenate([np.stack([score(drawn) for score in runs], axis=1) for drawn in weights])


def _weights(rows: int, samples: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield float64 [r, rows], as many rows in all as there are samples: how often each test row is drawn."""
    at_once = max(WEIGHTS_AT_ONCE // rows, 1)
    for start in range(0, samples, at_once):
        count = min(at_once, samples - start)
        drawn = generator.integers(rows, size=(count, rows)) + np.arange(count)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(float)


def p_value(differences: np.ndarray) -> float:
    """Return twice the share of samples without a difference or with one of the other sign.

    Below 0.05 if 0 is outside of the 95 % interval (Efron and Tibshirani 1993, section 15.4, made two-sided). The observed
    difference counts as one more sample, so p is never 0.
    """
    smaller = min((differences < ROUNDING).sum(), (differences > -ROUNDING).sum())
    return min(1.0, 2 * float(smaller + 1) / (len(differences) + 1))
