"""Statistics against hand-made numbers, and against simulations whose truth is known."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

from src.metrics.bootstrap import SAMPLES, resampled_scores
from src.metrics.uncertainty import Runs, adjust, assess, smallest_difference
from src.metrics.weighted import weighted_column

ROWS = 200
REPETITIONS = 2_000
T = {1: 12.706, 2: 4.303}  # 97.5 % quantiles of Student's t, from a printed table


def constant(*scores):
    """Runs whose rows are all alike: samples of the rows do not differ."""
    return Runs(np.array(scores, float), np.tile(np.array(scores, float), (10, 1)))


def from_rows(*runs):
    """Runs with these scores of the rows."""
    weighted = [weighted_column({"score": list(map(str, run))}, "score") for run in runs]
    return Runs(np.array([np.mean(run) for run in runs]), resampled_scores(weighted, len(runs[0])))


def test_seeds_alone_have_students_t():
    """D = 71 - 68, s^2 = 1 and 4, var(D) = 1 / 3 + 4 / 3, df = (5 / 3)^2 / ((1 / 3)^2 / 4 + (4 / 3)^2 / 4) - 2 = 100 / 17 - 2."""
    found = assess(constant(70, 71, 72), constant(66, 68, 70))
    df, error = 100 / 17 - 2, math.sqrt(5 / 3)
    margin = stats.t.ppf(0.975, df) * error
    assert (found.low, found.high) == (pytest.approx(3 - margin), pytest.approx(3 + margin))
    assert found.p == pytest.approx(2 * stats.t.sf(3 / error, df))
    assert found.smallest == pytest.approx(smallest_difference(error, df))
    assert found.better == pytest.approx(8.5 / 9)  # 70 against 70 is a tie


def test_a_model_without_spread_adds_no_degrees_of_freedom():
    found = assess(constant(1, 2, 3), constant(0, 0, 0))
    assert found.high - 2 == pytest.approx(T[2] * math.sqrt(1 / 3), rel=1e-3)


def test_a_single_run_shows_no_spread_of_its_seeds():
    """Only the first model's two runs of 1 and 0 count: var(D) = 0.5 / 2, one degree of freedom."""
    found = assess(constant(1, 0), constant(0))
    assert (found.low, found.high) == (pytest.approx(0.5 - T[1] * 0.5, rel=1e-3), pytest.approx(0.5 + T[1] * 0.5, rel=1e-3))
    assert found.better == 0.75


def test_one_run_per_model_is_the_bootstrap_over_rows():
    first, second = from_rows([0, 1, 1, 1] * 50), from_rows([0, 0, 1, 1] * 50)
    found, differences = assess(first, second), (first.samples - second.samples)[:, 0]
    assert (found.low, found.high) == tuple(np.percentile(differences, [2.5, 97.5]))
    assert found.p == pytest.approx(2 / (SAMPLES + 1))
    assert found.smallest == pytest.approx(2.80 * math.sqrt(0.25 * 0.75 / 200), rel=0.02)
    assert found.better == pytest.approx(1)


def test_the_formula_of_discordant_rows():
    """2.80 * sqrt(d / n) for models that disagree on a share d of the rows, each right as often: d = 0.2, n = 500."""
    found = assess(from_rows([1] * 9 + [0]), from_rows([0] + [1] * 9))
    assert found.smallest == pytest.approx(2.80 * math.sqrt(0.2 / 10), rel=0.02)
    assert found.p == 1


def test_what_rows_explain_does_not_count_twice():
    """All that differs between the runs of a model is which rows they answer: samples of the rows show all of it.

    Six runs err on 40 rows of 400 each, on no row in common: s = 0.
    """
    runs = np.ones((6, 400))
    for number, run in enumerate(runs):
        run[40 * number : 40 * number + 40] = 0
    first, second = from_rows(*runs[:3]), from_rows(*runs[3:])
    assert first.seed_variance == pytest.approx(0)
    # e of a run: the variance of a row's deviation, in three runs of which one errs on 3 * 40 of 400 rows.
    assert first.shared_variance == pytest.approx(0.3 * (2 / 3) / 2 / 3 / 400, rel=0.05)
    found, rows = assess(first, second), (first.samples.mean(axis=1) - second.samples.mean(axis=1))
    assert (found.low, found.high) == tuple(np.percentile(rows, [2.5, 97.5]))


