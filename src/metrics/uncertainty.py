"""How much of a difference between two models is due to chance: to the test rows, and to the seeds of their runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from src.metrics.bootstrap import ROUNDING, p_value

LEVEL = 0.05  # of the two-sided test; the interval has 1 - LEVEL
POWER = 0.8  # of the smallest difference


@dataclass(frozen=True)
class Runs:
    """The scores of a model's k runs on the same test rows, in any unit."""

    scores: np.ndarray  # float64 [k]
    samples: np.ndarray  # in samples of the rows, float64 [samples, k], see resampled_scores

    @property
    def seed_variance(self) -> float:
        """Variance of the mean over the runs, from their spread: s^2 / k; 0 for a single run."""
        count = len(self.scores)
        return float(self.scores.var(ddof=1)) / count if count > 1 else 0.0

    @property
    def shared_variance(self) -> float:
        """The part of `seed_variance` that the samples of the rows show as well; 0 for a single run.

        A run answers some rows differently from the others of its model. This varies with the rows, too: var(e) / k, where e is a
        run's deviation from their mean in a sample.
        """
        count = len(self.scores)
        deviations = self.samples - self.samples.mean(axis=1, keepdims=True)
        return float(deviations.var(axis=0).sum()) / (count - 1) / count if count > 1 else 0.0


@dataclass(frozen=True)
class Uncertainty:
    """What a difference between two models is worth, in the unit of their scores."""

    low: float  # 95 % interval of the difference
    high: float
    p: float  # probability of such a difference between equal models
    better: float  # P(A > B): probability that a run of the first model scores higher than one of the second, ties count half
    smallest: float  # see smallest_difference


def assess(first: Runs, second: Runs) -> Uncertainty:
    """Return the uncertainty of the difference D between the mean scores of two models.

    If a score is mu + a + b + e (a: seed; b: rows, the same for all runs of a model; e: what a run makes of the rows), then

        var(D) = R + max(S - E, 0)

    R: variance of D over samples of the rows; it contains that of e. S: s^2 / k, summed over both models: seeds; it contains that
    of e as well. E: variance of e, Runs.shared_variance, which must not count twice; R >= E. R and E rest on all rows, only S
    rests on few numbers: D / sqrt(var(D)) has about Student's t with the degrees of freedom of Welch (1947)

        df = var(D)^2 / sum((s^2 / k)^2 / (k + 1)) - 2

    which are the smaller k - 1 at least, and grow with R. Pooled ones, k1 + k2 - 2, would need equal spreads of both models:
    beside a model that always scores the same, their intervals cover 89 % with three runs. If seeds add nothing to the rows
    (S <= E), and with one run per model, the interval and p are those of the bootstrap over rows alone. The seeds of a model with
    a single run count as no source of chance.

    Assumes independent rows and runs, and scores of runs that are about normal. Simulated, the interval covers the truth in 93 to
    97 % of cases with 3, 5 and 10 runs of each model, whether seeds or rows dominate, and in 90 to 97 % with two. Beside a model
    that always scores the same it may be 91 % with three runs and 84 % with two.
    """
    difference = float(first.scores.mean() - second.scores.mean())
    sampled = first.samples.mean(axis=1) - second.samples.mean(axis=1)
    shared = first.shared_variance + second.shared_variance
    rows = max(float(sampled.var()), shared)
    excess = first.seed_variance + second.seed_variance - shared
    if excess <= ROUNDING**2:
        low, high = np.percentile(sampled, [100 * LEVEL / 2, 100 * (1 - LEVEL / 2)]).tolist()
        error, freedom, p = math.sqrt(rows), math.inf, p_value(sampled)
    else:
        error = math.sqrt(rows + excess)
        freedom = error**4 / sum(runs.seed_variance**2 / (len(runs.scores) + 1) for runs in (first, second)) - 2
        margin = error * _t(1 - LEVEL / 2, freedom)
        low, high, p = difference - margin, difference + margin, _two_sided(difference / error, freedom)
    of_rows = (sampled - sampled.mean()) * math.sqrt(1 - shared / rows) if rows else np.zeros(1)
    return Uncertainty(low, high, p, _better(first.scores, second.scores, of_rows), smallest_difference(error, freedom))


def _better(first: np.ndarray, second: np.ndarray, of_rows: np.ndarray) -> float:
    """Return the share of all pairs of runs and samples in which the first is higher. of_rows: what a sample adds to a pair."""
    gaps, deviations = (first[:, None] - second).ravel(), np.sort(of_rows)
    above = len(deviations) - np.searchsorted(deviations, ROUNDING - gaps, side="left")
    not_below = len(deviations) - np.searchsorted(deviations, -ROUNDING - gaps, side="right")
    return float((above + not_below).mean()) / 2 / len(deviations)


def smallest_difference(error: float, freedom: float) -> float:
    """Return the true difference that is found significant (5 %, two-sided) with a probability of 80 %: 2.80 errors without t.

    It is (t[0.975] + t[0.8]) * error, in the unit of the error: the standard error of the difference. freedom: of Student's t,
    inf if the error is known; both as in assess. As good as the estimate of the error, which few runs make rough.
    """
    return error * (_t(1 - LEVEL / 2, freedom) + _t(POWER, freedom))


def adjust(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, by Holm (1979).

    Below 0.05, all of them together have one false finding with a probability of 5 % at most.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _t(probability: float, freedom: float) -> float:
    """Return a quantile of Student's t; of the normal distribution without limit of freedom."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(probability) if math.isinf(freedom) else stdtrit(freedom, probability))


def _two_sided(t: float, freedom: float) -> float:
    from scipy.special import stdtr

    return 2 * float(stdtr(freedom, -abs(t)))
