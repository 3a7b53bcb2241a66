import numpy as np
import pytest
from scipy.stats import spearmanr
from seqeval.metrics import f1_score
from sklearn.metrics import f1_score as class_f1

from processor import TASKS
from src.grid.bootstrap import SAMPLES, p_value, sampled_differences
from src.metrics import METRICS

GENERATOR = np.random.default_rng(3)
CLASSES = GENERATOR.choice(["none", "offensive", "hate"], 40)
GUESSES = np.where(GENERATOR.random(40) < 0.6, CLASSES, GENERATOR.choice(["none", "offensive"], 40))
NUMBERS = GENERATOR.integers(0, 6, 40).astype(float)  # many are equal
NOISY = np.round(NUMBERS + GENERATOR.normal(0, 2, 40))
TAGS = GENERATOR.choice(["O", "PER-B", "PER-I", "LOC-B"], (40, 5))
TAGGED = np.where(GENERATOR.random((40, 5)) < 0.7, TAGS, "O")
# Every row as often as drawn; one sample leaves the class "hate" out, another is a single row again and again.
WEIGHTS = np.stack(
    [
        np.ones(40),
        *GENERATOR.multinomial(40, np.full(40, 1 / 40), size=20),
        40 * np.eye(40)[7],
        (CLASSES != "hate") * 2.0,
    ]
)


def columns(labels, predictions, **more):
    return {"label": [str(each) for each in labels], "prediction": [str(each) for each in predictions], **more}


def tag_columns():
    return columns(TAGS.ravel(), TAGGED.ravel(), sentence=[str(number) for number in range(40) for _ in range(5)])


@pytest.mark.parametrize(
    ("metric", "score", "given", "of_rows"),
    [
        ("accuracy", "acc", columns(CLASSES, GUESSES), lambda rows: (CLASSES[rows] == GUESSES[rows]).mean()),
        (
            "macro_f1",
            "f1",
            columns(CLASSES, GUESSES),
            lambda rows: class_f1(CLASSES[rows], GUESSES[rows], average="macro", zero_division=0),
        ),
        ("correlation", "spearmanr", columns(NUMBERS, NOISY), lambda rows: spearmanr(NUMBERS[rows], NOISY[rows]).statistic),
        (
            "entity_f1",
            "f1_full",
            tag_columns(),
            lambda rows: f1_score(TAGS[rows].tolist(), TAGGED[rows].tolist(), suffix=True, zero_division=0),
        ),
        ("answer_f1", "f1", {"f1": [str(number) for number in NUMBERS]}, lambda rows: NUMBERS[rows].mean()),
    ],
)
@pytest.mark.filterwarnings("ignore:An input array is constant")  # scipy's, about the sample that is one row
def test_a_weighted_score_is_the_librarys_on_rows_that_are_repeated(metric, score, given, of_rows):
    found = METRICS[metric].weighted[score](given)(WEIGHTS)
    expected = [of_rows(np.repeat(np.arange(40), weights.astype(int))) for weights in WEIGHTS]
    assert found == pytest.approx(np.nan_to_num(expected), abs=1e-12)
    assert len(set(np.round(found, 9))) > 5


def test_every_metric_has_scores():
    assert {task.metric for task in TASKS.values()} <= set(METRICS)
    for task in TASKS.values():
        assert set(METRICS[task.metric].weighted) >= set(task.reported or (task.headline,)) or task.metric == "entity_f1"


def score_of(*right):
    return METRICS["accuracy"].weighted["acc"](columns(right, [1] * len(right)))


def test_the_spread_of_a_difference_is_that_of_its_rows():
    """One is right on all of 400 rows, the other on half: the difference of 0.5 has the deviation sqrt(0.25 / 400) = 0.025."""
    found = sampled_differences([score_of(*[1] * 400)], [score_of(*[0, 1] * 200)], 400)
    assert found.shape == (SAMPLES,)
    assert found.mean() == pytest.approx(0.5, abs=0.002)
    assert found.std() == pytest.approx(0.025, rel=0.05)


def test_rows_are_paired():
    """Both are right on the same half of the rows: whatever is drawn, they are equally good."""
    half = score_of(*[0, 1] * 50)
    assert not sampled_differences([half], [half], 100).any()


def test_seeds_are_drawn_as_well():
    """Scores of 1 and 0: two draws of them have the means 0, 1/2, 1/2, 1, whose variance of 1/8 is half that of the two runs'
    mean, 1/4: what is sqrt(2) times as far from 1/2 makes up for it.
    """
    runs = [score_of(*[1] * 10), score_of(*[0] * 10)]
    found = sampled_differences(runs, [score_of(*[0] * 10)], 10)
    values, counts = np.unique(np.round(found, 9), return_counts=True)
    assert values == pytest.approx([0.5 - 0.5**0.5, 0.5, 0.5 + 0.5**0.5])
    assert counts / SAMPLES == pytest.approx([0.25, 0.5, 0.25], abs=0.02)
    assert found.var() == pytest.approx(np.var([0, 1], ddof=1) / 2, rel=0.05)


def test_the_same_samples_every_time():
    runs = [score_of(*[0, 1, 1, 1] * 10)], [score_of(*[1, 0] * 20)]
    assert (sampled_differences(*runs, 40) == sampled_differences(*runs, 40)).all()


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([1.0] * 9, 2 * 1 / 10),
        ([1.0] * 8 + [-1.0], 2 * 2 / 10),
        ([-1.0] * 8 + [1.0], 2 * 2 / 10),
        ([1.0] * 7 + [-1e-17, 0.0], 2 * 3 / 10),  # no difference, by rounding
        ([1.0] * 5 + [-1.0] * 4, 2 * 5 / 10),
        ([0.0] * 9, 1),
    ],
)
def test_p_is_twice_the_share_of_the_other_side(differences, expected):
    assert p_value(np.array(differences)) == pytest.approx(expected)


def test_p_and_the_interval_agree():
    """0 is outside of the interval of 95 % where p is below 0.05."""
    for shift in np.linspace(1.5, 2.5, 21):
        differences = np.random.default_rng(1).normal(shift, 1, SAMPLES)
        low, high = np.percentile(differences, [2.5, 97.5])
        p = p_value(differences)
        assert abs(p - 0.05) < 5e-4 or (p < 0.05) == (not low <= 0 <= high)
