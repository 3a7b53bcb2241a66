import json

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from processor.definition import TASKS, make_task
from src.common.errors import ConfigError
from src.data.task import Features
from src.settings.class_weights import label_weights
from tests.src.helpers import DEFAULTS

TOPICS = {"kind": "multi_label", "columns": ["text", "a", "b", "c"], "text": "text", "label": ["a", "b", "c"]}
TASK = make_task("topics", TOPICS, "f")


def weights_of(value, task, labels):
    features = Features({"labels": np.array(labels), "offsets": np.arange(len(labels) + 1)})
    return label_weights(DEFAULTS.model_copy(update={"class_weights": str(value)}), task, features)


def test_balanced_classes_are_those_of_scikit_learn():
    labels = [0, 0, 0, 1]  # 4 rows / (2 labels x 3 rows), 4 / (2 x 1)
    assert weights_of("balanced", TASKS["nsmc"], labels) == pytest.approx({"0": 2 / 3, "1": 2})
    labels = [2, 0, 1, 1, 0, 0]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=np.array(labels)).tolist()
    assert list(weights_of("balanced", TASKS["kornli"], labels).values()) == expected


def test_a_class_without_rows_has_weight_1():
    assert weights_of("balanced", TASKS["kornli"], [0, 0, 0, 2]) == pytest.approx(
        {"contradiction": 2 / 3, "entailment": 1, "neutral": 2}
    )


def test_balanced_labels_are_negatives_by_positives():
    labels = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]], np.float32)  # b is in no row, c in all
    assert weights_of("balanced", TASK, labels) == {"a": 3.0, "b": 1.0, "c": 1.0}


def test_weights_of_a_file(tmp_path):
    path = tmp_path / "weights.json"
    path.write_text('{"c": 1, "a": 2.5, "b": 0.5}')
    given = weights_of(path, TASK, np.zeros((2, 3)))
    assert list(given.items()) == [("a", 2.5), ("b", 0.5), ("c", 1.0)]  # in the order of ids


def test_no_weights():
    assert weights_of("none", TASKS["nsmc"], [0, 1]) is None
    for task in ("korsts", "naver-ner", "korquad"):  # kinds without them ignore the setting
        assert weights_of("balanced", TASKS[task], [0]) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"a": 1, "b": 1, "cc": 1}, ["unknown label 'cc'. Did you mean 'c'?", "label 'c' is missing"]),
        ({"a": 0, "b": -1, "c": "1"}, ["'a': found 0", "'b': found -1", """'c': found "1\""""]),
        ('{"a": true, "b": 1, "c": 1e999}', ["'a': found true", "'c': found Infinity"]),
        ({"a": 1, "b": 1, "c": float("inf")}, ["Infinity is not a number"]),
        ([1, 2, 3], ["expected an object"]),
        ("{", ["not JSON"]),
        (None, ["No such file"]),
    ],
)
def test_rejects_other_files(tmp_path, content, expected):
    path = tmp_path / "weights.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConfigError) as caught:
        weights_of(path, TASK, np.zeros((2, 3)))
    assert str(path) in str(caught.value)
    assert all(part in str(caught.value) for part in expected), str(caught.value)
