from itertools import chain

import numpy as np
import pytest

from processor.definition import TASKS
from src.metrics.metrics import (
    METRICS,
    accuracy,
    answer_f1,
    correlation,
    display_name,
    entity_f1,
    entity_report,
    in_percent,
    macro_f1,
    multi_label_f1,
    normalize_answer,
    similarity,
)


def test_accuracy_by_hand():
    assert accuracy(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])) == {"acc": 0.75}


def test_macro_f1_by_hand():
    labels, preds = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 0, 2])
    # 0: p 1/2 r 1/2 f 1/2; 1: p 1/2 r 1/2 f 1/2; 2: p 1 r 1 f 1
    assert macro_f1(labels, preds) == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3})


def test_a_label_that_is_never_predicted_has_precision_zero():
    scores = macro_f1(np.array([0, 1]), np.array([0, 0]))
    assert scores == pytest.approx({"precision": 0.25, "recall": 0.5, "f1": (2 / 3) / 2})


def test_correlation_by_hand():
    # ranks of preds against 1 2 3 4: 1 2 4 3 -> spearman 1 - 6*2/(4*15) = 0.8
    scores = correlation(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.1, 0.2, 0.9, 0.3], np.float32))
    assert scores["spearmanr"] == pytest.approx(0.8)
    assert scores["pearson"] == pytest.approx(np.corrcoef([1, 2, 3, 4], [0.1, 0.2, 0.9, 0.3])[0, 1], abs=1e-6)
    assert scores["corr"] == pytest.approx((scores["pearson"] + scores["spearmanr"]) / 2)


@pytest.mark.parametrize(("labels", "preds"), [([1.0, 2.0], [0.5, 0.5]), ([1.0, 1.0], [0.1, 0.2]), ([1.0], [1.0])])
def test_correlation_with_a_constant_is_zero(labels, preds):
    assert correlation(np.array(labels), np.array(preds)) == {"pearson": 0.0, "spearmanr": 0.0, "corr": 0.0}


def test_several_labels_by_hand():
    labels = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], np.float32)
    preds = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    # micro: 2 of 3 predicted are right, 2 of 3 found; the labels: 2/3, 2/3 and, never there, 0; the rows: 2/3, 2/3 and 1
    expected = {"micro_f1": 2 / 3, "macro_f1": 4 / 9, "samples_f1": 7 / 9}
    assert multi_label_f1(labels, preds) == pytest.approx(expected)
    nothing = np.zeros((2, 2))
    assert multi_label_f1(nothing, nothing) == {"micro_f1": 0.0, "macro_f1": 0.0, "samples_f1": 1.0}


def test_similarity_by_hand():
    scores = similarity(np.array([0.0, 3.0, 3.2, 5.0]), np.array([3.0, 2.9, 3.1, 4.0], np.float32))
    # similar from 3 on: rows 2, 3 and 4, predicted: rows 1, 3 and 4
    assert scores["f1"] == pytest.approx(2 / 3)
    assert scores["pearson"] == pytest.approx(np.corrcoef([0, 3, 3.2, 5], [3, 2.9, 3.1, 4])[0, 1], abs=1e-6)
    assert similarity(np.array([1.0, 2.0]), np.array([0.5, 0.5])) == {"pearson": 0, "spearmanr": 0, "corr": 0, "f1": 0}


