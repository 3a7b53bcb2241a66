import json
from functools import partial

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import f1_score
from sklearn.metrics import f1_score as class_f1

from processor.definition import TASKS
from src.metrics.bootstrap import SAMPLES, p_value, resampled_scores
from src.metrics.metrics import METRICS

GENERATOR = np.random.default_rng(3)
CLASSES = GENERATOR.choice(["none", "offensive", "hate"], 40)
GUESSES = np.where(GENERATOR.random(40) < 0.6, CLASSES, GENERATOR.choice(["none", "offensive"], 40))
NUMBERS = GENERATOR.integers(0, 6, 40).astype(float)  # with many ties
NOISY = np.round(NUMBERS + GENERATOR.normal(0, 2, 40))
TAGS = GENERATOR.choice(["O", "PER-B", "PER-I", "LOC-B"], (40, 5))
TAGGED = np.where(GENERATOR.random((40, 5)) < 0.7, TAGS, "O")
SETS = GENERATOR.integers(0, 2, (40, 3)) * [1, 1, 0]  # the third label is never there
GUESSED = np.where(GENERATOR.random((40, 3)) < 0.6, SETS, 0)
SETS[7] = GUESSED[7] = 0
# How often each row is drawn; one sample repeats a single row, one has no row of the class "hate".
WEIGHTS = np.stack(
    [
        np.ones(40),
        *GENERATOR.multinomial(40, np.full(40, 1 / 40), size=20),
        40 * np.eye(40)[7],
        (CLASSES != "hate") * 2.0,
    ]
)


def make_columns(labels, predictions, **more):
    return {"label": list(map(str, labels)), "prediction": list(map(str, predictions)), **more}


def tag_columns():
    return make_columns(TAGS.ravel(), TAGGED.ravel(), sentence=[str(number) for number in range(40) for _ in range(5)])


def label_columns():
    rows = ([json.dumps([name for name, is_on in zip("abc", row, strict=True) if is_on]) for row in of] for of in (SETS, GUESSED))
    return make_columns(*rows, prob_a=[], prob_b=[], prob_c=[])


def label_f1(rows, average):
    return class_f1(SETS[rows], GUESSED[rows], average=average, zero_division=average == "samples")


def relation_columns():
    return make_columns(CLASSES, GUESSES, prob_none=[], prob_offensive=[], prob_hate=[])


@pytest.mark.parametrize(
    ("metric", "score", "columns", "score_of_rows"),
    [
        (
            "relation_f1",
            "micro_f1",
            relation_columns(),
            lambda rows: class_f1(CLASSES[rows], GUESSES[rows], labels=["offensive", "hate"], average="micro", zero_division=0),
        ),
        ("accuracy", "acc", make_columns(CLASSES, GUESSES), lambda rows: (CLASSES[rows] == GUESSES[rows]).mean()),
        (
            "macro_f1",
            "f1",
            make_columns(CLASSES, GUESSES),
            lambda rows: class_f1(CLASSES[rows], GUESSES[rows], average="macro", zero_division=0),
        ),
        (
            "choice_f1",
            "f1",
            make_columns(CLASSES, GUESSES),
            lambda rows: class_f1(CLASSES[rows], GUESSES[rows], average="macro", zero_division=0),
        ),
        ("choice_f1", "acc", make_columns(CLASSES, GUESSES), lambda rows: (CLASSES[rows] == GUESSES[rows]).mean()),
        ("correlation", "spearmanr", make_columns(NUMBERS, NOISY), lambda rows: spearmanr(NUMBERS[rows], NOISY[rows]).statistic),
        (
            "entity_f1",
            "f1_full",
            tag_columns(),
            lambda rows: f1_score(TAGS[rows].tolist(), TAGGED[rows].tolist(), suffix=True, zero_division=0),
        ),
        (
            "similarity",
            "f1",
            make_columns(NUMBERS, NOISY),
            lambda rows: class_f1(NUMBERS[rows] >= 3, NOISY[rows] >= 3, zero_division=0),
        ),
        ("similarity", "pearson", make_columns(NUMBERS, NOISY), lambda rows: pearsonr(NUMBERS[rows], NOISY[rows]).statistic),
        *[
            ("multi_label_f1", f"{average}_f1", label_columns(), partial(label_f1, average=average))
            for average in ("micro", "macro", "samples")
        ],
        ("answer_f1", "f1", {"f1": [str(number) for number in NUMBERS]}, lambda rows: NUMBERS[rows].mean()),
    ],
)
@pytest.mark.filterwarnings("ignore:An input array is constant")  # from scipy, for the sample of one row
def test_weighted_scores_equal_the_scores_of_repeated_rows(metric, score, columns, score_of_rows):
    scores = METRICS[metric].weighted[score](columns)(WEIGHTS)
    expected = [score_of_rows(np.repeat(np.arange(40), weights.astype(int))) for weights in WEIGHTS]
    assert scores == pytest.approx(np.nan_to_num(expected), abs=1e-12)
    assert len(set(np.round(scores, 9))) > 5


