from itertools import chain

import numpy as np
import pytest

from processor.definition import TASKS
from src.metrics.metrics import (
    METRICS,
    accuracy,
    area_under_precision_recall,
    correlation,
    display_name,
    entity_f1,
    entity_report,
    in_percent,
    macro_f1,
    multi_label_f1,
    relation_f1,
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


def test_relations_are_all_labels_but_the_first():
    """Of 4 gold relations and 3 predicted ones, 2 are right."""
    scores = relation_f1(np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 2, 0]))
    assert scores == {"micro_f1": pytest.approx(2 * 2 / (4 + 4))}
    assert relation_f1(np.array([0, 0]), np.array([0, 0])) == {"micro_f1": 0.0}
    assert relation_f1(np.array([0, 1]), np.array([0, 0])) == {"micro_f1": 0.0}


def test_area_under_precision_and_recall_by_hand():
    """Label 0 is ranked right: 1. Label 1 is ranked second: precision 1/2 at recall 1, so the trapezoid from (0, 1) and (0, 0)
    to (1, 1/2) is 1/4. Label 2 has no row.
    """
    probabilities = np.array([[0.7, 0.3, 0.0], [0.6, 0.2, 0.2]])
    scores = area_under_precision_recall(np.array([0, 1]), probabilities)
    assert scores == {"auprc": pytest.approx((1 + 1 / 4) / 2)}


def test_metrics_are_plain_floats():
    for name, metric in METRICS.items():
        other_inputs = {
            "entity_f1": ([["PER-B"]], [["PER-B"]]),
            "character_f1": ([["B-PER"]], [["B-PER"]]),
            "answer_f1": ([["가"]], ["가"]),
            "answer_rouge": ([["가"]], ["가"]),
            "multi_label_f1": (np.eye(2), np.eye(2)),
        }
        inputs = other_inputs.get(name, (np.array([0, 1, 1]), np.array([0, 1, 0])))
        assert {type(value) for value in metric.compute(*inputs).values()} == {float}


def test_choices_by_hand():
    """Three choices: precision 1, 2/3 and 0, recall 1, 1 and 0; three of four rows are right."""
    scores = METRICS["choice_f1"].compute(np.array([0, 1, 1, 2]), np.array([0, 1, 1, 1]))
    assert scores == pytest.approx({"f1": (1 + 0.8 + 0) / 3, "precision": (1 + 2 / 3) / 3, "recall": 2 / 3, "acc": 0.75})


def test_scores_in_percent_and_display_names():
    assert (in_percent(TASKS["nsmc"], 0.5), in_percent(TASKS["korquad"], 50.0)) == (50, 50)
    assert (display_name(TASKS["korquad"], "exact_match"), display_name(TASKS["korquad"], "new_score")) == ("EM", "new_score")