def test_entities_by_hand():
    gold = [["PER-B", "PER-I", "O", "LOC-B"], ["DAT-B", "O"]]
    preds = [["PER-B", "PER-I", "O", "O"], ["DAT-B", "DAT-I"]]  # right, missed, too long
    assert entity_f1(gold, preds) == pytest.approx({"precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5})


def swap(sentences):
    """Return PER-B as B-PER."""
    return [["-".join(reversed(tag.split("-"))) for tag in tags] for tags in sentences]


def test_entities_of_both_forms_of_tags_score_alike():
    gold = [["PER-B", "PER-I", "O", "LOC-B"], ["DAT-B", "O"]]
    preds = [["PER-B", "PER-I", "O", "O"], ["DAT-B", "DAT-I"]]
    assert swap(gold)[0] == ["B-PER", "I-PER", "O", "B-LOC"]
    assert entity_f1(swap(gold), swap(preds)) == entity_f1(gold, preds)
    assert entity_report(swap(gold), swap(preds)) == entity_report(gold, preds)
    weighted = [
        METRICS["entity_f1"].weighted["f1_full"](columns_of(*sides)) for sides in ((gold, preds), (swap(gold), swap(preds)))
    ]
    assert [score(np.ones((1, 2)))[0] for score in weighted] == [pytest.approx(2 / 5)] * 2


def columns_of(gold, preds):
    """Return the columns of predictions.tsv."""
    sentences = [str(number) for number, tags in enumerate(gold) for _ in tags]
    return {"sentence": sentences, "label": [*chain(*gold)], "prediction": [*chain(*preds)]}


def test_entity_type_counts_and_o_is_not_an_entity():
    assert entity_f1([["PER-B", "O"]], [["LOC-B", "O"]]) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    assert entity_f1([["O", "O"]], [["O", "O"]]) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}


def test_sentences_without_entities_have_an_empty_report():
    assert entity_report([["O", "O"], ["O"]], [["O", "O"], ["O"]]) == ""


def test_entity_report_has_a_line_per_type():
    lines = entity_report([["PER-B", "LOC-B"]], [["PER-B", "O"]]).splitlines()
    assert [line.split() for line in lines if "PER" in line or "LOC" in line] == [
        ["LOC", "0.0000", "0.0000", "0.0000", "1"],
        ["PER", "1.0000", "1.0000", "1.0000", "1"],
    ]


def test_metrics_are_plain_floats():
    for name, metric in METRICS.items():
        other_inputs = {
            "entity_f1": ([["PER-B"]], [["PER-B"]]),
            "answer_f1": ([["가"]], ["가"]),
            "multi_label_f1": (np.eye(2), np.eye(2)),
        }
        inputs = other_inputs.get(name, (np.array([0, 1, 1]), np.array([0, 1, 0])))
        assert {type(value) for value in metric.compute(*inputs).values()} == {float}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  두   칸 ", "두 칸"),
        ("《토지》", "토지"),
        ("〈아리랑〉(1926년)", "아리랑 1926년"),  # brackets are spaces
        ("‘봄’과 'fall' \"<여름>\"", "봄 과 fall 여름"),
        ("3.1 운동, 만세!", "31 운동 만세"),  # other ASCII punctuation is removed
        ("U.S.A.", "usa"),
        ("『무정』", "『무정』"),  # not among the official punctuation
        ("“봄”", "“봄”"),
        ("\u1107\u1169\u11b7.", "봄"),  # decomposed
        ("()", ""),
    ],
)
def test_normalize_answer(text, expected):
    assert normalize_answer(text) == expected


@pytest.mark.parametrize(
    ("gold", "pred", "exact", "f1"),
    [
        ("서울", "서울", 100, 100),
        ("서울", "서울에서", 0, 100 * 2 * 2 / (2 + 4)),  # a particle: precision 2/4, recall 2/2
        ("1956년", "1956", 0, 100 * 2 * 4 / (5 + 4)),
        ("가나", "나가", 0, 100),  # F1 ignores the order of characters
        ("가가나", "가다", 0, 100 * 2 * 1 / (3 + 2)),  # repeated characters count as often as they occur
        ("가 나", "가나", 0, 100),  # nor spaces; the exact match does
        ("《토지》", "토지", 100, 100),
        ("부산", "서울", 0, 0),
        ("서울", "\u1109\u1165\u110b\u116e\u11af에서", 0, 100 * 2 * 2 / (2 + 4)),  # decomposed: syllables count, not jamo
        ("서울", "", 0, 0),
        ("()", "", 100, 0),  # punctuation alone: a match without common characters
    ],
)
def test_answers_by_hand(gold, pred, exact, f1):
    assert answer_f1([[gold]], [pred]) == pytest.approx({"exact_match": exact, "f1": f1})


def test_best_of_several_answers_counts_and_questions_are_averaged():
    assert answer_f1([["부산", "서울"], ["봄"]], ["서울", "여름"]) == {"exact_match": 50.0, "f1": 50.0}


def test_choices_by_hand():
    """Three choices: precision 1, 2/3 and 0, recall 1, 1 and 0; three of four rows are right."""
    scores = METRICS["choice_f1"].compute(np.array([0, 1, 1, 2]), np.array([0, 1, 1, 1]))
    assert scores == pytest.approx({"f1": (1 + 0.8 + 0) / 3, "precision": (1 + 2 / 3) / 3, "recall": 2 / 3, "acc": 0.75})


def test_scores_in_percent_and_display_names():
    assert (in_percent(TASKS["nsmc"], 0.5), in_percent(TASKS["korquad"], 50.0)) == (50, 50)
    assert (display_name(TASKS["korquad"], "exact_match"), display_name(TASKS["korquad"], "new_score")) == ("EM", "new_score")