def test_every_task_can_be_compared_by_its_headline():
    """Naver NER by the score over all words. AUPRC, which is not the headline, has no weighted form."""
    for task in TASKS.values():
        assert task.headline in METRICS[task.metric].weighted or task.metric == "entity_f1"
        assert set(task.scores) - {"auprc"} <= METRICS[task.metric].weighted.keys() or task.metric == "entity_f1"


def score_of(*right):
    return METRICS["accuracy"].weighted["acc"](make_columns(right, [1] * len(right)))


def test_spread_of_a_difference_over_rows():
    """One model is right on all of 400 rows, the other on half: the standard deviation is sqrt(0.25 / 400) = 0.025."""
    scores = resampled_scores([score_of(*[1] * 400), score_of(*[0, 1] * 200)], 400)
    assert scores.shape == (SAMPLES, 2)
    assert (scores[:, 0] == 1).all()
    assert scores[:, 1].mean() == pytest.approx(0.5, abs=0.002)
    assert scores[:, 1].std() == pytest.approx(0.025, rel=0.05)


def test_rows_are_paired():
    """Two runs that are right on the same rows are equal in every sample, and differ from those that are right on the others."""
    first, second, other = resampled_scores([score_of(*[0, 1] * 50), score_of(*[0, 1] * 50), score_of(*[1, 0] * 50)], 100).T
    assert (first == second).all()
    assert first + other == pytest.approx(1)


def test_samples_are_reproducible_and_do_not_depend_on_the_other_runs():
    first, second = score_of(*[0, 1, 1, 1] * 10), score_of(*[1, 0] * 20)
    both = resampled_scores([first, second], 40)
    assert (both == resampled_scores([first, second], 40)).all()
    assert (both[:, 1:] == resampled_scores([second], 40)).all()


def test_samples_are_made_in_parts(monkeypatch):
    monkeypatch.setattr("src.metrics.bootstrap.WEIGHTS_AT_ONCE", 3001 * 10)
    scores = resampled_scores([score_of(*[0, 1] * 5)], 10)
    assert scores.shape == (SAMPLES, 1) and scores.var() == pytest.approx(0.25 / 10, rel=0.05)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([1.0] * 9, 2 * 1 / 10),
        ([1.0] * 8 + [-1.0], 2 * 2 / 10),
        ([-1.0] * 8 + [1.0], 2 * 2 / 10),
        ([1.0] * 7 + [-1e-17, 0.0], 2 * 3 / 10),  # rounding errors are no difference
        ([1.0] * 5 + [-1.0] * 4, 2 * 5 / 10),
        ([0.0] * 9, 1),
    ],
)
def test_p_is_twice_the_share_of_the_other_sign(differences, expected):
    assert p_value(np.array(differences)) == pytest.approx(expected)


def test_p_and_the_interval_agree():
    """p is below 0.05 if and only if 0 is outside of the 95 % interval."""
    for shift in np.linspace(1.5, 2.5, 21):
        differences = np.random.default_rng(1).normal(shift, 1, SAMPLES)
        low, high = np.percentile(differences, [2.5, 97.5])
        p = p_value(differences)
        assert abs(p - 0.05) < 5e-4 or (p < 0.05) == (not low <= 0 <= high)