@pytest.mark.parametrize("runs", [1, 3])
def test_equal_models(runs):
    """The same predictions: no difference, nothing to estimate an error from."""
    model = from_rows(*[[0, 1, 1, 0]] * runs)
    found = assess(model, model)
    assert (found.low, found.high, found.p, found.better, found.smallest) == (0, 0, 1, 0.5, 0)


def test_complementary_runs():
    """Two runs err on each other's rows: their mean has no spread over rows, and D is not thought to be exact."""
    found = assess(from_rows([1, 1, 1, 0], [0, 0, 0, 1]), from_rows([0] * 4))
    assert found.high - 0.5 >= T[1] * 0.25 and found.p > 0.05


def test_swapped_models():
    first, second = from_rows([0, 1, 1, 1] * 9, [1, 1, 1, 1] * 9), from_rows([0, 0, 1, 1] * 9, [1, 0, 1, 1] * 9)
    found, swapped = assess(first, second), assess(second, first)
    assert (swapped.low, swapped.high) == (-found.high, -found.low)
    assert (swapped.p, swapped.smallest) == (found.p, found.smallest)
    assert swapped.better == pytest.approx(1 - found.better)


def test_smallest_difference():
    assert smallest_difference(1, math.inf) == pytest.approx(1.960 + 0.842, abs=1e-3)
    assert smallest_difference(2, 4) == pytest.approx(2 * (2.776 + 0.941), abs=2e-3)


def test_holm():
    """In order: 0.01 * 4, 0.013 * 3 and 0.02 * 2, but none below the one before, and 0.5."""
    assert adjust([0.02, 0.01, 0.5, 0.013]) == pytest.approx([0.04, 0.04, 0.5, 0.04])
    assert adjust([0.4, 0.01]) == pytest.approx([0.4, 0.02])
    assert adjust([0.6, 0.7, 0.8]) == [1, 1, 1]
    assert adjust([0.03]) == [0.03] and adjust([]) == []


@dataclass(frozen=True)
class Truth:
    """Standard deviations of what adds to a score: the seed, and what a run makes of the rows; and the rows to a difference."""

    seeds: float
    rows: float
    runs_and_rows: float = 0.0
    second: float = 1.0  # factor of the seeds' and runs' deviations of the second model
    threshold: float | None = None  # rows above are right, the others wrong

    def error(self, counts):
        """The standard error of the difference."""
        return math.sqrt(self.rows**2 + sum(self.of_seeds(counts)))

    def of_seeds(self, counts):
        variance = self.seeds**2 + self.runs_and_rows**2
        return variance / counts[0], self.second**2 * variance / counts[1]

    def freedom(self, counts):
        """The degrees of freedom of the error, by Satterthwaite (1946) from the true variances."""
        variances = sum(part**2 / (count - 1) for part, count in zip(self.of_seeds(counts), counts, strict=True))
        return self.error(counts) ** 4 / variances

    def simulate(self, counts, difference=0.0, repetitions=REPETITIONS, samples=1_000):
        """Yield what is found about runs of two models in each repetition."""
        generator = np.random.default_rng(7)
        weights = generator.multinomial(ROWS, np.full(ROWS, 1 / ROWS), size=samples) / ROWS
        for start in range(0, repetitions, 200):
            size = min(200, repetitions - start)
            models = []
            for count, factor, mean in [(counts[0], 1, difference), (counts[1], self.second, 0)]:
                values = generator.normal(0, self.rows * math.sqrt(ROWS / 2), (ROWS, size, 1))
                values = values + generator.normal(0, factor * self.seeds, (1, size, count)) if self.seeds else values
                extra = factor * self.runs_and_rows * math.sqrt(ROWS)
                values = mean + values + generator.normal(0, extra, (ROWS, size, count))
                values = values if self.threshold is None else (values > self.threshold).astype(float)
                models.append((values.mean(axis=0), np.tensordot(weights, values, 1)))
            for index in range(size):
                yield assess(*(Runs(scores[index], sampled[:, index]) for scores, sampled in models))


