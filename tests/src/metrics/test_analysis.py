"""Analyses of predictions that a reader can count."""

import numpy as np
import pytest

from src.metrics import analysis
from src.metrics.analysis import Analysis, LabelScore, of_answers, of_classes, of_entities, of_label_sets, of_scores, readable

TEXTS = [["좋다"], ["나쁘다"], ["글쎄"], ["최고"], [""]]
FIRST = np.array([0.10, 0.95, 0.40, 0.70, 1.00])  # probability of the first label


def classes():
    """Five rows: 2 right, 3 wrong. The bins: 0.60 wrong; 0.70 wrong; 0.90, 0.95 right and 1.00 wrong."""
    names = readable({"0": "negative", "1": "positive"})
    probabilities = np.stack([FIRST, 1 - FIRST], axis=1)
    return of_classes(np.array([1, 0, 0, 1, 1]), np.array([1, 0, 1, 0, 0]), probabilities, names, TEXTS.__getitem__)


def test_classes():
    found = classes()
    assert (found.rows, found.error_count) == (5, 3)
    assert found.labels == ["0 (negative)", "1 (positive)"]
    assert found.confusion == [[1, 1], [2, 1]]
    assert [(error.row, error.texts, error.gold, error.prediction, error.size) for error in found.errors] == [
        ("4", [""], "1 (positive)", "0 (negative)", 1.0),
        ("3", ["최고"], "1 (positive)", "0 (negative)", 0.7),
        ("2", ["글쎄"], "0 (negative)", "1 (positive)", 0.6),
    ]
    assert [(part.count, round(part.probability, 2), round(part.right, 2)) for part in found.bins] == [
        (1, 0.6, 0.0),
        (1, 0.7, 0.0),
        (3, 0.95, 0.67),
    ]
    assert found.calibration_error == pytest.approx((0.6 + 0.7 + 3 * (0.95 - 2 / 3)) / 5)
    assert found.errors_title == "The 3 most confident errors, of 3"


def test_an_analysis_is_read_as_it_was_written():
    found = classes()
    assert Analysis.model_validate_json(found.model_dump_json(exclude_defaults=True)) == found


def test_texts_can_be_hidden():
    hidden = classes().hide_texts()
    assert [error.texts for error in hidden.errors] == [(), (), ()] and hidden.has_answers
    assert "최고" not in str(hidden)


def test_long_texts_are_cut():
    found = of_scores(np.array([1.0]), np.array([2.0]), lambda row: ["x" * 400])
    assert found.errors[0].texts == ["x" * 297 + "..."]


def test_only_the_most_confident_errors_are_kept(monkeypatch):
    monkeypatch.setattr(analysis, "ERRORS", 2)
    found = classes()
    assert ([error.row for error in found.errors], found.error_count) == (["4", "3"], 3)


def test_rare_labels_share_a_row_of_the_confusion_matrix(monkeypatch):
    """a occurs three times, b and c once."""
    monkeypatch.setattr(analysis, "MAX_LABELS", 2)
    gold, predicted = np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 2, 0])
    found = of_classes(gold, predicted, np.full((5, 3), 1 / 3), ["a", "b", "c"], lambda row: ["x"])
    assert (found.labels, found.confusion) == (["a", "other labels"], [[2, 1], [1, 1]])


def test_several_labels():
    """x is in two rows and found in one; y is predicted once, wrongly; z never occurs."""
    gold = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0]], np.float32)
    predicted = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    probabilities = np.array([[0.9, 0.1, 0.1], [0.3, 0.6, 0.2], [0.2, 0.1, 0.0]])
    found = of_label_sets(gold, predicted, probabilities, {"x": "x", "y": "why", "z": "z"}, lambda row: [f"text {row}"])
    assert found.label_scores == [
        LabelScore(label="x", gold=2, predicted=1, right=1),
        LabelScore(label="y (why)", gold=0, predicted=1, right=0),
        LabelScore(label="z", gold=0, predicted=0, right=0),
    ]
    assert [(score.precision, score.recall, round(score.f1, 3)) for score in found.label_scores] == [
        (1.0, 0.5, 0.667),
        (0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0),
    ]
    (error,) = found.errors
    assert (error.row, error.texts, error.gold, error.prediction, error.size) == ("1", ["text 1"], "x", "y", 0.7)
    assert found.errors_title.startswith("The 1 most confident errors")
    assert sum(part.count for part in found.bins) == 9


def test_scores(monkeypatch):
    gold, predicted = np.array([1.0, 2.0, 5.0], np.float32), np.array([1.5, 0.0, 5.0], np.float32)
    found = of_scores(gold, predicted, lambda row: ["a", "b"])
    assert found.points == [(1.0, 1.5), (2.0, 0.0), (5.0, 5.0)]
    assert [(error.row, error.gold, error.prediction) for error in found.errors] == [
        ("1", "2", "0.00"), ("0", "1", "1.50"), ("2", "5", "5.00"),
    ]  # fmt: skip
    assert found.errors_title == "The 3 worst rows by distance, of 3"
    monkeypatch.setattr(analysis, "MAX_POINTS", 2)
    assert of_scores(gold, predicted, lambda row: ["a", "b"]).points == [(1.0, 1.5), (5.0, 5.0)]


def test_entities():
    """PER is found; LOC is taken for ORG; DAT is missed. Sentence 0 has two wrong entities, 2 has one."""
    words = [["홍", "길동이", "서울에"], ["비가"], ["오늘"]]
    gold = [["PER-B", "PER-I", "LOC-B"], ["O"], ["DAT-B"]]
    found = of_entities(gold, [["PER-B", "PER-I", "ORG-B"], ["O"], ["O"]], words)
    assert [(score.label, score.gold, score.predicted, score.right) for score in found.label_scores] == [
        ("DAT", 1, 0, 0), ("LOC", 1, 0, 0), ("ORG", 0, 1, 0), ("PER", 1, 1, 1),
    ]  # fmt: skip
    assert [(error.row, error.texts, error.gold, error.prediction) for error in found.errors] == [
        ("0", ["홍 길동이 서울에"], "PER 0-1 (홍 길동이), LOC 2 (서울에)", "PER 0-1 (홍 길동이), ORG 2 (서울에)"),
        ("2", ["오늘"], "DAT 0 (오늘)", "none"),
    ]
    hidden = found.hide_texts()
    assert [(error.row, error.texts, error.gold) for error in hidden.errors] == [("0", (), "PER 0-1, LOC 2"), ("2", (), "DAT 0")]


def test_answers():
    """Question b is answered wrongly with a probability of 0.8; c has no candidate."""
    questions = [
        ("a", "누가?", "홍길동", "홍길동"),
        ("b", "언제?", "1956년 / 1956", "1957년"),
        ("c", "어디?", "서울", ""),
    ]
    found = of_answers(np.array([0.9, 0.8, 0.0]), np.array([True, False, False]), questions.__getitem__)
    assert [(error.row, error.texts, error.gold, error.prediction, error.size) for error in found.errors] == [
        ("b", ["언제?"], "1956년 / 1956", "1957년", 0.8),
        ("c", ["어디?"], "서울", "", 0.0),
    ]
    assert [part.count for part in found.bins] == [1, 1, 1]
    hidden = found.hide_texts()
    assert [(error.row, error.texts, error.gold, error.prediction) for error in hidden.errors] == [
        ("b", (), "", ""),
        ("c", (), "", ""),
    ]
    assert not hidden.has_answers