SETTINGS = {
    "seeds": Truth(1, 0.05),
    "rows": Truth(0.05, 1),
    "both": Truth(1, 0.5),  # with three runs, sum(s^2 / k) = 0.67
    "runs and rows": Truth(0, 0.5, 1),
    "all": Truth(1, 1, 1),
}
RIGHT_OR_WRONG = Truth(0.15, 0.07, 0.05, threshold=-1)  # about 84 % are right
NO_SPREAD = Truth(1, 0.3, second=0)


def coverage(truth, counts, **more):
    found = list(truth.simulate(counts, **more))
    return sum(item.low <= 0 <= item.high for item in found) / len(found)


@pytest.mark.parametrize("name", ["seeds", "rows", "both", "runs and rows"])
def test_coverage_with_three_runs(name):
    assert 0.92 < coverage(SETTINGS[name], (3, 3), repetitions=1_000, samples=300) < 0.98


@pytest.mark.long
@pytest.mark.parametrize("count", [3, 5, 10])
@pytest.mark.parametrize("truth", [*SETTINGS.values(), RIGHT_OR_WRONG], ids=[*SETTINGS, "right or wrong"])
def test_coverage(truth, count):
    assert 0.93 <= coverage(truth, (count, count), repetitions=4_000) <= 0.97


@pytest.mark.long
@pytest.mark.parametrize(
    ("counts", "lowest"), [((2, 2), 0.82), ((3, 3), 0.90), ((5, 5), 0.93), ((10, 10), 0.93), ((3, 10), 0.90)]
)
def test_coverage_beside_a_model_that_always_scores_the_same(counts, lowest):
    assert lowest <= coverage(NO_SPREAD, counts) <= 0.97


@pytest.mark.long
@pytest.mark.parametrize("truth", [Truth(0, 1), replace(RIGHT_OR_WRONG, seeds=0)], ids=["numbers", "right or wrong"])
def test_coverage_of_rows_alone(truth):
    """One run per model, as in the bootstrap over rows."""
    assert 0.93 <= coverage(truth, (1, 1)) <= 0.97


def test_one_run_per_model_leaves_out_the_seeds():
    assert coverage(SETTINGS["seeds"], (1, 1), repetitions=400, samples=300) < 0.5


@pytest.mark.long
@pytest.mark.parametrize("count", [3, 5, 10])
@pytest.mark.parametrize("name", SETTINGS)
def test_power_at_the_smallest_difference(name, count):
    """And p < 0.05 if 0 is outside of the interval, but for the steps of p in the bootstrap."""
    truth, counts = SETTINGS[name], (count, count)
    smallest = smallest_difference(truth.error(counts), truth.freedom(counts))
    found = list(truth.simulate(counts, smallest))
    power = sum(item.p < 0.05 for item in found) / len(found)
    assert power == pytest.approx(0.8, abs=0.05)
    assert all((item.p < 0.05) == (not item.low <= 0 <= item.high) for item in found if abs(item.p - 0.05) > 0.005)


def test_the_smallest_difference_is_estimated_from_the_runs():
    """With ten runs, the median estimate is that of the true error."""
    truth, counts = SETTINGS["both"], (10, 10)
    found = [item.smallest for item in truth.simulate(counts, repetitions=400, samples=300)]
    assert np.median(found) == pytest.approx(smallest_difference(truth.error(counts), truth.freedom(counts)), rel=0.05)


@pytest.mark.parametrize(("difference", "name"), [(0, "both"), (1, "both"), (-2, "seeds"), (1, "runs and rows")])
def test_probability_that_a_run_is_better(difference, name):
    """The difference of two single runs is normal, with the error of one run each."""
    truth = SETTINGS[name]
    found = [item.better for item in truth.simulate((10, 10), difference, repetitions=400, samples=300)]
    assert np.mean(found) == pytest.approx(stats.norm.cdf(difference / truth.error((1, 1))), abs=0.03)
